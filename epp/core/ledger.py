"""The ledger: what is on every endpoint, and which endpoints have room.

Rules of this file:

- A reservation belongs to an incarnation (address, uid). An endpoint that leaves the pool stays here until its last
  reservation ends, and finds its requests again should it come back.
- `room` of a ceiling is always exact: every change of an endpoint re-evaluates it, so the drain pass never
  asks an endpoint that is full.
- Endpoints stand in the order in which they joined, and in a room in the order in which they last came to have it.
  Nothing else decides an order, so whoever restores these tables in their order goes on as if nothing had happened.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from epp.core.capacity import staleness_of
from epp.core.endpoint import Contact, Knowledge
from epp.core.incarnation import ASK_AGAIN_S, Endpoint
from epp.core.learning import LearnedLimit, LearnedLimits
from epp.core.statistics import EndpointStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.endpoint import EndpointSpec, EndpointView
    from epp.core.events import Scraped
    from epp.core.guard import PolicyGuard
    from epp.core.policy import FlowControlPolicy


class Room:
    """The endpoints that have room below one ceiling."""

    __slots__ = ("ceiling", "views")

    def __init__(self, ceiling: float) -> None:
        self.ceiling = ceiling
        self.views: dict[Endpoint, EndpointView] = {}


class Turnover(NamedTuple):
    """What became of the pool's endpoints."""

    joined: tuple[Endpoint, ...]
    left: tuple[Endpoint, ...]
    described: tuple[Endpoint, ...]
    """Those that stayed, and of which the pool's objects say something else now."""


