"""Calls over a connection: what their owners hear, and what the peer does."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.http2.call import Call
from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import (
    CallEvent,
    CallOpened,
    CallReset,
    ConnectionEnded,
    HalfClosed,
    MessageReceived,
    MessageSent,
)
from epp.extproc.http2.guard import Offence
from epp.extproc.http2.limits import Allowance, Limits
from epp.extproc.http2.statuses import Status
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.caller_by_hand import NOTHING, PATH, Answer, Caller, framed

RESPONSE = {b":status": b"200", b"content-type": b"application/grpc"}
BROKEN = framed(b"x", flag=2)
"""What ends a call with INTERNAL."""


def refused(answer: Answer, status: Status) -> str:
    """The message of an answer in one block, after which nothing more is wanted."""
    (block,) = answer.blocks
    assert RESPONSE.items() <= block.items()
    assert block[b"grpc-status"] == str(status.value).encode()
    assert answer.body == b""
    assert answer.ended
    return block[b"grpc-message"].decode()


# ------------------------------------------------------------------------------- a call that goes well


def test_a_call_from_beginning_to_end() -> None:
    """Opened, a message each way, half-closed, finished: headers once, then DATA, then trailers, and no reset."""
    caller = Caller()
    call = caller.open()
    assert call.owner is None
    assert caller.say(call, framed(b"ping")) == [MessageReceived(call, b"ping")]
    caller.calls.send_message(call, b"pong")
    assert call.pending is None
    caller.calls.send_message(call, b"")
    assert caller.answer(call) == ([RESPONSE], framed(b"pong") + framed(b""), False, None)
    assert caller.say(call, b"", end=True) == [HalfClosed(call)]
    caller.calls.finish(call, Status.OK)
    assert caller.answer(call) == ([{b"grpc-status": b"0"}], b"", True, None)
    assert not caller.calls.streams
    assert (caller.tally.messages_in, caller.tally.messages_out) == (1, 2)


def test_everything_in_one_read() -> None:
    """A whole call, and the beginning of another between its frames, each told in its place."""
    caller = Caller()
    events = caller.feed(
        caller.request(),
        by_hand.data(1, framed(b"a") + framed(b"b") + framed(b"c")[:4]),
        caller.request((b"grpc-timeout", b"3S"), end=True),
        by_hand.data(1, framed(b"c")[4:], end=True),
    )
    first, second = caller.calls.streams.values()
    assert events == [
        CallOpened(first, PATH, None),
        MessageReceived(first, b"a"),
        MessageReceived(first, b"b"),
        CallOpened(second, PATH, 3.0),
        HalfClosed(second),
        MessageReceived(first, b"c"),
        HalfClosed(first),
    ]
    assert caller.tally.messages_in == 3


def test_a_message_inside_a_message_is_a_part_of_it() -> None:
    """A piece that looks like a whole message is judged by where it stands."""
    caller = Caller()
    call = caller.open()
    outer = b"before" + framed(b"inner") + framed(b"")
    data = framed(outer)
    assert caller.say(call, data[: 5 + 6]) == []
    assert caller.say(call, framed(b"inner")) == []
    assert caller.say(call, framed(b"")) == [MessageReceived(call, outer)]


def test_trailers_of_the_peer_are_its_end() -> None:
    """Clients send none in gRPC, but HTTP/2 lets them."""
    caller = Caller()
    call = caller.open()
    trailers = by_hand.headers(call.id, caller.encoder.encode([(b"x-done", b"1")]), end=True)
    assert caller.feed(trailers) == [HalfClosed(call)]


def test_a_call_may_be_finished_before_any_message_and_by_any_status() -> None:
    """All of it in one block; the peer that is still sending is told to stop, without blame."""
    caller = Caller()
    call = caller.open()
    caller.calls.finish(call, Status.UNAVAILABLE, "not now: 100% busy")
    answer = caller.answer(call)
    assert refused(answer, Status.UNAVAILABLE) == "not now: 100%25 busy"
    assert answer.reset == ErrorCode.NO_ERROR
    assert caller.say(call, framed(b"too late")) == []
    assert caller.answer(call) == NOTHING


def test_a_finished_call_says_nothing_more() -> None:
    """Whatever is still asked of it, and whatever the peer still does, it is over for both."""
    caller = Caller()
    call = caller.open()
    caller.say(call, b"", end=True)
    caller.calls.finish(call, Status.OK)
    caller.answer(call)
    caller.calls.send_message(call, b"more")
    caller.calls.finish(call, Status.INTERNAL, "again")
    caller.calls.withhold(call)
    caller.calls.release(call)
    assert caller.feed(by_hand.rst_stream(call.id)) == []
    assert caller.frames() == []
    assert caller.tally.messages_out == 0


def test_a_call_that_the_peer_resets_is_over() -> None:
    """Its owner hears so once, with the peer's code, and can do nothing on it."""
    caller = Caller()
    call = caller.open()
    caller.say(call, framed(b"unfinished")[:-1])
    assert caller.feed(by_hand.rst_stream(call.id, ErrorCode.CANCEL)) == [CallReset(call, ErrorCode.CANCEL)]
    caller.calls.send_message(call, b"answer")
    caller.calls.finish(call, Status.OK)
    assert caller.frames() == []
    assert call.begun is None


