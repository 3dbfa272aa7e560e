"""What an inspection finds: frozen values, each of them the truth of one moment.

The introspection service and its JSON twin show these as they are, so a field's name here is its name there, and a
word of an enum is the word that people read. Where metrics have a word for the same thing, it is that word. Times are
lengths or, where the name says `at`, moments on the core's own clock, on which every answer says what it is now.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.core.endpoint import Knowledge
    from epp.core.statistics import WaitReason


class Obstacle(Enum):
    """What keeps one more request of a band from an endpoint; each by itself would."""

    REQUESTS = "requests"
    """As many requests are there as the detector's own number allows."""
    TOKENS = "tokens"
    """As many tokens are there as the detector allows."""
    ENGINE_QUEUE = "engine_queue"
    """The engine's own queue is as long as the detector lets it get."""
    KV_CACHE = "kv_cache"
    """The engine's KV cache is as full as the detector lets it get."""
    STATED_LIMIT = "stated_limit"
    """The limit that the pod's annotation or its labels state is reached."""
    LEARNED_LIMIT = "learned_limit"
    """The learned limit is reached."""
    OWN_ACCOUNTING = "own_accounting"
    """Its metrics are missing or too old, and as many of ours are there as were last seen to fit."""
    SHUNNED = "shunned"
    """Nobody listens there, and elsewhere somebody does."""
    CEILING = "ceiling"
    """There is room, which is kept for higher bands."""
    POLICY = "policy"
    """The capacity policy says so, and it isn't one whose reasons are known here."""


class PositionBasis(Enum):
    """How a position was worked out."""

    TURNS = "turns"
    """By the band's own order, as it stands: if nobody else came, so many would go before it."""
    ARRIVAL = "arrival"
    """So many of its band were queued before it. Whose turn comes when would take too long to work out."""


@dataclass(frozen=True, slots=True)
class BandEntry:
    """One priority."""

    priority: int
    queued_requests: int
    queued_bytes: int
    max_requests: int
    max_bytes: int
    running_requests: int
    flows: int
    """Flows with requests queued."""
    lanes: int
    """Different sets of endpoints among its queued requests."""
    ceiling: float
    """Share of each endpoint's limit that it may fill."""
    endpoints_with_room: int
    """Below its ceiling."""
    oldest_wait_s: float
    """How long its oldest queued request has waited; 0 when none is queued."""
    drain_rate: float
    """Requests per second that left it for an endpoint, lately."""
    expected_wait_s: float | None
    """What a request of a new tenant would wait if it came now; None if nobody can say."""
    virtual_time: float
    """The latest of its virtual times, in what its fairness policy charges."""
    fairness: str
    ordering: str
    wait_s: Mapping[str, float]
    """Queued seconds by reason, since the priority was first seen."""


@dataclass(frozen=True, slots=True)
class FlowEntry:
    """One tenant inside one band."""

    fairness_id: str
    priority: int
    queued_requests: int
    queued_bytes: int
    in_flight: int
    """Its requests that were dispatched and have not ended."""
    tag: float
    """What was charged to it, in what its band's fairness policy charges."""
    lead: float
    """How far its tag is ahead of virtual time where it was served last: what it has had in advance."""
    tenants: int
    """1, or how many share it: in the overflow flow those for whom there was none of their own."""
    capped: bool
    """Whether it has as many requests in flight as one flow may."""


@dataclass(frozen=True, slots=True)
class QueuedEntry:
    """One queued request."""

    request_id: int
    sequence: int
    """Its place in the order of arrival, over all bands."""
    priority: int
    fairness_id: str
    flow: str
    """Its flow's name: its fairness id, or that of the overflow flow."""
    model: str
    arrived_at_s: float
    waited_s: float
    ttl_left_s: float | None
    """Of the time that it may wait while the pool has endpoints; None: any time."""
    hold_left_s: float | None
    """Of the time that it may wait while the pool has none."""
    size_bytes: int
    input_tokens: int
    """Counted or estimated, as is the output."""
    output_tokens: int
    weight: float
    order_key: float
    """Smaller goes first within its flow."""
    eligible_endpoints: int
    """How many of the pool's endpoints it may use."""
    endpoints_with_room: int
    """How many of those have room for its band."""
    needs_prefill_endpoint: bool
    """Whether it needs a second endpoint with room at the same moment."""
    wait_reason: WaitReason


