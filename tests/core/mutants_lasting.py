"""Mutants of what lasts: ends, deadlines, caps, refusals, soft failures and the books (promises 6 to 10)."""

from __future__ import annotations

from typing import Any

import pytest

from epp.core import Controller, accounting, caps
from epp.core import controller as controller_module
from epp.core.band import Band
from epp.core.bands import Bands
from epp.core.caps import Displaces, Full
from epp.core.clocks import DeadlineHeap, WaitClocks
from epp.core.endpoint import EndpointView
from epp.core.events import Arrived, Cancelled, DeliveryFailed
from epp.core.guard import PolicyGuard
from epp.core.hoards import Hoards
from epp.core.incarnation import Endpoint
from epp.core.ledger import Ledger
from epp.core.outlook import Outlook
from epp.core.statistics import DisplacedBy
from epp.core.waitingroom import WaitingRoom
from tests.core.building import LeastLoaded
from tests.core.mutants import (
    BURSTS,
    CAPPED,
    CROWDED,
    FAT,
    PLAIN,
    RESTLESS,
    broken_choice,
    broken_detector,
    trap,
)

# -------------------------------------------------------------------------------- 6: exactly one end


@trap(PLAIN)
def expired_requests_are_sent(patch: pytest.MonkeyPatch) -> None:
    """Deadlines are looked at by nobody."""
    patch.setattr(Controller, "_expire", lambda self, budget, actions: budget)
    patch.setattr(Controller, "_refuse_if_due", lambda self, item, actions: False)


@trap(PLAIN)
def expiry_is_a_sweep(patch: pytest.MonkeyPatch) -> None:
    """Deadlines are looked at once a second."""
    expire = Controller._expire
    patch.setattr(
        Controller,
        "_expire",
        lambda self, budget, actions: budget if self._now % 1 else expire(self, budget, actions),
    )


@trap(PLAIN)
def deadlines_wake_nobody(patch: pytest.MonkeyPatch) -> None:
    """The core forgets to ask to be woken for a deadline."""
    patch.setattr(WaitClocks, "next_due_s", lambda self, alive: float("inf"))


