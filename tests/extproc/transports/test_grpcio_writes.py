"""One stream of the grpcio transport without grpc: what is read and written when, each of it in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc.aio
import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest, ProcessingResponse

from epp.core.actions import Reason
from epp.core.eviction import Begun
from epp.extproc.body import MOST_OWED
from epp.extproc.ingress import Refusal, ResponseOutcome
from epp.extproc.request import ConversationSettings
from epp.extproc.transports.grpcio import _Call
from tests.extproc import gateway
from tests.extproc.fakes import Decide, FakePicker
from tests.extproc.talk import PASSTHROUGH

REFUSED = Refusal(Reason.SATURATED, retry_after_s=1, message="", waited_s=0.0)
REQUEST = (gateway.request_headers(), gateway.request_body())
USUAL = ConversationSettings()
USAGE = b'data: {"usage":{"prompt_tokens":3,"completion_tokens":5}}\n\n'


class Broken(grpc.aio.BaseError):
    """What reads and writes raise once the stream is gone."""


class Wire:
    """A servicer's context: gives what the test sends, and finishes a write when the test says so."""

    def __init__(self) -> None:
        self.written: list[ProcessingResponse] = []
        self.reads = 0
        self._sent: asyncio.Queue[object] = asyncio.Queue()
        self._writes: list[asyncio.Future[None]] = []

    async def read(self) -> object:
        """The next message, in its turn."""
        self.reads += 1
        message = await self._sent.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def write(self, message: bytes) -> None:
        """Begin at once, and end when the test wants."""
        assert all(write.done() for write in self._writes), "two writes at a time"
        self.written.append(ProcessingResponse.parse(message))
        self._writes.append(asyncio.get_running_loop().create_future())
        await self._writes[-1]

    @property
    def is_writing(self) -> bool:
        """Whether a write is under way."""
        return bool(self._writes) and not self._writes[-1].done()

    async def send(self, *messages: ProcessingRequest) -> None:
        """The gateway sends these, and the reader gets its chance."""
        for message in messages:
            self._sent.put_nowait(bytes(message))
        await turns()

    async def end(self, last: object = grpc.aio.EOF) -> None:
        """The gateway closes its side, or the stream breaks."""
        self._sent.put_nowait(last)
        await turns()

    async def finish_write(self, error: Exception | None = None) -> None:
        """The write under way is done, or fails."""
        write = self._writes[-1]
        if error is None:
            write.set_result(None)
        else:
            write.set_exception(error)
        await turns()

    async def finish_writes(self) -> None:
        """All writes, until nothing is left to be written."""
        while self.is_writing:
            await self.finish_write()


class Stream:
    """One call on such a wire, with the task that grpc would run it in."""

    def __init__(self, picker: FakePicker, settings: ConversationSettings) -> None:
        self.wire = Wire()
        self.tasks: set[asyncio.Task[None]] = set()
        self.call = _Call(settings, picker=picker, context=cast("Any", self.wire), spawn=self._spawn)
        self.handler = asyncio.create_task(self.call.run())

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    @property
    def kinds(self) -> list[str]:
        """Which answers have been written, or begun to be."""
        return gateway.kinds(self.wire.written)


async def turns() -> None:
    """Let everybody run who can."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def opened(picker: FakePicker, settings: ConversationSettings = USUAL) -> AsyncIterator[Stream]:
    """A stream; afterwards its handler has ended, and so has all that it began."""
    stream = Stream(picker, settings)
    await turns()
    yield stream
    await turns()
    assert stream.handler.done()
    assert not stream.tasks
    assert not stream.wire.is_writing


@asynccontextmanager
async def streaming(picker: FakePicker) -> AsyncIterator[Stream]:
    """A stream that passes a response on, with everything written so far."""
    async with opened(picker) as stream:
        await stream.wire.send(*REQUEST, gateway.response_headers())
        await stream.wire.finish_writes()
        stream.wire.written.clear()
        yield stream


async def test_the_answer_is_written_in_the_turn_that_made_it() -> None:
    """Neither a decision at once nor one on another stream's account waits for a task to be scheduled."""
    picker = FakePicker(Decide.LATER)
    async with opened(picker) as stream:
        await stream.wire.send(*REQUEST)
        assert stream.kinds == []
        picker.dispatch_all()
        assert stream.kinds == ["request_headers"]
        await stream.wire.finish_writes()
        assert stream.kinds == ["request_headers", "request_body"]
        await stream.wire.send(gateway.response_headers(end=True))
        await stream.wire.finish_writes()
        await stream.wire.end()
    assert picker.heard == {"submit": 1, "ended": 1}


