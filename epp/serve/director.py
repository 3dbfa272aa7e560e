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
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from epp.config.runtime import ExplainHeaders
from epp.config.weights import UNWEIGHTED, Weights
from epp.core.actions import Action, Dispatch, Evict, Reason, Refuse, ScrapeNow, WakeAt
from epp.core.eligibility import ANY, Serving, narrowed
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Ended,
    Event,
    FirstByte,
    PolicyChanged,
    Tick,
    Unseen,
)
from epp.core.eviction import Begun
from epp.extproc.ingress import Explanation, HeadersPass, Refusal, ResponseOutcome
from epp.serve.garbage import GarbageLooks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from epp.api.changes import Objective
    from epp.core import Controller
    from epp.core.actions import Entry
    from epp.core.eligibility import Eligibility
    from epp.core.policy import FlowControlPolicy
    from epp.extproc.ingress import Answer, RequestFacts, ResponseFacts
    from epp.serve.bookkeeping import Bookkeeping, Ticket


# Looked up once: a member of an enum costs as much as a call.
_AT_ONCE: Final = HeadersPass.AT_ONCE
_NOT_EXPLAINED: Final = ExplainHeaders.OFF
_COMPLETED: Final = ResponseOutcome.COMPLETED
_BY_TIME: Final = Unseen.BY_TIME

_EVICTED_RETRY_AFTER_S = 1
"""An evicted request that comes again is queued like any other, so there is nothing to wait for."""


class Witness(Protocol):
    """Somebody who looks on. Must not fail, and must not take long."""

    @property
    def wants_first_bytes(self) -> bool:
        """Whether `FirstByte` is worth feeding for its sake, whatever the core's policy makes of it."""

    def hears(self, event: Event, now: float) -> None:
        """The core is about to be told of `event`."""

    def decided(self, event: Event, actions: list[Action], now: float) -> None:
        """This is what it made of it, and what is about to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorSettings:
    """What the configuration says to the director; replaced as a whole by `Director.adopt`."""

    policy: FlowControlPolicy
    """The one that the core has."""
    max_request_ttl_s: float | None = None
    """The longest waiting budget that a client may give itself, 0 meaning any; None: what it has if it gives none."""
    wait_cap_s: float = 0.0
    """What budgets are cut to, since the gateway waits no longer; 0 means they aren't."""
    ignore_subsets: bool = False
    weights: Weights = UNWEIGHTED
    """Where they say nothing of a tenant, its objective's holds."""
    explain: ExplainHeaders = ExplainHeaders.OFF


