"""HTTP headers as ext_proc carries them: the names that we know, reading them, and asking for changes.

A value comes in `raw_value` or in `value`; a value that is not UTF-8 is no error, it is just not a valid value of
any header that we read. What a client sends here is a trust boundary: control headers are consumed, and removed
before the model server sees them.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from epp.core.durations import parse_go_duration
from epp.extproc.ingress import DEFAULT_FAIRNESS_ID
from epp.extproc.sharing import shared
from epp.extproc.wire import ext_proc_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from epp.extproc.ingress import Explanation

PATH: Final = ":path"
STATUS: Final = ":status"
REQUEST_ID: Final = "x-request-id"
CONTENT_LENGTH: Final = "content-length"
CONTENT_TYPE: Final = "content-type"

OBJECTIVE: Final = ("x-llm-d-inference-objective", "x-gateway-inference-objective")
"""The current name, then the one it had; if both come, the current one wins."""
FAIRNESS_ID: Final = ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id")
TTL: Final = ("x-llm-d-inference-ttl",)
SLO: Final = ("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms")
"""Within which time of its arrival a request wants its first token."""
MODEL_REWRITE: Final = ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite")

DESTINATION: Final = "x-gateway-destination-endpoint"
"""Where the gateway reads our answer; also its key in dynamic metadata."""
SUBSET: Final = "x-gateway-destination-endpoint-subset"
"""A key of metadata. As a header it means nothing, and goes no further."""
QUEUE_DURATION: Final = "x-llm-d-flow-queue-duration-ms"
"""On responses: how long the request waited here."""
PRIORITY: Final = "x-llm-d-flow-priority"
POSITION: Final = "x-llm-d-flow-position"
"""On responses: how many queued requests were there before it when it came."""
BLOCKED_BY: Final = "x-llm-d-flow-blocked-by"
"""On responses: why the request could not go at once."""
FLOW_REQUEST_ID: Final = "x-llm-d-flow-request-id"
"""On responses: the picker's number for the request, by which its story can be asked for."""
DROPPED_REASON: Final = "x-llm-d-request-dropped-reason"

TEST_SELECTION: Final = "test-epp-endpoint-selection"
"""The endpoints that a conformance test allows. Whoever may send it steers, so it counts only where tests are run."""
TEST_SERVED: Final = "x-conformance-test-served-endpoint"
"""On responses to conformance tests: which endpoint it was, by the gateway's account."""
NOT_TOLD: Final = "fail: the gateway did not say which endpoint served"
"""There, if the gateway gives none: what we chose would prove nothing of the gateway."""

_ACCOUNTS: Final = frozenset({QUEUE_DURATION, PRIORITY, POSITION, BLOCKED_BY, FLOW_REQUEST_ID})
"""What responses tell of the queue. Only we may say that."""
_CONTROL: Final = frozenset({*OBJECTIVE, *FAIRNESS_ID, *TTL, *SLO, *MODEL_REWRITE, SUBSET, *_ACCOUNTS})


def _by_name(*names: str) -> dict[str, str]:
    """Names to look for. Each is mapped to itself, so that one string stands for it in every request."""
    return {name: name for name in names}


_REQUEST_HEADERS: Final = _by_name(*_CONTROL, PATH, REQUEST_ID, CONTENT_LENGTH, CONTENT_TYPE, TEST_SELECTION)
_RESPONSE_HEADERS: Final = _by_name(*_ACCOUNTS, STATUS)

_LONGEST_OBJECTIVE = 253
"""Kubernetes allows no longer name."""
_LONGEST_FAIRNESS_ID = 1024
_LONGEST_MODEL = 1024
_LONGEST_REQUEST_NAME = 256
_MOST_DIGITS = 20
_LONGEST_SLO_MS = (2**63 - 1) // 1_000_000
"""What Go's durations hold, as for every other span of time that a client may give."""


class Conformance(Enum):
    """Whether the hooks of the gateways' conformance tests work. They let any client choose its endpoint."""

    OFF = "off"
    ON = "on"


class ControlHeaders(Enum):
    """What happens to the headers that steer us, before the model server."""

    REMOVE = "remove"
    KEEP = "keep"


class RequestControl(msgspec.Struct, frozen=True):
    """What a request's headers ask of us."""

    request_name: str
    objective: str
    fairness_id: str
    ttl_s: float | None
    slo_s: float | None
    model_rewrite: str
    """The model to send the request on with; '' if none is given."""
    path: str
    content_type: str
    """The media type without its parameters, lower case; '' if none is given."""
    content_length: int | None
    present: tuple[str, ...]
    """The control headers that came, to be removed."""
    invalid: tuple[str, ...]
    """Those whose values were invalid and ignored."""
    test_selection: str
    """`TEST_SELECTION` as it came, whether or not it counts here; '' if it didn't."""