async def test_chunks_that_come_during_a_write_go_together() -> None:
    """The first goes at once; what comes until it is written follows in one message, and its usage is found."""
    picker = FakePicker()
    async with streaming(picker) as stream:
        tokens = [f"data: {number}\n\n".encode() for number in range(6)]
        await stream.wire.send(gateway.response_body(tokens[0]))
        assert gateway.body_sent(stream.wire.written, "response_body") == tokens[0]
        await stream.wire.send(*map(gateway.response_body, [*tokens[1:], USAGE[:30]]))
        await stream.wire.send(gateway.response_body(USAGE[30:]), gateway.response_body(b"", end=True))
        assert len(stream.wire.written) == 1
        await stream.wire.finish_write()
        assert len(stream.wire.written) == 2
        assert picker.responses == []
        await stream.wire.finish_write()
        assert gateway.body_sent(stream.wire.written, "response_body") == b"".join(tokens) + USAGE
        assert [each.end_of_stream for each in gateway.pieces(stream.wire.written, "response_body")] == [
            False,
            True,
        ]
        await stream.wire.end()
    (response,) = picker.responses
    assert (response.outcome, response.output_tokens) == (ResponseOutcome.COMPLETED, 5)


async def test_trailers_follow_what_waited() -> None:
    """They come last, in a message of their own."""
    async with streaming(FakePicker()) as stream:
        await stream.wire.send(*(gateway.response_body(b"x") for _ in range(3)), gateway.response_trailers())
        await stream.wire.finish_writes()
        assert stream.kinds == ["response_body", "response_body", "response_trailers"]
        assert gateway.body_sent(stream.wire.written, "response_body") == b"xxx"
        await stream.wire.end()


async def test_reading_ahead_is_bounded() -> None:
    """While a write is stuck, as much is taken in as the next one can carry, and nothing more until it is done."""
    async with streaming(FakePicker()) as stream:
        chunk = b"x" * 10_000
        before = stream.wire.reads
        await stream.wire.send(*(gateway.response_body(chunk) for _ in range(40)))
        await turns()
        assert stream.wire.reads - before <= 62_000 // len(chunk) + 2
        taken = 0
        while stream.wire.is_writing:
            taken += 1
            await stream.wire.finish_write()
            sizes = [len(each.body) for each in gateway.pieces(stream.wire.written, "response_body")]
            assert max(sizes) <= 62_000
        assert 40 // 7 <= taken <= 40 // 6 + 3
        assert sum(sizes) == 400_000
        await stream.wire.send(gateway.response_body(b"", end=True))
        await stream.wire.finish_writes()
        await stream.wire.end()


async def test_answers_without_bodies_are_bounded_too() -> None:
    """A gateway that keeps the request's body wants an answer to each piece: it isn't read on while it reads none."""
    async with opened(FakePicker(), PASSTHROUGH) as stream:
        await stream.wire.send(gateway.request_headers(config=gateway.STREAMED))
        assert stream.wire.is_writing
        await stream.wire.send(*(gateway.request_body(b"", end=False) for _ in range(100)))
        await turns()
        assert stream.wire.reads <= MOST_OWED + 2
        await stream.wire.finish_writes()
        for _ in range(10):
            await turns()
            await stream.wire.finish_writes()
        assert stream.kinds == ["request_headers"] + ["request_body"] * 100
        await stream.wire.end(Broken())


