"""What the core wants done: the closed set of actions that `Controller.handle` returns, in order.

The shell carries them out; the core never waits for it. `Reason` is the closed list of refusals, and the
names are those that clients see in `x-llm-d-request-dropped-reason`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from epp.core.endpoint import EndpointSpec
    from epp.core.statistics import WaitReason


class Reason(Enum):
    """Why a request got an answer instead of an endpoint."""

    SATURATED = "rejected-saturated"
    """Its queue is full."""
    NO_ENDPOINTS = "rejected-no-endpoints"
    """The pool, or the subset it is restricted to, has no endpoint."""
    TTL_EXPIRED = "rejected-ttl-expired"
    """It waited as long as it may."""
    CONTEXT_CANCELLED = "rejected-context-cancelled"
    """Its client went away; nobody reads this answer."""
    SHUTTING_DOWN = "rejected-shutting-down"
    """The picker is stopping."""
    WOULD_EXPIRE = "rejected-would-expire"
    """It would wait longer than it may, by an estimate that has proven good lately; told at once instead of then."""
    QUEUE_PRESSURE = "evicted-queue-pressure"
    """It was queued and gave way: to a request of higher priority, or to a tenant that held less of a full queue."""
    EVICTED = "evicted"
    """It was running, and gave way to a request of higher priority."""
    TOO_LARGE = "rejected-too-large"
    """Its body is larger than the picker takes. Never from the core: it is refused before it gets there."""
    MALFORMED = "rejected-malformed"
    """It can't be read. Never from the core either."""


class Entry(NamedTuple):
    """What a request met when it was queued, if it had to wait at all."""

    position: int
    """How many queued requests of its own and of higher priorities were there before it."""
    blocked_by: WaitReason
    """Why it could not go at once."""


class Dispatch(NamedTuple):
    """Send the request to this endpoint. Its room is already reserved."""

    request_id: int
    endpoint: EndpointSpec
    waited_s: float
    entry: Entry | None = None
    """None if it never had to wait."""
    prefill: EndpointSpec | None = None
    """Where its prompt is processed first, if it asked for a second endpoint."""


class Refuse(NamedTuple):
    """Answer the request with a refusal."""

    request_id: int
    reason: Reason
    waited_s: float
    retry_after_s: int | None
    """When trying again makes sense, 1 to 60; None where waiting can't help."""
    entry: Entry | None = None
    """None if it was never queued."""


class Evict(NamedTuple):
    """End this running request, which gives way; its `Ended` confirms that. One too many is no harm."""

    request_id: int


class ScrapeNow(NamedTuple):
    """Scrape this endpoint at once: its credit is spent while work waits for it."""

    key: tuple[str, str]


class WakeAt(NamedTuple):
    """Call again with `Tick` at this time, unless another event comes first. At most one per `handle`."""

    at_s: float


Action = Dispatch | Refuse | Evict | ScrapeNow | WakeAt
