"""The judge: stands before a controller, passes every event on, and tries each decision by brute force.

The actions of one call are its decisions in order, so each of them is judged against the naive state
*at that very decision*: the state before the call, the event, and the decisions before it. The naive state (`naive`)
shares no index with the implementation. What is judged, by the promises of the design:

1. strict: nobody of a higher band who may use the endpoint was queued;
2. in turn: it was the first of its flow (of its band, under global-strict) who may use the endpoint;
5. fair: no other flow that may use the endpoint has had less, by its whole history added up (`tags`);
3. work-conserving: after the call nobody is queued who could run, unless the call asks to be continued at once;
4. no overshoot: the endpoint had room, counted naively;
6. exactly one end; nothing goes to its endpoint at or after its deadline, and nothing expires before;
7. caps hold, displacement takes the newest of the lowest bands, as many as needed or none; bounded steps;
8. `retry_after_s` is 1 to 60, or None for those who can never run.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING

from epp.core.actions import Dispatch, Evict, Reason, Refuse, ScrapeNow, WakeAt
from epp.core.controller import STEP
from epp.core.events import Arrived
from epp.core.fairness import GlobalStrictFairness
from tests.core import naive
from tests.core.partings import EPSILON_S, Partings

if TYPE_CHECKING:
    from epp.core import Controller
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy
    from tests.core.naive import Site, Waiting
    from tests.core.scene import Holdings, Room
    from tests.core.tags import LaneKey

EPSILON = 1e-9
"""Tags that differ by less, relatively, are the same."""
SHORTEST_ASK_S = 0.02
MOST_IDLE_STEPS = 20
EXPIRY = {Reason.TTL_EXPIRED, Reason.NO_ENDPOINTS}


class Oracle(Partings):
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
        super().__init__(policy, now=now, room=room, tolerance_s=tolerance_s)
        self.controller = controller
        self.wake_at_s: float | None = None
        """What the last call asked for."""
        self.dispatches = 0
        self._audit_every = audit_every
        self._idle_steps = 0
        self._was_late = False
        self._used_in_pass: set[int] = set()

    # ------------------------------------------------------------------- the way in

    def handle(self, event: Event, now: float) -> list[Action]:
        """Pass the event on and judge what comes back."""
        self._was_late = self._was_late or (now > self.now and self._is_continued())
        self.advance(now)
        before = self.holdings() if isinstance(event, Arrived) else {}
        actions = self.controller.handle(event, now)
        rest = self._judge_overdue(list(actions))
        newcomer = self.apply(event)
        self._used_in_pass = self.bands.used.copy()
        self._answers = None
        self._decisions = len(actions) - len(rest)
        for action in rest:
            self._judge(action, newcomer)
            self._decisions += 1
        self.retire()
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
        self._expect(self.bands.there == shown.keys(), f"bands {set(shown)}, not {self.bands.there}")
        self._expect(
            self.bands.used == {band.priority for band in statistics.bands if band.in_use},
            f"ceilings should count {self.bands.used}",
        )
        highest = 1.0
        for priority, band in shown.items():
            self._expect(band.queued_requests == by_band[priority], f"band {priority} miscounts")
            if band.in_use:
                self._expect(band.ceiling <= highest, f"the ceiling rises downwards at band {priority}")
                highest = band.ceiling
            running = [h for h in self.running.values() if h.waiting.request.priority == priority]
            self._expect(band.running_requests == len(running), f"band {priority} miscounts what runs")
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
            self._expect(each.has_room == self.has_room(site, 1.0), f"{site.spec.address}: has_room is wrong")

    # ----------------------------------------------------------------- the judgement

    def _judge(self, action: Action, newcomer: Waiting | None) -> None:
        match action:
            case Dispatch():
                self._judge_dispatch(action, newcomer)
            case Refuse():
                self._judge_refusal(action, newcomer)
            case Evict():
                self._judge_eviction(action)
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

    def _judge_dispatch(self, action: Dispatch, newcomer: Waiting | None) -> None:
        waiting = self._known(action.request_id, "dispatched")
        request, who = waiting.request, f"request {action.request_id}"
        site = self.sites.get(action.endpoint.key)
        self._expect(site is not None and site.listed, f"{who} is sent to {action.endpoint}, not of the pool")
        assert site is not None
        self._expect(site.spec == action.endpoint, f"{who} is sent by an old description of {site.spec}")
        self._expect(request.eligibility.admits(site.spec), f"{who} may not use {site.spec.address}")
        self._expect(not self.draining, f"{who} is sent while draining")
        if self.is_shunned(site):
            usable = [each for each in self.listed() if request.eligibility.admits(each.spec)]
            self._expect(all(self.is_shunned(each) for each in usable), f"{who} is sent where nobody listens")
        self._expect(min(self.left_s(waiting)) > -self._tolerance_s, f"{who} is sent after its deadline")
        self._expect(self._waited(waiting, action.waited_s), f"{who}: waited_s is wrong")
        prefill = self._judge_prefill(action, waiting, site)
        if request.need:
            self._expect(not self.is_held(waiting), f"{who} is sent, and its flow is at its cap")
            places = [site] if prefill is None else [site, prefill]
            for place in places:
                self._judge_room(request.priority, place, who)
        self._judge_order(waiting, site)
        self._judge_turn(waiting, site)
        is_new = newcomer is not None and newcomer is waiting
        self._expect((action.entry is None) is is_new, f"{who}: entry {action.entry}, new: {is_new}")
        self.send(waiting, site, prefill)
        self.dispatches += 1

    def _judge_prefill(self, action: Dispatch, waiting: Waiting, site: Site) -> Site | None:
        request, who = waiting.request, f"request {action.request_id}"
        if request.prefill is None or not request.need:
            self._expect(action.prefill is None, f"{who} is sent to a second endpoint that it doesn't need")
            return None
        self._expect(action.prefill is not None, f"{who} lacks its second endpoint")
        assert action.prefill is not None
        prefill = self.sites.get(action.prefill.key)
        self._expect(prefill is not None and prefill.listed, f"{who}: {action.prefill} isn't of the pool")
        assert prefill is not None
        self._expect(prefill is not site, f"{who} got the same endpoint twice")
        self._expect(request.prefill.admits(prefill.spec), f"{who} may not use {prefill.spec.address} first")
        return prefill

    def _judge_room(self, priority: int, site: Site, who: str) -> None:
        """Promise 4. Bands that the pass has emptied may have gone by now, or not yet."""
        left = self._used_in_pass & (self.busy() | self.provided())
        highest = max(
            naive.ceilings(self.policy.ceiling, used | {priority})[priority]
            for used in (self._used_in_pass, left)
        )
        self._expect(
            self.has_room(site, highest),
            f"{who} overshoots {site.spec.address}: {site.view()}, ceiling {highest}",
        )

    def _judge_order(self, waiting: Waiting, site: Site) -> None:
        """Promises 1 and 2. Requests without a body neither wait for the others nor hold them up."""
        mine = waiting.request
        is_global = isinstance(self.rules(mine.priority).fairness, GlobalStrictFairness)
        for other in self.queued.values():
            request = other.request
            if other is waiting or request.need > mine.need or not request.eligibility.admits(site.spec):
                continue
            same_line = request.priority == mine.priority and request.need == mine.need
            same_line = same_line and (is_global or other.flow == waiting.flow)
            same_line = same_line and (other.order_key, other.sequence) < (
                waiting.order_key,
                waiting.sequence,
            )
            if not (same_line or request.priority > mine.priority) or not self._claims(other):
                continue
            promise = "in turn" if same_line else "strictness"
            self._fail(f"{promise}: {mine} is sent to {site.spec.address} before {request}")

    def _claims(self, other: Waiting) -> bool:
        """Whether an endpoint is kept for it that it may use. One that needs two claims none until it can start."""
        if other.request.prefill is not None and other.request.need:
            return self.can_run_now(other)
        return not self.is_held(other)

    def _judge_turn(self, waiting: Waiting, site: Site) -> None:
        """Promise 5: no flow that may use the endpoint now has had less, by its whole history."""
        mine = waiting.request
        fairness = self.rules(mine.priority).fairness
        if not mine.need or not self.knows_turns(fairness) or isinstance(fairness, GlobalStrictFairness):
            return
        heads: dict[tuple[str, LaneKey], Waiting] = {}
        for other in self.queued.values():
            if other.request.priority == mine.priority and other.request.need:
                head = heads.setdefault((other.flow, other.lane), other)
                if (other.order_key, other.sequence) < (head.order_key, head.sequence):
                    heads[other.flow, other.lane] = other
        keys: dict[str, float] = {}
        free = self.free(self.ceilings()[mine.priority])
        for (flow, lane), head in heads.items():
            may_go = (
                lane == waiting.lane or self.can_run_now(head, free)
                if flow == waiting.flow
                else head.request.eligibility.admits(site.spec) and self._claims(head)
            )
            if may_go:
                key = fairness.key(self.tags[mine.priority].key(flow, lane), head.order_key, head.view)
                keys[flow] = min(key, keys.get(flow, key))
        chosen = keys.pop(waiting.flow)
        for flow, key in keys.items():
            if key < chosen - EPSILON * max(1.0, abs(chosen)):
                self._fail(
                    f"turn: {waiting.flow} ({chosen}) goes to {site.spec.address} before {flow} ({key})"
                )

    def _judge_asking(self, key: tuple[str, str]) -> None:
        site = self.sites.get(key)
        self._expect(site is not None and site.listed, f"{key} is asked, a stranger")
        assert site is not None
        self._expect(bool(self.queued), f"{key} is asked while nothing waits")
        self._expect(not self.has_room(site, 1.0), f"{key} is asked, and has room")
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
        self._expect(
            not self._answers or [] in self._answers, f"{self._answers} should have been displaced as well"
        )
        if newcomer is not None and mine in self.queued and self._answers is None:
            self._expect([] in self.verdicts(newcomer), f"{newcomer.request} found no space, and is queued")
        if newcomer is not None and mine in self.queued:
            self._expect(not self.draining, "a newcomer is queued while draining")
            self._expect(
                not self.can_never_run(newcomer.request),
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
            rules = self.policy if whose is None else self.rules(whose)
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
        ceilings = self.ceilings()
        free = {ceiling: self.free(ceiling) for ceiling in set(ceilings.values())}
        if not any(free.values()) and all(waiting.request.need for waiting in self.queued.values()):
            return
        kinds = {(w.request.priority, w.flow, w.lane): w for w in self.queued.values()}
        for waiting in kinds.values():
            if self.can_run_now(waiting, free[ceilings[waiting.request.priority]]):
                self._fail(f"{waiting.request} waits beside room on one of {self.listed()}")

    def _is_continued(self) -> bool:
        return self.wake_at_s is not None and self.wake_at_s <= self.now and bool(self.queued)
