"""Who has to go when a queue is full. Asked after the drain pass, so only of a newcomer that has to wait.

- A flow that is at its own cap refuses its newcomer.
- In a full band the flow that holds most of what is short, requests or bytes, gives its newest items for a newcomer of
  a flow that holds less. A newcomer of the fattest flow is refused.
- At a cap over all bands a newcomer displaces as many of the newest items of the lowest bands as it needs; if that
  would not suffice, the fattest flow of its own band is asked as if that were full.
- Nobody is displaced in vain. A cap that was lowered shrinks a queue by service only: a newcomer answers for its own
  request and bytes, never for what was there before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epp.core.hoards import Shortage, held
from epp.core.statistics import DisplacedBy

if TYPE_CHECKING:
    from epp.core.band import Band
    from epp.core.bands import Bands
    from epp.core.flow import Flow
    from epp.core.item import Item
    from epp.core.lane import Lane
    from epp.core.policy import BandPolicy, FlowControlPolicy


_MOST_LOOKS = 1024
"""At items that might give way. More would take long, and most that give nothing hold no bytes at all."""


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
    cause: DisplacedBy


Verdict = Fits | Full | Displaces

_FITS = Fits()


def judge(newcomer: Item, bands: Bands, policy: FlowControlPolicy, *, most_victims: int) -> Verdict:
    """What the caps say to `newcomer`, which is queued already. More than `most_victims` are never displaced."""
    band = newcomer.band
    rules, size = band.policy, newcomer.view.size_bytes
    if _fills_flow(newcomer.flow, rules):
        return Full()
    if newcomer.lane.is_restricted and _opens_lane_too_many(newcomer.lane, bands, policy):
        return Full()
    lacks_place = policy.max_requests is not None and bands.queued_requests > policy.max_requests
    lacking_bytes = 0
    if policy.max_bytes is not None:
        lacking_bytes = min(size, bands.queued_bytes - policy.max_bytes)
    band_lacks_place = band.queued_requests > rules.max_requests
    band_lacking_bytes = min(size, band.queued_bytes - rules.max_bytes)
    if band_lacks_place or band_lacking_bytes > 0:
        # What the band gives, all bands together have too.
        lacks_place = lacks_place or band_lacks_place
        lacking_bytes = max(lacking_bytes, band_lacking_bytes)
        return _from_fattest(newcomer, band, lacks_place, lacking_bytes, most_victims)
    if not lacks_place and lacking_bytes <= 0:
        return _FITS
    victims = _from_below(band, bands, lacks_place, lacking_bytes, most_victims)
    if victims is not None:
        return Displaces(victims, DisplacedBy.HIGHER_PRIORITY)
    return _from_fattest(newcomer, band, lacks_place, lacking_bytes, most_victims)


def _fills_flow(flow: Flow, rules: BandPolicy) -> bool:
    if rules.flow_max_requests is not None and flow.queued_requests > rules.flow_max_requests:
        return True
    return rules.flow_max_bytes is not None and flow.queued_bytes > rules.flow_max_bytes


def _opens_lane_too_many(lane: Lane, bands: Bands, policy: FlowControlPolicy) -> bool:
    return len(lane.items) == 1 and bands.restricted_lanes() > policy.max_lanes


def _from_below(
    band: Band, bands: Bands, lacks_place: bool, lacking_bytes: int, most_victims: int
) -> tuple[Item, ...] | None:
    """The newest of the lowest bands, as many as it takes; None if that is too many, or not enough."""
    lower = bands.below(band)
    if not lower or sum(each.queued_bytes for each in lower) < lacking_bytes:
        return None
    victims: list[Item] = []
    looks = 0
    for each in lower:
        for item in each.newest_first():
            looks += 1
            if looks > _MOST_LOOKS:
                return None
            if not lacks_place and not item.view.size_bytes:
                continue  # it would give nothing that is needed
            victims.append(item)
            lacks_place = False
            lacking_bytes -= item.view.size_bytes
            if lacking_bytes <= 0:
                return tuple(victims)
            if len(victims) == most_victims:
                return None
    return None


def _from_fattest(
    newcomer: Item, band: Band, lacks_place: bool, lacking_bytes: int, most_victims: int
) -> Full | Displaces:
    """The newest items of the flow that holds most of what is short, while it holds more than the newcomer's flow."""
    shortage = Shortage.BYTES if lacking_bytes > 0 else Shortage.REQUESTS
    fattest = band.hoards.largest(band.flows.values(), shortage, len(band.flows))
    spare = held(fattest, shortage) - held(newcomer.flow, shortage)
    victims: list[Item] = []
    for looks, item in enumerate(band.newest_of(fattest)):
        if spare <= 0 or len(victims) == most_victims or looks == _MOST_LOOKS:
            return Full()
        if not lacks_place and not item.view.size_bytes:
            continue
        victims.append(item)
        lacks_place = False
        lacking_bytes -= item.view.size_bytes
        spare -= item.view.size_bytes if shortage is Shortage.BYTES else 1
        if lacking_bytes <= 0:
            return Displaces(tuple(victims), DisplacedBy.SMALLER_FLOW)
    return Full()
