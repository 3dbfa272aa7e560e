"""One request of the OpenAI chat API, sent and seen through to its end.

Promises:
- No retries, no redirects, no limit of connections: what is measured is the target's behaviour, not the kindness of a
  client library. Connections are kept open for later requests, as clients do.
- Every request that is sent ends in exactly one outcome, with times counted from when it was due; only the
  cancellation of the whole play goes unreported.
- Who has no first token within its patience hangs up, as people do; who is told to hang up does.
- When this machine runs out of descriptors or ports, that is no result but the end of the play: `ExhaustedError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import resource
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import msgspec

from benchmarks.load.answer import AnswerReader
from benchmarks.load.outcome import Outcome, Result
from benchmarks.load.plan import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from yarl import URL

    from benchmarks.load.plan import Due, Manner
    from benchmarks.load.tally import ClassTally

REASON_HEADER = "x-llm-d-request-dropped-reason"
PATH = "/v1/chat/completions"
ANSWER_S = 900.0
"""Whoever has a first token waits so long for the last one."""
CLOSING_S = 5.0
"""Once all requests have ended, their connections may take so long to close."""

_OK = 200
_PICKER_HEADERS = ("x-llm-d-", "retry-after", "x-should-retry")
_SHOWN_BYTES = 120
_LARGE_BYTES = 1 << 20
"""From here on aiohttp wants a file, to send it in pieces."""
_EXHAUSTED = {
    errno.EMFILE: "it has too few file descriptors: raise the limit, `ulimit -n`, now {limit}",
    errno.ENFILE: "this machine has too few file descriptors: raise fs.file-max",
    errno.EADDRNOTAVAIL: "it has no free port left: widen net.ipv4.ip_local_port_range",
}


class ExhaustedError(Exception):
    """The generator's own machine has not enough of something; the message says of what."""