def read_request(headers: Iterable[wire.HeaderValue]) -> RequestControl:
    """Read a request's headers."""
    values = _read(headers, _REQUEST_HEADERS)
    pop = values.pop
    invalid: list[str] = []
    path, _, _ = _text(pop(PATH, b"")).partition("?")
    request_name = _text(pop(REQUEST_ID, b""))
    media_type, _, _ = _text(pop(CONTENT_TYPE, b"")).partition(";")
    content_length = _count(pop(CONTENT_LENGTH, b""))
    test_selection = _text(pop(TEST_SELECTION)) if TEST_SELECTION in values else ""
    # What is left steers us, and most requests have one or none of it.
    objective, fairness_id, ttl_s, slo_s, model_rewrite = "", "", None, None, ""
    if values:
        objective = _named(values, OBJECTIVE, _LONGEST_OBJECTIVE, invalid)
        fairness_id = _named(values, FAIRNESS_ID, _LONGEST_FAIRNESS_ID, invalid)
        ttl_s = _ttl(values, invalid)
        slo_s = _slo(values, invalid)
        model_rewrite = _named(values, MODEL_REWRITE, _LONGEST_MODEL, invalid)
    return RequestControl(
        request_name[:_LONGEST_REQUEST_NAME],
        shared(objective),
        shared(fairness_id) or DEFAULT_FAIRNESS_ID,
        ttl_s,
        slo_s,
        model_rewrite,
        shared(path),
        media_type.strip().lower(),
        content_length,
        tuple(values),
        tuple(invalid),
        test_selection,
    )


def read_response(headers: Iterable[wire.HeaderValue]) -> tuple[int | None, tuple[str, ...]]:
    """A response's status, and the names under which it tells of the queue, which is ours to tell."""
    values = _read(headers, _RESPONSE_HEADERS)
    return _count(values.pop(STATUS, b"")), tuple(values)


def account_of(waited_s: float, explanation: Explanation | None) -> dict[str, str]:
    """What the client is told of the queue, as headers: of a wait, and of the reasons where they are to be told."""
    account = {}
    if waited_s > 0:
        account[QUEUE_DURATION] = waited_ms(waited_s)
    if explanation is not None:
        account[PRIORITY] = str(explanation.priority)
        account[POSITION] = str(explanation.position)
        if explanation.request_id:
            account[FLOW_REQUEST_ID] = str(explanation.request_id)
        if explanation.blocked_by:
            account[BLOCKED_BY] = explanation.blocked_by
    return account


def set_header(mutation: wire.HeaderMutation, name: str, value: str) -> None:
    """Ask for a header to be there with this value and no other."""
    option = mutation.set_headers.add()
    option.header.key = name
    # Some gateways read only `raw_value`, and none only `value`.
    option.header.raw_value = value.encode()
    option.append_action = wire.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def waited_ms(waited_s: float) -> str:
    """A wait as `QUEUE_DURATION` shows it: whole milliseconds, rounded up, so that a wait never shows as none."""
    return str(max(1, math.ceil(waited_s * 1000)))


def _read(headers: Iterable[wire.HeaderValue], wanted: Mapping[str, str]) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    for header in headers:
        name = wanted.get(header.key.lower())
        if name is not None and name not in values:
            values[name] = header.raw_value or header.value
    return values


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip() if value else ""


def _named(values: Mapping[str, bytes], names: tuple[str, ...], longest: int, invalid: list[str]) -> str:
    """The first usable value among a header's spellings; those that can't be one are noted."""
    for name in names:
        raw = values.get(name)
        if not raw:
            continue
        try:
            value = raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            invalid.append(name)
            continue
        if not value:
            continue
        if len(value) <= longest and value.isprintable():
            return value
        invalid.append(name)
    return ""


def _ttl(values: Mapping[str, bytes], invalid: list[str]) -> float | None:
    """A Go duration, or whole milliseconds. Nothing at or below 0: that would mean waiting without limit."""
    for name in TTL:
        if name not in values:
            continue
        text = _text(values[name])
        if not text:
            continue
        try:
            ttl_s = parse_go_duration(f"{text}ms" if text.isascii() and text.isdigit() else text)
        except ValueError:
            ttl_s = 0.0
        if ttl_s > 0:
            return ttl_s
        invalid.append(name)
    return None


def _slo(values: Mapping[str, bytes], invalid: list[str]) -> float | None:
    """Whole milliseconds, 0 and more."""
    for name in SLO:
        if name not in values:
            continue
        text = _text(values[name])
        if not text:
            continue
        if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS and int(text) <= _LONGEST_SLO_MS:
            return int(text) / 1000
        invalid.append(name)
    return None


def _count(value: bytes) -> int | None:
    """A number without a sign, as status lines and content lengths have it."""
    return int(value) if value.isdigit() and len(value) < _MOST_DIGITS else None
