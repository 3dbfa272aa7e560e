"""How a request's fate is named in metrics: upstream's outcomes and error codes, by our reasons.

Upstream says `Rejected...` of a request that never got into a queue and `Evicted...` of one that did. A request that
never got in hasn't waited, which is what tells the two apart.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from epp.core.actions import Reason


class Outcome(Enum):
    """What flow control did with a request, once; the label `outcome`."""

    DISPATCHED = "Dispatched"
    REJECTED_CAPACITY = "RejectedCapacity"
    REJECTED_NO_ENDPOINTS = "RejectedNoEndpoints"
    REJECTED_OTHER = "RejectedOther"
    EVICTED_TTL = "EvictedTTL"
    EVICTED_NO_ENDPOINTS = "EvictedNoEndpoints"
    EVICTED_CONTEXT_CANCELLED = "EvictedContextCancelled"
    EVICTED_OTHER = "EvictedOther"


class ErrorCode(Enum):
    """What went wrong with a request; the label `error_code`."""

    BAD_REQUEST = "BadRequest"
    RESOURCE_EXHAUSTED = "ResourceExhausted"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    MODEL_SERVER_ERROR = "ModelServerError"
    """The model server itself answered with an error."""


class ResponseEnd(Enum):
    """How a dispatched request ended, by the messages seen; the label `outcome` of responses."""

    COMPLETED = "completed"
    ABORTED = "aborted"
    """The stream ended before the response did."""
    ENDED = "ended"
    """The stream ended, and the gateway doesn't show where responses end."""
    EVICTED = "evicted"
    """It was running, and gave way to a request of higher priority."""


class _Fate(NamedTuple):
    """How one reason is counted."""

    unqueued: Outcome
    """If the request never waited."""
    queued: Outcome
    code: ErrorCode


_FATES: Final = {
    Reason.SATURATED: _Fate(
        Outcome.REJECTED_CAPACITY, Outcome.REJECTED_CAPACITY, ErrorCode.RESOURCE_EXHAUSTED
    ),
    Reason.NO_ENDPOINTS: _Fate(
        Outcome.REJECTED_NO_ENDPOINTS, Outcome.EVICTED_NO_ENDPOINTS, ErrorCode.SERVICE_UNAVAILABLE
    ),
    Reason.TTL_EXPIRED: _Fate(Outcome.EVICTED_TTL, Outcome.EVICTED_TTL, ErrorCode.RESOURCE_EXHAUSTED),
    Reason.CONTEXT_CANCELLED: _Fate(
        Outcome.EVICTED_CONTEXT_CANCELLED, Outcome.EVICTED_CONTEXT_CANCELLED, ErrorCode.SERVICE_UNAVAILABLE
    ),
    Reason.SHUTTING_DOWN: _Fate(Outcome.REJECTED_OTHER, Outcome.EVICTED_OTHER, ErrorCode.SERVICE_UNAVAILABLE),
    # Told at its arrival it is for lack of room; told while it waits it is the deadline that it would miss.
    Reason.WOULD_EXPIRE: _Fate(Outcome.REJECTED_CAPACITY, Outcome.EVICTED_TTL, ErrorCode.RESOURCE_EXHAUSTED),
    Reason.QUEUE_PRESSURE: _Fate(Outcome.EVICTED_OTHER, Outcome.EVICTED_OTHER, ErrorCode.RESOURCE_EXHAUSTED),
    # Normally it had been dispatched, which is then its outcome: flow control decides each request once.
    Reason.EVICTED: _Fate(Outcome.EVICTED_OTHER, Outcome.EVICTED_OTHER, ErrorCode.RESOURCE_EXHAUSTED),
    # Upstream has no code for 413; its nearest is that of a bad request.
    Reason.TOO_LARGE: _Fate(Outcome.REJECTED_OTHER, Outcome.REJECTED_OTHER, ErrorCode.BAD_REQUEST),
    Reason.MALFORMED: _Fate(Outcome.REJECTED_OTHER, Outcome.REJECTED_OTHER, ErrorCode.BAD_REQUEST),
}
"""Every reason; that none is missing is a test's business."""


def outcome_of(reason: Reason, waited_s: float) -> Outcome:
    """The outcome of a request that flow control refused after `waited_s` in a queue, 0 meaning in none."""
    fate = _FATES[reason]
    return fate.queued if waited_s > 0 else fate.unqueued


def error_code_of(reason: Reason) -> ErrorCode:
    """The error code of a refusal."""
    return _FATES[reason].code
