"""What can happen to the core: the closed set of events that `Controller.handle` takes.

Events are immutable values in the past tense. Times inside them, and the `now` beside them, are seconds on
one monotonic clock. An event about a request or an endpoint that is gone is no error and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
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
    eligibility: Eligibility = ANY
    ttl_s: float | None = None
    """Its waiting budget while the pool has endpoints; None means its band's, 0 means no limit."""
    facts: object = None
    """Opaque to the core; handed to the choice of endpoint."""
    model: str = ""
    """The model that it is sent on with; what is learned of sizes is learned for each model."""
    body_bytes: int = 0
    """Bytes of its body, held or not: what its input is estimated from."""
    input_tokens: int | None = None
    """Of its prompt, where somebody has counted them; None means: estimate."""
    max_output_tokens: int | None = None
    """Its own cap on its output; None if it has none."""
    weight: float = 1.0
    """Its tenant's share within the band, relative to the others; above 0."""
    slo_s: float | None = None
    """Within which time of its arrival it wants its first token; None if it doesn't say."""
    prefill: Eligibility | None = None
    """It needs a second endpoint, with room at the same moment, among these; None: it needs one only."""


def forgetful(request: Arrived) -> Arrived:
    """The same request without its `facts`."""
    return Arrived._make((*request[:_FACTS], None, *request[_FACTS + 1 :]))


_FACTS = Arrived._fields.index("facts")


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The client or the gateway gave the request up, queued or running."""

    request_id: int


@dataclass(frozen=True, slots=True)
class DeliveryFailed:
    """The answer to a dispatch could not be given: its reservation and its charge are undone."""

    request_id: int


@dataclass(frozen=True, slots=True)
class FirstByte:
    """The first of a running request's response came. Wanted only of policies that say so (`wants_first_bytes`)."""

    request_id: int


class Unseen(Enum):
    """How a charge is settled when no usage was seen."""

    KEEP = "keep"
    """It stays what it was: work that was cut off was done all the same."""
    BY_TIME = "by-time"
    """By the time that the request ran, at the rate learned for its model: the response was not ours to look at."""


class Ended(NamedTuple):
    """A running request's stream came to its end: its room is free, and its charge is settled, once."""

    request_id: int
    input_tokens: int | None = None
    """By the last usage that was seen, as the other; None if none was."""
    output_tokens: int | None = None
    unseen: Unseen = Unseen.KEEP


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
    | FirstByte
    | Ended
    | EndpointsChanged
    | Scraped
    | ObjectivesChanged
    | PolicyChanged
    | Draining
    | Resumed
    | Tick
)
