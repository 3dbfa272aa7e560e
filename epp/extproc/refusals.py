"""How every reason for a refusal looks to the client: one table, one message.

A refusal is an HTTP answer that the gateway gives in the model server's place: a status, an error in the OpenAI
API's form, the reason in a header, and advice about trying again: `Retry-After` where waiting can help,
`x-should-retry: false` where it can't. It is never an error of the gRPC stream, which gateways turn into a 500 that
says nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from epp.core.actions import Reason
from epp.extproc.headers import CONTENT_TYPE, DROPPED_REASON, account_of, set_header
from epp.extproc.wire import ext_proc_pb2 as wire

if TYPE_CHECKING:
    from epp.extproc.ingress import Refusal


class _Look(NamedTuple):
    """What a client sees of one reason."""

    status: wire.StatusCode
    kind: str
    """The error's `type`, as clients of the OpenAI API know them."""
    message: str


_BUSY: Final = "rate_limit_error"
_DOWN: Final = "service_unavailable_error"
_WRONG: Final = "invalid_request_error"

_LOOKS: Final = {
    Reason.SATURATED: _Look(wire.TooManyRequests, _BUSY, "The queue for requests of this priority is full."),
    Reason.NO_ENDPOINTS: _Look(
        wire.ServiceUnavailable, _DOWN, "No endpoint that may serve this request is available."
    ),
    Reason.TTL_EXPIRED: _Look(
        wire.TooManyRequests, _BUSY, "The request waited as long as it may without getting its turn."
    ),
    Reason.CONTEXT_CANCELLED: _Look(
        wire.ServiceUnavailable, _DOWN, "The request was cancelled while it waited."
    ),
    Reason.SHUTTING_DOWN: _Look(
        wire.ServiceUnavailable,
        _DOWN,
        "This endpoint picker is stopping or standing by.",
    ),
    Reason.WOULD_EXPIRE: _Look(
        wire.TooManyRequests,
        _BUSY,
        "So much is queued before this request that it would wait longer than it may, so it was not queued.",
    ),
    Reason.QUEUE_PRESSURE: _Look(
        wire.TooManyRequests,
        _BUSY,
        "The queue is full, and this request gave its place in it to one of higher priority, or to one of a tenant "
        "with less in the queue.",
    ),
    Reason.EVICTED: _Look(
        wire.TooManyRequests,
        _BUSY,
        "The request was being served, and gave its place to one of higher priority.",
    ),
    Reason.TOO_LARGE: _Look(
        wire.PayloadTooLarge, _WRONG, "The request's body is larger than the endpoint picker takes."
    ),
    Reason.MALFORMED: _Look(wire.BadRequest, _WRONG, "The request can't be read."),
}


def refusal_status(reason: Reason) -> int:
    """The HTTP status that a reason is answered with."""
    return int(_LOOKS[reason].status)


def refusal_message(refusal: Refusal) -> wire.ProcessingResponse:
    """The answer that a refused request gets."""
    reason = refusal.reason
    look = _LOOKS[reason]
    response = wire.ProcessingResponse()
    immediate = response.immediate_response
    immediate.status.code = look.status
    headers = immediate.headers
    set_header(headers, CONTENT_TYPE, "application/json")
    set_header(headers, DROPPED_REASON, reason.value)
    if refusal.retry_after_s is None:
        set_header(headers, "x-should-retry", "false")
    else:
        set_header(headers, "retry-after", str(refusal.retry_after_s))
    for name, value in account_of(refusal.waited_s, refusal.explanation).items():
        set_header(headers, name, value)
    error = {
        "message": refusal.message or look.message,
        "type": look.kind,
        "param": None,
        "code": reason.value,
    }
    immediate.body = json.dumps({"error": error}).encode()
    # Gateways print it in access logs; no spaces, or Envoy replaces them.
    immediate.details = f"epp_{reason.value}"
    return response
