"""Mutants of fairness: wrong rules for whose turn it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epp.core.band import Band
from epp.core.events import Cancelled, DeliveryFailed, Ended
from epp.core.flow import Flow
from epp.core.guard import PolicyGuard
from epp.core.incarnation import Endpoint
from epp.core.running import Running
from epp.core.virtualtime import VirtualTimes
from tests.traps import test_fair_turns
from tests.traps.mutants import falls

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


@falls(test_fair_turns.test_idling_banks_no_credit)
def a_flow_keeps_its_tag_while_it_idles(patch: pytest.MonkeyPatch) -> None:
    """No lift."""
    wake = Flow.wake

    def no_lift(self: Flow, *args: Any, **kwargs: Any) -> None:
        tag = self.tag
        wake(self, *args, **kwargs)
        self.tag = tag

    patch.setattr(Flow, "wake", no_lift)


@falls(test_fair_turns.test_an_idle_system_banks_no_credit_either)
def an_empty_band_keeps_its_tags(patch: pytest.MonkeyPatch) -> None:
    """Tags outlive the band's work, and nobody lifts a newcomer to them."""

    def keep(self: Band, now: float) -> None:
        self.idle_since_s = now

    def no_lift(self: Flow, *args: Any, **kwargs: Any) -> None:
        self.epoch += 1

    rest = Band._rest

    def remember(self: Band, flow: Flow, now: float) -> None:
        rest(self, flow, now)
        self.idle_flows[flow.fairness_id] = flow

    patch.setattr(Band, "_forget", keep)
    patch.setattr(Band, "_rest", remember)
    patch.setattr(Flow, "wake", no_lift)


@falls(test_fair_turns.test_one_request_at_a_time_is_no_trick)
def a_tag_is_dropped_when_its_flow_idles(patch: pytest.MonkeyPatch) -> None:
    """Who comes back starts at virtual time, whatever it has had."""
    rest = Band._rest

    def forget(self: Band, flow: Flow, now: float) -> None:
        rest(self, flow, now)
        flow.home = None

    patch.setattr(Band, "_rest", forget)


@falls(
    test_fair_turns.test_a_settlement_is_as_if_the_size_had_been_known,
    test_fair_turns.test_wrong_estimates_keep_the_wider_bound_and_the_ratio,
)
def what_was_estimated_is_what_is_charged(patch: pytest.MonkeyPatch) -> None:
    """No settlement."""
    patch.setattr(Flow, "settle", lambda self, correction, epoch: False)


@falls(test_fair_turns.test_a_short_queue_loses_no_refund)
def a_refund_is_clamped_to_the_present(patch: pytest.MonkeyPatch) -> None:
    """As APF does: a refund never puts a flow before virtual time."""
    ended = Band.ended

    def clamp(self: Band, held: Any, guard: Any, *, correction: float, now: float) -> None:
        lead = held.flow.tag - self.virtual.latest
        ended(self, held, guard, correction=max(correction, min(0.0, -lead)), now=now)

    patch.setattr(Band, "ended", clamp)


@falls(test_fair_turns.test_a_refund_does_not_jump_the_time_that_its_flow_was_away)
def a_refund_ignores_the_lift(patch: pytest.MonkeyPatch) -> None:
    """Charges from before the last lift are given back on top of it."""
    settle = Flow.settle
    patch.setattr(Flow, "settle", lambda self, correction, epoch: settle(self, correction, self.epoch))


@falls(test_fair_turns.test_a_huge_refund_does_not_jump_the_time_away_even_without_a_lift)
def a_return_that_lifts_nothing_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Only a lift that moved the tag counts when an older charge is refunded."""
    wake = Flow.wake

    def heedless(self: Flow, *args: Any, **kwargs: Any) -> None:
        epoch, wakes, tag = self.epoch, list(self._wakes), self.tag
        wake(self, *args, **kwargs)
        if self.tag == tag:
            self.epoch, self._wakes = epoch, wakes

    patch.setattr(Flow, "wake", heedless)


@falls(test_fair_turns.test_a_settlement_moves_what_is_queued_already)
def a_settlement_leaves_the_queue_as_it_is(patch: pytest.MonkeyPatch) -> None:
    """The tag is corrected, and nobody's turn is worked out anew."""
    settle = Flow.settle

    def silent(self: Flow, correction: float, epoch: int) -> bool:
        settle(self, correction, epoch)
        return False

    patch.setattr(Flow, "settle", silent)


