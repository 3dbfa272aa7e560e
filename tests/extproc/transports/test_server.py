"""Both transports from outside: a real gRPC client on the loopback, and a picker that does as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import grpc
import grpc.aio
import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest, ProcessingResponse

from epp.core.actions import Reason
from epp.core.eviction import Begun
from epp.extproc.ingress import Refusal, ResponseOutcome
from epp.extproc.parsers import Parsers
from epp.extproc.request import ConversationSettings
from epp.extproc.transports.choice import make_transport
from epp.extproc.transports.transport import PortSharing, ServerSettings, Transport, TransportName
from tests.extproc import gateway
from tests.extproc.fakes import Decide, FakePicker
from tests.extproc.frames import PATH, RawConnection

MIB = 1024 * 1024
PASSTHROUGH = ConversationSettings(parsers=Parsers(("passthrough-parser",)))
REFUSED = Refusal(Reason.TTL_EXPIRED, retry_after_s=2, message="", waited_s=1.0)

pytestmark = pytest.mark.timeout(60)


class Client:
    """Streams to one server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._open: Any = channel.stream_stream(
            PATH, request_serializer=bytes, response_deserializer=ProcessingResponse.parse
        )

    async def stream(self, *messages: ProcessingRequest) -> Any:
        """A new stream, with messages sent on it."""
        call = self._open()
        for message in messages:
            await call.write(message)
        return call

    async def chat(self) -> Any:
        """A new stream with a whole request."""
        return await self.stream(gateway.request_headers(), gateway.request_body())


class Serving(Protocol):
    """A server on a free port and a client of it; afterwards no stream and no task of theirs is left."""

    def __call__(
        self, picker: FakePicker, conversation: ConversationSettings | None = None, **settings: Any
    ) -> AbstractAsyncContextManager[tuple[Transport, Client]]: ...


@pytest.fixture
def serving(transport: TransportName) -> Serving:
    """Each test here runs on each transport."""

    @asynccontextmanager
    async def serve(
        picker: FakePicker, conversation: ConversationSettings | None = None, **settings: Any
    ) -> AsyncIterator[tuple[Transport, Client]]:
        before = asyncio.all_tasks()
        server = make_transport(
            transport,
            picker,
            conversation=conversation,
            settings=ServerSettings(port=0, host="127.0.0.1", **settings),
        )
        await server.start()
        # Messages of any size: the limits under test are the server's.
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
                yield server, Client(channel)
        finally:
            await server.stop()
        # grpc may still begin what it had taken in before, only for it to end at once.
        await until(lambda: server.streams == 0 and asyncio.all_tasks() <= before)

    return serve


async def until(condition: Callable[[], bool]) -> None:
    """Let others work until it is so; the test's timeout is the deadline."""
    while not condition():  # noqa: ASYNC110 - what is waited for raises no event
        await asyncio.sleep(0.001)


async def heard(call: Any, count: int) -> list[ProcessingResponse]:
    """The next messages of a stream."""
    return [await call.read() for _ in range(count)]


async def closed(call: Any) -> grpc.StatusCode:
    """The status of a stream on which nothing more comes."""
    assert await call.read() is grpc.aio.EOF
    code: grpc.StatusCode = await call.code()
    return code


async def test_a_whole_exchange(serving: Serving) -> None:
    """A request goes to its endpoint and a response comes back, on one stream that ends well."""
    picker = FakePicker()
    async with serving(picker) as (_, client):
        call = await client.chat()
        answer, piece = await heard(call, 2)
        mutation = answer.request_headers.response.header_mutation
        assert gateway.set_headers(mutation) == {"x-gateway-destination-endpoint": gateway.ADDRESS}
        assert gateway.body_sent([piece], "request_body") == gateway.CHAT
        await call.write(gateway.response_headers())
        await call.write(gateway.response_body(b'{"usage":{"prompt_tokens":3}}', end=True))
        assert gateway.kinds(await heard(call, 2)) == ["response_headers", "response_body"]
        await picker.has_heard(ended=1)
        await call.done_writing()
        assert await closed(call) is grpc.StatusCode.OK
    assert picker.responses[0].outcome is ResponseOutcome.COMPLETED
    assert picker.responses[0].input_tokens == 3
    assert picker.heard == {"submit": 1, "first_byte": 1, "ended": 1}


