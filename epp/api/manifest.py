"""The shape of the objects that we read, as the API server serves them, and the rules of their fields.

Every rule stands here once, as data: patterns, lengths, ranges, defaults and enums are those of the custom resource
definitions. `schema` reads plain documents by them and reports every breach; typed JSON decoding and schemas of
the custom resources can be made from the same classes. Rules that tie several fields together are in `decode`.
Only what the picker needs of an object is declared; a class that derives from `Closed` declares all of it.

The remedy of a rule is in the `extra` of its `Meta`: what a right value looks like.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct, field

POOL_GROUP = "inference.networking.k8s.io"
OBJECTIVE_GROUPS = ("llm-d.ai", "inference.networking.x-k8s.io")
"""The groups of InferenceObjective and InferenceModelRewrite; the first wins where both have one of the same name."""

_DNS_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN_REMEDY = {"remedy": "lower-case letters, digits, '-' and '.', such as my-pool"}

Group = Annotated[
    str,
    Meta(
        max_length=253,
        pattern=f"^$|^{_DNS_SUBDOMAIN}$",
        extra={"remedy": "an API group without its version, such as inference.networking.k8s.io"},
    ),
]
Kind = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=63,
        pattern="^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
        extra={"remedy": "a kind such as InferencePool or Service"},
    ),
]
ReferentName = Annotated[
    str, Meta(min_length=1, max_length=253, extra={"remedy": "the name of the object that is meant"})
]
ObjectName = Annotated[
    str, Meta(min_length=1, max_length=253, pattern=f"^{_DNS_SUBDOMAIN}$", extra=_SUBDOMAIN_REMEDY)
]
Namespace = Annotated[
    str,
    Meta(
        max_length=63,
        pattern="^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        extra={"remedy": "lower-case letters, digits and '-', such as my-team"},
    ),
]
LabelValue = Annotated[
    str,
    Meta(
        max_length=63,
        pattern="^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        extra={"remedy": "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"},
    ),
]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
ModelName = Annotated[str, Meta(min_length=1, extra={"remedy": "the name of a model, as requests give it"})]
Weight = Annotated[int, Meta(ge=1, le=1_000_000)]

MAX_RULES = 1024
MAX_MATCHES = 1024
MAX_TARGETS = 64
"""How much one rewrite may hold. The published resource states no limits, but the API server wants some before it
checks a rule across fields; these are as wide as it grants with room to spare."""


class Manifest(Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an object of which we declare only what we read."""


