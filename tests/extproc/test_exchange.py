"""One conversation and the picker, without a transport."""

from __future__ import annotations

import gc
import weakref

from envoy_data_plane.envoy.service.ext_proc.v3 import (
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from hypothesis import given
from hypothesis import strategies as st

from epp.core.actions import Reason
from epp.core.eviction import Begun
from epp.extproc.exchange import Exchange
from epp.extproc.ingress import Picker, Refusal, ResponseOutcome
from epp.extproc.request import ConversationSettings
from tests.extproc import gateway
from tests.extproc.fakes import Decide, FakePicker


class Stream(Exchange):
    """A transport that only counts how often it was woken."""

    __slots__ = ("__weakref__", "woken")

    def __init__(self, picker: Picker) -> None:
        super().__init__(ConversationSettings(max_request_body_bytes=1000), picker=picker, clock=lambda: 5.0)
        self.woken = 0

    def wake(self) -> None:
        """Count."""
        self.woken += 1

    def feed(self, *messages: ProcessingRequest) -> list[ProcessingResponse]:
        """Take messages in, and everything there is to say out."""
        said = []
        for message in messages:
            self.receive(bytes(message))
            said += self.drain()
        return said

    def drain(self) -> list[ProcessingResponse]:
        """Everything there is to say."""
        said = []
        while (message := self.next_message()) is not None:
            said.append(ProcessingResponse.parse(message))
        self.settle()
        return said


REQUEST = (gateway.request_headers(), gateway.request_body())


def test_a_decision_at_once_wakes_nobody() -> None:
    """The transport is there anyway, and finds the answer when it looks."""
    stream = Stream(FakePicker())
    assert gateway.kinds(stream.feed(*REQUEST)) == ["request_headers", "request_body"]
    assert stream.woken == 0


def test_a_decision_later_wakes_the_transport() -> None:
    """Nobody is looking, so the transport is told to."""
    for late in ("dispatch", "refuse"):
        picker = FakePicker(Decide.LATER)
        stream = Stream(picker)
        assert stream.feed(*REQUEST) == []
        if late == "dispatch":
            picker.dispatch_all()
        else:
            picker.refuse_all(Refusal(Reason.SATURATED, 1, "", 0.0))
        assert stream.woken == 1
        assert stream.drain()
        stream.dispatched(gateway.ADDRESS, 0.0)
        stream.refused(Refusal(Reason.SATURATED, 1, "", 0.0))
        assert stream.woken == 1
        assert stream.over == (late == "refuse")


def test_every_action_names_the_request() -> None:
    """The picker hears each end under the id it gave."""
    picker = FakePicker(Decide.LATER)
    queued, undelivered, running = Stream(picker), Stream(picker), Stream(picker)
    for stream in (queued, undelivered, running):
        stream.feed(*REQUEST)
    queued.reset()
    assert list(picker.waiting) == [2, 3]
    picker.dispatch_all()
    undelivered.reset()
    running.drain()
    running.feed(gateway.response_headers(end=True))
    assert picker.heard == {"submit": 3, "cancel": 1, "delivery_failed": 1, "ended": 1}
    assert picker.responses[0].outcome is ResponseOutcome.COMPLETED
    assert picker.responses[0].ended_s == 5.0


def test_an_eviction_wakes_the_transport() -> None:
    """It comes while nobody is looking. Once its refusal has gone out the picker hears the end; the stream is over."""
    picker = FakePicker()
    stream = Stream(picker)
    stream.feed(*REQUEST)
    assert picker.evict_all() == [True]
    assert (stream.woken, picker.heard["ended"]) == (1, 0)
    assert gateway.kinds(stream.drain()) == ["immediate_response"]
    assert stream.over
    assert picker.heard == {"submit": 1, "ended": 1}
    stream.reset()
    assert picker.heard["ended"] == 1


def test_an_eviction_that_comes_of_the_streams_own_message() -> None:
    """The picker may evict a request in the very call that tells it of its first byte; the transport looks anyway."""

    class Ruthless(FakePicker):
        def first_byte(self, request_id: int) -> None:
            super().first_byte(request_id)
            self.evict_all(Begun.EVICTED)

    stream = Stream(Ruthless())
    said = stream.feed(*REQUEST, gateway.response_headers(), gateway.response_body(b"x"))
    assert gateway.kinds(said)[-1] == "immediate_response"
    assert (stream.woken, stream.over) == (0, True)


def test_a_rejection_is_reported() -> None:
    """What the conversation refuses by itself goes to the metrics, not to the queue."""
    picker = FakePicker()
    stream = Stream(picker)
    (answer,) = stream.feed(gateway.request_headers({"content-length": "2000"}))
    assert int(answer.immediate_response.status.code) == 413
    assert stream.over
    assert [refusal.reason for refusal in picker.rejections] == [Reason.TOO_LARGE]


def test_bytes_that_are_no_message() -> None:
    """Garbage is an answerable mistake of the gateway's."""
    picker = FakePicker()
    stream = Stream(picker)
    stream.receive(b"\xff\xff")
    assert gateway.kinds(stream.drain()) == ["immediate_response"]
    assert [refusal.reason for refusal in picker.rejections] == [Reason.MALFORMED]


def test_half_closing_while_queued_keeps_the_stream_open() -> None:
    """The stream is over only when the answer has been given."""
    picker = FakePicker(Decide.LATER)
    stream = Stream(picker)
    stream.feed(*REQUEST)
    stream.half_closed()
    assert stream.drain() == []
    assert not stream.over
    picker.dispatch_all()
    assert gateway.kinds(stream.drain()) == ["request_headers", "request_body"]
    assert stream.over


def test_a_stream_that_ended_is_gone() -> None:
    """Nothing keeps an exchange alive once the transport and the picker have let go, not even a cycle."""
    stream = Stream(FakePicker())
    stream.feed(*REQUEST, gateway.response_headers(), gateway.response_body(b"{}", end=True))
    stream.half_closed()
    stream.settle()
    ghost = weakref.ref(stream)
    gc.disable()
    try:
        del stream
        assert ghost() is None
    finally:
        gc.enable()


UNKNOWN_FIELD = b"\x98\x06\x01"
"""Makes a message one that only the classes read, and means nothing to them."""
STEPS = {
    "request_headers": gateway.request_headers(),
    "request_body": gateway.request_body(b'{"model":"llama",', end=False),
    "request_end": gateway.request_body(b'"messages":[{"role":"user","content":"hello"}]}'),
    "request_trailers": gateway.request_trailers(),
    "response_headers": gateway.response_headers(),
    "response_body": gateway.response_body(b'data: {"usage":{"completion_tokens":3}}\n\n'),
    "response_nothing": gateway.response_body(b""),
    "response_end": gateway.response_body(b"[DONE]", end=True),
    "response_trailers": gateway.response_trailers(),
}
USUAL = [
    "request_headers",
    "request_body",
    "request_end",
    "response_headers",
    "response_body",
    "response_end",
]


@given(
    config=st.sampled_from([None, gateway.DUPLEX, gateway.LEAN, gateway.STREAMED]),
    names=st.just(USUAL) | st.lists(st.sampled_from(sorted(STEPS)), max_size=8),
    more=st.lists(st.sampled_from(sorted(STEPS)), max_size=3),
)
def test_both_ways_of_reading_a_message_lead_to_the_same(
    config: ProtocolConfiguration | None, names: list[str], more: list[str]
) -> None:
    """Read around its bytes or by the classes, in order or out of it: the same is said, and told to the picker."""
    first = {"request_headers": gateway.request_headers(config=config)}
    told = []
    for suffix in (b"", UNKNOWN_FIELD):
        picker = FakePicker()
        stream = Stream(picker)
        said = []
        for name in (*names, *more):
            stream.receive(bytes({**STEPS, **first}[name]) + suffix)
            said += stream.drain()
        told.append((said, picker.facts, picker.responses, picker.rejections, picker.heard, stream.over))
    assert told[0] == told[1]