async def test_an_eviction_reaches_a_gateway_that_waits(serving: Serving) -> None:
    """A running request is told to end out of the blue: the refusal is sent, then the stream ends, then it is over."""
    picker = FakePicker()
    async with serving(picker) as (_, client):
        call = await client.chat()
        await heard(call, 2)
        assert picker.evict_all() == [True]
        assert picker.responses == []
        (answer,) = await heard(call, 1)
        assert int(answer.immediate_response.status.code) == 429
        assert await closed(call) is grpc.StatusCode.OK
        assert picker.evict_all() == []
    assert [each.outcome for each in picker.responses] == [ResponseOutcome.EVICTED]


async def test_an_eviction_waits_for_what_is_being_written(serving: Serving) -> None:
    """While a message is still being written nothing else is: the refusal follows it."""
    picker = FakePicker()
    async with serving(picker) as (_, client):
        call = await client.chat()
        await heard(call, 2)
        await call.write(gateway.response_headers())
        await call.write(gateway.response_body(b"x" * 4 * MIB))
        await picker.has_heard(first_byte=1)
        assert picker.evict_all(Begun.EVICTED) == [True]
        assert gateway.kinds(await heard(call, 3)) == [
            "response_headers",
            "response_body",
            "immediate_response",
        ]
        assert await closed(call) is grpc.StatusCode.OK
    assert [each.outcome for each in picker.responses] == [ResponseOutcome.EVICTED]


async def test_a_decision_that_comes_later(serving: Serving) -> None:
    """A queued stream hears of its dispatch when it happens, and goes on as usual."""
    picker = FakePicker(Decide.LATER)
    async with serving(picker) as (_, client):
        call = await client.chat()
        await picker.has_heard(submit=1)
        picker.dispatch_all()
        assert gateway.kinds(await heard(call, 2)) == ["request_headers", "request_body"]
        await call.write(gateway.response_headers(end=True))
        (answer,) = await heard(call, 1)
        waited = gateway.set_headers(answer.response_headers.response.header_mutation)
        assert waited == {"x-llm-d-flow-queue-duration-ms": "500"}
        await call.done_writing()
        assert await closed(call) is grpc.StatusCode.OK
    assert picker.heard == {"submit": 1, "ended": 1}


@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_refusal_closes_the_stream(serving: Serving, half_closed: bool) -> None:
    """The refusal comes as an HTTP answer and the stream ends well, whether or not the gateway closed its side."""
    picker = FakePicker(Decide.LATER)
    async with serving(picker) as (server, client):
        call = await client.chat()
        if half_closed:
            await call.done_writing()
        await picker.has_heard(submit=1)
        picker.refuse_all(REFUSED)
        (answer,) = await heard(call, 1)
        assert int(answer.immediate_response.status.code) == 429
        assert await closed(call) is grpc.StatusCode.OK
        await until(lambda: server.streams == 0)
    assert picker.heard == {"submit": 1}


async def test_a_half_closed_stream_is_dispatched(serving: Serving) -> None:
    """A gateway that only listens any more gets its answers and the end of the stream."""
    picker = FakePicker(Decide.LATER)
    async with serving(picker) as (_, client):
        call = await client.stream(gateway.request_headers(config=None), gateway.request_body())
        await call.done_writing()
        await picker.has_heard(submit=1)
        assert not picker.heard["cancel"]
        picker.dispatch_all()
        assert gateway.kinds(await heard(call, 2)) == ["request_headers", "request_body"]
        assert await closed(call) is grpc.StatusCode.OK
    assert picker.responses[0].outcome is ResponseOutcome.ENDED