def test_the_same_headers_are_read_once() -> None:
    """A gateway that repeats itself costs one comparison; other headers are read for themselves."""
    asked: list[str] = []

    class Paths(frozenset[str]):
        def __contains__(self, path: object) -> bool:
            asked.append(str(path))
            return super().__contains__(path)

    caller = Caller(paths=Paths({PATH}))
    # The first fills the table, the second is wholly indexed, and from the third on the block is known.
    for _ in range(6):
        caller.open()
    assert len(asked) <= 2
    assert isinstance(caller.feed(caller.request((b"grpc-timeout", b"1S")))[0], CallOpened)
    assert len(asked) == 3


# ------------------------------------------------------------------------------- what the peer's windows hold up


def test_a_message_may_wait_for_windows() -> None:
    """`pending` says so, `MessageSent` that it has gone; nothing is lost or out of order."""
    caller = Caller((by_hand.INITIAL_WINDOW_SIZE, 10))
    call = caller.open()
    caller.calls.send_message(call, bytes(20))
    assert call.pending is not None
    assert caller.feed(by_hand.window_update(call.id, 10)) == []
    assert caller.feed(by_hand.window_update(call.id, 10)) == [MessageSent(call)]
    assert call.pending is None
    assert caller.answer(call).messages == [bytes(20)]


@pytest.mark.parametrize("half_closed", [False, True])
def test_the_end_waits_for_what_was_sent_before_it(half_closed: bool) -> None:
    """Trailers follow the last byte; only then is the peer told to stop, if it hasn't; nobody hears anything."""
    caller = Caller((by_hand.INITIAL_WINDOW_SIZE, 10))
    call = caller.open()
    if half_closed:
        caller.say(call, b"", end=True)
    caller.calls.send_message(call, bytes(20))
    caller.calls.finish(call, Status.OK)
    assert caller.answer(call) == ([RESPONSE], framed(bytes(20))[:10], False, None)
    assert caller.calls.streams == {call.id: call}
    if not half_closed:
        assert caller.say(call, framed(b"still talking")) == []
    assert caller.feed(by_hand.window_update(call.id, 100)) == []
    reset = None if half_closed else ErrorCode.NO_ERROR
    assert caller.answer(call) == ([{b"grpc-status": b"0"}], bytes(15), True, reset)
    assert not caller.calls.streams


def test_a_peer_that_never_takes_the_end_is_given_up() -> None:
    """The stream goes after the limit for it; whoever finished the call hears nothing of that."""
    caller = Caller((by_hand.INITIAL_WINDOW_SIZE, 0), limits=Limits(stall_s=5.0))
    finished, waiting = caller.open(), caller.open()
    caller.calls.send_message(finished, b"x")
    caller.calls.finish(finished, Status.OK)
    caller.calls.send_message(waiting, b"x")
    assert caller.calls.tick(caller.now + 4.9) == []
    assert caller.calls.tick(caller.now + 5.1) == [CallReset(waiting, ErrorCode.ENHANCE_YOUR_CALM)]
    assert not caller.calls.streams


