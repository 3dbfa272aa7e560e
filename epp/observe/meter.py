"""The writing side of the request metrics: one meter per request, from its arrival to its end.

A meter counts each step once, in whatever order a dying stream lets them come: what comes after the end, or twice,
changes nothing. So the gauges can't drift.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from epp.core.actions import Reason
from epp.observe.labels import UNREADABLE, PriorityNames, RequestLabels
from epp.observe.outcomes import ErrorCode, Outcome, ResponseEnd, error_code_of, outcome_of
from epp.observe.table import SeriesTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.observe.series import RequestSeries


class _Stage(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    OVER = "over"


# Looked up once: an enum's members and values cost as much as counting does.
_QUEUED, _RUNNING, _OVER = _Stage.QUEUED, _Stage.RUNNING, _Stage.OVER
_ABORTED, _COMPLETED = ResponseEnd.ABORTED, ResponseEnd.COMPLETED
_DISPATCHED = Outcome.DISPATCHED.value
_CANCELLED = Outcome.EVICTED_CONTEXT_CANCELLED.value
_CANCELLED_CODE = ErrorCode.SERVICE_UNAVAILABLE.value
_MODEL_SERVER_ERROR = ErrorCode.MODEL_SERVER_ERROR.value
_FIRST_ERROR_STATUS = 400


class RequestBook:
    """Everything that was counted of requests."""

    def __init__(self, *, clock: Callable[[], float], label_limit: int, priorities: PriorityNames) -> None:
        self.clock = clock
        self.series = SeriesTable(label_limit=label_limit, priorities=priorities)
        self.outcomes: dict[tuple[str, str], int] = {}
        """Requests that flow control decided, by (outcome, priority)."""
        self.refusals: dict[tuple[str, str], int] = {}
        """Refusals of any kind, by (priority, reason)."""
        self.responses: dict[str, int] = {}
        """Dispatched requests that ended, by `ResponseEnd`."""
        self.undelivered = 0
        """Requests whose stream was gone when they were to be told of their endpoint."""

    def request_seen(self, labels: RequestLabels, size_bytes: int) -> RequestMeter:
        """A request was submitted to flow control."""
        series = self.series.find(labels, self.clock())
        series.queued += 1
        series.queued_bytes += size_bytes
        return RequestMeter(self, series, size_bytes)

    def rejected(self, labels: RequestLabels | None, reason: Reason) -> None:
        """A request was refused before it got to flow control. `labels` is None if it couldn't be read."""
        now = self.clock()
        series = self.series.find(UNREADABLE if labels is None else labels, now)
        series.used_s = now
        self.refused(series, reason)

    def refused(self, series: RequestSeries, reason: Reason) -> None:
        """One of the series' requests was refused."""
        series.failed(error_code_of(reason).value)
        key = (series.key.priority, reason.value)
        self.refusals[key] = self.refusals.get(key, 0) + 1

    def decided(self, series: RequestSeries, outcome: str, waited_s: float) -> None:
        """Flow control decided one of the series' requests."""
        series.waited(outcome, waited_s)
        key = (outcome, series.key.priority)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    def responded(self, end: ResponseEnd) -> None:
        """A dispatched request ended."""
        name = end.value
        self.responses[name] = self.responses.get(name, 0) + 1


class RequestMeter:
    """Counts what becomes of one request."""

    __slots__ = ("_book", "_series", "_size_bytes", "_stage")

    def __init__(self, book: RequestBook, series: RequestSeries, size_bytes: int) -> None:
        self._book = book
        self._series = series
        self._size_bytes = size_bytes
        self._stage = _QUEUED

    def dispatched(self, *, waited_s: float) -> None:
        """It goes to an endpoint."""
        if self._stage is _QUEUED:
            self._stage = _RUNNING
            series = self._series
            series.queued -= 1
            series.queued_bytes -= self._size_bytes
            series.running += 1
            series.dispatched += 1
            series.request_bytes.observe(self._size_bytes)
            self._book.decided(series, _DISPATCHED, waited_s)

    def refused(self, reason: Reason, *, waited_s: float) -> None:
        """It gets an answer instead of an endpoint."""
        if self._stage is _QUEUED:
            self._leave_queue()
            self._book.decided(self._series, outcome_of(reason, waited_s).value, waited_s)
            self._book.refused(self._series, reason)

    def cancelled(self, *, waited_s: float) -> None:
        """Its client went away while it waited."""
        if self._stage is _QUEUED:
            self._leave_queue()
            self._book.decided(self._series, _CANCELLED, waited_s)
            self._series.failed(_CANCELLED_CODE)

    def undelivered(self, *, waited_s: float) -> None:
        """It was to go to an endpoint, and its stream was gone."""
        if self._stage is not _OVER:
            self._book.undelivered += 1
        if self._stage is _RUNNING:
            self._end()
        else:
            self.cancelled(waited_s=waited_s)

    def evicted(self) -> None:
        """It was running, and its client was told that it gave way."""
        if self._stage is _RUNNING:
            self._end()
            self._book.responded(ResponseEnd.EVICTED)
            self._book.refused(self._series, Reason.EVICTED)

    def ended(
        self,
        end: ResponseEnd,
        *,
        status: int | None,
        duration_s: float,
        ttft_s: float | None,
        input_tokens: int | None,
        output_tokens: int | None,
        cached_tokens: int | None,
        response_bytes: int,
        streaming: bool,
    ) -> None:
        """It was dispatched, and its stream has ended.

        `duration_s` and `ttft_s` count from its arrival. Of a response that was cut off only the fact, the error and
        what it used are counted: its other figures would be those of another response.
        """
        if self._stage is not _RUNNING:
            return
        self._end()
        series = self._series
        self._book.responded(end)
        series.tally.tokens += (input_tokens or 0) + (output_tokens or 0)
        if status is not None and status >= _FIRST_ERROR_STATUS:
            series.failed(_MODEL_SERVER_ERROR)
        if end is _ABORTED:
            return
        series.duration_s.observe(duration_s)
        if end is _COMPLETED:
            series.response_bytes.observe(response_bytes)
        if ttft_s is not None:
            (series.ttft_streaming_s if streaming else series.ttft_s).observe(ttft_s)
        if input_tokens:
            series.input_tokens.observe(input_tokens)
        if cached_tokens is not None:
            series.cached_tokens.observe(cached_tokens)
        if output_tokens:
            series.output_tokens.observe(output_tokens)
            series.ntpot_s.observe(duration_s / output_tokens)
            if streaming and ttft_s is not None and output_tokens > 1:
                series.tpot_s.observe((duration_s - ttft_s) / (output_tokens - 1))

    def _leave_queue(self) -> None:
        self._stage = _OVER
        series = self._series
        series.queued -= 1
        series.queued_bytes -= self._size_bytes
        series.used_s = self._book.clock()

    def _end(self) -> None:
        self._stage = _OVER
        self._series.running -= 1
        self._series.used_s = self._book.clock()