async def test_a_reset_while_queued_cancels(serving: Serving) -> None:
    """A stream that breaks while it waits leaves the queue, and deciding about it later does no harm."""
    picker = FakePicker(Decide.LATER)
    async with serving(picker) as (server, client):
        call = await client.chat()
        await picker.has_heard(submit=1)
        (answer,) = picker.waiting.values()
        call.cancel()
        await picker.has_heard(cancel=1)
        answer.dispatched(gateway.ADDRESS, 0.0)
        await until(lambda: server.streams == 0)
    assert picker.heard == {"submit": 1, "cancel": 1}


async def test_a_reset_while_running_ends(serving: Serving) -> None:
    """A stream that breaks in the middle of its response is told as unfinished."""
    picker = FakePicker()
    async with serving(picker) as (_, client):
        call = await client.chat()
        await heard(call, 2)
        await call.write(gateway.response_headers())
        await heard(call, 1)
        call.cancel()
        await picker.has_heard(ended=1)
    assert picker.responses[0].outcome is ResponseOutcome.ABORTED


async def test_many_streams_that_break_at_any_point(serving: Serving) -> None:
    """Whatever the moment, every submission gets exactly one end, and nothing is left behind."""
    picker = FakePicker(Decide.LATER)

    async def fickle(client: Client, patience: int) -> None:
        call = await client.stream(gateway.request_headers())
        for _ in range(patience):
            await asyncio.sleep(0)
        if patience % 3:
            await call.write(gateway.request_body())
        for _ in range(patience):
            await asyncio.sleep(0)
        call.cancel()

    async with serving(picker) as (server, client):
        tasks = [asyncio.create_task(fickle(client, patience)) for patience in range(60)]
        while not all(task.done() for task in tasks):
            picker.dispatch_all()
            await asyncio.sleep(0)
        await until(lambda: server.streams == 0)
    ends = picker.heard["cancel"] + picker.heard["ended"] + picker.heard["delivery_failed"]
    assert ends == picker.heard["submit"]


async def test_a_body_of_50_mb_in_one_message_is_too_large(serving: Serving) -> None:
    """It is answered with 413, never with a gRPC error."""
    picker = FakePicker()
    async with serving(picker) as (_, client):
        call = await client.stream(
            gateway.request_headers(), gateway.request_body(b"x" * 50_000_000, end=True)
        )
        (answer,) = await heard(call, 1)
        assert int(answer.immediate_response.status.code) == 413
        assert await closed(call) is grpc.StatusCode.OK
    assert picker.heard == {"rejected": 1}


async def test_a_body_that_grows_is_refused_with_the_part_that_is_too_much(serving: Serving) -> None:
    """The 33rd of endless mebibytes gets the 413."""
    picker = FakePicker()
    async with serving(picker) as (_, client):
        call = await client.stream(gateway.request_headers())
        for _ in range(33):
            await call.write(gateway.request_body(b"x" * MIB, end=False))
        (answer,) = await heard(call, 1)
        assert int(answer.immediate_response.status.code) == 413
        assert await closed(call) is grpc.StatusCode.OK
    assert picker.heard == {"rejected": 1}


async def test_a_message_size_can_be_configured(serving: Serving) -> None:
    """A message above the configured size is grpc's to refuse, and takes nothing else down."""
    picker = FakePicker()
    async with serving(picker, max_receive_bytes=1000) as (_, client):
        call = await client.stream(gateway.request_headers(), gateway.request_body(b"x" * 2000))
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        call = await client.chat()
        assert gateway.kinds(await heard(call, 2)) == ["request_headers", "request_body"]
        call.cancel()
    assert picker.heard == {"submit": 1, "ended": 1}


async def test_large_bodies_come_back_whole(serving: Serving) -> None:
    """20 MB that waited come back in order, in pieces the gateway can take."""
    picker = FakePicker(Decide.LATER)
    chunks = [bytes([number]) * MIB for number in range(20)]
    async with serving(picker) as (_, client):
        call = await client.stream(gateway.request_headers(path="/raw"))
        for chunk in chunks:
            await call.write(gateway.request_body(chunk, end=False))
        await call.write(gateway.request_body(b"", end=True))
        await picker.has_heard(submit=1)
        picker.dispatch_all()
        await heard(call, 1)
        pieces = await heard(call, 20)
        assert gateway.body_sent(pieces, "request_body") == b"".join(chunks)
        call.cancel()
        await picker.has_heard(ended=1)