def test_withholding_stops_the_peers_window() -> None:
    """As on the connection; releasing gives back what was taken meanwhile."""
    caller = Caller(limits=Limits(stream_window_bytes=65_535))
    call = caller.open()
    caller.calls.withhold(call)
    caller.say(call, bytes(16_000))
    caller.say(call, bytes(16_000))
    caller.say(call, bytes(16_000))
    assert by_hand.given_back(caller.frames(), call.id) == 0
    caller.calls.release(call)
    assert by_hand.given_back(caller.frames(), call.id) == 48_000


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("end", [False, True])
def test_requests_that_are_no_calls_hear_so_in_http(end: bool) -> None:
    """One block, no body, nobody told. A peer that is still sending is told to stop."""
    caller = Caller()
    fields = tuple(field for field in by_hand.REQUEST if field[0] != b"content-type")
    assert caller.feed(caller.request(fields=fields, end=end)) == []
    reset = None if end else ErrorCode.NO_ERROR
    assert caller.answer(1) == ([{b":status": b"415"}], b"", True, reset)
    get = tuple((name, b"GET" if name == b":method" else value) for name, value in by_hand.REQUEST)
    assert caller.feed(caller.request(fields=get, end=end)) == []
    assert caller.answer(3) == ([{b":status": b"405", b"allow": b"POST"}], b"", True, reset)
    assert not caller.calls.streams


def test_unknown_paths_are_refused_and_what_follows_is_ignored() -> None:
    """Even in the same read; other calls of that read are served."""
    caller = Caller(paths=frozenset({"/other.Service/Method"}))
    served = tuple(
        (name, b"/other.Service/Method" if name == b":path" else value) for name, value in by_hand.REQUEST
    )
    events = caller.feed(
        caller.request(),
        by_hand.data(1, framed(b"to nobody")),
        by_hand.data(1, BROKEN, end=True),
        caller.request(fields=served),
    )
    (call,) = caller.calls.streams.values()
    assert events == [CallOpened(call, "/other.Service/Method", None)]
    assert "/some.Service/Method" in refused(caller.answer(1), Status.UNIMPLEMENTED)


def test_a_refused_request_that_is_already_gone_is_answered_by_nothing() -> None:
    """The reset that came in the same read is the end of it."""
    caller = Caller(paths=frozenset())
    assert caller.feed(caller.request(), by_hand.rst_stream(1)) == []
    assert caller.answer(1) == NOTHING


def test_a_broken_message_ends_the_call_and_its_owner_hears_so() -> None:
    """What came whole before is given first, what comes after is nobody's; the peer gets status and reason."""
    caller = Caller()
    call = caller.open()
    events = caller.feed(
        by_hand.data(call.id, framed(b"good") + BROKEN), by_hand.data(call.id, framed(b"after"), end=True)
    )
    assert events == [MessageReceived(call, b"good"), CallReset(call, ErrorCode.PROTOCOL_ERROR)]
    assert "flag 2" in refused(caller.answer(call), Status.INTERNAL)
    caller.calls.send_message(call, b"x")
    caller.calls.finish(call, Status.OK)
    assert caller.frames() == []
    assert caller.tally.messages_in == 1


def test_a_refusal_after_an_answer_is_in_the_trailers() -> None:
    """With the reset that follows where the peer is still sending."""
    caller = Caller()
    call = caller.open((b"grpc-encoding", b"gzip"))
    caller.calls.send_message(call, b"first")
    assert caller.say(call, framed(b"zipped", flag=1)) == [CallReset(call, ErrorCode.PROTOCOL_ERROR)]
    answer = caller.answer(call)
    headers, trailers = answer.blocks
    assert headers == RESPONSE
    assert answer.messages == [b"first"]
    assert trailers[b"grpc-status"] == b"12"
    assert trailers[b"grpc-accept-encoding"] == b"identity"
    assert (answer.ended, answer.reset) == (True, ErrorCode.NO_ERROR)