async def test_a_gateway_may_close_its_side_during_a_write() -> None:
    """What is still owed is written, then the end is told, and only then is the stream over."""
    picker = FakePicker()
    async with streaming(picker) as stream:
        await stream.wire.send(gateway.response_body(b"a"), gateway.response_body(b"b", end=True))
        await stream.wire.end()
        assert not stream.handler.done()
        await stream.wire.finish_write()
        assert not stream.handler.done()
        assert picker.responses == []
        await stream.wire.finish_write()
        assert gateway.body_sent(stream.wire.written, "response_body") == b"ab"
    assert [each.outcome for each in picker.responses] == [ResponseOutcome.COMPLETED]


async def test_a_reset_during_a_write() -> None:
    """The end is told at once; the write is left alone until it fails, and nothing is written after it."""
    picker = FakePicker()
    async with streaming(picker) as stream:
        await stream.wire.send(gateway.response_body(b"a"), gateway.response_body(b"b"))
        stream.handler.cancel()
        await turns()
        assert [each.outcome for each in picker.responses] == [ResponseOutcome.ABORTED]
        await stream.wire.end(Broken())
        assert stream.tasks, "whoever waits for the stream's tasks waits for its write"
        await stream.wire.finish_write(Broken())
        assert len(stream.wire.written) == 1
    assert stream.handler.cancelled()


async def test_a_write_that_fails_ends_the_stream() -> None:
    """A stream that is gone under a write is an end like any other."""
    picker = FakePicker()
    async with streaming(picker) as stream:
        await stream.wire.send(gateway.response_body(b"a"), gateway.response_body(b"b"))
        await stream.wire.finish_write(Broken())
        assert stream.handler.done()
        assert [each.outcome for each in picker.responses] == [ResponseOutcome.ABORTED]
        await stream.wire.end(Broken())


async def test_an_answer_whose_write_failed_was_not_delivered() -> None:
    """Though the gateway's side is closed in the same moment, and heard of before the handler has its turn."""
    picker = FakePicker()
    async with opened(picker) as stream:
        await stream.wire.send(*REQUEST)
        assert stream.kinds == ["request_headers"]
        stream.wire._writes[-1].set_exception(Broken())
        await stream.wire.end()
        assert len(stream.wire.written) == 1
    assert picker.heard == {"submit": 1, "delivery_failed": 1}


async def test_a_cancelled_write_ends_the_stream() -> None:
    """Whoever cancels what grpc waits for leaves no stream behind that can never say anything again."""
    picker = FakePicker()
    async with streaming(picker) as stream:
        await stream.wire.send(gateway.response_body(b"a"), gateway.response_body(b"b"))
        stream.wire._writes[-1].cancel()
        await turns()
        assert stream.handler.done()
        await stream.wire.end(Broken())
    assert [each.outcome for each in picker.responses] == [ResponseOutcome.ABORTED]


async def test_an_eviction_during_a_write_is_the_last_word() -> None:
    """It overtakes chunks that wait, not the one that is being written."""
    picker = FakePicker()
    async with streaming(picker) as stream:
        await stream.wire.send(gateway.response_body(b"a"), gateway.response_body(b"b"))
        assert picker.evict_all(Begun.EVICTED) == [True]
        await stream.wire.finish_writes()
        assert stream.kinds == ["response_body", "immediate_response"]
        assert stream.handler.done()
        await stream.wire.end(Broken())
    assert [each.outcome for each in picker.responses] == [ResponseOutcome.EVICTED]


async def test_a_bug_during_a_write_fails_the_stream() -> None:
    """An exception where none is allowed reaches the handler, which grpc logs, and nobody waits for ever."""

    class Buggy(FakePicker):
        def ended(self, request_id: int, response: object) -> None:
            raise RuntimeError("a bug")

    async with streaming(Buggy()) as stream:
        await stream.wire.send(gateway.response_body(b"a", end=True))
        await stream.wire.finish_write()
        with pytest.raises(RuntimeError, match="a bug"):
            await stream.handler
        await stream.wire.end(Broken())