@pytest.mark.parametrize("value", ["x" * 60_000, b"\xff\xfe" * 100], ids=["60 KB", "not UTF-8"])
async def test_strange_headers_are_tolerated(serving: Serving, value: str | bytes) -> None:
    """A header of 60 KB, and one that is no text, pass; as control headers they are ignored and reported."""
    picker = FakePicker()
    names = ("cookie", "x-llm-d-inference-objective")
    async with serving(picker) as (_, client):
        call = await client.stream(gateway.request_headers(dict.fromkeys(names, value), end=True))
        (answer,) = await heard(call, 1)
        assert gateway.kinds([answer]) == ["request_headers"]
        call.cancel()
        await picker.has_heard(ended=1)
    assert picker.facts[0].objective == ""
    assert picker.facts[0].invalid_headers == ("x-llm-d-inference-objective",)


async def test_garbage_is_answered(serving: Serving) -> None:
    """Bytes that are no message of the protocol get a 400 on the stream, not a broken stream."""
    picker = FakePicker()
    async with (
        serving(picker) as (server, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call: Any = channel.stream_stream(PATH)()
        await call.write(b"\xff\xff garbage")
        answer = ProcessingResponse.parse(await call.read())
        assert int(answer.immediate_response.status.code) == 400
        assert await closed(call) is grpc.StatusCode.OK
    assert picker.heard == {"rejected": 1}


async def test_a_peer_that_never_reads_is_not_read(serving: Serving) -> None:
    """What isn't taken from us is not taken from the peer either, so memory stays bounded; its reset is noticed."""
    picker = FakePicker()
    settings = ConversationSettings(parsers=PASSTHROUGH.parsers, max_request_body_bytes=1000 * MIB)
    written = 0

    async def flood(call: Any) -> None:
        nonlocal written
        for _ in range(500):
            await call.write(gateway.request_body(b"x" * MIB, end=False))
            written += 1

    async with serving(picker, settings) as (_, client):
        call = await client.stream(gateway.request_headers())
        flooding = asyncio.create_task(flood(call))
        await stalled(lambda: written)
        assert written < 100
        call.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        await picker.has_heard(ended=1)
    assert picker.responses[0].request_bytes < 100 * MIB


async def stalled(progress: Callable[[], int]) -> None:
    """Wait until a number has not changed for half a second."""
    last = -1
    while progress() != last:
        last = progress()
        await asyncio.sleep(0.5)


async def test_a_decision_for_a_peer_that_never_reads(serving: Serving) -> None:
    """A held body that nobody takes is written by one task that waits, and goes away with the stream."""
    picker = FakePicker(Decide.LATER)
    async with serving(picker) as (server, client):
        call = await client.stream(gateway.request_headers(path="/raw"))
        for _ in range(30):
            await call.write(gateway.request_body(b"x" * MIB, end=False))
        await call.write(gateway.request_body(b"", end=True))
        await picker.has_heard(submit=1)
        picker.dispatch_all()
        await call.write(gateway.response_headers())
        call.cancel()
        await until(lambda: server.streams == 0)
        assert picker.heard["ended"] + picker.heard["delivery_failed"] == 1


PINGS = {TransportName.GRPCIO: 20_000, TransportName.NATIVE: 1_000}
"""As many as each lets through without looking at the rate: a gateway's keepalive is one in a second at most."""


async def test_keepalive_pings_never_end_a_stream(serving: Serving, transport: TransportName) -> None:
    """Masses of pings on a connection with a held stream: each is answered, and the stream still lives."""
    picker = FakePicker(Decide.LATER)
    async with serving(picker) as (server, _):
        with RawConnection(server.port) as connection:
            connection.open_stream(0, bytes(gateway.request_headers()), bytes(gateway.request_body()))
            await picker.has_heard(submit=1)
            await asyncio.to_thread(connection.ping, PINGS[transport])
            assert connection.farewell is None
            picker.dispatch_all()
            await asyncio.to_thread(connection.read_until, lambda: connection.answered)
            assert connection.farewell is None
        await picker.has_heard(ended=1)


async def test_a_burst_is_not_thinned_out(serving: Serving, transport: TransportName) -> None:
    """Streams that pile up while the loop is busy are all served: which of them are refused is the queue's business."""
    picker = FakePicker()
    count = 2500
    async with serving(picker) as (server, _):
        with RawConnection(server.port) as connection:

            def burst() -> None:
                for number in range(count):
                    connection.open_stream(number, bytes(gateway.request_headers(end=True)))
                connection.ping(1)

            thread = threading.Thread(target=burst)
            thread.start()
            if transport is TransportName.GRPCIO:
                # Joining blocks the loop: grpc's threads take in everything, and nobody accepts any of it.
                thread.join()
            await asyncio.to_thread(thread.join)
            await asyncio.to_thread(
                connection.read_until, lambda: len(connection.answered) + connection.resets.total() >= count
            )
            assert not connection.resets
            assert len(connection.answered) == count
        await picker.has_heard(ended=count)


async def test_while_draining_new_streams_are_served(serving: Serving) -> None:
    """Waiting for the open streams shuts nobody out; stopping cuts off what is left."""
    picker = FakePicker()
    async with serving(picker) as (server, client):
        call = await client.chat()
        await heard(call, 2)
        assert not await server.drained(0.0)
        draining = asyncio.create_task(server.drained(30.0))
        other = await client.chat()
        await heard(other, 2)
        assert server.streams == 2
        for stream in (call, other):
            await stream.write(gateway.response_headers(end=True))
            await stream.done_writing()
        assert await draining
        left = await client.chat()
        await heard(left, 2)
        await server.stop()
        assert await left.code() is not grpc.StatusCode.OK
    assert [response.outcome for response in picker.responses] == [
        ResponseOutcome.COMPLETED,
        ResponseOutcome.COMPLETED,
        ResponseOutcome.ABORTED,
    ]


async def test_stopping_gives_running_streams_their_grace(serving: Serving) -> None:
    """A stream that ends within the grace period is not cut off."""
    picker = FakePicker()
    async with serving(picker) as (server, client):
        call = await client.chat()
        await heard(call, 2)
        stopping = asyncio.create_task(server.stop(30.0))
        await call.write(gateway.response_headers(end=True))
        await heard(call, 1)
        await call.done_writing()
        assert await closed(call) is grpc.StatusCode.OK
        await stopping
    assert picker.responses[0].outcome is ResponseOutcome.COMPLETED


async def test_a_port_that_is_taken_is_an_error(serving: Serving, transport: TransportName) -> None:
    """Two servers never share a port silently."""
    async with serving(FakePicker()) as (server, _):
        second = make_transport(
            transport, FakePicker(), settings=ServerSettings(port=server.port, host="127.0.0.1")
        )
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            await second.start()


async def test_a_port_is_shared_only_by_those_who_all_say_so(
    serving: Serving, transport: TransportName
) -> None:
    """With SO_REUSEPORT on both sides two pickers listen on one port; otherwise the second is refused."""
    async with serving(FakePicker(), port_sharing=PortSharing.ON) as (server, _):
        for sharing in PortSharing:
            settings = ServerSettings(port=server.port, host="127.0.0.1", port_sharing=sharing)
            second = make_transport(transport, FakePicker(), settings=settings)
            if sharing is PortSharing.OFF:
                with pytest.raises(OSError, match="cannot listen"):
                    await second.start()
            else:
                await second.start()
                assert second.port == server.port
            await second.stop()


async def test_a_bug_in_the_picker_fails_one_stream(
    serving: Serving, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception where none is allowed is logged and costs the stream, nothing more."""

    class Broken(FakePicker):
        def submit(self, facts: object, answer: object) -> int:
            raise RuntimeError("a bug")

    async with serving(Broken()) as (server, client):
        call = await client.chat()
        assert await call.code() is grpc.StatusCode.UNKNOWN
        await until(lambda: server.streams == 0)
    assert "a bug" in caplog.text + capsys.readouterr().out