def test_a_refusal_keeps_to_the_windows() -> None:
    """Where an answer still waits for them, the refusal's trailers wait behind it."""
    caller = Caller((by_hand.INITIAL_WINDOW_SIZE, 0))
    call = caller.open()
    caller.calls.send_message(call, b"first")
    assert caller.say(call, BROKEN) == [CallReset(call, ErrorCode.PROTOCOL_ERROR)]
    assert caller.answer(call).blocks == [RESPONSE]
    assert caller.feed(by_hand.window_update(call.id, 100)) == []
    answer = caller.answer(call)
    assert answer.messages == [b"first"]
    assert answer.blocks[0][b"grpc-status"] == b"13"
    assert (answer.ended, answer.reset) == (True, ErrorCode.NO_ERROR)


@pytest.mark.parametrize("begun", [1, 5, 6])
def test_the_end_inside_a_message_is_an_error(begun: int) -> None:
    """Half a prefix, a prefix, or half a message is no message."""
    caller = Caller()
    call = caller.open()
    assert caller.say(call, framed(b"message")[:begun], end=True) == [
        CallReset(call, ErrorCode.PROTOCOL_ERROR)
    ]
    answer = caller.answer(call)
    assert "inside a message" in refused(answer, Status.INTERNAL)
    assert answer.reset is None


@pytest.mark.parametrize("size", [1001, 100_000], ids=["in one frame", "in many"])
def test_too_large_messages_are_refused(size: int) -> None:
    """The limit holds for those that come in one frame as for others; the largest pass."""
    caller = Caller(limits=Limits(max_message_bytes=1000, max_unfinished_bytes=65_536))
    call = caller.open()
    assert caller.say(call, framed(bytes(1000))) == [MessageReceived(call, bytes(1000))]
    assert caller.say(call, framed(bytes(size))[:16_000]) == [CallReset(call, ErrorCode.PROTOCOL_ERROR)]
    assert f"{size} bytes" in refused(caller.answer(call), Status.RESOURCE_EXHAUSTED)


def test_unfinished_messages_end_the_call_that_goes_too_far() -> None:
    """What it held is given up with it, so that the others can go on."""
    caller = Caller(limits=Limits(max_message_bytes=60_000, max_unfinished_bytes=65_536))
    patient, greedy = caller.open(), caller.open()
    large = framed(bytes(60_000))
    caller.say(patient, large[:16_000])
    for start in range(0, 48_000, 16_000):
        assert caller.say(greedy, large[start : start + 16_000]) == []
    assert caller.say(greedy, large[48_000 : 48_000 + 4_000]) == [CallReset(greedy, ErrorCode.PROTOCOL_ERROR)]
    assert "--http2-max-unfinished" in refused(caller.answer(greedy), Status.RESOURCE_EXHAUSTED)
    assert caller.tally.offences[Offence.UNFINISHED_MESSAGES] == 1
    for start in range(16_000, 48_000, 16_000):
        assert caller.say(patient, large[start : start + 16_000]) == []
    assert caller.say(patient, large[48_000:]) == [MessageReceived(patient, bytes(60_000))]


@pytest.mark.parametrize("end", ["finish", "reset"])
def test_ended_calls_no_longer_count_as_unfinished(end: str) -> None:
    """However often calls end inside a message, by our doing or the peer's, the next may have as much."""
    caller = Caller(limits=Limits(max_message_bytes=60_000, max_unfinished_bytes=65_536))
    for _ in range(10):
        call = caller.open()
        assert caller.say(call, framed(bytes(60_000))[:16_000]) == []
        if end == "finish":
            caller.calls.finish(call, Status.CANCELLED)
        else:
            caller.feed(by_hand.rst_stream(call.id))
        assert call.begun is None


# ------------------------------------------------------------------------------- limits of the connection

FEW_FRAGMENTS = Limits(fragments=Allowance(burst=10, per_s=1.0))


