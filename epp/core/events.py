"""What can happen to the core: the closed set of events that `Controller.handle` takes.

Events are immutable values in the past tense. Times inside them, and the `now` beside them, are seconds on
one monotonic clock. An event about a request or an endpoint that is gone is no error and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from epp.core.eligibility import ANY, Eligibility
from epp.core.endpoint import Contact

if TYPE_CHECKING:
    from epp.core.endpoint import EndpointSpec, EngineSample
    from epp.core.policy import FlowControlPolicy


class Arrived(NamedTuple):
    """A request wants an endpoint. A NamedTuple, since it is the hottest event: four times cheaper to make."""

    request_id: int
    """Unique for the life of the process, made by the shell; never a client's id."""
    priority: int
    fairness_id: str
    size_bytes: int
    """Bytes of the request that are held while it waits."""
    need: int = 1
    """Requests' worth of room that it takes: 1, or 0 for a request without a body."""
    charge_tokens: int = 1
    """What its flow pays for it, at least 1."""
    eligibility: Eligibility = ANY
    ttl_s: float | None = None
    """Its waiting budget while the pool has endpoints; None means the policy's, 0 means no limit."""
    facts: object = None
    """Opaque to the core; handed to the choice of endpoint."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The client or the gateway gave the request up, queued or running."""

    request_id: int


@dataclass(frozen=True, slots=True)
class DeliveryFailed:
    """The answer to a dispatch could not be given: its reservation and its charge are undone."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A running request's stream came to its end."""

    request_id: int


@dataclass(frozen=True, slots=True)
class EndpointsChanged:
    """The pool's endpoints, all of them. Their order doesn't matter."""

    endpoints: tuple[EndpointSpec, ...]


@dataclass(frozen=True, slots=True)
class Scraped:
    """A scrape of one endpoint came back; `sample` is None if it failed."""

    key: tuple[str, str]
    """The endpoint's incarnation, `EndpointSpec.key`."""
    sent_s: float
    received_s: float
    sample: EngineSample | None
    contact: Contact = Contact.REACHED


@dataclass(frozen=True, slots=True)
class ObjectivesChanged:
    """The priorities that objectives of our pool give now: each is a band. 0 need not be named."""

    priorities: frozenset[int]


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """Another configuration is in force. Queued work stays queued."""

    policy: FlowControlPolicy


@dataclass(frozen=True, slots=True)
class Draining:
    """We are stopping, or must not serve for now: whatever is queued, and whoever comes from now on, is refused."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """We are not stopping after all: whoever comes from now on is served."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: a `WakeAt` is due."""


Event = (
    Arrived
    | Cancelled
    | DeliveryFailed
    | Ended
    | EndpointsChanged
    | Scraped
    | ObjectivesChanged
    | PolicyChanged
    | Draining
    | Resumed
    | Tick
)
