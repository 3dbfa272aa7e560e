"""Messages out of pieces of a body."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.http2.call import Call
from epp.extproc.http2.events import CallEvent, MessageReceived
from epp.extproc.http2.guard import Offence, Tally
from epp.extproc.http2.limits import Limits
from epp.extproc.http2.messages import CallFault, Messages
from epp.extproc.http2.statuses import Status

LIMITS = Limits(max_message_bytes=1000, max_unfinished_bytes=1500)


def framed(message: bytes, flag: int = 0) -> bytes:
    """A message as it travels."""
    return struct.pack(">BI", flag, len(message)) + message


class Bodies:
    """Feeds pieces of calls' bodies."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.tally = Tally()
        self.messages = Messages(limits, self.tally)
        self.events: list[CallEvent] = []

    def add(self, call: Call, *pieces: bytes) -> list[bytes]:
        """Give pieces; the messages so far."""
        for piece in pieces:
            self.messages.add(call, piece, self.events)
        return self.of(call)

    def of(self, call: Call) -> list[bytes]:
        """The messages of a call so far."""
        return [
            each.message for each in self.events if isinstance(each, MessageReceived) and each.call is call
        ]

    def fault(self, call: Call, *pieces: bytes) -> CallFault:
        """Give pieces, the last of which has to be one too many."""
        with pytest.raises(CallFault) as caught:
            self.add(call, *pieces)
        return caught.value


def new_call(number: int = 1) -> Call:
    """A call on which nothing has come."""
    return Call(number, send_window=0, receive_window=0, now=0.0)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """The pieces between these places."""
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 10_000), max_size=30))
def test_messages_are_the_same_however_they_are_cut(sent: list[bytes], at: list[int]) -> None:
    """Any messages in any pieces, empty ones of both included, come out as they went in; nothing is left behind."""
    bodies = Bodies()
    call = new_call()
    assert bodies.add(call, *cut(b"".join(map(framed, sent)), at)) == sent
    assert call.begun is None
    assert call.due_bytes == 0
    assert bodies.messages.unfinished_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), max_size=60))
def test_calls_are_put_together_apart(turns: list[tuple[int, int]]) -> None:
    """However calls take turns, each gets its own messages, and what is unfinished is always counted to the byte."""
    bodies = Bodies()
    calls = [new_call(number) for number in (1, 3, 5)]
    bodies_sent = [b"".join(framed(bytes([number]) * size) for size in range(20)) for number in range(3)]
    given_to = [0, 0, 0]
    for which, size in turns:
        bodies.add(calls[which], bodies_sent[which][given_to[which] : given_to[which] + size])
        given_to[which] += size
        assert bodies.messages.unfinished_bytes == sum(len(call.begun or b"") for call in calls)
    for number, call in enumerate(calls):
        bodies.add(call, bodies_sent[number][given_to[number] :])
        assert bodies.of(call) == [bytes([number]) * size for size in range(20)]


def test_one_byte_at_a_time_is_appended_in_place() -> None:
    """What has come is never copied for another byte: it stays the same object from the prefix to the end."""
    bodies = Bodies()
    call = new_call()
    sent = bytes(range(200))
    bodies.add(call, *(bytes([byte]) for byte in framed(sent)[:5]))
    begun = call.begun
    for byte in sent[:-1]:
        bodies.add(call, bytes([byte]))
        assert call.begun is begun
    assert bodies.add(call, sent[-1:]) == [sent]


def test_messages_are_bytes() -> None:
    """By whatever way they came: whoever decodes them wants nothing else."""
    bodies = Bodies()
    whole, pieced = new_call(1), new_call(3)
    bodies.add(whole, framed(b"abc") + framed(b"def"))
    bodies.add(pieced, framed(b"abc")[:2], framed(b"abc")[2:6], framed(b"abc")[6:])
    assert {type(message) for message in (*bodies.of(whole), *bodies.of(pieced))} == {bytes}


def test_the_largest_message_passes() -> None:
    """The limit is what a message may have."""
    assert Bodies().add(new_call(), framed(bytes(1000))) == [bytes(1000)]


@pytest.mark.parametrize("pieces", [[5], [1, 2, 3, 4, 5], [1005]], ids=["prefix", "bytes", "whole"])
def test_a_message_over_the_limit_is_refused_by_its_prefix(pieces: list[int]) -> None:
    """Before any of it is kept, and by a text that names the length, the limit and how it is set."""
    bodies = Bodies()
    call = new_call()
    data = struct.pack(">BI", 0, 1001) + bytes(1000)
    fault = bodies.fault(call, *(data[start:end] for start, end in pairwise([0, *pieces])))
    assert fault.status is Status.RESOURCE_EXHAUSTED
    assert fault.message == "a message of 1001 bytes; the limit is --grpc-max-recv-msg-size=1000"
    assert call.begun is None
    assert bodies.messages.unfinished_bytes == 0


def test_unfinished_messages_have_a_limit_together() -> None:
    """The call that passes it is ended, and counted; what the others have begun can still be finished."""
    bodies = Bodies()
    first, second = new_call(1), new_call(3)
    bodies.add(first, framed(bytes(1000))[:905])
    bodies.add(second, framed(bytes(1000))[:605])
    fault = bodies.fault(second, b"x")
    assert fault.status is Status.RESOURCE_EXHAUSTED
    assert "1501 bytes; the limit is --http2-max-unfinished=1500" in fault.message
    assert bodies.tally.offences[Offence.UNFINISHED_MESSAGES] == 1
    bodies.messages.forget(second)
    assert bodies.messages.unfinished_bytes == 900
    assert bodies.add(first, bytes(100)) == [bytes(1000)]
    assert bodies.messages.unfinished_bytes == 0


def test_forgetting_a_call_twice_is_forgetting_it_once() -> None:
    """The count stays true."""
    bodies = Bodies()
    call = new_call()
    bodies.add(call, framed(b"abcdef")[:8])
    assert bodies.messages.unfinished_bytes == 3
    bodies.messages.forget(call)
    bodies.messages.forget(call)
    assert bodies.messages.unfinished_bytes == 0


def test_compressed_messages_are_unimplemented_where_an_encoding_was_named() -> None:
    """And what we do take is said."""
    call = new_call()
    call.is_encoded = True
    fault = Bodies().fault(call, framed(b"abc", flag=1))
    assert fault.status is Status.UNIMPLEMENTED
    assert fault.extra == ((b"grpc-accept-encoding", b"identity"),)


def test_messages_that_are_not_compressed_pass_whatever_was_named() -> None:
    """The encoding is a possibility; each message says for itself."""
    call = new_call()
    call.is_encoded = True
    assert Bodies().add(call, framed(b"abc")) == [b"abc"]


@pytest.mark.parametrize("flag", [1, 2, 0x80, 0xFF])
def test_other_flags_are_malformed(flag: int) -> None:
    """Compressed without an encoding, or a flag that means nothing. The length isn't even looked at."""
    fault = Bodies().fault(new_call(), framed(bytes(1001), flag=flag))
    assert fault.status is Status.INTERNAL
    assert fault.extra == ()


def test_messages_before_a_fault_are_given() -> None:
    """As they would be if each had come by itself."""
    bodies = Bodies()
    call = new_call()
    bodies.fault(call, framed(b"good") + framed(b"bad", flag=2))
    assert bodies.of(call) == [b"good"]