class Closed(Manifest, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A part of an object that is declared in full: any other field in it is a mistake."""


def _one_line(*texts: str) -> None:
    """Refuse what `$` lets pass in Python and not in Kubernetes; msgspec makes an error of the field of it."""
    for text in texts:
        if text.endswith("\n"):
            raise ValueError("a line break is not allowed at the end")


class AppProtocol(Enum):
    """What the gateway speaks to the model servers."""

    HTTP = "http"
    H2C = "kubernetes.io/h2c"


class FailureMode(Enum):
    """What the gateway does when the picker does not answer."""

    OPEN = "FailOpen"
    CLOSE = "FailClose"


class ObjectMeta(Manifest, frozen=True, kw_only=True, rename="camel"):
    """What every object says of itself."""

    name: ObjectName
    namespace: Namespace = ""
    uid: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None

    def __post_init__(self) -> None:
        _one_line(self.name, self.namespace)


class LabelSelector(Closed, frozen=True, kw_only=True, rename="camel"):
    """The labels that a pod of the pool carries, all of them."""

    match_labels: Annotated[dict[str, LabelValue], Meta(min_length=1, max_length=64)]

    def __post_init__(self) -> None:
        _one_line(*self.match_labels.values())


class TargetPort(Closed, frozen=True, kw_only=True, rename="camel"):
    """A port on which every pod of the pool serves."""

    number: PortNumber


class EndpointPickerPort(Closed, frozen=True, kw_only=True, rename="camel"):
    """The port of the picker's Service."""

    number: PortNumber


class EndpointPickerRef(Closed, frozen=True, kw_only=True, rename="camel"):
    """Whom the gateway asks for an endpoint of this pool."""

    group: Group = ""
    kind: Kind = "Service"
    name: ReferentName
    port: EndpointPickerPort | None = None
    failure_mode: FailureMode = FailureMode.CLOSE

    def __post_init__(self) -> None:
        _one_line(self.group, self.kind)


class PoolSpec(Closed, frozen=True, kw_only=True, rename="camel"):
    """Which pods are the pool, and where they serve."""

    selector: LabelSelector
    target_ports: Annotated[tuple[TargetPort, ...], Meta(min_length=1, max_length=8)]
    app_protocol: AppProtocol = AppProtocol.HTTP
    endpoint_picker_ref: EndpointPickerRef | None = None


class PoolManifest(Manifest, frozen=True, kw_only=True, rename="camel"):
    """An InferencePool."""

    metadata: ObjectMeta
    spec: PoolSpec


class PoolRef(Closed, frozen=True, kw_only=True, rename="camel"):
    """The pool that an objective is for, in the objective's own namespace."""

    group: Group = POOL_GROUP
    kind: Kind = "InferencePool"
    name: ReferentName

    def __post_init__(self) -> None:
        _one_line(self.group, self.kind)


class ObjectiveSpec(Closed, frozen=True, kw_only=True, rename="camel"):
    """How important the requests of an objective are."""

    pool_ref: PoolRef
    priority: Int32 | None = None


class ObjectiveManifest(Manifest, frozen=True, kw_only=True, rename="camel"):
    """An InferenceObjective."""

    metadata: ObjectMeta
    spec: ObjectiveSpec


class MatchType(Enum):
    """How a model's name is compared."""

    EXACT = "Exact"


class ModelMatch(Closed, frozen=True, kw_only=True, rename="camel"):
    """Which model a request asks for."""

    type: MatchType = MatchType.EXACT
    value: ModelName


class RewriteMatch(Closed, frozen=True, kw_only=True, rename="camel"):
    """Which requests a rule is for."""

    model: ModelMatch


class RewriteTarget(Closed, frozen=True, kw_only=True, rename="camel"):
    """The model that a request gets instead."""

    model_rewrite: ModelName
    weight: Weight | None = None


class RewriteRule(Closed, frozen=True, kw_only=True, rename="camel"):
    """What requests are rewritten to, if any of the matches is theirs; without matches it is for all requests.

    Without targets it rewrites nothing, and is as if it were not there.
    """

    matches: Annotated[tuple[RewriteMatch, ...], Meta(max_length=MAX_MATCHES)] = ()
    targets: Annotated[tuple[RewriteTarget, ...], Meta(min_length=1, max_length=MAX_TARGETS)] = ()


class RewriteSpec(Closed, frozen=True, kw_only=True, rename="camel"):
    """Which models are served under other names."""

    pool_ref: PoolRef
    rules: Annotated[tuple[RewriteRule, ...], Meta(max_length=MAX_RULES)]


class RewriteManifest(Manifest, frozen=True, kw_only=True, rename="camel"):
    """An InferenceModelRewrite."""

    metadata: ObjectMeta
    spec: RewriteSpec


class PodCondition(Manifest, frozen=True, kw_only=True, rename="camel"):
    """One of the things that are true or not of a pod."""

    type: str
    status: str


class PodStatus(Manifest, frozen=True, kw_only=True, rename="camel"):
    """Where a pod is, and how it is."""

    phase: str = ""
    pod_ip: str = field(name="podIP", default="")
    conditions: tuple[PodCondition, ...] = ()


class PodManifest(Manifest, frozen=True, kw_only=True, rename="camel"):
    """A Pod."""

    metadata: ObjectMeta
    status: PodStatus = PodStatus()