class Ledger:
    """All endpoints, their reservations, and the room on them."""

    __slots__ = (
        "_armed",
        "_ask_at_s",
        "_guard",
        "_known",
        "_policy",
        "_refusing",
        "_rooms",
        "_spent",
        "_stale",
        "full_room",
        "listed",
    )

    listed: dict[tuple[str, str], Endpoint]
    """The endpoints of the pool now, by incarnation."""
    full_room: Room
    """Room below a ceiling of 1.0, whatever bands use."""

    def __init__(self, policy: FlowControlPolicy, guard: PolicyGuard) -> None:
        self._policy = policy
        self._guard = guard
        self._known: dict[tuple[str, str], Endpoint] = {}
        self.listed = {}
        self.full_room = Room(1.0)
        self._rooms: dict[float, Room] = {1.0: self.full_room}
        self._armed = 0
        self._stale: list[tuple[float, int, Endpoint]] = []
        self._spent: dict[Endpoint, None] = {}
        self._refusing: dict[Endpoint, None] = {}
        self._ask_at_s = inf

    # ------------------------------------------------------------------ reading

    def room(self, ceiling: float) -> Room:
        """The room below `ceiling`, one of those last given to `configure`."""
        return self._rooms[ceiling]

    def rooms(self) -> Iterable[Room]:
        """The room below every ceiling in use."""
        return self._rooms.values()

    def has_room(self, endpoint: Endpoint, ceiling: float) -> bool:
        """What the capacity policy says of an endpoint, asked anew."""
        return not self.is_shunned(endpoint) and all(
            self._guard.has_room(self._policy.capacity, endpoint.view, each)
            for each in self._rooms
            if each >= ceiling
        )

    def endpoints(self) -> Iterable[Endpoint]:
        """Every endpoint with a reservation or a place in the pool."""
        return self._known.values()

    def statistics(self) -> tuple[EndpointStatistics, ...]:
        """A snapshot of the pool's endpoints."""
        return tuple(
            EndpointStatistics(
                view=endpoint.view,
                has_room=endpoint in self.full_room.views,
                saturation=self._guard.saturation(self._policy.capacity, endpoint.view),
                stated_limit=endpoint.stated_limit,
                learned_limit=self._learned_limit(endpoint),
            )
            for endpoint in self.listed.values()
        )

    # ----------------------------------------------------------------- changing

    def configure(self, policy: FlowControlPolicy, ceilings: Iterable[float], now: float) -> None:
        """Another policy or other ceilings: every room is worked out anew."""
        wanted = {1.0, *ceilings}
        if policy is self._policy and wanted == self._rooms.keys():
            return
        limits_changed = policy.limits != self._policy.limits
        self._policy = policy
        self.full_room.views.clear()
        # Highest first: who has no room below one ceiling has none below a lower one, whatever the policy says.
        self._rooms = {ceiling: Room(ceiling) for ceiling in sorted(wanted, reverse=True)}
        self._rooms[1.0] = self.full_room
        self._stale.clear()
        for endpoint in self._known.values():
            endpoint.stale_armed = False
            if endpoint.knowledge is Knowledge.FRESH:
                self._arm(endpoint)
            elif endpoint.knowledge is Knowledge.STALE:
                endpoint.forget(staleness_of(policy.capacity))
            if limits_changed:
                endpoint.describe(endpoint.spec, policy.limits.limit(endpoint.spec))
            self._restrict(endpoint)
            self._settle_room(endpoint, now)
        self.expire_knowledge(now)

    def enlist(self, specs: Iterable[EndpointSpec], now: float) -> Turnover | None:
        """These, and only these, are the pool's endpoints now. None if they were before.

        In a large pool almost all of them were: those cost a look each and nothing else.
        """
        wanted = {spec.key: spec for spec in specs}
        listed = self.listed
        left = tuple([each for key, each in listed.items() if key not in wanted])
        fresh = [
            spec
            for key, spec in wanted.items()
            if (known := listed.get(key)) is None or (known.spec is not spec and known.spec != spec)
        ]
        if not left and not fresh:
            return None
        for endpoint in left:
            del listed[endpoint.spec.key]
            endpoint.listed = False
            self._refusing.pop(endpoint, None)
            self._settle_room(endpoint, now)
            self._drop_if_gone(endpoint)
        joined: list[Endpoint] = []
        described: list[Endpoint] = []
        for spec in fresh:
            known = self._known.get(spec.key)
            if known is None:
                known = self._known[spec.key] = Endpoint(spec)
            (described if spec.key in listed else joined).append(known)
            known.describe(spec, self._policy.limits.limit(spec))
            self._restrict(known)
            known.listed = True
            listed[spec.key] = known
            self._settle_room(known, now)
        self._settle_refusing(now)
        return Turnover(tuple(joined), left, tuple(described))

    def reserve(self, endpoint: Endpoint, *, need: int, tokens: int, now: float) -> None:
        """Count a request that is about to be sent."""
        endpoint.add(need, tokens, now)
        self._settle_room(endpoint, now)

    def release(self, endpoint: Endpoint, *, need: int, tokens: int, now: float) -> None:
        """Count a request that has ended."""
        endpoint.add(-need, -tokens, now)
        self._settle_room(endpoint, now)
        if not endpoint.listed:
            self._drop_if_gone(endpoint)

    def first_byte(self, endpoint: Endpoint, *, took_s: float, input_tokens: int, now: float) -> None:
        """Learn from the time between a request's dispatch and the first of its response."""
        policy = self._policy.learning
        if policy is None or endpoint.learned is None:
            return
        load = endpoint.own_requests + endpoint.foreign_requests
        endpoint.learned.observe(policy, load=load, took_s=took_s, input_tokens=input_tokens, now=now)
        if self._restrict(endpoint):
            self._settle_room(endpoint, now)

    def scraped(self, event: Scraped, now: float) -> None:
        """Take in what a scrape said. One that was sent before the last one, or of a stranger, is ignored."""
        endpoint = self.listed.get(event.key)
        if endpoint is None or event.sent_s <= endpoint.sample_sent_s:
            return
        was_open = endpoint in self.full_room.views
        if event.sample is not None:
            endpoint.learn(event.sample, sent_s=event.sent_s, received_s=min(event.received_s, now))
            self._arm(endpoint)
        learned = endpoint.learned
        if learned is not None and learned.give_up(own_requests=endpoint.own_requests, now=now):
            self._restrict(endpoint)
        self._note_contact(endpoint, event.contact, now)
        self._settle_room(endpoint, now)
        if endpoint in self.full_room.views:
            endpoint.ask_pace_s = ASK_AGAIN_S
        elif not was_open:
            # Asking gained nothing: under lasting overload this settles at the ordinary scrape interval.
            slower_s = min(2 * endpoint.ask_pace_s, self._policy.scrape_interval_s)
            endpoint.ask_pace_s = max(ASK_AGAIN_S, slower_s)
            endpoint.ask_at_s = now + endpoint.ask_pace_s

    def expire_knowledge(self, now: float) -> None:
        """Samples that are too old by now become stale."""
        while self._stale and self._stale[0][0] <= now:
            _, _, endpoint = heappop(self._stale)
            if self._known.get(endpoint.spec.key) is not endpoint:
                continue
            endpoint.stale_armed = False
            if endpoint.knowledge is not Knowledge.FRESH:
                continue
            if self._stale_at_s(endpoint) <= now:
                endpoint.forget(staleness_of(self._policy.capacity))
                self._settle_room(endpoint, now)
            else:
                self._arm(endpoint)

    def next_stale_s(self) -> float:
        """When the next sample may become stale; infinite if there is none."""
        return self._stale[0][0] if self._stale else inf

    # ---------------------------------------------------------- nobody listens

    def is_shunned(self, endpoint: Endpoint) -> bool:
        """Whether nobody listens there, and somewhere else somebody may.

        Such an endpoint would answer faster than any other, with errors, and so swallow whatever is queued. If all
        of them refuse, the fault may be on our side, and we believe none.
        """
        return endpoint in self._refusing and len(self._refusing) < len(self.listed)

    def _note_contact(self, endpoint: Endpoint, contact: Contact, now: float) -> None:
        before = len(self._refusing)
        if contact is Contact.REFUSED:
            self._refusing[endpoint] = None
        else:
            self._refusing.pop(endpoint, None)
        if len(self._refusing) != before:
            self._settle_refusing(now)

    def _settle_refusing(self, now: float) -> None:
        """Whether one refusing endpoint is shunned depends on all the others."""
        for endpoint in self._refusing:
            self._settle_room(endpoint, now)

    # ------------------------------------------------------------ asking early

    def ask(self, now: float) -> list[Endpoint]:
        """The full endpoints that a new sample could show to have room, and whose turn to be asked it is.

        To be called while work waits. An endpoint is first asked a moment after it filled up, when what was sent
        has arrived there; then at a pace that slows down while asking gains nothing.
        """
        if now < self._ask_at_s:
            return []
        asked = []
        self._ask_at_s = inf
        for endpoint in self._spent:
            if endpoint.ask_at_s <= now:
                asked.append(endpoint)
                endpoint.ask_at_s = now + endpoint.ask_pace_s
            self._ask_at_s = min(self._ask_at_s, endpoint.ask_at_s)
        return asked

    def next_ask_s(self) -> float:
        """When `ask` may have an answer again, if work still waits then; infinite if never."""
        return self._ask_at_s if self._spent else inf

    # ------------------------------------------------------------------ inside

    def _restrict(self, endpoint: Endpoint) -> bool:
        """Whether another learned limit is in force now. Without a policy what was learned stays, and rests."""
        policy = self._policy.learning
        if policy is not None and endpoint.learned is None:
            endpoint.learned = LearnedLimit(policy)
        if policy is None or endpoint.learned is None or policy.mode is not LearnedLimits.ON:
            return endpoint.restrict(None)
        return endpoint.restrict(endpoint.learned.in_force(policy))

    def _learned_limit(self, endpoint: Endpoint) -> float | None:
        policy = self._policy.learning
        return None if policy is None or endpoint.learned is None else endpoint.learned.bounded(policy)

    def _stale_at_s(self, endpoint: Endpoint) -> float:
        return endpoint.sample_received_s + self._policy.staleness_s

    def _arm(self, endpoint: Endpoint) -> None:
        """One live entry per endpoint: one that surfaces too early, since a newer sample came, goes back in."""
        if not endpoint.stale_armed:
            endpoint.stale_armed = True
            self._armed += 1
            heappush(self._stale, (self._stale_at_s(endpoint), self._armed, endpoint))

    def _settle_room(self, endpoint: Endpoint, now: float) -> None:
        view, guard, capacity = endpoint.view, self._guard, self._policy.capacity
        has_room = endpoint.listed and not (self._refusing and self.is_shunned(endpoint))
        for room in self._rooms.values():
            has_room = has_room and guard.has_room(capacity, view, room.ceiling)
            if has_room:
                room.views[endpoint] = view
            else:
                room.views.pop(endpoint, None)
        if endpoint.listed and endpoint not in self.full_room.views and guard.renewable(capacity, view):
            if endpoint not in self._spent:
                self._spent[endpoint] = None
                endpoint.ask_at_s = max(endpoint.ask_at_s, now + endpoint.ask_pace_s)
                self._ask_at_s = min(self._ask_at_s, endpoint.ask_at_s)
        else:
            self._spent.pop(endpoint, None)

    def _drop_if_gone(self, endpoint: Endpoint) -> None:
        """One that has left the pool is known as long as something is on it."""
        gone = endpoint.own_requests == 0 and endpoint.own_tokens == 0
        if gone and self._known.get(endpoint.spec.key) is endpoint:
            del self._known[endpoint.spec.key]