@trap(RESTLESS)
def clocks_restart_when_the_pool_changes(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits gets his full budget again each time the pool empties or fills."""
    changed = Controller._endpoints_changed

    def restart(self: Controller, event: Any) -> None:
        room = self._waiting
        was_empty = room.clocks.pool_is_empty
        spent = (room.clocks.busy_key(self._now), room.clocks.empty_key(self._now))
        changed(self, event)
        if room.clocks.pool_is_empty is was_empty:
            return
        room.clocks.busy, room.clocks.empty = DeadlineHeap(), DeadlineHeap()
        for sequence, item in room.by_sequence.items():
            if item.busy_key_s is not None:
                item.busy_key_s = max(item.busy_key_s, spent[0] + 1.0)
                room.clocks.busy.add(item.busy_key_s, sequence)
            if item.empty_key_s is not None:
                item.empty_key_s = max(item.empty_key_s, spent[1] + 0.5)
                room.clocks.empty.add(item.empty_key_s, sequence)

    patch.setattr(Controller, "_endpoints_changed", restart)


@trap(PLAIN)
def what_is_due_is_looked_at_too_late(patch: pytest.MonkeyPatch) -> None:
    """A call that comes when a budget has just run out takes it that nothing is due."""
    note = Controller._note_next

    def late(self: Controller, actions: list[Any], *, is_awaited: bool) -> None:
        note(self, actions, is_awaited=is_awaited)
        self._due_s += 1.0

    patch.setattr(Controller, "_note_next", late)


@trap(RESTLESS)
def empty_seconds_count_as_busy(patch: pytest.MonkeyPatch) -> None:
    """One clock for both: time without endpoints uses up the TTL."""
    switch = WaitClocks.switch

    def never_stop(self: WaitClocks, *, pool_is_empty: bool, now: float) -> None:
        switch(self, pool_is_empty=pool_is_empty, now=now)
        self._empty_total_s = 0.0

    patch.setattr(WaitClocks, "switch", never_stop)


@trap(PLAIN)
def the_cancelled_stay_queued(patch: pytest.MonkeyPatch) -> None:
    """A zombie: the client has gone, and its request waits until it is swept."""
    gone = Controller._gone

    def linger(self: Controller, event: Any) -> None:
        if event.request_id not in self._waiting.items:
            gone(self, event)

    patch.setattr(Controller, "_gone", linger)


@trap(PLAIN)
def the_cancelled_keep_their_bytes(patch: pytest.MonkeyPatch) -> None:
    """Half a zombie: the request has left its lane, its bytes are still counted."""
    leave = WaitingRoom.leave

    def heavy(self: WaitingRoom, item: Any) -> None:
        leave(self, item)
        self._bands.queued_bytes += item.view.size_bytes // 2

    patch.setattr(WaitingRoom, "leave", heavy)


@trap(PLAIN)
def a_failed_delivery_keeps_its_slot(patch: pytest.MonkeyPatch) -> None:
    """DeliveryFailed doesn't undo the reservation."""
    gone = Controller._gone

    def hold(self: Controller, event: Any) -> None:
        if not (isinstance(event, DeliveryFailed) and event.request_id in self._running.requests):
            gone(self, event)

    patch.setattr(Controller, "_gone", hold)


@trap(PLAIN)
def a_running_request_cannot_be_cancelled(patch: pytest.MonkeyPatch) -> None:
    """The slot of a client that went away is kept until the engine is done."""
    gone = Controller._gone

    def deaf(self: Controller, event: Any) -> None:
        if not (isinstance(event, Cancelled) and event.request_id in self._running.requests):
            gone(self, event)

    patch.setattr(Controller, "_gone", deaf)


@trap(PLAIN)
def a_band_retires_with_its_work(patch: pytest.MonkeyPatch) -> None:
    """When its objective goes, so does the band, and whoever waits in it."""
    provision = Bands.provision

    def ruthless(self: Bands, wanted: frozenset[int], now: float) -> None:
        for priority in self._bands.keys() - wanted - {0}:
            del self._bands[priority]
        provision(self, wanted, now)

    patch.setattr(Bands, "provision", ruthless)


# ------------------------------------------------------------------------------------- 7: bounded


@trap(CAPPED)
def caps_come_before_the_pass(patch: pytest.MonkeyPatch) -> None:
    """A full queue refuses work that could run."""
    arrived = Controller._arrived

    def early(self: Controller, event: Arrived, actions: list[Any]) -> None:
        arrived(self, event, actions)
        if event.request_id in self._waiting.items:
            self._settle_in(self._waiting.items[event.request_id], event, actions)

    patch.setattr(Controller, "_arrived", early)


@trap(CAPPED)
def nobody_minds_the_caps(patch: pytest.MonkeyPatch) -> None:
    """Queues grow without bound."""
    patch.setattr(caps, "judge", lambda newcomer, bands, rules, **limits: caps.Fits())


@trap(CAPPED)
def the_highest_give_way(patch: pytest.MonkeyPatch) -> None:
    """Displacement begins with the highest of the lower bands."""
    below = Bands.below
    patch.setattr(Bands, "below", lambda self, band: below(self, band)[::-1])


@trap(CAPPED)
def the_oldest_give_way(patch: pytest.MonkeyPatch) -> None:
    """Displacement takes who has waited longest."""
    newest_first = Band.newest_first
    patch.setattr(Band, "newest_first", lambda self: iter(list(newest_first(self))[::-1]))


@trap(CAPPED)
def some_give_way_in_vain(patch: pytest.MonkeyPatch) -> None:
    """Displacement takes what there is, though the newcomer has to be refused all the same."""
    judge = caps.judge

    def greedy(newcomer: Any, bands: Bands, rules: Any, **limits: int) -> Any:
        verdict = judge(newcomer, bands, rules, **limits)
        lower = [item for each in bands.below(newcomer.band) for item in each.newest_first()]
        displaces = Displaces(tuple(lower), DisplacedBy.HIGHER_PRIORITY)
        return displaces if isinstance(verdict, Full) and lower else verdict

    patch.setattr(caps, "judge", greedy)


@trap(CAPPED)
def one_more_gives_way_than_needed(patch: pytest.MonkeyPatch) -> None:
    """Displacement takes one too many."""
    judge = caps.judge

    def generous(newcomer: Any, bands: Bands, rules: Any, **limits: int) -> Any:
        verdict = judge(newcomer, bands, rules, **limits)
        if not isinstance(verdict, Displaces):
            return verdict
        lower = [item for each in bands.below(newcomer.band) for item in each.newest_first()]
        others = [item for item in lower if item not in verdict.victims]
        return Displaces((*verdict.victims, *others[:1]), verdict.cause)

    patch.setattr(caps, "judge", generous)


@trap(BURSTS)
def a_call_decides_all_there_is(patch: pytest.MonkeyPatch) -> None:
    """Bulk expiry and long passes run in one go and stall the loop."""
    patch.setattr(controller_module, "STEP", 10**9)


@trap(CROWDED)
def every_tenant_gets_a_flow(patch: pytest.MonkeyPatch) -> None:
    """The cap on flows is forgotten."""
    patch.setattr(Bands, "may_mint_flow", lambda self: True)


@trap(CROWDED)
def every_subset_gets_a_lane(patch: pytest.MonkeyPatch) -> None:
    """The cap on lanes is forgotten."""
    patch.setattr(Bands, "restricted_lanes", lambda self: 0)


@trap(FAT)
def a_full_band_refuses_the_newcomer(patch: pytest.MonkeyPatch) -> None:
    """Whoever holds most of a full band keeps it."""
    patch.setattr(caps, "_from_fattest", lambda *question: Full())


@trap(FAT)
def any_flow_gives_way(patch: pytest.MonkeyPatch) -> None:
    """It is not the flow that holds most that gives way."""
    patch.setattr(
        Hoards, "largest", lambda self, flows, shortage, count: min(flows, key=lambda f: f.queued_requests)
    )


@trap(FAT)
def the_oldest_of_the_fattest_give_way(patch: pytest.MonkeyPatch) -> None:
    """Of the flow that holds most, the one that waits longest gives way."""
    newest_of = Band.newest_of
    patch.setattr(Band, "newest_of", lambda self, flow: iter(list(newest_of(self, flow))[::-1]))


@trap(FAT)
def a_flow_may_queue_what_it_likes(patch: pytest.MonkeyPatch) -> None:
    """A flow's own cap on queued requests is forgotten."""
    patch.setattr(caps, "_fills_flow", lambda flow, rules: False)


# -------------------------------------------------------------------------------- 10: fails soft


@trap(broken_choice)
def a_stranger_may_be_chosen(patch: pytest.MonkeyPatch) -> None:
    """Whatever looks like an endpoint is sent to, a member or not."""
    choose = PolicyGuard.choose

    def trusting(self: PolicyGuard, choice: Any, candidates: Any, facts: object) -> Any:
        try:
            chosen = choice.choose(candidates, facts)
        except Exception:
            chosen = None
        return chosen if isinstance(chosen, EndpointView) else choose(self, LeastLoaded(), candidates, facts)

    patch.setattr(PolicyGuard, "choose", trusting)


@trap(broken_detector)
def every_ceiling_is_asked_by_itself(patch: pytest.MonkeyPatch) -> None:
    """A detector that fails at a low ceiling opens it, though the higher one is closed: a lower band overtakes."""
    settle = Ledger._settle_room

    def gullible(self: Ledger, endpoint: Endpoint, now: float) -> None:
        settle(self, endpoint, now)
        for room in self._rooms.values():
            if endpoint.listed and self._guard.has_room(self._policy.capacity, endpoint.view, room.ceiling):
                room.views[endpoint] = endpoint.view

    patch.setattr(Ledger, "_settle_room", gullible)


# ------------------------------------------------------------------- 8 and the books: honest numbers


@trap(CAPPED)
def come_again_at_once(patch: pytest.MonkeyPatch) -> None:
    """A refused client is told to come again in 0 s."""
    patch.setattr(Outlook, "retry_after_s", lambda self, **what: 0)


@trap(PLAIN)
def waiting_is_explained_twice(patch: pytest.MonkeyPatch) -> None:
    """Some queued seconds are booked under two reasons."""
    accrue = accounting.accrue

    def double(each: Any, books: Ledger, elapsed_s: float) -> Any:
        for band in each:
            band.waits.no_room += elapsed_s * band.queued_requests
        return accrue(each, books, elapsed_s)

    patch.setattr(accounting, "accrue", double)
