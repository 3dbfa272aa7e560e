"""The bare server on our own engine: that it stands on all of the picker's transport."""

from __future__ import annotations

import pytest

from benchmarks.costs.bare_native import EchoExchange
from epp.extproc.http2.limits import Limits
from epp.extproc.wire import ext_proc_pb2 as wire
from tests.extproc.fakes import FakePicker
from tests.extproc.transports.line import World

WINDOW_BYTES = 100_000
PIECE = b"x" * 10_000


@pytest.fixture
def world() -> World:
    """Connections whose streams are echoed."""
    world = World(FakePicker(), Limits(stream_window_bytes=WINDOW_BYTES))
    world.service.new_exchange = EchoExchange
    return world


def chunk(body: bytes) -> bytes:
    """A message of a response's body."""
    return wire.ProcessingRequest(response_body=wire.HttpBody(body=body)).SerializeToString()


def echoed(raw: list[bytes]) -> list[bytes]:
    """The bodies of what came back."""
    answers = map(wire.ProcessingResponse.FromString, raw)
    return [answer.response_body.response.body_mutation.streamed_response.body for answer in answers]


def test_a_gateway_that_takes_nothing_back_can_send_no_more_than_its_windows(world: World) -> None:
    """Otherwise it would be cheaper than any server that may be let near a gateway: it could keep no bound.

    Once it reads again it gets everything, in order.
    """
    line = world.line()
    line.gives_back = False
    call = line.open()
    sent = 0
    while line.h2.local_flow_control_window(call.stream) > 2 * len(PIECE):
        call.say(chunk(PIECE))
        line.exchange()
        sent += 1
        assert sent < 100, "the server takes everything that comes"
    # As much as both sides' windows, and not more.
    assert sent * len(PIECE) < 65_535 + 2 * WINDOW_BYTES
    assert len(call.raw) < sent
    line.h2.increment_flow_control_window(1_000_000)
    line.h2.increment_flow_control_window(1_000_000, call.stream)
    line.exchange()
    assert echoed(call.raw) == [PIECE] * sent
    # And then it may go on.
    call.say(chunk(b"once more"))
    line.exchange()
    assert echoed(call.raw)[-1] == b"once more"
    assert line.h2.local_flow_control_window(call.stream) > WINDOW_BYTES / 4
    call.leave()
    line.exchange()
    assert call.trailers["grpc-status"] == "0"
    assert world.service.exchanges == 0


def test_a_stream_that_is_reset_is_gone(world: World) -> None:
    """For the server's count as well, which a drain waits for."""
    line = world.line()
    call = line.open(wire_headers())
    line.exchange()
    assert world.service.exchanges == 1
    call.break_off()
    line.exchange()
    assert world.service.exchanges == 0


def test_a_message_that_is_none_ends_its_stream_only(world: World) -> None:
    """A benchmark that sends nonsense hears of it, and the connection goes on."""
    line = world.line()
    broken = line.open()
    broken.say(b"\xff\xff")
    line.exchange()
    assert (broken.headers | broken.trailers)["grpc-status"] == "2"
    other = line.open()
    other.say(chunk(b"still here"))
    line.exchange()
    assert echoed(other.raw) == [b"still here"]
    assert world.service.exchanges == 1


def test_a_call_whose_own_time_is_up_is_ended(world: World) -> None:
    """As a picker's is: the timers are the transport's."""
    line = world.line()
    call = line.open(wire_headers(), grpc_timeout="1S")
    line.exchange()
    world.turns.pass_s(1.5)
    line.exchange()
    assert (call.headers | call.trailers)["grpc-status"] == "4"
    assert world.service.exchanges == 0


def wire_headers() -> bytes:
    """The first message of a request."""
    return wire.ProcessingRequest(request_headers=wire.HttpHeaders()).SerializeToString()