class Leave(Enum):
    """Why a request's task was cancelled."""

    STAYS = "stays"
    HANGS_UP = "hangs up"


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One request under way."""

    due: Due
    manner: Manner
    url: URL
    headers: Mapping[str, str]
    body: bytes
    tally: ClassTally
    leave: Leave = Leave.STAYS
    sent_s: float = 0.0
    first_token_s: float | None = None
    status: int | None = None
    answer_headers: tuple[tuple[str, str], ...] = ()
    chunks: int = 0
    output_tokens: int = 0


class _Usage(msgspec.Struct, frozen=True):
    completion_tokens: int = 0


class _Whole(msgspec.Struct, frozen=True):
    choices: list[msgspec.Raw]
    usage: _Usage = _Usage()


_WHOLE: msgspec.json.Decoder[_Whole] = msgspec.json.Decoder(_Whole)


class Client:
    """Sends requests, as many at once as it is told to. Its times are seconds since `start_s` on `clock`."""

    def __init__(self, *, clock: Callable[[], float], start_s: float) -> None:
        self._clock = clock
        self._start_s = start_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept-encoding", "accept", "user-agent"),
            auto_decompress=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All sockets are told to close at once; aiohttp then waits to hear of each one's end, which may never come.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await self._session.close()

    async def send(self, call: Call) -> None:
        """Send the request now, and see it through. Raises `ExhaustedError`."""
        call.sent_s = self._now_s()
        call.tally.sent()
        patience_s = call.due.due_s + call.manner.patience_s - call.sent_s
        try:
            async with asyncio.timeout(patience_s) as deadline:
                result, detail = await self._exchange(call, deadline)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if call.leave is not Leave.HANGS_UP or task is None or task.uncancel():
                raise
            result, detail = Result.HUNG_UP, ""
        except (aiohttp.ClientError, OSError) as error:
            _raise_if_exhausted(error)
            if not deadline.expired():
                result, detail = Result.BROKEN, f"{type(error).__name__}: {error}"
            elif call.first_token_s is None:
                result, detail = Result.GAVE_UP, ""
            else:
                result, detail = Result.BROKEN, f"no end within {ANSWER_S:g} s of its first token"
        call.tally.ended(self._outcome(call, result, detail))

    async def _exchange(self, call: Call, deadline: asyncio.Timeout) -> tuple[Result, str]:
        body: Any = io.BytesIO(call.body) if len(call.body) >= _LARGE_BYTES else call.body
        async with self._session.post(
            call.url, data=body, headers=call.headers, allow_redirects=False
        ) as response:
            call.status = response.status
            call.answer_headers = _kept(response.headers)
            if response.status != _OK:
                return _judged_failure(response, await response.read())
            if call.manner.delivery is Delivery.STREAM:
                return await self._stream(call, response.content, deadline)
            return await self._whole(call, response.content, deadline)

    async def _stream(
        self, call: Call, content: aiohttp.StreamReader, deadline: asyncio.Timeout
    ) -> tuple[Result, str]:
        reader = AnswerReader()
        tally, start_s, clock = call.tally, self._start_s, self._clock
        before_s = 0.0
        try:
            while data := await content.readany():
                tokens = reader.feed(data)
                if not tokens:
                    continue
                now_s = clock() - start_s
                if call.first_token_s is None:
                    self._started(call, deadline, tokens)
                else:
                    tally.continued(tokens, now_s - before_s)
                before_s = now_s
        finally:
            call.chunks, call.output_tokens = reader.events, reader.tokens
        if reader.error is not None:
            return Result.BROKEN, reader.error
        return (Result.COMPLETED, "") if reader.is_done else (Result.BROKEN, "the answer has no end")

    async def _whole(
        self, call: Call, content: aiohttp.StreamReader, deadline: asyncio.Timeout
    ) -> tuple[Result, str]:
        beginning = await content.readany()
        if beginning:
            self._started(call, deadline, 0)
        raw = beginning + await content.read()
        try:
            answer = _WHOLE.decode(raw)
        except msgspec.DecodeError as error:
            return Result.BROKEN, f"the answer is no chat completion: {error}"
        call.output_tokens = answer.usage.completion_tokens
        call.tally.counts.tokens += call.output_tokens
        return Result.COMPLETED, ""

    def _started(self, call: Call, deadline: asyncio.Timeout, tokens: int) -> None:
        now_s = self._now_s()
        call.first_token_s = now_s
        deadline.reschedule(asyncio.get_running_loop().time() + ANSWER_S)
        call.tally.started(tokens, ttft_s=now_s - call.due.due_s, now_s=now_s)

    def _now_s(self) -> float:
        return self._clock() - self._start_s

    def _outcome(self, call: Call, result: Result, detail: str) -> Outcome:
        due = call.due
        return Outcome(
            class_name=due.class_name,
            tenant=due.tenant,
            due_s=due.due_s,
            sent_s=call.sent_s,
            first_token_s=call.first_token_s,
            ended_s=self._now_s(),
            result=result,
            status=call.status,
            chunks=call.chunks,
            output_tokens=call.output_tokens,
            headers=call.answer_headers,
            detail=detail,
        )


def _kept(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What a picker adds."""
    return tuple(
        (lower, value)
        for name, value in headers.items()
        if (lower := name.lower()).startswith(_PICKER_HEADERS)
    )


def _judged_failure(response: aiohttp.ClientResponse, body: bytes) -> tuple[Result, str]:
    """A refusal is one that says why it refuses; any other failure is nobody's decision."""
    reason = response.headers.get(REASON_HEADER)
    if reason is not None:
        return Result.REFUSED, f"{response.status} {reason}"
    return Result.BROKEN, f"{response.status} {body[:_SHOWN_BYTES].decode('utf-8', 'replace')}"


def _raise_if_exhausted(error: BaseException) -> None:
    remedy = _EXHAUSTED.get(getattr(error, "errno", None) or 0)
    if remedy is not None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        raise ExhaustedError(
            f"the load generator can't open a connection: {remedy.format(limit=soft)}"
        ) from error
