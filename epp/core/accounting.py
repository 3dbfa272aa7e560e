"""Where waiting time goes: every queued second under one reason, and every second of room that work could have used.

Between two events nothing changes, so the state that the last event left explains the whole interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from epp.core.statistics import WaitReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.band import Band
    from epp.core.incarnation import Endpoint
    from epp.core.item import Item
    from epp.core.lane import Lane
    from epp.core.ledger import Ledger, Room


class Idleness(NamedTuple):
    """Endpoint-seconds with room while work for them was queued."""

    eligible_s: float
    """The band had room there too: it should have been dispatched."""
    ceiling_s: float
    """A ceiling kept that room from it."""


NOT_IDLE = Idleness(0.0, 0.0)

Above = frozenset["Endpoint"]
"""Endpoints that queued requests of higher bands may use; None in its place means all."""

ABOVE_NOBODY: Above = frozenset()


def accrue(bands: Iterable[Band], ledger: Ledger, elapsed_s: float) -> Idleness:
    """Book `elapsed_s` of waiting on every band (highest first), as things stand. Returns the idleness in it."""
    pool_is_empty = not ledger.listed
    above: Above | None = ABOVE_NOBODY
    idle: dict[Endpoint, None] = {}
    withheld: dict[Endpoint, None] = {}
    for band in bands:
        queued = band.queued_requests
        if not queued:
            continue
        if pool_is_empty:
            band.waits.no_endpoint += queued * elapsed_s
        elif above is None and band.unrestricted and band.policy.flow_max_in_flight is None:
            band.waits.higher_priority += queued * elapsed_s
        else:
            _book(band, ledger, above, elapsed_s)
            if ledger.full_room.views:
                room = ledger.room(band.ceiling)
                for lane in band.lanes.values():
                    open_to_all = _usable(lane, ledger.full_room)
                    open_to_band = room.views if open_to_all and can_start(lane, room) else {}
                    idle.update({each: None for each in open_to_all if each in open_to_band})
                    withheld.update({each: None for each in open_to_all if each not in open_to_band})
            above = with_band(above, band)
    if not idle and not withheld:
        return NOT_IDLE
    return Idleness(len(idle) * elapsed_s, len(withheld) * elapsed_s)


def reason(item: Item, band: Band, bands: Iterable[Band], ledger: Ledger) -> WaitReason:
    """Why a queued request waits as things stand. `bands` are all of them, highest first."""
    lane = item.lane
    if not ledger.listed:
        return WaitReason.NO_ENDPOINT
    if lane.need and item.flow.at_cap:
        return WaitReason.FLOW_CAP
    if lane.is_restricted and lane.is_stranded():
        return WaitReason.INELIGIBLE
    above: Above | None = ABOVE_NOBODY
    for higher in bands:
        if higher is band or above is None:
            break
        if higher.queued_requests:
            above = with_band(above, higher)
    if above is None or (above and _is_behind(lane, above)):
        return WaitReason.HIGHER_PRIORITY
    if lane.top()[2] is not item:
        return WaitReason.SAME_BAND
    return _blocked(lane, band, ledger)


def _book(band: Band, ledger: Ledger, above: Above | None, elapsed_s: float) -> None:
    waits = band.waits
    for lane in band.lanes.values():
        waiting_s = len(lane.items) * elapsed_s
        if lane.held:
            waits.flow_cap += lane.held * elapsed_s
            if lane.held == len(lane.items):
                continue
            waiting_s -= lane.held * elapsed_s
        if lane.is_restricted and lane.is_stranded():
            waits.ineligible += waiting_s
        elif above is None or (above and _is_behind(lane, above)):
            waits.higher_priority += waiting_s
        else:
            waits.same_band += waiting_s - elapsed_s
            if ledger.full_room.views and _blocked(lane, band, ledger) is WaitReason.CEILING:
                waits.ceiling += elapsed_s
            else:
                waits.no_room += elapsed_s


def _is_behind(lane: Lane, above: Above | None) -> bool:
    return above is None or lane.eligible is None or not above.isdisjoint(lane.eligible)


def _blocked(lane: Lane, band: Band, ledger: Ledger) -> WaitReason:
    """Why the first of a lane waits, behind whom nobody of a higher band is."""
    open_to_band = ledger.room(band.ceiling).views
    open_to_all = _usable(lane, ledger.full_room)
    if open_to_all and not any(each in open_to_band for each in open_to_all):
        return WaitReason.CEILING
    return WaitReason.NO_ROOM


def _usable(lane: Lane, room: Room) -> list[Endpoint]:
    """The endpoints with room on which the lane's next item could start."""
    views = room.views
    if not views or not lane.need or lane.held == len(lane.items) or not can_start(lane, room):
        return []
    if lane.eligible is None:
        return list(views)
    return [each for each in lane.eligible if each in views]


def can_start(lane: Lane, room: Room) -> bool:
    """Whether there is room for an item of the lane: on one endpoint that it may use, or on two, if it needs two."""
    views = room.views
    if not views:
        return False
    if lane.eligible is not None and lane.eligible.keys().isdisjoint(views.keys()):
        return False
    if lane.prefill is None:
        return True
    first = views.keys() if lane.eligible is None else lane.eligible.keys() & views.keys()
    second = views.keys() if lane.prefill_eligible is None else lane.prefill_eligible.keys() & views.keys()
    return bool(second) and len(first | second) > 1


def with_band(above: Above | None, band: Band) -> Above | None:
    """The endpoints that queued requests down to `band` may use; None means all."""
    for lane in band.lanes.values():
        if not lane.need or lane.held == len(lane.items) or lane.prefill is not None:
            continue  # one that needs a second endpoint, and has not got it, keeps nobody from the first
        if above is None or lane.eligible is None:
            return None
        if lane.eligible:
            above = above.union(lane.eligible)
    return above
