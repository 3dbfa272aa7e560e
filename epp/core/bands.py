"""The bands in use, highest first, and what they share: totals, ceilings, lanes and the cap on flows.

Bands follow the objectives and the configuration; band 0 is always there, and a band with work stays until it
is empty, so a priority whose objective has just gone still gets its turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.band import Band, Lane
from epp.core.eligibility import ANY
from epp.core.waits import WaitAccount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from epp.core.eligibility import Eligibility
    from epp.core.guard import PolicyGuard
    from epp.core.incarnation import Endpoint
    from epp.core.ledger import Ledger, Turnover
    from epp.core.policy import FlowControlPolicy
    from epp.core.statistics import WaitReason


_RETIRED_ACCOUNTS = 256
"""Priorities without a band whose accounts of waiting are kept apart."""


class Bands:
    """All bands of one controller."""

    __slots__ = (
        "_bands",
        "_guard",
        "_ledger",
        "_policy",
        "_provided",
        "_retired",
        "_wanted",
        "in_order",
        "queued_bytes",
        "queued_requests",
    )

    in_order: tuple[Band, ...]
    """Highest priority first."""
    queued_requests: int
    """Over all bands; the controller keeps it."""
    queued_bytes: int

    def __init__(self, policy: FlowControlPolicy, ledger: Ledger, guard: PolicyGuard, *, now: float) -> None:
        self._policy = policy
        self._ledger = ledger
        self._guard = guard
        self._wanted: frozenset[int] = frozenset()
        self._provided: frozenset[int] = frozenset()
        self._bands: dict[int, Band] = {}
        self._retired: dict[int, WaitAccount] = {}
        self.queued_requests = 0
        self.queued_bytes = 0
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
        kept = {priority for priority, band in self._bands.items() if band.queued_requests}
        self._replace(
            {
                priority: self._bands.get(priority) or self._new(priority)
                for priority in sorted(self._provided | kept, reverse=True)
            },
            now,
        )

    def get_or_add(self, priority: int, now: float) -> Band:
        """The band of any priority: one that nothing provides for lasts as long as it has work."""
        band = self._bands.get(priority)
        if band is None:
            band = self._new(priority)
            bands = sorted([*self._bands.items(), (priority, band)], reverse=True, key=_priority)
            self._replace(dict(bands), now)
        return band

    def retire(self, now: float) -> bool:
        """Drop the empty bands that nothing provides for. Returns whether there were any: ceilings may have moved."""
        if len(self._bands) == len(self._provided):
            return False
        kept = {
            priority: band
            for priority, band in self._bands.items()
            if band.queued_requests or priority in self._provided
        }
        if len(kept) == len(self._bands):
            return False
        self._replace(kept, now)
        return True

    def adopt(self, policy: FlowControlPolicy, now: float) -> None:
        """Another configuration is in force."""
        self._policy = policy
        for band in self:
            band.adopt(policy.band(band.priority), self._guard)
        self.provision(self._wanted, now)

    def retired_wait_s(self) -> dict[int, Mapping[WaitReason, float]]:
        """What the bands that are gone have booked."""
        return {priority: account.by_reason() for priority, account in self._retired.items()}

    def _new(self, priority: int) -> Band:
        # A priority that comes back goes on with its account.
        waits = self._retired.pop(priority, None) or WaitAccount()
        return Band(
            priority, self._policy.band(priority), waits=waits, endpoint_count=len(self._ledger.listed)
        )

    def _retire(self, band: Band) -> None:
        if len(self._retired) >= _RETIRED_ACCOUNTS:
            # Objectives with ever new priorities: the oldest account is folded into its successor's, nothing is lost.
            oldest = self._retired.pop(next(iter(self._retired)))
            band.waits.add(oldest)
        if band.waits.any():
            self._retired[band.priority] = band.waits

    def _replace(self, bands: dict[int, Band], now: float) -> None:
        for priority in self._bands.keys() - bands.keys():
            self._retire(self._bands[priority])
        self._bands = bands
        self._set_ceilings(now)

    def _set_ceilings(self, now: float) -> None:
        self.in_order = tuple(self._bands.values())
        ceilings = self._guard.ceilings(self._policy.ceiling, tuple(self._bands))
        for band, ceiling in zip(self, ceilings, strict=True):
            band.ceiling = ceiling
        self._ledger.configure(self._policy, ceilings, now)

    # --------------------------------------------------------------- lanes and flows

    def lane(self, band: Band, eligibility: Eligibility, need: int) -> Lane:
        """The band's lane for such requests."""
        lane = band.lanes.get((eligibility, need))
        if lane is None:
            eligible = None if eligibility == ANY else self._resolve(eligibility)
            lane = band.lanes[(eligibility, need)] = Lane(eligibility, need, eligible)
        return lane

    def restricted_lanes(self) -> int:
        """Lanes of restricted requests, over all bands."""
        return sum(lane.eligible is not None for band in self for lane in band.lanes.values())

    def may_mint_flow(self) -> bool:
        """Whether one more tenant may have a flow of its own."""
        return sum(len(band.flows) for band in self) < self._policy.max_flows

    def endpoints_changed(self, turnover: Turnover) -> None:
        """The pool's endpoints changed: virtual times and eligibilities follow."""
        count = len(self._ledger.listed)
        gone = (*turnover.left, *turnover.described)
        come = (*turnover.joined, *turnover.described)
        for band in self:
            band.endpoints_changed(count, joined=turnover.joined, left=turnover.left)
            for lane in band.lanes.values():
                if lane.eligible is None:
                    continue
                for endpoint in gone:
                    lane.eligible.pop(endpoint, None)
                admits = lane.eligibility.admits
                lane.eligible.update((each, None) for each in come if admits(each.spec))

    def _resolve(self, eligibility: Eligibility) -> dict[Endpoint, None]:
        return {each: None for each in self._ledger.listed.values() if eligibility.admits(each.spec)}


def _priority(entry: tuple[int, Band]) -> int:
    return entry[0]