def _corrected(patch: pytest.MonkeyPatch, rule: Callable[[Any, Any], float | None]) -> None:
    correction = Running._correction

    def other(self: Running, held: Any, event: Any, now: float) -> float:
        wrong = rule(held, event)
        return correction(self, held, event, now) if wrong is None else wrong

    patch.setattr(Running, "_correction", other)


@falls(test_fair_turns.test_missing_usage_keeps_the_estimate)
def missing_usage_is_nothing_used(patch: pytest.MonkeyPatch) -> None:
    """Without usage the charge goes back to zero."""
    _corrected(
        patch,
        lambda held, event: -held.cost if isinstance(event, Ended) and event.input_tokens is None else None,
    )


@falls(test_fair_turns.test_aborted_work_stays_charged)
def aborted_work_is_free(patch: pytest.MonkeyPatch) -> None:
    """Who goes away in the middle gets the charge back."""
    _corrected(patch, lambda held, event: -held.cost if isinstance(event, Cancelled) else None)


@falls(test_fair_turns.test_usage_that_comes_twice_is_settled_once)
def every_usage_is_settled(patch: pytest.MonkeyPatch) -> None:
    """Usage that comes again is charged again."""
    gone, ended = Running.gone, {}

    def again(self: Running, event: Any, now: float) -> bool:
        held = self.requests.get(event.request_id) or ended.get(event.request_id)
        if held is None or event.request_id in self.requests:
            ended[event.request_id] = held
            return gone(self, event, now)
        held.flow.tag += held.cost + self._correction(held, event, now)
        held.band.rerank(held.flow, self._guard)
        return False

    patch.setattr(Running, "gone", again)


@falls(test_fair_turns.test_usage_that_comes_twice_is_settled_once)
def the_first_byte_frees_the_slot(patch: pytest.MonkeyPatch) -> None:
    """Whoever begins to answer counts as done."""
    patch.setattr(Running, "first_byte", lambda self, number, now: self.gone(Ended(number), now))


@falls(test_fair_turns.test_a_fast_endpoint_does_not_starve_who_may_not_use_it)
def one_virtual_time_per_band(patch: pytest.MonkeyPatch) -> None:
    """The fast endpoint's time counts on the slow one as well."""
    patch.setattr(VirtualTimes, "_start_of", lambda self, lane: (self.latest, self.latest_at))


@falls(test_fair_turns.test_virtual_time_never_runs_backwards)
def virtual_time_runs_backwards(patch: pytest.MonkeyPatch) -> None:
    """V := S, and a flow that enters another lane brings its tag as it is."""
    served = VirtualTimes.served

    def backwards(self: VirtualTimes, endpoint: Endpoint, start: float) -> None:
        served(self, endpoint, start)
        self._times[endpoint] = start

    patch.setattr(VirtualTimes, "served", backwards)
    patch.setattr(VirtualTimes, "offset", lambda self, flow, lane: 0.0)


@falls(test_fair_turns.test_exact_estimates_keep_the_tight_bound_at_any_concurrency)
def charged_at_the_end_only(patch: pytest.MonkeyPatch) -> None:
    """Post hoc, as least attained service does it."""
    dispatch = Band.dispatch

    def for_free(self: Band, item: Any, endpoint: Any, guard: PolicyGuard, now: float) -> float:
        tag = item.flow.tag
        cost = dispatch(self, item, endpoint, guard, now)
        item.flow.tag = tag
        self.rerank(item.flow, guard)
        return cost

    correction = Running._correction

    def all_of_it(self: Running, held: Any, event: Any, now: float) -> float:
        if isinstance(event, DeliveryFailed):
            return 0.0
        return held.cost + correction(self, held, event, now)

    patch.setattr(Band, "dispatch", for_free)
    patch.setattr(Running, "_correction", all_of_it)
