"""Running requests that give way to higher priority (upstream: in-flight eviction): opt-in, and paced.

Rules of this file:

- Demand is a queued request of a higher band that could go now if there were room on an endpoint.
- Victims run on that endpoint, are of a priority below the demand's and below the policy's threshold, and have not
  begun to answer, unless the policy allows it. The lowest priority goes first, then the latest dispatched.
- Evictions are confirmed by the ends of their streams. While one is outstanding no other is decided, and after the
  last confirmation a grace passes in which the room that was won is seen.
- Nobody is evicted twice. One whose stream doesn't end in time isn't waited for, and isn't asked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from heapq import nsmallest
from math import inf
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from epp.core.incarnation import Endpoint

_LOOK_AGAIN_S = 0.05
"""After looks that found no victim: each costs a glance at everything that runs."""


class Begun(Enum):
    """What happens to requests whose response has begun."""

    SPARED = "spared"
    EVICTED = "evicted"
    """The client sees its response break off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionPolicy:
    """Who may be evicted, and how fast."""

    below_priority: int = 0
    """Only requests of lower priority than this are ever evicted."""
    begun: Begun = Begun.SPARED
    most_at_once: int = 2
    """Evictions outstanding at a time."""
    grace_s: float = 0.01
    """Between the last confirmation and the next decision."""
    confirm_within_s: float = 10.0
    """An eviction that its stream's end hasn't confirmed by then isn't waited for any more."""


class Running(Protocol):
    """What has to be known of a running request."""

    @property
    def priority(self) -> int:
        """That of its band."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it runs."""

    @property
    def need(self) -> int:
        """The room that its end would give back; 0 if it took none."""

    @property
    def dispatched_s(self) -> float:
        """When it was sent."""

    @property
    def begun(self) -> bool:
        """Whether its response has."""


class Evictor:
    """Decides who gives way, and when the next may."""

    __slots__ = (
        "_fruitless_s",
        "_given_up",
        "_grace_s",
        "_open_at_s",
        "_outstanding",
        "confirmed",
        "issued",
        "timed_out",
    )

    issued: dict[int, int]
    """Evictions by the priority of the demand."""
    confirmed: int
    timed_out: int

    def __init__(self) -> None:
        self.issued = {}
        self.confirmed = 0
        self.timed_out = 0
        self._outstanding: dict[int, float] = {}
        self._given_up: dict[int, None] = {}
        self._grace_s = 0.0
        self._open_at_s = -inf
        self._fruitless_s = -inf

    @property
    def outstanding(self) -> int:
        """Evictions that are waited for."""
        return len(self._outstanding)

    def decide(
        self,
        policy: EvictionPolicy,
        *,
        priority: int,
        endpoints: Container[Endpoint],
        running: Mapping[int, Running],
        now: float,
        wanted: int = 1,
    ) -> list[int]:
        """Who is to end, so that `wanted` requests of `priority` may start on `endpoints`, which have no room."""
        self._give_up(now)
        if self._outstanding or now < self._open_at_s:
            return []
        if self._fruitless_s <= now < self._fruitless_s + _LOOK_AGAIN_S:
            return []
        bound = min(priority, policy.below_priority)
        spare_begun = policy.begun is Begun.SPARED
        given_up = self._given_up
        candidates = [
            (each.priority, -each.dispatched_s, -request_id)
            for request_id, each in running.items()
            if each.priority < bound
            and each.need
            and not (spare_begun and each.begun)
            and each.endpoint in endpoints
            and request_id not in given_up
        ]
        victims = [-key for _, _, key in nsmallest(min(wanted, policy.most_at_once), candidates)]
        if not victims:
            self._fruitless_s = now
            return []
        self._fruitless_s = -inf
        self._outstanding = dict.fromkeys(victims, now + policy.confirm_within_s)
        self._grace_s = policy.grace_s
        self.issued[priority] = self.issued.get(priority, 0) + len(victims)
        return victims

    def ended(self, request_id: int, now: float) -> None:
        """A running request's stream came to its end, whyever."""
        self._given_up.pop(request_id, None)
        if self._outstanding.pop(request_id, None) is None:
            return
        self.confirmed += 1
        if not self._outstanding:
            self._open_at_s = now + self._grace_s

    def next_s(self, now: float = -inf) -> float:
        """When a decision may be possible that isn't at `now`, if the demand is still there; infinite if never."""
        may_look_s = max(self._open_at_s, self._fruitless_s + _LOOK_AGAIN_S)
        at_s = min(self._outstanding.values(), default=may_look_s)
        return at_s if at_s > now else inf

    def _give_up(self, now: float) -> None:
        late = [request_id for request_id, until_s in self._outstanding.items() if until_s <= now]
        for request_id in late:
            del self._outstanding[request_id]
            self._given_up[request_id] = None
            self.timed_out += 1
