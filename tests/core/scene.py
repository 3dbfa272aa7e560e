"""What is the case, in plain tables, and the answers that can be read off them by looking through everything.

`shadow` keeps it up to date, and `oracle` asks. There is no index here, no heap and no shortcut.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from epp.core.controller import STEP
from epp.core.eligibility import ANY
from epp.core.fairness import (
    GlobalStrictFairness,
    ProgramAwareFairness,
    RoundRobinFairness,
    TokenFairness,
)
from tests.core import naive
from tests.core.tags import BandTags, Charge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from epp.core.eligibility import Eligibility
    from epp.core.events import Arrived
    from epp.core.policy import BandPolicy, FairnessPolicy, FlowControlPolicy
    from tests.core.naive import Site, Waiting
    from tests.core.tags import LaneKey

    Room = Callable[[FlowControlPolicy, Site, float], bool]
    Holdings = dict[int | None, tuple[int, int]]
    """Requests and bytes queued, by priority; None for all together."""

HONEST_TURNS = (RoundRobinFairness, GlobalStrictFairness, TokenFairness, ProgramAwareFairness)
OVERFLOW = "overflow"


def lane_of(request: Arrived) -> LaneKey:
    """What it has in common with those who may use the same endpoints."""
    return (request.eligibility, request.need, request.prefill)


def is_restricted(lane: LaneKey) -> bool:
    """Whether its requests may not use every endpoint."""
    return (lane[0] is not ANY and lane[0] != ANY) or lane[2] is not None


@dataclass(slots=True, eq=False)
class Dispatched:
    """A running request, and what may have to be settled."""

    waiting: Waiting
    site: Site
    prefill: Site | None
    charge: Charge | None
    begun: bool = False
    evicted: bool = False
    sent_s: float = 0.0


@dataclass(slots=True, eq=False)
class Bands:
    """Which priorities there are, and by which rules."""

    there: set[int] = field(default_factory=lambda: {0})
    """Those that exist: provided for, or with requests queued or running."""
    used: set[int] = field(default_factory=set)
    """Those that ceilings count: busy now, or a moment ago."""
    idle_since_s: dict[int, float] = field(default_factory=dict)
    former: dict[int, BandPolicy] = field(default_factory=dict)
    """The rules of those that have not taken over the policy in force."""
    to_adopt: list[int] = field(default_factory=list)


class Scene:
    """Everything that a controller ought to know."""

    def __init__(self, policy: FlowControlPolicy, *, now: float, room: Room) -> None:
        self.policy = policy
        self.now = now
        self.queued: dict[int, Waiting] = {}
        self.running: dict[int, Dispatched] = {}
        self.ends: dict[int, str] = {}
        """How every request that has come to its end did so."""
        self.sites: dict[tuple[str, str], Site] = {}
        self.pool: dict[tuple[str, str], Site] = {}
        """The pool's endpoints, those first that are there longest."""
        self.bands = Bands()
        self.draining = False
        self.same_policy = True
        """Whether the policy never changed, so that its caps hold for whatever is queued."""
        self.tags: defaultdict[int, BandTags] = defaultdict(BandTags)
        """Every band's turns, as long as it has work."""
        self.queued_s: defaultdict[int, float] = defaultdict(float)
        """Seconds that requests of a priority have waited so far, all together."""
        self.room = room
        self.wanted: frozenset[int] = frozenset()
        self.regime_since_s = now
        self.was_empty = True
        self.closed_s = {True: 0.0, False: 0.0}
        """Seconds without endpoints and with, up to the present regime."""

    # -------------------------------------------------------------------- time

    def clocks(self) -> tuple[float, float]:
        """Seconds so far with endpoints, and without."""
        totals = self.closed_s.copy()
        totals[self.was_empty] += self.now - self.regime_since_s
        return totals[False], totals[True]

    def left_s(self, waiting: Waiting) -> tuple[float, float]:
        """How long it may wait yet while the pool has endpoints, and while it has none."""
        busy_s, empty_s = self.clocks()
        return waiting.busy_until_s - busy_s, waiting.empty_until_s - empty_s

    # ---------------------------------------------------------------- endpoints

    def listed(self) -> list[Site]:
        """The pool's endpoints."""
        return [site for site in self.sites.values() if site.listed]

    def is_shunned(self, site: Site) -> bool:
        """Whether nobody listens there, and somewhere else somebody may."""
        return site.refuses and not all(other.refuses for other in self.listed())

    def has_room(self, site: Site, ceiling: float) -> bool:
        """Whether one more request may be sent there."""
        return not self.is_shunned(site) and self.room(self.policy, site, ceiling)

    def pool_is_empty(self) -> bool:
        """Whether it has none."""
        return all(not site.listed for site in self.sites.values())

    def can_never_run(self, request: Arrived) -> bool:
        """Whether no endpoint of the pool is eligible, and an empty pool couldn't grow one."""
        wanted = [request.eligibility] if request.prefill is None else [request.eligibility, request.prefill]
        return any(self._is_foreign(each) for each in wanted)

    def _is_foreign(self, eligibility: Eligibility) -> bool:
        if eligibility == ANY:
            return False
        if self.pool_is_empty():
            return eligibility.is_empty
        return not any(eligibility.admits(site.spec) for site in self.listed())

    def free(self, ceiling: float) -> list[Site]:
        """The endpoints with room below a ceiling."""
        return [site for site in self.listed() if self.has_room(site, ceiling)]

    @staticmethod
    def starts(request: Arrived, free: list[Site]) -> Iterator[tuple[Site, Site | None]]:
        """Where it could run now, if these have room: on one endpoint, or on two if it needs two."""
        first = [site for site in free if request.eligibility.admits(site.spec)]
        if request.prefill is None or not request.need:
            yield from ((site, None) for site in first)
            return
        second = [site for site in free if request.prefill.admits(site.spec)]
        yield from ((one, other) for one in first for other in second if one is not other)

    def can_run_now(self, waiting: Waiting, free: list[Site] | None = None) -> bool:
        """Whether an endpoint that it may use has room, and its flow isn't at its cap."""
        request = waiting.request
        if free is None:
            free = self.free(self.ceilings()[request.priority])
        starts = self.starts(request, free if request.need else self.listed())
        return any(True for _ in starts) and not self.is_held(waiting)

    # -------------------------------------------------------------------- bands

    def rules(self, priority: int) -> BandPolicy:
        """By which the band goes now."""
        return self.bands.former.get(priority) or self.policy.band(priority)

    def provided(self) -> set[int]:
        """The priorities that exist with or without work."""
        return {0} | set(self.wanted) | set(self.policy.bands)

    def busy(self) -> set[int]:
        """The priorities of which anything is queued or running."""
        waiting = [*self.queued.values(), *(held.waiting for held in self.running.values())]
        return {each.request.priority for each in waiting}

    def ceilings(self) -> dict[int, float]:
        """The ceiling of every band in use."""
        return naive.ceilings(self.policy.ceiling, self.bands.used)

    # -------------------------------------------------------------------- flows

    def knows_turns(self, fairness: FairnessPolicy) -> bool:
        """Whether its turns can be worked out: a broken policy's can't."""
        return isinstance(fairness, HONEST_TURNS)

    def in_flight(self, priority: int, flow: str) -> int:
        """How many requests of a flow are running, those without a body aside."""
        running = [held.waiting for held in self.running.values()]
        return sum(w.request.need for w in running if (w.request.priority, w.flow) == (priority, flow))

    def is_at_cap(self, priority: int, flow: str) -> bool:
        """Whether as many of a flow's requests run as may."""
        most = self.rules(priority).flow_max_in_flight
        return most is not None and self.in_flight(priority, flow) >= most and flow != OVERFLOW

    def is_held(self, waiting: Waiting) -> bool:
        """Whether its own flow's cap keeps it from being dispatched."""
        request = waiting.request
        return bool(request.need) and self.is_at_cap(request.priority, waiting.flow)

    def flow_of(self, request: Arrived) -> str:
        """Its tenant's own flow, or the one that the surplus tenants of its band share."""
        mine = [w for w in self.queued.values() if w.request.priority == request.priority]
        tenant = request.fairness_id
        if any(w.request.fairness_id == tenant != w.flow for w in mine):
            return OVERFLOW
        flows = {(w.request.priority, w.flow) for w in self.queued.values()}
        is_known = (request.priority, tenant) in flows
        return tenant if is_known or len(flows) < self.policy.max_flows else OVERFLOW

    def lanes(self) -> set[tuple[int, LaneKey]]:
        """The lanes of restricted requests."""
        return {
            (waiting.request.priority, waiting.lane)
            for waiting in self.queued.values()
            if is_restricted(waiting.lane)
        }

    # --------------------------------------------------------------------- caps

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

    def verdicts(self, newcomer: Waiting) -> list[list[int] | None]:
        """Whom the caps may make give way for a newcomer that is queued; None stands for the newcomer itself.

        More than one answer is right where two flows hold the same.
        """
        request, rules = newcomer.request, self.rules(newcomer.request.priority)
        band = [w for w in self.queued.values() if w.request.priority == request.priority]
        mine = [w for w in band if w.flow == newcomer.flow]
        if rules.flow_max_requests is not None and len(mine) > rules.flow_max_requests:
            return [None]
        if rules.flow_max_bytes is not None and _size(mine) > rules.flow_max_bytes:
            return [None]
        if self.is_one_subset_too_many(newcomer):
            return [None]
        queued, size = list(self.queued.values()), request.size_bytes
        places, lacking = 0, 0
        if self.policy.max_requests is not None:
            places = min(1, max(0, len(queued) - self.policy.max_requests))
        if self.policy.max_bytes is not None:
            lacking = min(size, max(0, _size(queued) - self.policy.max_bytes))
        band_places = min(1, max(0, len(band) - rules.max_requests))
        band_lacking = min(size, max(0, _size(band) - rules.max_bytes))
        if not (places or lacking or band_places or band_lacking):
            return [[]]
        if not (band_places or band_lacking):
            lower = [w for w in queued if w.request.priority < request.priority]
            lower.sort(key=lambda w: (w.request.priority, -w.sequence))
            victims = _enough(lower, places, lacking)
            if victims is not None:
                return [victims]
        places, lacking = max(places, band_places), max(lacking, band_lacking)
        return self._from_fattest(band, mine, places, lacking)

    def _from_fattest(
        self, band: list[Waiting], mine: list[Waiting], places: int, lacking: int
    ) -> list[list[int] | None]:
        hoards: dict[str, list[Waiting]] = {}
        for each in band:
            hoards.setdefault(each.flow, []).append(each)
        held = _size if lacking else len
        most = max(held(each) for each in hoards.values())
        answers: list[list[int] | None] = []
        for hoard in hoards.values():
            if held(hoard) < most:
                continue
            hoard.sort(key=lambda w: -w.sequence)
            victims = _enough(hoard, places, lacking)
            if victims is not None:
                # Before each of them gave way, its flow held more than the newcomer's.
                kept = [w for w in hoard if w.request.request_id not in victims[:-1]]
                victims = victims if held(kept) > held(mine) else None
            answers.append(victims)
        return answers

    def is_one_subset_too_many(self, newcomer: Waiting) -> bool:
        """Whether the newcomer is the only one of its lane, and that lane one too many."""
        if not is_restricted(newcomer.lane):
            return False
        mine = (newcomer.request.priority, newcomer.lane)
        others = [w for w in self.queued.values() if w is not newcomer]
        is_alone = all((w.request.priority, w.lane) != mine for w in others)
        return is_alone and len(self.lanes()) > self.policy.max_lanes


def _size(waiting: list[Waiting]) -> int:
    return sum(each.request.size_bytes for each in waiting)


def _enough(candidates: list[Waiting], places: int, lacking: int) -> list[int] | None:
    """The first of them who are of use, until there is space; None if all, or a full step, would not do."""
    victims: list[int] = []
    for waiting in candidates:
        if places <= 0 and lacking <= 0:
            break
        if places > 0 or waiting.request.size_bytes:
            victims.append(waiting.request.request_id)
            places -= 1
            lacking -= waiting.request.size_bytes
    return victims if places <= 0 and lacking <= 0 and len(victims) <= STEP else None
