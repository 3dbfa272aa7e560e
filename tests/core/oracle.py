"""The judge: stands before a controller, passes every event on, and tries each decision by brute force.

The actions of one call are its decisions in order, so each of them is judged against the naive state
*at that very decision*: the state before the call, the event, and the decisions before it. The naive state (`naive`)
shares no index with the implementation. What is judged, by the promises of the design:

1. strict: nobody of a higher band who may use the endpoint was queued;
2. in turn: it was the first of its flow (of its band, under global-strict) who may use the endpoint;
3. work-conserving: after the call nobody is queued who could run, unless the call asks to be continued at once;
4. no overshoot: the endpoint had room, counted naively;
6. exactly one end; nothing goes to its endpoint at or after its deadline, and nothing expires before;
7. caps hold, displacement takes the newest of the lowest bands, as many as needed or none; bounded steps;
8. `retry_after_s` is 1 to 60, or None for those who can never run.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, NoReturn

from epp.core.actions import Dispatch, Reason, Refuse, ScrapeNow, WakeAt
from epp.core.controller import STEP
from epp.core.events import Arrived
from epp.core.fairness import GlobalStrictFairness
from tests.core import naive
from tests.core.shadow import Shadow

if TYPE_CHECKING:
    from epp.core import Controller
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy
    from tests.core.naive import Site, Waiting
    from tests.core.shadow import Holdings, Room

EPSILON_S = 1e-6
"""Sums of many floats are compared to this precision."""
SHORTEST_ASK_S = 0.02
MOST_IDLE_STEPS = 20
EXPIRY = {Reason.TTL_EXPIRED, Reason.NO_ENDPOINTS}


class WrongDecisionError(AssertionError):
    """The controller did what no honest reading of the promises allows."""


class Oracle(Shadow):
    """A controller under observation: `handle` is the controller's, and raises at the first wrong decision."""

    def __init__(
        self,
        controller: Controller,
        policy: FlowControlPolicy,
        *,
        now: float = 0.0,
        audit_every: int = 1,
        tolerance_s: float = 0.0,
        room: Room = naive.has_room,
    ) -> None:
        """`tolerance_s`: how exactly deadlines are judged; 0 if all times are multiples of a power of two."""
        super().__init__(policy, now=now, room=room)
        self.controller = controller
        self.wake_at_s: float | None = None
        """What the last call asked for."""
        self.steps = 0
        self.dispatches = 0
        self._audit_every = audit_every
        self._tolerance_s = tolerance_s
        self._decisions = 0
        self._idle_steps = 0
        self._was_late = False
        self._bands_in_pass: set[int] = set()
        self._victims: list[int] | None = None

    # ------------------------------------------------------------------- the way in

    def handle(self, event: Event, now: float) -> list[Action]:
        """Pass the event on and judge what comes back."""
        self._was_late = self._was_late or (now > self.now and self._is_continued())
        self.advance(now)
        before = self.holdings() if isinstance(event, Arrived) else {}
        actions = self.controller.handle(event, now)
        rest = self._judge_overdue(list(actions))
        newcomer = self.apply(event)
        self._bands_in_pass = self.in_use()
        self._victims = None
        self._decisions = len(actions) - len(rest)
        for action in rest:
            self._judge(action, newcomer)
            self._decisions += 1
        self._judge_steps(actions, newcomer)
        if isinstance(event, Arrived):
            self._judge_caps(before)
        self._judge_waking()
        if not self._is_continued():
            self._judge_conservation()
        self.steps += 1
        if self.steps % self._audit_every == 0:
            self.audit()
        return actions

    def audit(self) -> None:
        """Let the controller check itself, and compare what it reports with the naive count."""
        self.controller.check()
        statistics = self.controller.statistics(self.now)
        self._expect(statistics.queued_requests == len(self.queued), "queued_requests is wrong")
        self._expect(statistics.queued_bytes == self.queued_bytes(), "queued_bytes is wrong")
        self._expect(statistics.running_requests == len(self.running), "running_requests is wrong")
        by_band = Counter(waiting.request.priority for waiting in self.queued.values())
        shown = {band.priority: band for band in statistics.bands}
        self._expect(list(shown) == sorted(shown, reverse=True), "bands are not shown highest first")
        self._expect(self.in_use() <= shown.keys(), "a band is missing")
        highest = 1.0
        for priority, band in shown.items():
            self._expect(band.queued_requests == by_band[priority], f"band {priority} miscounts")
            self._expect(band.ceiling <= highest, f"the ceiling rises downwards at band {priority}")
            highest = band.ceiling
            mine = [each for each in self.queued.values() if each.request.priority == priority]
            oldest = max((self.now - each.arrived_s for each in mine), default=0.0)
            self._expect(
                abs(band.oldest_wait_s - oldest) < EPSILON_S, f"band {priority}: oldest wait is wrong"
            )
        explained = {priority: band.wait_s for priority, band in shown.items()} | dict(
            statistics.retired_wait_s
        )
        self._expect(explained.keys() >= self.queued_s.keys(), "the waiting of a band is forgotten")
        for priority, reasons in explained.items():
            total, expected = sum(reasons.values()), self.queued_s.get(priority, 0.0)
            self._expect(
                abs(total - expected) <= EPSILON_S * (1 + expected),
                f"band {priority}: {total} s of waiting explained, {expected} s waited",
            )
        if self.same_policy:
            flows = sum(len(band.flows) for band in statistics.bands)
            self._expect(flows <= self.policy.max_flows + len(shown), f"{flows} flows are too many")
        if not self._was_late:
            self._expect(statistics.idle_eligible_slot_s == 0, "room was idle while eligible work waited")
        listed = {site.spec.key: site for site in self.sites.values() if site.listed}
        self._expect({e.view.spec.key for e in statistics.endpoints} == set(listed), "endpoints differ")
        for each in statistics.endpoints:
            site = listed[each.view.spec.key]
            self._expect(each.view == site.view(), f"{each.view} should be {site.view()}")
            self._expect(
                each.has_room == self.room(self.policy, site, 1.0), f"{site.spec.address}: has_room is wrong"
            )

    # ----------------------------------------------------------------- the judgement

    def _judge(self, action: Action, newcomer: Waiting | None) -> None:
        match action:
            case Dispatch():
                self._judge_dispatch(action)
            case Refuse():
                self._judge_refusal(action, newcomer)
            case ScrapeNow(key):
                self._judge_asking(key)
            case WakeAt(at_s):
                self._expect(at_s >= self.now, f"WakeAt {at_s} is in the past")

    def _judge_overdue(self, actions: list[Action]) -> list[Action]:
        """Expiries come before the event; judge and take off those at the front."""
        while actions:
            first = actions[0]
            if not (isinstance(first, Refuse) and first.reason in EXPIRY and first.request_id in self.queued):
                break
            self._judge_refusal(first, None)
            actions = actions[1:]
        return actions

    def _judge_dispatch(self, action: Dispatch) -> None:
        waiting = self._leave(action.request_id, "dispatched")
        request, who = waiting.request, f"request {action.request_id}"
        site = self.sites.get(action.endpoint.key)
        self._expect(site is not None and site.listed, f"{who} is sent to {action.endpoint}, not of the pool")
        assert site is not None
        self._expect(site.spec == action.endpoint, f"{who} is sent by an old description of {site.spec}")
        self._expect(request.eligibility.admits(site.spec), f"{who} may not use {site.spec.address}")
        self._expect(not self.draining, f"{who} is sent while draining")
        self._expect(min(self.left_s(waiting)) > -self._tolerance_s, f"{who} is sent after its deadline")
        self._expect(self._waited(waiting, action.waited_s), f"{who}: waited_s is wrong")
        if request.need:
            # Bands that the pass has emptied may have retired by now, or not yet.
            highest = max(
                naive.ceilings(self.policy.ceiling, bands | {request.priority})[request.priority]
                for bands in (self.in_use(), self._bands_in_pass)
            )
            self._expect(
                self.room(self.policy, site, highest),
                f"{who} overshoots {site.spec.address}: {site.view()}, ceiling {highest}",
            )
        self._judge_order(waiting, site)
        self.send(waiting, site)
        self.dispatches += 1

    def _judge_order(self, waiting: Waiting, site: Site) -> None:
        """Promises 1 and 2. Requests without a body neither wait for the others nor hold them up."""
        mine = waiting.request
        is_global = isinstance(self.policy.band(mine.priority).fairness, GlobalStrictFairness)
        for other in self.queued.values():
            request = other.request
            if request.need > mine.need or not request.eligibility.admits(site.spec):
                continue
            if request.priority > mine.priority:
                self._fail(f"strictness: {mine} is sent to {site.spec.address} before {request}")
            same_line = request.priority == mine.priority and request.need == mine.need
            same_line = same_line and (is_global or request.fairness_id == mine.fairness_id)
            if same_line and (other.order_key, other.sequence) < (waiting.order_key, waiting.sequence):
                self._fail(f"in turn: {mine} is sent to {site.spec.address} before {request}")

    def _judge_refusal(self, action: Refuse, newcomer: Waiting | None) -> None:
        is_new = newcomer is not None and newcomer.request.request_id == action.request_id
        if action.reason is Reason.QUEUE_PRESSURE:
            if self._victims is None:
                self._expect(newcomer is not None, "a request is displaced by nobody")
                assert newcomer is not None
                self._victims = self.expected_victims(newcomer)
            self._expect(
                self._victims[:1] == [action.request_id],
                f"request {action.request_id} is displaced; expected next are {self._victims}",
            )
            self._victims.pop(0)
        if is_new and action.reason in {Reason.SATURATED, Reason.NO_ENDPOINTS}:
            assert newcomer is not None
            self._judge_turning_away(action, newcomer)
        elif action.reason in EXPIRY:
            waiting = self.queued.get(action.request_id)
            busy_left_s, empty_left_s = (inf, inf) if waiting is None else self.left_s(waiting)
            left_s = busy_left_s if action.reason is Reason.TTL_EXPIRED else empty_left_s
            self._expect(left_s <= self._tolerance_s, f"expires early, or for another reason: {action}")
        elif action.reason is Reason.SHUTTING_DOWN:
            self._expect(self.draining, f"{action}, though nobody is stopping")
        else:
            self._expect(action.reason is Reason.QUEUE_PRESSURE, f"{action} makes no sense")
        waiting = self._leave(action.request_id, action.reason.value)
        self._expect(self._waited(waiting, action.waited_s), f"{action}: waited_s is wrong")
        hint = action.retry_after_s
        if hint is None:
            can_never_run = is_new and self.can_never_run(waiting.request.eligibility)
            self._expect(can_never_run, f"{action}: waiting can help, and no hint is given")
        else:
            self._expect(type(hint) is int and 1 <= hint <= 60, f"{action}: an absurd hint")

    def _judge_turning_away(self, action: Refuse, newcomer: Waiting) -> None:
        if self.can_never_run(newcomer.request.eligibility):
            self._expect(action.reason is Reason.NO_ENDPOINTS, f"{action}: it can never run")
            return
        expected = Reason.NO_ENDPOINTS if self.pool_is_empty() else Reason.SATURATED
        self._expect(action.reason is expected, f"{action}: expected {expected}")
        if self._decisions < STEP:
            self._expect(not self.can_run_now(newcomer), f"{action}, though it could run")
        rules = self.policy.band(newcomer.request.priority)
        mine = [w for w in self.queued.values() if w.request.priority == newcomer.request.priority]
        band_is_full = (
            len(mine) > rules.max_requests or sum(w.request.size_bytes for w in mine) > rules.max_bytes
        )
        places, size = self.excess(newcomer)
        nobody_to_displace = (places or size) and not self.expected_victims(newcomer)
        self._expect(
            band_is_full or nobody_to_displace or self.is_one_subset_too_many(newcomer),
            f"{action}: nothing is full",
        )

    def _judge_asking(self, key: tuple[str, str]) -> None:
        site = self.sites.get(key)
        self._expect(site is not None and site.listed, f"{key} is asked, a stranger")
        assert site is not None
        self._expect(bool(self.queued), f"{key} is asked while nothing waits")
        self._expect(not self.room(self.policy, site, 1.0), f"{key} is asked, and has room")
        self._expect(self.now - site.asked_s >= SHORTEST_ASK_S - EPSILON_S, f"{key} is asked too often")
        site.asked_s = self.now

    def _judge_steps(self, actions: list[Action], newcomer: Waiting | None) -> None:
        mine = None if newcomer is None else newcomer.request.request_id
        decisions = [
            a for a in actions if isinstance(a, Dispatch) or (isinstance(a, Refuse) and a.request_id != mine)
        ]
        displaced = [a for a in decisions if isinstance(a, Refuse) and a.reason is Reason.QUEUE_PRESSURE]
        self._expect(len(decisions) - len(displaced) <= STEP, f"{len(decisions)} decisions in one call")
        self._expect(len(displaced) <= STEP, f"{len(displaced)} requests displaced in one call")
        self._expect(not self._victims, f"{self._victims} should have been displaced as well")
        if newcomer is not None and mine in self.queued:
            self._expect(not self.draining, "a newcomer is queued while draining")
            self._expect(
                not self.can_never_run(newcomer.request.eligibility),
                "a newcomer is queued that can never run",
            )
        wakes = [action for action in actions if isinstance(action, WakeAt)]
        self._expect(
            len(wakes) <= 1 and wakes == list(actions[len(actions) - len(wakes) :]), "WakeAt isn't last"
        )
        self.wake_at_s = wakes[0].at_s if wakes else None
        # A step may also be spent on forgetting; but not for long.
        self._idle_steps = self._idle_steps + 1 if self._is_continued() and len(decisions) < STEP else 0
        self._expect(
            self._idle_steps < MOST_IDLE_STEPS, "one continuation after the other, and nothing is decided"
        )

    def _judge_caps(self, before: Holdings) -> None:
        """An arrival exceeds no cap, unless one was lowered before; then it makes nothing worse."""
        for whose, (count, size) in self.holdings().items():
            rules = self.policy if whose is None else self.policy.band(whose)
            old_count, old_size = before.get(whose, (0, 0))
            most, largest = rules.max_requests, rules.max_bytes
            self._expect(
                most is None or count <= max(most, old_count), f"{whose}: {count} requests are too many"
            )
            self._expect(
                largest is None or size <= max(largest, old_size), f"{whose}: {size} bytes are too much"
            )
        if self.same_policy:
            self._expect(len(self.lanes()) <= self.policy.max_lanes, f"{self.lanes()} are too many lanes")

    def _judge_waking(self) -> None:
        if self.draining:
            self._expect(
                not self.queued or self._is_continued(), "refusals are left over and nobody is woken"
            )
            return
        if not self.queued:
            return
        busy_s, empty_s = self.clocks()
        busy_left_s = min(waiting.busy_until_s for waiting in self.queued.values()) - busy_s
        empty_left_s = min(waiting.empty_until_s for waiting in self.queued.values()) - empty_s
        is_overdue = min(busy_left_s, empty_left_s) <= -self._tolerance_s
        self._expect(not is_overdue or self._is_continued(), "an overdue request is still queued")
        nearest_s = max(0.0, empty_left_s if self.pool_is_empty() else busy_left_s)
        for site in self.sites.values():
            if site.listed and site.is_fresh:
                nearest_s = min(nearest_s, site.sample_received_s + self.policy.staleness_s - self.now)
        if nearest_s < inf:
            self._expect(
                self.wake_at_s is not None and self.wake_at_s <= self.now + nearest_s + EPSILON_S,
                f"nobody is woken for the deadline in {nearest_s} s: {self.wake_at_s}",
            )

    def _judge_conservation(self) -> None:
        """Promise 3, by brute force."""
        if self.draining:
            return
        ceilings, listed = self.ceilings(), self.listed()
        open_sites = {
            ceiling: [site for site in listed if self.room(self.policy, site, ceiling)]
            for ceiling in set(ceilings.values())
        }
        if not any(open_sites.values()) and all(waiting.request.need for waiting in self.queued.values()):
            return
        for waiting in self.queued.values():
            request = waiting.request
            usable = open_sites[ceilings[request.priority]] if request.need else listed
            for site in usable:
                if request.eligibility.admits(site.spec):
                    self._fail(
                        f"request {request.request_id} ({request.priority}) waits beside room on {site.view()}"
                    )

    # --------------------------------------------------------------------- questions

    def _leave(self, request_id: int, end: str) -> Waiting:
        waiting = self.queued.pop(request_id, None)
        before = self.ends.get(request_id, "running" if request_id in self.running else "unknown")
        self._expect(waiting is not None, f"request {request_id} is {end}, but it is {before} already")
        assert waiting is not None
        if end != "dispatched":
            self.ends[request_id] = end
        return waiting

    def _waited(self, waiting: Waiting, claimed_s: float) -> bool:
        return abs(self.now - waiting.arrived_s - claimed_s) <= EPSILON_S

    def _is_continued(self) -> bool:
        return self.wake_at_s is not None and self.wake_at_s <= self.now and bool(self.queued)

    def _expect(self, holds: object, otherwise: str) -> None:
        if not holds:
            self._fail(otherwise)

    def _fail(self, what: str) -> NoReturn:
        raise WrongDecisionError(f"{what} (step {self.steps}, {self.now} s)")