@dataclass(frozen=True, slots=True)
class QueuedStory:
    """Where a queued request stands."""

    request: QueuedEntry
    flow: FlowEntry
    position: int
    """How many of its own band go before it."""
    position_basis: PositionBasis
    position_in_flow: int
    """How many of its own flow go before it."""
    ahead_in_higher_bands: int
    """How many requests of higher priority are queued; those that may use its endpoints go first."""
    position_at_entry: int | None
    """How many of its own and of higher bands were queued before it when it came; None if that isn't known."""
    blocked_at_entry: WaitReason | None
    """Why it could not go at once."""
    estimated_wait_s: float | None
    """From what is ahead of it and how fast that left lately; None if nobody can say."""


@dataclass(frozen=True, slots=True)
class RunningEntry:
    """One dispatched request that has not ended."""

    request_id: int
    priority: int
    flow: str
    """Its flow's name: its fairness id, or that of the overflow flow."""
    model: str
    endpoint: str
    """Where it runs: `ip:port`."""
    endpoint_name: str
    prefill_endpoint: str | None
    """Where its prompt is being processed, if that is elsewhere."""
    dispatched_at_s: float
    running_s: float
    waited_s: float
    """How long it was queued."""
    charge_tokens: int
    """What it counts for on its endpoint until it ends."""
    cost: float
    """What its flow was charged."""
    first_byte_seen: bool | None
    """Whether its response has begun; None: nobody looks."""
    being_evicted: bool


@dataclass(frozen=True, slots=True)
class UnknownStory:
    """Neither queued nor running: it has ended, was refused, or never was here."""

    request_id: int


Story = QueuedStory | RunningEntry | UnknownStory


@dataclass(frozen=True, slots=True)
class RoomEntry:
    """An endpoint's room for the bands of one ceiling."""

    ceiling: float
    priorities: tuple[int, ...]
    has_room: bool
    obstacles: tuple[Obstacle, ...]
    """Why there is none."""


@dataclass(frozen=True, slots=True)
class EndpointEntry:
    """One endpoint of the pool."""

    address: str
    uid: str
    name: str
    knowledge: Knowledge
    sample_age_s: float | None
    """How old its metrics are; None if there never were any."""
    load: int
    """Requests there now, as far as we know: ours and the foreign ones."""
    own_requests: int
    own_tokens: int
    foreign_requests: int
    proven_requests: int
    sent_since_sample: int
    engine_waiting: int
    engine_running: int
    kv_utilization: float
    stated_limit: int | None
    learned_limit: float | None
    saturation: float
    rooms: tuple[RoomEntry, ...]
    """By ceiling, the highest first."""


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """A policy: its name, and its numbers as text."""

    name: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BandRules:
    """The rules of one priority, or of all that have none of their own."""

    priority: int | None
    fairness: PolicyEntry
    ordering: PolicyEntry
    caps: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """What is in force."""

    capacity: PolicyEntry
    ceiling: PolicyEntry
    caps: Mapping[str, str]
    default_band: BandRules
    default_negative_band: BandRules | None
    bands: tuple[BandRules, ...]
    """Of priorities with rules of their own, highest first."""
    faults: Mapping[str, int]
    """Decisions in which a policy was replaced, by its name and what it did wrong."""


Entry = TypeVar("Entry", BandEntry, FlowEntry, QueuedEntry, RunningEntry, EndpointEntry)


@dataclass(frozen=True, slots=True)
class Page(Generic[Entry]):
    """Part of a list, in the list's order."""

    entries: tuple[Entry, ...]
    more: bool
    """Whether something may come after the last entry."""
