"""The bands, highest first, and what they share: totals, ceilings, lanes and the cap on flows.

- Bands follow the objectives and the configuration; band 0 is always there, and a band with work stays until it is
  empty, so a priority whose objective has just gone still gets its turn.
- Ceilings count only the bands in use: those with requests queued or running, now or a moment ago. A band that comes
  into use counts at once.
- Another configuration is taken over band by band, one in each call, so that none of them takes long.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from epp.core.band import Band
from epp.core.eligibility import ANY
from epp.core.lane import Lane
from epp.core.waits import WaitAccount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from epp.core.eligibility import Eligibility
    from epp.core.events import Arrived
    from epp.core.guard import PolicyGuard
    from epp.core.incarnation import Endpoint
    from epp.core.ledger import Ledger, Turnover
    from epp.core.policy import FlowControlPolicy
    from epp.core.statistics import WaitReason


_RETIRED_ACCOUNTS = 256
"""Priorities without a band whose accounts of waiting are kept apart."""
LINGER_S = 5.0
"""A band that has become idle counts as in use for so long, and up to as long again, or ceilings would move with every
request."""


class Bands:
    """All bands of one controller."""

    __slots__ = (
        "_bands",
        "_guard",
        "_is_uneven",
        "_ledger",
        "_policy",
        "_provided",
        "_retired",
        "_used",
        "_wanted",
        "are_more_than_provided",
        "in_order",
        "look_s",
        "queued_bytes",
        "queued_free",
        "queued_requests",
        "to_adopt",
    )

    in_order: tuple[Band, ...]
    """Highest priority first."""
    look_s: float
    """When a look is taken next at who is in use."""
    are_more_than_provided: bool
    """Some last only as long as they have work."""
    to_adopt: list[int]
    """The bands that have yet to take over the configuration."""
    queued_requests: int
    """Over all bands; the waiting room keeps it."""
    queued_bytes: int
    queued_free: int
    """Of the queued requests, those that need no room."""

    def __init__(self, policy: FlowControlPolicy, ledger: Ledger, guard: PolicyGuard, *, now: float) -> None:
        self._policy = policy
        self._ledger = ledger
        self._guard = guard
        self._wanted: frozenset[int] = frozenset()
        self._provided: frozenset[int] = frozenset()
        self._bands: dict[int, Band] = {}
        self._retired: dict[int, WaitAccount] = {}
        self._used: tuple[int, ...] = ()
        self.are_more_than_provided = False
        self.to_adopt = []
        self.look_s = now + LINGER_S
        self._is_uneven = False
        self.queued_requests = 0
        self.queued_bytes = 0
        self.queued_free = 0
        self.provision(frozenset(), now)

    def __iter__(self) -> Iterator[Band]:
        """Highest priority first."""
        return iter(self.in_order)

    def __getitem__(self, priority: int) -> Band:
        """The band of a priority in use."""
        return self._bands[priority]

    def below(self, band: Band) -> list[Band]:
        """The bands with work below `band`, lowest first."""
        lower = [each for each in self if each.priority < band.priority and each.queued_requests]
        lower.reverse()
        return lower

    # ------------------------------------------------------------- coming and going

    def provision(self, wanted: frozenset[int], now: float) -> None:
        """The objectives give these priorities now."""
        self._wanted = wanted
        self._provided = wanted | self._policy.bands.keys() | {0}
        kept = {priority for priority, band in self._bands.items() if _is_busy(band)}
        self._replace(
            {
                priority: self._bands.get(priority) or self._new(priority, now)
                for priority in sorted(self._provided | kept, reverse=True)
            },
            now,
        )

    def get_or_add(self, priority: int, now: float) -> Band:
        """The band of any priority, for a request: one that nothing provides for lasts as long as it has work."""
        band = self._bands.get(priority)
        if band is None:
            band = self._new(priority, now)
            bands = sorted([*self._bands.items(), (priority, band)], reverse=True, key=_priority)
            self._replace(dict(bands), now)
        if priority not in self._used:
            self._use(tuple(sorted((*self._used, priority), reverse=True)), now)
        return band

    def retire(self, now: float) -> bool:
        """Drop the idle bands that nothing provides for. Returns whether there were any: ceilings may have moved."""
        kept = {
            priority: band
            for priority, band in self._bands.items()
            if _is_busy(band) or priority in self._provided
        }
        if len(kept) == len(self._bands):
            return False
        self._replace(kept, now)
        return True

    def adopt(self, policy: FlowControlPolicy, now: float) -> None:
        """Another configuration is in force; `adopt_next` takes it over."""
        self._policy = policy
        self.to_adopt = [priority for priority, band in self._bands.items() if band.queued_requests]
        for band in self:
            if not band.queued_requests:
                band.adopt(policy.band(band.priority), self._guard, now)
        self.provision(self._wanted, now)

    def adopt_next(self, now: float) -> bool:
        """Let one more band take over the configuration. Returns whether there are more to come."""
        while self.to_adopt:
            band = self._bands.get(self.to_adopt.pop(0))
            if band is not None:
                band.adopt(self._policy.band(band.priority), self._guard, now)
                break
        return bool(self.to_adopt)

    def retired_wait_s(self) -> dict[int, Mapping[WaitReason, float]]:
        """What the bands that are gone have booked."""
        return {priority: account.by_reason() for priority, account in self._retired.items()}

    def _new(self, priority: int, now: float) -> Band:
        # A priority that comes back goes on with its account.
        waits = self._retired.pop(priority, None) or WaitAccount()
        return Band(priority, self._policy.band(priority), waits=waits, now=now)

    def _retire(self, band: Band) -> None:
        if len(self._retired) >= _RETIRED_ACCOUNTS:
            oldest = next(iter(self._retired))
            del self._retired[oldest]
        if band.waits.any():
            self._retired[band.priority] = band.waits

    def _replace(self, bands: dict[int, Band], now: float) -> None:
        for priority in self._bands.keys() - bands.keys():
            self._retire(self._bands[priority])
        self._bands = bands
        self.are_more_than_provided = len(bands) > len(self._provided)
        self.in_order = tuple(bands.values())
        self._use(tuple(priority for priority in self._used if priority in bands), now)

    # ------------------------------------------------------------------- ceilings

    def refresh_use(self, now: float) -> None:
        """Bands that have been idle for a while don't count any more. To be called often: it looks rarely."""
        if now < self.look_s:
            return
        self.look_s = now + LINGER_S
        used = tuple(priority for priority in self._used if not self._is_out_of_use(priority, now))
        if used != self._used:
            self._use(used, now)

    def next_use_s(self) -> float:
        """When the next look is taken at who is in use; infinite if nothing depends on it."""
        return self.look_s if self._is_uneven else inf

    def is_used(self, band: Band) -> bool:
        """Whether ceilings count the band."""
        return band.priority in self._used

    def _is_out_of_use(self, priority: int, now: float) -> bool:
        band = self._bands[priority]
        return band.idle_since_s + LINGER_S <= now and not _is_busy(band)

    def _use(self, used: tuple[int, ...], now: float) -> None:
        self._used = used
        self._set_ceilings(now)

    def _set_ceilings(self, now: float) -> None:
        ceilings = self._guard.ceilings(self._policy.ceiling, self._used)
        self._is_uneven = any(ceiling != ceilings[0] for ceiling in ceilings)
        for priority, ceiling in zip(self._used, ceilings, strict=True):
            self._bands[priority].ceiling = ceiling
        self._ledger.configure(self._policy, ceilings, now)

    # --------------------------------------------------------------- lanes and flows

    def lane(self, band: Band, request: Arrived) -> Lane:
        """The band's lane for such requests."""
        key = (request.eligibility, request.need, request.prefill)
        lane = band.lanes.get(key)
        if lane is None:
            lane = band.lanes[key] = Lane(*key)
            if request.eligibility is not ANY:
                lane.eligible = self._resolve(request.eligibility)
            if request.prefill is not None and request.prefill is not ANY:
                lane.prefill_eligible = self._resolve(request.prefill)
        return lane

    def restricted_lanes(self) -> int:
        """Lanes of restricted requests, over all bands."""
        return sum(lane.is_restricted for band in self for lane in band.lanes.values())

    def may_mint_flow(self) -> bool:
        """Whether one more tenant may have a flow of its own."""
        return sum([len(band.flows) for band in self.in_order]) < self._policy.max_flows

    def endpoints_changed(self, turnover: Turnover) -> None:
        """The pool's endpoints changed: virtual times and eligibilities follow."""
        gone = (*turnover.left, *turnover.described)
        come = (*turnover.joined, *turnover.described)
        for band in self:
            band.virtual.endpoints_changed(joined=turnover.joined, left=turnover.left)
            for lane in band.lanes.values():
                if lane.eligible is not None:
                    _follow(lane.eligible, lane.eligibility, gone, come)
                if lane.prefill_eligible is not None and lane.prefill is not None:
                    _follow(lane.prefill_eligible, lane.prefill, gone, come)

    def _resolve(self, eligibility: Eligibility) -> dict[Endpoint, None]:
        return {each: None for each in self._ledger.listed.values() if eligibility.admits(each.spec)}


def _follow(
    eligible: dict[Endpoint, None],
    eligibility: Eligibility,
    gone: tuple[Endpoint, ...],
    come: tuple[Endpoint, ...],
) -> None:
    for endpoint in gone:
        eligible.pop(endpoint, None)
    eligible.update((each, None) for each in come if eligibility.admits(each.spec))


def _is_busy(band: Band) -> bool:
    return bool(band.queued_requests or band.running_requests)


def _priority(entry: tuple[int, Band]) -> int:
    return entry[0]
