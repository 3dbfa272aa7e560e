"""What the core knows of one endpoint: who it is, what its engine last said, and how policies see it.

Values only; the live bookkeeping is in `incarnation`. An endpoint is one `ip:port` of one pod. The pair
(address, uid) is its *incarnation*: a pod that is replaced on the same address is another endpoint, a pod
whose readiness flaps is the same one, and keeps what is still running on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """One endpoint of the pool, as the pool's objects describe it."""

    address: str
    """`ip:port`, IPv6 in brackets: exactly what the gateway is told."""
    uid: str = ""
    """The pod's uid, or whatever distinguishes it from its successor on the same address."""
    name: str = ""
    """For people: `<pod>-rank-<n>`."""
    labels: tuple[tuple[str, str], ...] = ()
    """The pod's labels, sorted by key."""
    max_concurrency: int | None = None
    """The pod's own limit on requests in flight (annotation `epp/max-concurrency`), if it states one."""
    models: frozenset[str] = frozenset()
    """The models that it serves (annotation `epp/models`); empty: whatever the pool serves."""
    key: tuple[str, str] = field(init=False, compare=False)
    """The incarnation: (address, uid)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.address, self.uid))

    @property
    def host(self) -> str:
        """The address without its port, IPv6 still in brackets."""
        return self.address.rpartition(":")[0]


class EngineSample(NamedTuple):
    """What a model server's metrics page said at one moment."""

    waiting: int
    """Requests in the engine's own queue."""
    running: int
    """Requests that the engine is working on."""
    kv_utilization: float
    """Share of the KV cache in use, 0 to 1."""


class Knowledge(Enum):
    """How far an endpoint's last sample can be believed."""

    FRESH = "fresh"
    STALE = "stale"
    UNKNOWN = "unknown"


class Contact(Enum):
    """Whether a scrape got through to the endpoint at all."""

    REACHED = "reached"
    """Somebody answered, be it with nonsense, or it isn't known."""
    REFUSED = "refused"
    """Nobody listens on the endpoint's own port: a request sent there would fail at once."""


class EndpointView(NamedTuple):
    """An endpoint as policies see it: a snapshot that they cannot change."""

    spec: EndpointSpec
    own_requests: int
    """Dispatched by us and not yet ended."""
    own_tokens: int
    """The charges of those, in tokens."""
    foreign_requests: int
    """Requests on the engine that are not ours; 0 unless knowledge is fresh, or a stale sample goes on counting."""
    knowledge: Knowledge
    sample: EngineSample
    """The last sample; zeros while knowledge is unknown."""
    proven_requests: int
    """The most we had there in the last minute in which fresh samples showed room: what is safe to send blindly."""
    sent_since_sample: int
    """Dispatched since the sample's scrape was sent: what the sample can't show yet."""
    stated_limit: int | None = None
    """The operator's limit on requests there: the pod's own, else what its labels say; None if neither does."""
    learned_limit: float | None = None
    """The learned limit on requests, where it is in force; None elsewhere."""

    @property
    def load(self) -> int:
        """Requests there now, as far as we know: our own and the foreign ones."""
        return self.own_requests + self.foreign_requests

    @property
    def request_limit(self) -> float | None:
        """How many requests may be there whatever the detector: stated or learned, the lower; None if neither is."""
        stated, learned = self.stated_limit, self.learned_limit
        if learned is None:
            return stated
        return learned if stated is None else min(stated, learned)


NO_SAMPLE = EngineSample(waiting=0, running=0, kv_utilization=0.0)
