"""What becomes of the upstream picker's plugin types that this one doesn't have. The ones it has are in `registry`.

A type is ignored, with one note at start-up, where leaving it out only makes choices less clever, or where what it does
happens anyway. It is refused where leaving it out would send requests where they don't belong or would break a
promise of the configuration; the text then says what to write instead.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Fate(Enum):
    """What becomes of a plugin of a type that we don't have."""

    IGNORED = "ignored"
    REFUSED = "refused"


class Missing(NamedTuple):
    """One upstream plugin type that we don't have."""

    fate: Fate
    text: str
    """Ignored: what follows for the user. Refused: what to do instead."""


def _all(fate: Fate, text: str, types: str) -> Iterable[tuple[str, Missing]]:
    return ((name, Missing(fate, text)) for name in types.split())


_PREFIX_CACHE = "endpoints are not yet scored by the prefixes that they have cached"
_SCORER = "this build doesn't have that scorer; the others decide"
_PRODUCER = "nothing here needs what it produces"
_BUILT_IN_ACCOUNTING = "requests in flight are always counted, without a plugin"
_TOKENIZER = "requests are not tokenized; their size is estimated from their bytes"
_ADMITTER = "requests of negative priority wait in their band instead of being shed"
_EVICTION = (
    "it is built in: with enableEviction, requests below flowControl.eviction.belowPriority give way, the lowest "
    "priority first, then the latest dispatched"
)
_PARSER = "requests on its paths are queued and passed on unparsed"
_DATA_SOURCE = "only metrics pages are read"
_SOFT_FILTER = "every candidate has room already, and no preference is made among them"
_DISAGGREGATION = (
    "prefill and decode on different servers is not supported: "
    "keep one scheduling profile, and no profile handler or single-profile-handler"
)
_EXCLUDING_FILTER = (
    "without it requests would go to endpoints that it excludes: "
    "remove it, or select endpoints by their labels with label-selector-filter"
)
_DISCOVERY = "remove it and start with --objects PATH, which reads the pool and its pods from files"

IGNORED_PARSERS = (
    "anthropic-parser",
    "vllmhttp-parser",
    "sglanghttp-parser",
    "vllmgrpc-parser",
    "vertexai-parser",
)

MISSING: Mapping[str, Missing] = MappingProxyType(
    dict(
        [
            *_all(
                Fate.IGNORED,
                _PREFIX_CACHE,
                "prefix-cache-scorer precise-prefix-cache-scorer approx-prefix-cache-producer"
                " precise-prefix-cache-producer burst-prefix-cache-producer no-hit-lru-scorer"
                " mm-embeddings-cache-scorer mm-embeddings-cache-producer p2p-source-producer"
                " multicluster-prefix-cache-scorer multicluster-approx-prefix-cache-producer",
            ),
            *_all(
                Fate.IGNORED,
                _SCORER,
                "lora-affinity-scorer load-aware-scorer active-request-scorer token-load-scorer"
                " session-affinity-scorer context-length-aware latency-scorer endpoint-attribute-scorer"
                " topology-affinity-scorer header-label-affinity-scorer multicluster-queue-scorer"
                " multicluster-kv-cache-utilization-scorer",
            ),
            *_all(
                Fate.IGNORED,
                _PRODUCER,
                "predicted-latency-producer session-id-producer request-attribute-reporter agent-identity"
                " topology-extractor",
            ),
            *_all(Fate.IGNORED, _BUILT_IN_ACCOUNTING, "inflight-load-producer"),
            *_all(Fate.IGNORED, _TOKENIZER, "token-producer tokenizer"),
            *_all(Fate.IGNORED, _ADMITTER, "probabilistic-admitter latency-slo-admitter"),
            *_all(
                Fate.IGNORED,
                _EVICTION,
                "sheddable-eviction-filter priority-then-time-eviction-order-policy",
            ),
            *_all(Fate.IGNORED, _PARSER, " ".join(IGNORED_PARSERS)),
            *_all(
                Fate.IGNORED,
                _DATA_SOURCE,
                "models-data-source models-data-extractor k8s-notification-source"
                " endpoint-notification-source dcgm-data-source dcgm-extractor"
                " multicluster-metrics-data-source multicluster-metrics-extractor",
            ),
            *_all(
                Fate.IGNORED,
                _SOFT_FILTER,
                "utilization-filter prefix-cache-affinity-filter slo-headroom-tier-filter",
            ),
            *_all(
                Fate.REFUSED,
                _DISAGGREGATION,
                "disagg-profile-handler pd-profile-handler header-profile-handler disagg-headers-handler"
                " prefill-header-handler prefix-based-pd-decider always-disagg-pd-decider"
                " always-disagg-multimodal-decider",
            ),
            *_all(
                Fate.REFUSED,
                "name the ports of the ranks in the InferencePool's targetPorts, and each is an endpoint of its own",
                "data-parallel-profile-handler",
            ),
            *_all(
                Fate.REFUSED,
                _EXCLUDING_FILTER,
                "session-affinity-filter endpoint-attribute-filter topology-affinity-filter"
                " multicluster-session-affinity-filter disaggregatedset-rollout-screener",
            ),
            *_all(
                Fate.REFUSED,
                "it lets a client choose its endpoint, and is for conformance tests only: remove it",
                "header-based-testing-filter destination-endpoint-served-verifier",
            ),
            *_all(Fate.REFUSED, _DISCOVERY, "file-discovery multicluster-file-discovery"),
        ]
    )
)

IGNORED = frozenset(name for name, missing in MISSING.items() if missing.fate is Fate.IGNORED)
