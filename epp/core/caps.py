"""Who has to go when a queue is full. Asked after the drain pass, so only of a newcomer that has to wait.

A full band refuses the newcomer. At a global cap a newcomer displaces as many of the newest items of the lowest
bands as it needs, or none if that would not suffice. A cap that was lowered shrinks a queue by service only: a
newcomer answers for its own request and bytes, never for what was there before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epp.core.band import Band, Item
    from epp.core.bands import Bands
    from epp.core.policy import FlowControlPolicy


@dataclass(frozen=True, slots=True)
class Fits:
    """There is space."""


@dataclass(frozen=True, slots=True)
class Full:
    """The newcomer has to be refused."""


@dataclass(frozen=True, slots=True)
class Displaces:
    """These have to give way."""

    victims: tuple[Item, ...]


Verdict = Fits | Full | Displaces


def judge(newcomer: Item, bands: Bands, policy: FlowControlPolicy, *, most_victims: int) -> Verdict:
    """What the caps say to `newcomer`, which is queued already. More than `most_victims` are never displaced."""
    band = bands[newcomer.request.priority]
    if _fills(newcomer, band, bands, policy):
        return Full()
    needs_place = policy.max_requests is not None and bands.queued_requests > policy.max_requests
    needed_bytes = 0
    if policy.max_bytes is not None:
        needed_bytes = min(newcomer.request.size_bytes, bands.queued_bytes - policy.max_bytes)
    if not needs_place and needed_bytes <= 0:
        return Fits()
    lower = bands.below(band)
    if not lower or sum(each.queued_bytes for each in lower) < needed_bytes:
        return Full()
    victims: list[Item] = []
    for each in lower:
        for item in each.newest_first():
            if not needs_place and not item.request.size_bytes:
                continue  # it would give nothing that is needed
            victims.append(item)
            needs_place = False
            needed_bytes -= item.request.size_bytes
            if needed_bytes <= 0:
                return Displaces(tuple(victims))
            if len(victims) == most_victims:
                return Full()
    return Full()


def _fills(newcomer: Item, band: Band, bands: Bands, policy: FlowControlPolicy) -> bool:
    """Whether the newcomer is one too many for its own band, or one subset too many."""
    rules, lane = band.policy, newcomer.lane
    if band.queued_requests > rules.max_requests or band.queued_bytes > rules.max_bytes:
        return True
    opened_lane = lane.eligible is not None and len(lane.items) == 1
    return opened_lane and bands.restricted_lanes() > policy.max_lanes