class Director:
    """Implements `extproc.ingress.Picker` on top of the core."""

    def __init__(
        self,
        controller: Controller,
        *,
        settings: DirectorSettings,
        objective: Callable[[str], Objective | None],
        declared_models: Callable[[], frozenset[str]] = frozenset,
        scrape_now: Callable[[tuple[str, str]], None],
        bookkeeping: Bookkeeping,
        loop: asyncio.AbstractEventLoop,
        witness: Witness | None = None,
    ) -> None:
        """`declared_models` gives the models that endpoints of the pool declare to serve, all of them together."""
        self._controller = controller
        self._settings = settings
        self._objective = objective
        self._declared_models = declared_models
        self._scrape_now = scrape_now
        self._books = bookkeeping
        self._loop = loop
        self._witness = witness
        self._tickets: dict[int, Ticket] = {}
        self._last_id = 0
        self._garbage = GarbageLooks()
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
                self._settings.weights.of(facts.fairness_id, 1.0 if objective is None else objective.weight),
                facts.slo_s,
            )
        )
        self._garbage.request_came(queued_requests=self._controller.queued_requests)
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

    def first_byte(self, request_id: int) -> None:
        """A dispatched request's response has begun."""
        witness = self._witness
        is_wanted = self._settings.policy.wants_first_bytes or (
            witness is not None and witness.wants_first_bytes
        )
        if is_wanted and request_id in self._tickets:
            self.feed(FirstByte(request_id))

    def ended(self, request_id: int, response: ResponseFacts) -> None:
        """A dispatched request's stream came to its end."""
        ticket = self._tickets.pop(request_id, None)
        if ticket is not None:
            output_tokens = response.output_tokens
            if output_tokens is None and response.outcome is _COMPLETED:
                # Embeddings say what they took in, and nothing else, since nothing is written.
                output_tokens = None if response.input_tokens is None else 0
            self.feed(Ended(request_id, response.input_tokens, output_tokens, _unseen(response.outcome)))
            self._books.ended(ticket, response)

    def rejected(self, facts: RequestFacts | None, refusal: Refusal) -> None:
        """A conversation refused a request by itself: too large, or malformed."""
        self._books.rejected(facts, refusal)

    # ------------------------------------------------------------------------ for the shell

    def adopt(self, settings: DirectorSettings) -> None:
        """Go by these from now on, and the core as well. Whatever is queued or running stays."""
        changed = settings.policy is not self._settings.policy
        self._settings = settings
        if changed:
            self.feed(PolicyChanged(settings.policy))

    def feed(self, event: Event) -> None:
        """Let the core know, and do what it wants done."""
        self._events.append(event)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._events:
                started_s = perf_counter()
                event, now = self._events.popleft(), self._loop.time()
                witness = self._witness
                if witness is not None:
                    witness.hears(event, now)
                actions = self._controller.handle(event, now)
                if witness is not None:
                    witness.decided(event, actions, now)
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
            case Evict(request_id):
                self._evict(request_id)
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
        ticket.explanation = self._explanation(ticket, action.entry, action.request_id)
        try:
            ticket.answer.dispatched(
                action.endpoint.address, action.waited_s, ticket.explanation, headers=self._headers(ticket)
            )
        except Exception:
            self._books.answer_failed(ticket)
            self.delivery_failed(action.request_id)

    def _refuse(self, action: Refuse) -> None:
        ticket = self._tickets.pop(action.request_id, None)
        if ticket is None:
            return
        refusal = Refusal(
            action.reason,
            action.retry_after_s,
            "",
            action.waited_s,
            self._explanation(ticket, action.entry, action.request_id),
        )
        self._books.refused(ticket, refusal)
        try:
            ticket.answer.refused(refusal)
        except Exception:
            self._books.answer_failed(ticket)

    def _evict(self, request_id: int) -> None:
        ticket = self._tickets.get(request_id)
        if ticket is None:
            return
        policy = self._settings.policy.eviction
        begun = Begun.SPARED if policy is None else policy.begun
        refusal = Refusal(Reason.EVICTED, _EVICTED_RETRY_AFTER_S, "", ticket.waited_s, ticket.explanation)
        try:
            evicted = ticket.answer.evicted(refusal, begun)
        except Exception:
            self._books.answer_failed(ticket)
            return
        if not evicted:
            # Its response has begun, or ended, which the core is about to hear: either way this one is spared.
            self.first_byte(request_id)

    def _headers(self, ticket: Ticket) -> HeadersPass:
        """A request that may be evicted until its response begins keeps that open as long as it can.

        Model servers send the headers of a stream long before its first token.
        """
        policy = self._settings.policy.eviction
        if policy is None or policy.begun is Begun.EVICTED or ticket.priority >= policy.below_priority:
            return _AT_ONCE
        return HeadersPass.WITH_BODY

    def _explanation(self, ticket: Ticket, entry: Entry | None, request_id: int) -> Explanation | None:
        if self._settings.explain is _NOT_EXPLAINED:
            return None
        if entry is None:
            return Explanation(ticket.priority, 0, "", request_id)
        return Explanation(ticket.priority, entry.position, entry.blocked_by.value, request_id)

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
        subset = ANY if self._settings.ignore_subsets else facts.eligibility
        declared = self._declared_models()
        # A request without a body asks no model anything.
        if not declared or not facts.need:
            return subset
        return narrowed(subset, Serving(facts.target_model if facts.target_model in declared else ""))

    def ttl_s(self, facts: RequestFacts, objective: Objective | None) -> float | None:
        """The request's own budget, cut to what the operator grants; else its objective's; else None: the policy's.

        Wherever the gateway would not wait that long, what it does wait for.
        """
        settings = self._settings
        policy = settings.policy
        usual_s = objective.queue_ttl_s if objective is not None else None
        is_policys = usual_s is None and facts.ttl_s is None
        if usual_s is None:
            usual_s = policy.band(0 if objective is None else objective.priority).ttl_s
        if usual_s is None:
            usual_s = policy.ttl_s
        budget_s = usual_s
        if facts.ttl_s is not None:
            longest_s = usual_s if settings.max_request_ttl_s is None else settings.max_request_ttl_s
            budget_s = _cut(facts.ttl_s, longest_s)
        granted_s = _cut(budget_s, settings.wait_cap_s)
        return None if is_policys and granted_s == usual_s else granted_s


def _unseen(outcome: ResponseOutcome) -> Unseen:
    """How a request is charged whose usage was not seen."""
    if outcome is _COMPLETED:
        return _BY_TIME
    match outcome:
        case ResponseOutcome.ENDED:
            return Unseen.BY_TIME
        case ResponseOutcome.ABORTED | ResponseOutcome.EVICTED:
            return Unseen.KEEP
        case _:
            assert_never(outcome)


def _cut(budget_s: float, longest_s: float) -> float:
    """The smaller of two budgets; 0 stands for one without limit."""
    if not longest_s or not budget_s:
        return budget_s or longest_s
    return min(budget_s, longest_s)
