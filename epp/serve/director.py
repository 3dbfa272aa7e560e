"""The director: puts what conversations say to the core, and carries out what the core wants.

Rules of this file:

- One loop, one writer: every event goes through `feed`, which runs to its end before the next one. What an action
  calls back with is queued behind it, so the core is never entered twice.
- The director keeps one `Ticket` per request, from submission to its end, and nothing else about it.
- A conversation may die at any moment. Whatever answering it raises is a delivery failure of that request alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, assert_never

from epp.core.actions import Action, Dispatch, Evict, Refuse, ScrapeNow, WakeAt
from epp.core.eligibility import ANY
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Ended,
    Event,
    Tick,
)
from epp.extproc.ingress import Refusal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from epp.api.changes import Objective
    from epp.core import Controller
    from epp.core.eligibility import Eligibility
    from epp.extproc.ingress import Answer, RequestFacts, ResponseFacts
    from epp.serve.bookkeeping import Bookkeeping, Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorSettings:
    """What the director was told."""

    longest_ttl_s: float
    """What a client's own waiting budget is cut to; 0 means it isn't."""
    wait_cap_s: float = 0.0
    """What budgets of requests and objectives are cut to, since the gateway waits no longer; 0 means they aren't."""
    ignore_subsets: bool = False


class Director:
    """Implements `extproc.ingress.Picker` on top of the core."""

    def __init__(
        self,
        controller: Controller,
        *,
        settings: DirectorSettings,
        objective: Callable[[str], Objective | None],
        scrape_now: Callable[[tuple[str, str]], None],
        bookkeeping: Bookkeeping,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._controller = controller
        self._settings = settings
        self._objective = objective
        self._scrape_now = scrape_now
        self._books = bookkeeping
        self._loop = loop
        self._tickets: dict[int, Ticket] = {}
        self._last_id = 0
        self._events: deque[Event] = deque()
        self._feeding = False
        self._timer: asyncio.Handle | None = None
        self._timer_s = 0.0
        """When the timer goes off. Kept here, since uvloop gives a handle without a time for one that is due."""

    # ------------------------------------------------------------------ for conversations

    def submit(self, facts: RequestFacts, answer: Answer) -> int:
        """Queue a request. `answer` is called once, perhaps before this returns."""
        self._last_id += 1
        request_id = self._last_id
        objective = self._objective(facts.objective) if facts.objective else None
        priority = objective.priority if objective is not None else 0
        if facts.objective and objective is None:
            self._books.objective_unknown(facts)
        self._tickets[request_id] = self._books.open(facts, answer, priority)
        self.feed(
            Arrived(
                request_id,
                priority,
                facts.fairness_id,
                facts.size_bytes,
                facts.need,
                self._eligibility(facts),
                self.ttl_s(facts, objective),
                facts,
                facts.target_model,
                facts.body_bytes,
                None,
                facts.max_output_tokens,
                1.0 if objective is None else objective.weight,
                facts.slo_s,
            )
        )
        return request_id

    def cancel(self, request_id: int) -> None:
        """The stream of a queued request is gone."""
        ticket = self._tickets.pop(request_id, None)
        if ticket is not None:
            self._books.cancelled(ticket)
            self.feed(Cancelled(request_id))

    def delivery_failed(self, request_id: int) -> None:
        """A dispatched request's stream was gone before it could be told."""
        ticket = self._tickets.pop(request_id, None)
        if ticket is not None:
            self._books.undelivered(ticket)
            self.feed(DeliveryFailed(request_id))

    def ended(self, request_id: int, response: ResponseFacts) -> None:
        """A dispatched request's stream came to its end."""
        ticket = self._tickets.pop(request_id, None)
        if ticket is not None:
            self.feed(Ended(request_id))
            self._books.ended(ticket, response)

    def rejected(self, facts: RequestFacts | None, refusal: Refusal) -> None:
        """A conversation refused a request by itself: too large, or malformed."""
        self._books.rejected(facts, refusal)

    # ------------------------------------------------------------------------ for the shell

    def feed(self, event: Event) -> None:
        """Let the core know, and do what it wants done."""
        self._events.append(event)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._events:
                started_s = perf_counter()
                actions = self._controller.handle(self._events.popleft(), self._loop.time())
                self._books.cycle_ran(perf_counter() - started_s)
                for action in actions:
                    self._carry_out(action)
        finally:
            self._feeding = False

    @property
    def open_requests(self) -> int:
        """Requests queued or running."""
        return len(self._tickets)

    def close(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------------------------ inside

    def _carry_out(self, action: Action) -> None:
        match action:
            case Dispatch():
                self._dispatch(action)
            case Refuse():
                self._refuse(action)
            case Evict():
                pass
            case ScrapeNow(key):
                self._scrape_now(key)
            case WakeAt(at_s):
                self._wake_at(at_s)
            case _:
                assert_never(action)

    def _dispatch(self, action: Dispatch) -> None:
        ticket = self._tickets.get(action.request_id)
        if ticket is None:
            return  # it went away while this was decided, and the core hears of that next
        self._books.dispatched(ticket, action.waited_s)
        try:
            ticket.answer.dispatched(action.endpoint.address, action.waited_s)
        except Exception:
            self._books.answer_failed(ticket)
            self.delivery_failed(action.request_id)

    def _refuse(self, action: Refuse) -> None:
        ticket = self._tickets.pop(action.request_id, None)
        if ticket is None:
            return
        refusal = Refusal(action.reason, action.retry_after_s, "", action.waited_s)
        self._books.refused(ticket, refusal)
        try:
            ticket.answer.refused(refusal)
        except Exception:
            self._books.answer_failed(ticket)

    def _wake_at(self, at_s: float) -> None:
        """Set the timer. One that goes off too early costs a `Tick`, so a later time leaves it alone."""
        if self._timer is not None:
            if self._timer_s <= at_s:
                return
            self._timer.cancel()
        self._timer_s = at_s
        self._timer = self._loop.call_at(at_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.feed(Tick())

    def _eligibility(self, facts: RequestFacts) -> Eligibility:
        return ANY if self._settings.ignore_subsets else facts.eligibility

    def ttl_s(self, facts: RequestFacts, objective: Objective | None) -> float | None:
        """The request's own budget, cut to what the operator grants; else its objective's; else the policy's."""
        granted_s = objective.queue_ttl_s if objective is not None else None
        cap_s = self._settings.wait_cap_s
        if granted_s is not None:
            granted_s = _cut(granted_s, cap_s)
        if facts.ttl_s is None:
            return granted_s
        longest_s = self._settings.longest_ttl_s if granted_s is None else granted_s
        return _cut(_cut(facts.ttl_s, longest_s), cap_s)


def _cut(budget_s: float, longest_s: float) -> float:
    """The smaller of two budgets; 0 stands for one without limit."""
    if not longest_s or not budget_s:
        return budget_s or longest_s
    return min(budget_s, longest_s)