def test_fragments_end_the_connection() -> None:
    """Tiny pieces that finish nothing are counted; every live call hears of the end, then the connection ends."""
    caller = Caller(limits=FEW_FRAGMENTS)
    other, call = caller.open(), caller.open()
    for _ in range(10):
        assert caller.say(call, framed(bytes(200))[:5] if call.begun is None else b"x") == []
    *resets, ended = caller.say(call, b"x")
    assert resets == [CallReset(each, ErrorCode.ENHANCE_YOUR_CALM) for each in (other, call)]
    assert isinstance(ended, ConnectionEnded)
    assert ended.code is ErrorCode.ENHANCE_YOUR_CALM
    assert caller.tally.offences[Offence.FRAGMENTS] == 1
    assert caller.calls.is_over
    caller.calls.send_message(other, b"x")
    caller.calls.finish(other, Status.OK)
    assert [frame.kind for frame in caller.frames()] == [by_hand.GOAWAY]
    assert caller.say(call, b"x") == []


def test_one_read_may_bring_fragments_and_anything() -> None:
    """The owners of all calls, those opened and those reset after the limit was passed, hear of them exactly once."""
    caller = Caller(limits=FEW_FRAGMENTS)
    first = caller.open()
    events = caller.feed(
        *(by_hand.data(first.id, b"\0") for _ in range(4)),
        by_hand.data(first.id, b"\x14"),
        *(by_hand.data(first.id, b"\xff") for _ in range(20)),
        caller.request(),
        by_hand.rst_stream(first.id),
        caller.request(),
    )
    assert events[0] == MessageReceived(first, 20 * b"\xff")
    opened = [event.call for event in events if isinstance(event, CallOpened)]
    assert [call.id for call in opened] == [3, 5]
    assert [event for event in events if isinstance(event, CallReset)] == [
        CallReset(first, ErrorCode.CANCEL),
        *(CallReset(call, ErrorCode.ENHANCE_YOUR_CALM) for call in opened),
    ]
    assert isinstance(events[-1], ConnectionEnded)
    assert caller.tally.offences[Offence.FRAGMENTS] == 1


def test_small_messages_are_no_fragments() -> None:
    """Frames that finish a message are what a gateway sends all day; so are large pieces, and empty ones at the end."""
    caller = Caller(limits=FEW_FRAGMENTS)
    call = caller.open()
    for _ in range(100):
        assert caller.say(call, framed(b"")) == [MessageReceived(call, b"")]
        assert caller.say(call, framed(b"x")) == [MessageReceived(call, b"x")]
        assert caller.say(call, framed(b"") + framed(b"x")) == [
            MessageReceived(call, b""),
            MessageReceived(call, b"x"),
        ]
        assert caller.say(caller.open(), b"", end=True) != []
    caller.say(call, framed(bytes(20_000))[:5])
    for _ in range(100):
        assert caller.say(call, bytes(64)) == []
    assert caller.tally.offences[Offence.FRAGMENTS] == 0


def test_fragments_on_calls_that_are_over_count_as_well() -> None:
    """A stream whose end waits for the peer's window is no place to send tiny frames for ever."""
    caller = Caller((by_hand.INITIAL_WINDOW_SIZE, 0), limits=FEW_FRAGMENTS)
    call = caller.open()
    caller.calls.send_message(call, b"x")
    caller.calls.finish(call, Status.OK)
    events: list[CallEvent] = []
    for _ in range(11):
        events += caller.say(call, framed(b"")[:1])
    (ended,) = events
    assert isinstance(ended, ConnectionEnded)


def test_broken_calls_whose_refusals_are_never_read_end_the_connection() -> None:
    """The same for those that are refused later."""
    caller = Caller(limits=Limits(max_unsent_replies=10))
    events: list[CallEvent] = []
    for _ in range(15):
        number = caller.next_id
        events += caller.feed(caller.request(), by_hand.data(number, BROKEN, end=True))
    assert isinstance(events[-1], ConnectionEnded)
    assert caller.tally.offences[Offence.UNSENT_REPLIES] == 1


def test_refusals_that_are_never_read_end_the_connection() -> None:
    """Requests that are refused one by one cost the peer as many answers as it is ready to read."""
    caller = Caller(limits=Limits(max_unsent_replies=10), paths=frozenset())
    events: list[CallEvent] = []
    for _ in range(15):
        events += caller.feed(caller.request(end=True))
    (ended,) = events
    assert isinstance(ended, ConnectionEnded)
    assert caller.tally.offences[Offence.UNSENT_REPLIES] == 1


