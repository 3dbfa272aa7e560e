"""The bare servers and the gateway that drives them, over a real connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator

import pytest

from benchmarks.costs import messages
from benchmarks.costs.alone import round_of_requests
from benchmarks.costs.bare import Bareness, BareServer
from benchmarks.costs.bare_native import bare_server
from benchmarks.costs.burst import Load, Target, burst, round_of_bursts
from benchmarks.costs.gateway import Gateway, StreamFailedError, require_dispatch
from benchmarks.costs.hold import hold
from epp.core.actions import Reason
from epp.extproc.http2.limits import Limits
from epp.extproc.ingress import Refusal
from epp.extproc.refusals import refusal_message
from epp.extproc.wire import ext_proc_pb2 as wire


@pytest.fixture(params=["grpc.aio", "our engine"])
async def echo(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    """A connection to a bare server, on either transport."""
    if request.param == "grpc.aio":
        server, port = await BareServer(Bareness.ECHO).start()
        async with Gateway(port) as gateway:
            yield gateway
        await server.stop(None)
    else:
        async with engine_gateway() as gateway:
            yield gateway


@contextlib.asynccontextmanager
async def engine_gateway() -> AsyncIterator[Gateway]:
    """A connection to a bare server on our engine."""
    async with serving() as port, Gateway(port) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def serving(limits: Limits | None = None) -> AsyncIterator[int]:
    """A bare server on our engine; gives its port."""
    server = bare_server(limits)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop()


def test_the_request_is_one_kilobyte_of_chat_and_ends_as_envoy_ends_it() -> None:
    """The end of the body comes in an empty message of its own."""
    headers, body, end = map(wire.ProcessingRequest.FromString, messages.request(1, objective="premium"))
    assert headers.protocol_config.response_body_mode == wire.FULL_DUPLEX_STREAMED
    told = {each.key: each.raw_value.decode() for each in headers.request_headers.headers.headers}
    assert told["content-length"] == str(messages.BODY_BYTES) == str(len(body.request_body.body))
    assert told["x-llm-d-inference-objective"] == "premium"
    assert json.loads(body.request_body.body)["stream"] is True
    assert (end.request_body.body, end.request_body.end_of_stream) == (b"", True)


def test_a_long_prompt_comes_in_pieces_of_a_frame() -> None:
    """All of its bytes, in order, none in a message larger than a gateway would pass on."""
    first, *pieces, end = map(
        wire.ProcessingRequest.FromString, messages.request(1, body_bytes=messages.LONG_BODY_BYTES)
    )
    told = {each.key: each.raw_value.decode() for each in first.request_headers.headers.headers}
    bodies = [piece.request_body.body for piece in pieces]
    assert {len(body) for body in bodies[:-1]} == {messages.PIECE_BYTES}
    assert 0 < len(bodies[-1]) <= messages.PIECE_BYTES
    assert told["content-length"] == str(len(b"".join(bodies))) == str(220 * 1024)
    assert json.loads(b"".join(bodies))["model"] == "bench-model"
    assert (end.request_body.body, end.request_body.end_of_stream) == (b"", True)


def test_the_response_says_its_usage_at_the_end() -> None:
    """The picker has something to find."""
    end = wire.ProcessingRequest.FromString(messages.RESPONSE_END).response_body
    assert end.end_of_stream
    assert b'"completion_tokens": 20' in end.body


async def test_the_bare_server_echoes_every_byte(echo: Gateway) -> None:
    """Headers first, then both body messages; then each response message."""
    stream = await echo.open(messages.request(1))
    answers = [await stream.answer() for _ in range(3)]
    assert [each.WhichOneof("response") for each in answers] == [
        "request_headers",
        "request_body",
        "request_body",
    ]
    pieces = [each.request_body.response.body_mutation.streamed_response for each in answers[1:]]
    sent = wire.ProcessingRequest.FromString(messages.request(1)[1]).request_body.body
    assert b"".join(piece.body for piece in pieces) == sent
    assert [piece.end_of_stream for piece in pieces] == [False, True]
    await stream.respond(chunks=3)


async def test_a_burst_serves_every_request(echo: Gateway) -> None:
    """More requests than streams at a time."""
    load = Load(requests=9, bursts=1, streams=4, body_bytes=messages.BODY_BYTES)
    await burst(echo, load, chunks=2)


async def test_a_prompt_that_is_larger_than_any_window_comes_back_whole(echo: Gateway) -> None:
    """Neither side waits for the other for ever, and no byte is lost or doubled on the way."""
    size = 40 * messages.LONG_BODY_BYTES
    stream = await echo.open(messages.request(1, body_bytes=size))
    require_dispatch(await stream.answer())
    came, ended = 0, False
    while not ended:
        piece = (await stream.answer()).request_body.response.body_mutation.streamed_response
        came, ended = came + len(piece.body), piece.end_of_stream
    assert came == size
    await stream.respond(chunks=1)


async def test_one_stream_has_one_chunk_in_a_write_and_many_have_more() -> None:
    """That is what tells what a chunk costs from what it costs in company."""
    async with engine_gateway() as gateway:
        target = Target(gateway, os.getpid())
        (alone,) = await round_of_bursts([target], load(requests=1, streams=1), chunks=50)
        (many,) = await round_of_bursts([target], load(requests=8, streams=8), chunks=50)
    assert alone.messages_per_write < 1.1
    assert many.messages_per_write > 4


def load(*, requests: int, streams: int) -> Load:
    """A burst of short requests."""
    return Load(requests=requests, bursts=1, streams=streams, body_bytes=messages.BODY_BYTES)


async def test_what_a_server_announces_that_it_does_not_take_goes_over_another_connection() -> None:
    """A connection gets as many streams as the server takes there, and streams that end make room."""
    limits = Limits(announced_streams=3, max_streams=3)
    async with serving(limits) as port, Gateway(port) as gateway:
        streams = [await gateway.open(messages.request(number)) for number in range(7)]
        assert len(gateway.connections) == 3
        for stream in streams:
            await stream.dispatched()
            await stream.respond(chunks=0)
        await burst(gateway, load(requests=9, streams=9), chunks=1)
        assert len(gateway.connections) == 3


@pytest.mark.parametrize("table_bytes", [0, 100, 65_536])
async def test_a_server_with_any_header_table_understands_the_gateway(table_bytes: int) -> None:
    """Streams opened before its settings count and after them get through alike."""
    limits = Limits(header_table_bytes=table_bytes)
    async with serving(limits) as port, Gateway(port) as gateway:
        await burst(gateway, load(requests=9, streams=3), chunks=1)


async def test_a_call_that_the_server_ends_says_why(echo: Gateway) -> None:
    """There is no such method: the gRPC status and its words, which are each server's own."""
    sent = echo.connections[0].call(path="/somewhere.Else/Process")
    with pytest.raises(StreamFailedError, match=r"gRPC status 12 \S+"):
        await sent.receive()
    assert sent.ended
    with pytest.raises(StreamFailedError, match="gRPC status 12"):
        await sent.send(b"")


