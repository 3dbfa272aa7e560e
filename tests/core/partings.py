"""The judge of those who go: refusals, displacements and evictions, each by the promises and the caps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from epp.core.actions import Evict, Reason, Refuse
from epp.core.controller import STEP
from epp.core.eviction import Begun
from epp.core.policy import EarlyRefusal
from tests.core.shadow import Shadow

if TYPE_CHECKING:
    from epp.core.policy import FlowControlPolicy
    from tests.core.naive import Waiting
    from tests.core.scene import Dispatched, Room

EPSILON_S = 1e-6
"""Sums of many floats are compared to this precision."""


class WrongDecisionError(AssertionError):
    """The controller did what no honest reading of the promises allows."""


class Partings(Shadow):
    """A shadow that judges who is refused, and who has to end."""

    def __init__(self, policy: FlowControlPolicy, *, now: float, room: Room, tolerance_s: float) -> None:
        super().__init__(policy, now=now, room=room)
        self.steps = 0
        self._tolerance_s = tolerance_s
        self._decisions = 0
        self._answers: list[list[int]] | None = None
        """Whom a newcomer may make give way; more than one answer where two flows hold the same."""

    def _judge_refusal(self, action: Refuse, newcomer: Waiting | None) -> None:
        is_new = newcomer is not None and newcomer.request.request_id == action.request_id
        waiting = self._known(action.request_id, action.reason.value)
        match action.reason:
            case Reason.QUEUE_PRESSURE:
                self._judge_displacement(action, newcomer)
            case Reason.SATURATED | Reason.NO_ENDPOINTS if is_new:
                self._judge_turning_away(action, waiting)
            case Reason.TTL_EXPIRED | Reason.NO_ENDPOINTS:
                busy_left_s, empty_left_s = self.left_s(waiting)
                left_s = busy_left_s if action.reason is Reason.TTL_EXPIRED else empty_left_s
                self._expect(left_s <= self._tolerance_s, f"expires early, or for another reason: {action}")
            case Reason.SHUTTING_DOWN:
                self._expect(self.draining, f"{action}, though nobody is stopping")
            case Reason.WOULD_EXPIRE:
                is_asked = self.policy.early_refusal is EarlyRefusal.WHEN_SURE
                self._expect(is_new and is_asked, f"{action}: nobody asked to be refused early")
                self._expect(waiting.view.deadline_s is not None, f"{action}: it may wait for ever")
                self._expect(self._answers is None, f"{action}, after somebody gave way for it")
            case _:
                self._fail(f"{action} makes no sense")
        self.leave(waiting)
        self.ends[action.request_id] = action.reason.value
        self._expect(self._waited(waiting, action.waited_s), f"{action}: waited_s is wrong")
        hint = action.retry_after_s
        if hint is None:
            can_never_run = is_new and self.can_never_run(waiting.request)
            self._expect(can_never_run, f"{action}: waiting can help, and no hint is given")
        else:
            self._expect(type(hint) is int and 1 <= hint <= 60, f"{action}: an absurd hint")

    def _judge_displacement(self, action: Refuse, newcomer: Waiting | None) -> None:
        if self._answers is None:
            self._expect(newcomer is not None, "a request is displaced by nobody")
            assert newcomer is not None
            self._answers = [each for each in self.verdicts(newcomer) if each is not None]
        fitting = [each[1:] for each in self._answers if each[:1] == [action.request_id]]
        self._expect(fitting, f"{action.request_id} is displaced; expected next are {self._answers}")
        self._answers = fitting

    def _judge_turning_away(self, action: Refuse, newcomer: Waiting) -> None:
        if self.can_never_run(newcomer.request):
            self._expect(action.reason is Reason.NO_ENDPOINTS, f"{action}: it can never run")
            return
        expected = Reason.NO_ENDPOINTS if self.pool_is_empty() else Reason.SATURATED
        self._expect(action.reason is expected, f"{action}: expected {expected}")
        if self._decisions < STEP:
            self._expect(not self.can_run_now(newcomer), f"{action}, though it could run")
        self._expect(None in self.verdicts(newcomer), f"{action}: there is space, or others have to give way")

    def _judge_eviction(self, action: Evict) -> None:
        rules = self.policy.eviction
        held = self.running.get(action.request_id)
        self._expect(rules is not None and held is not None, f"{action} makes no sense")
        assert rules is not None
        assert held is not None
        self._expect(not held.evicted, f"{action} a second time")
        demand = [w for w in self.queued.values() if w.request.need and not self.is_held(w)]
        ceilings = self.ceilings()
        demand = [w for w in demand if ceilings[w.request.priority] > 0]
        self._expect(demand, f"{action}, and nobody waits for room")
        highest = max(w.request.priority for w in demand)
        wanted = [w.request for w in demand if w.request.priority == highest]

        def is_victim(each: Dispatched) -> bool:
            request = each.waiting.request
            may = (
                request.priority < min(highest, rules.below_priority)
                and request.need > 0
                and not each.evicted
            )
            may = may and not (rules.begun is Begun.SPARED and each.begun)
            return may and any(w.eligibility.admits(each.site.spec) for w in wanted)

        self._expect(is_victim(held), f"{action}: not for {wanted}")
        others = [each for each in self.running.values() if is_victim(each) and each.site is held.site]
        lowest = min(each.waiting.request.priority for each in others)
        self._expect(held.waiting.request.priority == lowest, f"{action}: there are lower ones")
        latest_s = max(each.sent_s for each in others if each.waiting.request.priority == lowest)
        self._expect(held.sent_s == latest_s, f"{action}: there are newer ones")
        held.evicted = True

    def _known(self, request_id: int, end: str) -> Waiting:
        waiting = self.queued.get(request_id)
        before = self.ends.get(request_id, "running" if request_id in self.running else "unknown")
        self._expect(waiting is not None, f"request {request_id} is {end}, but it is {before} already")
        assert waiting is not None
        return waiting

    def _waited(self, waiting: Waiting, claimed_s: float) -> bool:
        return abs(self.now - waiting.arrived_s - claimed_s) <= EPSILON_S

    def _expect(self, holds: object, otherwise: str) -> None:
        if not holds:
            self._fail(otherwise)

    def _fail(self, what: str) -> NoReturn:
        raise WrongDecisionError(f"{what} (step {self.steps}, {self.now} s)")
