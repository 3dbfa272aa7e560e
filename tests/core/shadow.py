"""The shadow of a controller: what is queued, running and known, followed event by event in plain tables.

It takes in the events that the controller takes in, and the decisions that the controller made, and answers questions
by looking through everything. It decides nothing; the oracle asks it whether what was decided was right.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, assert_never

from epp.core.controller import STEP
from epp.core.eligibility import ANY
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Draining,
    Ended,
    EndpointsChanged,
    ObjectivesChanged,
    PolicyChanged,
    Resumed,
    Scraped,
    Tick,
)
from tests.core import naive
from tests.core.naive import Site, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.core.eligibility import Eligibility
    from epp.core.endpoint import EndpointSpec
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy

    Room = Callable[[FlowControlPolicy, Site, float], bool]
    Holdings = dict[int | None, tuple[int, int]]
    """Requests and bytes queued, by priority; None for all together."""


class Shadow:
    """Everything that a controller ought to know, without an index."""

    def __init__(self, policy: FlowControlPolicy, *, now: float, room: Room) -> None:
        self.policy = policy
        self.now = now
        self.queued: dict[int, Waiting] = {}
        self.running: dict[int, Site] = {}
        self.ends: dict[int, str] = {}
        """How every request that has come to its end did so."""
        self.sites: dict[tuple[str, str], Site] = {}
        self.draining = False
        self.same_policy = True
        """Whether the policy never changed, so that its caps hold for whatever is queued."""
        self.queued_s: defaultdict[int, float] = defaultdict(float)
        """Seconds that requests of a priority have waited so far, all together."""
        self.room = room
        self._wanted: frozenset[int] = frozenset()
        self._sequence = 0
        self._regime_since_s = now
        self._was_empty = True
        self._closed_s = {True: 0.0, False: 0.0}
        """Seconds without endpoints and with, up to the present regime."""

    # -------------------------------------------------------------------- following

    def advance(self, now: float) -> None:
        """Time passes: whoever is queued waits, samples grow old."""
        elapsed_s = max(0.0, now - self.now)
        if elapsed_s:
            for waiting in self.queued.values():
                self.queued_s[waiting.request.priority] += elapsed_s
        self.now = max(self.now, now)
        self._age()

    def _age(self) -> None:
        for site in self.sites.values():
            if site.sample is not None and self.now >= site.sample_received_s + self.policy.staleness_s:
                site.is_stale = True

    def apply(self, event: Event) -> Waiting | None:
        """Something happens; an arrival is queued in any case, and returned."""
        match event:
            case Arrived():
                return self._queue(event)
            case Cancelled(request_id) | DeliveryFailed(request_id):
                if self.queued.pop(request_id, None) is not None:
                    self.ends[request_id] = "cancelled"
                self._release(request_id)
            case Ended(request_id):
                self._release(request_id)
            case Scraped():
                site = self.sites.get(event.key)
                if site is not None and site.listed:
                    site.learn(event, self.now)
            case EndpointsChanged(specs):
                self._enlist({spec.key: spec for spec in specs})
            case ObjectivesChanged(priorities):
                self._wanted = priorities
            case PolicyChanged(policy):
                self.same_policy = self.same_policy and policy is self.policy
                self.policy = policy
                self._age()
            case Draining():
                self.draining = True
            case Resumed():
                self.draining = False
            case Tick():
                pass
            case _:
                assert_never(event)
        return None

    def send(self, waiting: Waiting, site: Site) -> None:
        """A request that has left the queue was dispatched."""
        request = waiting.request
        self.running[request.request_id] = site
        site.holds[request.request_id] = request
        if request.need:
            site.record(self.now)
            site.sent_log.append(self.now)
            if site.is_fresh:
                site.proven = site.own

    def _queue(self, event: Arrived) -> Waiting:
        self._sequence += 1
        busy_s, empty_s = naive.budgets(self.policy, event)
        key = naive.order_key(self.policy, event, self._sequence, self.now)
        busy_now_s, empty_now_s = self.clocks()
        waiting = Waiting(event, self._sequence, self.now, key, busy_now_s + busy_s, empty_now_s + empty_s)
        self.queued[event.request_id] = waiting
        return waiting

    def _release(self, request_id: int) -> None:
        site = self.running.pop(request_id, None)
        if site is not None:
            self.ends[request_id] = "ended"
            del site.holds[request_id]
            site.record(self.now)
            self._drop_if_gone(site)

    def _enlist(self, wanted: dict[tuple[str, str], EndpointSpec]) -> None:
        for key, site in list(self.sites.items()):
            site.listed = key in wanted
            self._drop_if_gone(site)
        for key, spec in wanted.items():
            if key in self.sites:
                self.sites[key].spec = spec
            else:
                self.sites[key] = Site(spec, self.now)
        if self.pool_is_empty() is not self._was_empty:
            self._closed_s[self._was_empty] += self.now - self._regime_since_s
            self._regime_since_s, self._was_empty = self.now, not self._was_empty

    def _drop_if_gone(self, site: Site) -> None:
        if not site.listed and not site.own and self.sites.get(site.spec.key) is site:
            del self.sites[site.spec.key]

    # -------------------------------------------------------------------- answering

    def clocks(self) -> tuple[float, float]:
        """Seconds so far with endpoints, and without."""
        totals = self._closed_s.copy()
        totals[self._was_empty] += self.now - self._regime_since_s
        return totals[False], totals[True]

    def left_s(self, waiting: Waiting) -> tuple[float, float]:
        """How long it may wait yet while the pool has endpoints, and while it has none."""
        busy_s, empty_s = self.clocks()
        return waiting.busy_until_s - busy_s, waiting.empty_until_s - empty_s

    def listed(self) -> list[Site]:
        """The pool's endpoints."""
        return [site for site in self.sites.values() if site.listed]

    def pool_is_empty(self) -> bool:
        """Whether it has none."""
        return all(not site.listed for site in self.sites.values())

    def can_never_run(self, eligibility: Eligibility) -> bool:
        """Whether no endpoint of the pool is eligible, and an empty pool couldn't grow one."""
        if self.pool_is_empty():
            return getattr(eligibility, "entries", None) == frozenset()
        return not any(eligibility.admits(site.spec) for site in self.listed())

    def provided(self) -> set[int]:
        """The priorities that exist with or without work."""
        return {0} | set(self._wanted) | set(self.policy.bands)

    def in_use(self) -> set[int]:
        """The priorities that exist now."""
        return self.provided() | {waiting.request.priority for waiting in self.queued.values()}

    def ceilings(self) -> dict[int, float]:
        """Every band's ceiling."""
        return naive.ceilings(self.policy.ceiling, self.in_use())

    def lanes(self) -> set[tuple[int, Eligibility, int]]:
        """The lanes of restricted requests."""
        lanes = {(w.request.priority, w.request.eligibility, w.request.need) for w in self.queued.values()}
        return {lane for lane in lanes if lane[1] != ANY}

    def holdings(self) -> Holdings:
        """What is queued, by band and altogether."""
        holdings: Holdings = {None: (len(self.queued), self.queued_bytes())}
        for waiting in self.queued.values():
            count, size = holdings.get(waiting.request.priority, (0, 0))
            holdings[waiting.request.priority] = (count + 1, size + waiting.request.size_bytes)
        return holdings

    def queued_bytes(self) -> int:
        """Over all bands."""
        return sum(waiting.request.size_bytes for waiting in self.queued.values())

    def excess(self, newcomer: Waiting) -> tuple[int, int]:
        """How many places and bytes the newcomer lacks."""
        places = size = 0
        if self.policy.max_requests is not None:
            places = min(1, max(0, len(self.queued) - self.policy.max_requests))
        if self.policy.max_bytes is not None:
            size = min(newcomer.request.size_bytes, max(0, self.queued_bytes() - self.policy.max_bytes))
        return places, size

    def expected_victims(self, newcomer: Waiting) -> list[int]:
        """The newest of the lowest bands, until there is space; none if all, or a full step, would not do."""
        places, size = self.excess(newcomer)
        lower = [w for w in self.queued.values() if w.request.priority < newcomer.request.priority]
        lower.sort(key=lambda w: (w.request.priority, -w.sequence))
        victims: list[int] = []
        for waiting in lower:
            if places <= 0 and size <= 0:
                break
            if places > 0 or waiting.request.size_bytes:
                victims.append(waiting.request.request_id)
                places -= 1
                size -= waiting.request.size_bytes
        return victims if places <= 0 and size <= 0 and len(victims) <= STEP else []

    def is_one_subset_too_many(self, newcomer: Waiting) -> bool:
        """Whether the newcomer is the only one of its lane, and that lane one too many."""
        request = newcomer.request
        mine = (request.priority, request.eligibility, request.need)
        others = [w.request for w in self.queued.values() if w is not newcomer]
        is_alone = mine not in {(each.priority, each.eligibility, each.need) for each in others}
        return is_alone and mine in self.lanes() and len(self.lanes()) > self.policy.max_lanes

    def can_run_now(self, waiting: Waiting) -> bool:
        """Whether an endpoint that it may use has room."""
        request, ceiling = waiting.request, self.ceilings()[waiting.request.priority]
        return any(
            request.eligibility.admits(site.spec)
            and (not request.need or self.room(self.policy, site, ceiling))
            for site in self.listed()
        )