async def test_a_connection_that_is_lost_fails_what_is_on_it(echo: Gateway) -> None:
    """Whoever waits for an answer hears of it, and so does whoever wants to begin."""
    stream = await echo.open(messages.request(1)[:1])
    waiting = asyncio.ensure_future(stream.answer())
    await asyncio.sleep(0)
    echo.connections[0].close()
    with pytest.raises(StreamFailedError, match="closed"):
        await waiting
    with pytest.raises(StreamFailedError, match="the connection has ended"):
        await echo.open(messages.request(2))


async def test_requests_that_come_alone_are_timed_at_every_server(echo: Gateway) -> None:
    """One median for each, and it is a time."""
    first, second = await round_of_requests([echo, echo], 3)
    assert first > 0
    assert second > 0


async def test_a_holding_server_answers_nothing_and_ends_nothing() -> None:
    """Streams stay open until the gateway resets them."""
    server, port = await BareServer(Bareness.HOLD).start()
    async with Gateway(port) as gateway:
        streams = await hold(gateway, 5)
        assert not any(stream.ended for stream in streams)
        for stream in streams:
            stream.cancel()
        assert all(stream.ended for stream in streams)
    await server.stop(None)


def test_a_refusal_is_a_failed_stream() -> None:
    """A burst that is refused must not look like a cheap one."""
    refusal = Refusal(Reason.SATURATED, retry_after_s=1, message="", waited_s=0.0)
    with pytest.raises(StreamFailedError, match="immediate_response"):
        require_dispatch(refusal_message(refusal))
