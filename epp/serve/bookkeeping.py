"""What is written down of every request: its metrics, and the few log lines that somebody would want.

Requests come by the thousand, so a log line about one is rate-limited by what it says, with a count of those left
out. No prompt and no header value is ever logged, but the names that operators gave: objectives, models, reasons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from epp.extproc.ingress import ResponseOutcome
from epp.observe.labels import RequestLabels
from epp.observe.outcomes import ResponseEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.extproc.ingress import Answer, Explanation, Refusal, RequestFacts, ResponseFacts
    from epp.observe.logs import RateLimitedLog
    from epp.observe.meter import RequestMeter
    from epp.observe.metrics import Metrics


# Looked up once: a member of an enum costs as much as a call.
_COMPLETED: Final = ResponseOutcome.COMPLETED
_EVICTED: Final = ResponseOutcome.EVICTED
_ENDED_COMPLETED: Final = ResponseEnd.COMPLETED
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""Only what could be an objective's name is ever shown of a header that names one."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One request between its submission and its end."""

    facts: RequestFacts
    answer: Answer
    priority: int
    arrived_s: float
    meter: RequestMeter
    waited_s: float = 0.0
    explanation: Explanation | None = None
    """What its client is told of the queue, if anything."""


class Bookkeeping:
    """Metrics and logs of requests."""

    def __init__(self, metrics: Metrics, log: RateLimitedLog, *, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self.cycle_ran = metrics.cycle_ran

    def open(self, facts: RequestFacts, answer: Answer, priority: int) -> Ticket:
        """A request is about to be queued."""
        for name in facts.invalid_headers:
            self._metrics.header_ignored(name)
        meter = self._metrics.request_seen(_labels(facts, priority), size_bytes=facts.size_bytes)
        return Ticket(facts, answer, priority, self._clock(), meter)

    def dispatched(self, ticket: Ticket, waited_s: float) -> None:
        """It goes to an endpoint."""
        ticket.waited_s = waited_s
        ticket.meter.dispatched(waited_s=waited_s)

    def refused(self, ticket: Ticket, refusal: Refusal) -> None:
        """It is refused by the core."""
        ticket.meter.refused(refusal.reason, waited_s=refusal.waited_s)
        self._log.info(
            "request refused",
            key=(refusal.reason, ticket.priority),
            reason=refusal.reason.value,
            priority=ticket.priority,
            waited_s=round(refusal.waited_s, 3),
            retry_after_s=refusal.retry_after_s,
        )

    def cancelled(self, ticket: Ticket) -> None:
        """Its stream was gone while it waited."""
        ticket.meter.cancelled(waited_s=self._clock() - ticket.arrived_s)

    def undelivered(self, ticket: Ticket) -> None:
        """Its stream was gone when it was to be told of its endpoint."""
        ticket.meter.undelivered(waited_s=ticket.waited_s)

    def ended(self, ticket: Ticket, response: ResponseFacts) -> None:
        """Its stream came to its end."""
        if response.outcome is _EVICTED:
            self._evicted(ticket, response)
            return
        first_s = response.first_byte_s
        ticket.meter.ended(
            _end(response.outcome),
            status=response.status,
            duration_s=response.ended_s - ticket.arrived_s,
            ttft_s=None if first_s is None else first_s - ticket.arrived_s,
            input_tokens=response.input_tokens,
            output_tokens=response.output_tokens,
            cached_tokens=response.cached_tokens,
            response_bytes=response.response_bytes,
            streaming=ticket.facts.streaming,
        )

    def _evicted(self, ticket: Ticket, response: ResponseFacts) -> None:
        ticket.meter.evicted()
        self._log.info(
            "request evicted",
            key=("request evicted", ticket.priority),
            priority=ticket.priority,
            waited_s=round(ticket.waited_s, 3),
            served_s=round(response.ended_s - ticket.arrived_s - ticket.waited_s, 3),
        )

    def rejected(self, facts: RequestFacts | None, refusal: Refusal) -> None:
        """A conversation refused it before it was queued."""
        self._metrics.rejected(None if facts is None else _labels(facts, 0), refusal.reason)
        self._log.info("request refused", key=refusal.reason, reason=refusal.reason.value)

    def objective_unknown(self, facts: RequestFacts) -> None:
        """It names an objective that the pool doesn't have."""
        self._metrics.objective_unknown()
        self._log.warning(
            "a request names an objective that this pool doesn't have: it gets priority 0",
            key="unknown objective",
            objective=facts.objective
            if _KUBERNETES_NAME.fullmatch(facts.objective)
            else "(not a Kubernetes name)",
        )

    def answer_failed(self, ticket: Ticket) -> None:
        """Telling a conversation of its decision raised: a bug of ours, of which only this request suffers."""
        self._log.exception("a conversation failed", key="answer failed", priority=ticket.priority)


def _labels(facts: RequestFacts, priority: int) -> RequestLabels:
    return RequestLabels(facts.model, facts.target_model, facts.fairness_id, priority)


def _end(outcome: ResponseOutcome) -> ResponseEnd:
    if outcome is _COMPLETED:
        return _ENDED_COMPLETED
    match outcome:
        case ResponseOutcome.ABORTED:
            return ResponseEnd.ABORTED
        case ResponseOutcome.ENDED:
            return ResponseEnd.ENDED
        case ResponseOutcome.EVICTED:
            return ResponseEnd.EVICTED
        case _:
            assert_never(outcome)
