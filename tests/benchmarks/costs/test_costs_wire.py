"""The bare server and the gateway that drives it, over a real connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from benchmarks.costs import messages
from benchmarks.costs.alone import round_of_requests
from benchmarks.costs.bare import Bareness, BareServer
from benchmarks.costs.burst import Load, burst
from benchmarks.costs.gateway import Gateway, StreamFailedError, require_dispatch
from benchmarks.costs.hold import hold
from epp.core.actions import Reason
from epp.extproc.ingress import Refusal
from epp.extproc.refusals import refusal_message
from epp.extproc.wire import ext_proc_pb2 as wire


@pytest.fixture
async def echo() -> AsyncIterator[Gateway]:
    """A connection to a bare server."""
    server, port = await BareServer(Bareness.ECHO).start()
    async with Gateway(port) as gateway:
        yield gateway
    await server.stop(None)


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
