"""Where waiting time goes: every queued second under one reason, and every second of room that work could have used.

Between two events nothing changes, so the state that the last event left explains the whole interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.band import Band, Lane
    from epp.core.incarnation import Endpoint
    from epp.core.ledger import Ledger, Room


class Idleness(NamedTuple):
    """Endpoint-seconds with room while work for them was queued."""

    eligible_s: float
    """The band had room there too: it should have been dispatched."""
    ceiling_s: float
    """A ceiling kept that room from it."""


NOT_IDLE = Idleness(0.0, 0.0)


def accrue(bands: Iterable[Band], ledger: Ledger, elapsed_s: float) -> Idleness:
    """Book `elapsed_s` of waiting on every band (highest first), as things stand. Returns the idleness in it."""
    pool_is_empty = not ledger.listed
    above: frozenset[Endpoint] | None = _ABOVE_NOBODY
    idle: dict[Endpoint, None] = {}
    withheld: dict[Endpoint, None] = {}
    for band in bands:
        if not band.queued_requests:
            continue
        if pool_is_empty:
            band.waits.no_endpoint += band.queued_requests * elapsed_s
        elif above is None and band.unrestricted:
            band.waits.higher_priority += band.queued_requests * elapsed_s
        else:
            _book(band, ledger, above, elapsed_s)
            if ledger.full_room.views:
                for lane in band.lanes.values():
                    open_to_all = _usable(lane, ledger.full_room)
                    open_to_band = ledger.room(band.ceiling).views
                    idle.update({each: None for each in open_to_all if each in open_to_band})
                    withheld.update({each: None for each in open_to_all if each not in open_to_band})
            above = _with(above, band)
    if not idle and not withheld:
        return NOT_IDLE
    return Idleness(len(idle) * elapsed_s, len(withheld) * elapsed_s)


def _book(band: Band, ledger: Ledger, above: frozenset[Endpoint] | None, elapsed_s: float) -> None:
    waits = band.waits
    for lane in band.lanes.values():
        waiting_s = len(lane.items) * elapsed_s
        if lane.is_stranded():
            waits.ineligible += waiting_s
        elif above is None or (above and (lane.eligible is None or not above.isdisjoint(lane.eligible))):
            waits.higher_priority += waiting_s
        else:
            waits.same_band += waiting_s - elapsed_s
            open_to_all = _usable(lane, ledger.full_room)
            open_to_band = ledger.room(band.ceiling).views
            if open_to_all and not any(each in open_to_band for each in open_to_all):
                waits.ceiling += elapsed_s
            else:
                waits.no_room += elapsed_s


def _usable(lane: Lane, room: Room) -> list[Endpoint]:
    """The endpoints with room that the lane's items may use."""
    if not room.views or not lane.need:
        return []
    if lane.eligible is None:
        return list(room.views)
    return [each for each in lane.eligible if each in room.views]


_ABOVE_NOBODY: frozenset[Endpoint] = frozenset()


def _with(above: frozenset[Endpoint] | None, band: Band) -> frozenset[Endpoint] | None:
    """The endpoints that queued requests down to `band` may use; None means all."""
    for lane in band.lanes.values():
        if above is None or (lane.need and lane.eligible is None):
            return None
        if lane.need and lane.eligible:
            above = above.union(lane.eligible)
    return above