def test_closing_resets_every_live_call() -> None:
    """Those that are over already aren't told of again."""
    caller = Caller((by_hand.INITIAL_WINDOW_SIZE, 0))
    live, finished = caller.open(), caller.open()
    caller.calls.send_message(finished, b"x")
    caller.calls.finish(finished, Status.OK)
    reset, ended = caller.calls.close(ErrorCode.NO_ERROR, "going away")
    assert reset == CallReset(live, ErrorCode.NO_ERROR)
    assert ended == ConnectionEnded(ErrorCode.NO_ERROR, "going away")
    assert caller.calls.close(ErrorCode.NO_ERROR, "again") == []


def test_a_broken_connection_resets_every_live_call() -> None:
    """What the peer does wrong on the connection is heard on all of its calls."""
    caller = Caller()
    call = caller.open()
    reset, ended = caller.feed(by_hand.ping(b"short"))
    assert reset == CallReset(call, ErrorCode.FRAME_SIZE_ERROR)
    assert isinstance(ended, ConnectionEnded)


def test_shutdown_and_keepalive_are_the_connections() -> None:
    """Calls passes on what the transport asks and reads."""
    caller = Caller()
    assert caller.calls.is_greeted
    caller.now += 5.0
    caller.calls.ping()
    assert caller.calls.is_ping_unanswered
    (ping,) = caller.frames()
    caller.feed(by_hand.ping(ping.payload, ack=True))
    assert not caller.calls.is_ping_unanswered
    assert caller.calls.last_heard_s == caller.now
    caller.calls.announce_shutdown()
    assert [frame.kind for frame in caller.frames()] == [by_hand.GOAWAY, by_hand.PING]
    assert not caller.calls.is_over
    caller.calls.finish_shutdown()
    assert [frame.kind for frame in caller.frames()] == [by_hand.GOAWAY]
    assert caller.calls.is_over


# ------------------------------------------------------------------------------- any pieces, any order


def heard(events: list[CallEvent]) -> list[tuple[object, ...]]:
    """Events, comparable between connections."""
    return [
        (type(event), *(part.id if isinstance(part, Call) else part for part in event)) for event in events
    ]


BODIES = st.lists(
    st.one_of(
        st.binary(max_size=70).map(framed),
        st.sampled_from([BROKEN, framed(b"zip", flag=1), struct.pack(">BI", 0, 5000), b"\0", b""]),
    ),
    max_size=4,
).map(b"".join)


@given(
    streams=st.lists(st.tuples(BODIES, st.booleans(), st.booleans()), min_size=1, max_size=4),
    data=st.data(),
)
def test_what_is_told_does_not_depend_on_the_cut(
    streams: list[tuple[bytes, bool, bool]], data: st.DataObject
) -> None:
    """Calls good and bad, in frames of any size and reads of any size: the same is heard and answered on each."""
    limits = Limits(max_message_bytes=1024, max_unfinished_bytes=65_536)
    whole, pieced = Caller(limits=limits), Caller(limits=limits)
    wanted, found, stream_of_bytes = [], [], b""
    for body, is_served, ends in streams:
        number = whole.next_id
        extra = () if is_served else ((b"grpc-timeout", b"malformed"),)
        request = whole.request(*extra)
        wanted += heard(whole.feed(request)) + heard(whole.say(number, body, end=ends))
        size = data.draw(st.integers(1, 80))
        places = range(0, len(body), size)
        frames = [by_hand.data(number, body[at : at + size], end=ends and at == places[-1]) for at in places]
        if not frames and ends:
            frames = [by_hand.data(number, end=True)]
        stream_of_bytes += request + b"".join(frames)
    size = data.draw(st.integers(1, 200))
    for at in range(0, len(stream_of_bytes), size):
        found += heard(pieced.feed(stream_of_bytes[at : at + size]))
    assert found == wanted
    answers, answers_pieced = whole.answers(), pieced.answers()
    assert answers.keys() == answers_pieced.keys()
    for number, answer in answers.items():
        # A refusal may come before the peer's end does, and then it is told to stop.
        assert answers_pieced[number]._replace(reset=None) == answer._replace(reset=None)
    assert whole.tally.messages_in == pieced.tally.messages_in
