"""One native connection without a network: what is written when, and what becomes of peers that do as they like."""

from __future__ import annotations

import gc
from itertools import pairwise

import pytest
from grpc_health.v1 import health_pb2

from epp.core.actions import Reason
from epp.core.eviction import Begun
from epp.extproc.health import Serving
from epp.extproc.http2.call import Call
from epp.extproc.http2.guard import Ending, Offence
from epp.extproc.ingress import Refusal, ResponseOutcome
from epp.extproc.parsers import Parsers
from epp.extproc.request import ConversationSettings
from epp.extproc.transports.exchanges import NativeExchange
from tests.extproc import gateway
from tests.extproc.fakes import Decide, FakePicker
from tests.extproc.transports.line import HIGH_WATER, Heard, Line, world

KIB = 1024
MIB = 1024 * 1024
CHAT = (gateway.request_headers(), gateway.request_body())
LONG_CHAT = (
    gateway.request_headers(),
    gateway.request_body(gateway.CHAT.replace(b"hello", b"hello " * 500)),
)
PASSTHROUGH = ConversationSettings(
    parsers=Parsers(("passthrough-parser",)), max_request_body_bytes=1000 * MIB
)
REFUSED = Refusal(Reason.SATURATED, retry_after_s=1, message="", waited_s=0.0)
ROOMY = {"stream_window_bytes": 1 * MIB}
"""Limits of those who want to fill our buffers by one stream."""
WATCH = "/grpc.health.v1.Health/Watch"
CHECK = "/grpc.health.v1.Health/Check"


def running(line: Line) -> Heard:
    """A call whose request has been dispatched, heard and forgotten."""
    call = line.open(*CHAT)
    line.exchange()
    assert gateway.kinds(call.answers) == ["request_headers", "request_body"]
    call.buffer = b""
    return call


def in_pieces(data: bytes, size: int) -> list[bytes]:
    """The same bytes, cut."""
    return [data[start : start + size] for start in range(0, len(data), size)]


# ------------------------------------------------------------------------------------- one write


def test_a_read_is_answered_by_one_write() -> None:
    """Whatever a read brings on however many streams, all of the answers leave together, and at once."""
    picker = FakePicker()
    with world(picker) as it:
        line = it.line()
        calls = [line.open(*CHAT) for _ in range(20)]
        line.deliver(line.h2.data_to_send())
        assert not it.turns.soon
        assert len(line.pipe.writes) == 1
        line.exchange()
        assert all(gateway.kinds(call.answers) == ["request_headers", "request_body"] for call in calls)


def test_chunks_of_one_read_go_on_together() -> None:
    """The chunks that one read brings for a stream leave in one message, in order."""
    picker = FakePicker()
    with world(picker) as it:
        line = it.line()
        call = running(line)
        call.say(gateway.response_headers(), *(gateway.response_body(b"%d" % number) for number in range(9)))
        line.exchange()
        assert gateway.kinds(call.answers) == ["response_headers", "response_body"]
        assert gateway.body_sent(call.answers, "response_body") == b"012345678"


def test_streams_that_are_woken_in_one_turn_share_a_write() -> None:
    """A hundred decisions that come out of the blue leave in one write, in the loop's next turn."""
    picker = FakePicker(Decide.LATER)
    with world(picker) as it:
        line = it.line()
        calls = [line.open(*CHAT) for _ in range(100)]
        line.exchange()
        picker.dispatch_all()
        assert line.pipe.writes == []
        assert it.turns.turn() == 1
        assert len(line.pipe.writes) == 1
        line.exchange()
        assert all(len(call.answers) == 2 for call in calls)


def test_a_slot_that_one_connection_frees_wakes_streams_of_another() -> None:
    """A response's end on one connection dispatches requests of three, once its own answer is out: a write for each."""

    class Chain(FakePicker):
        def ended(self, request_id: int, response: object) -> None:
            super().ended(request_id, response)  # type: ignore[arg-type]
            self.dispatch_all()

    picker = Chain()
    with world(picker) as it:
        first, second, third = it.line(), it.line(), it.line()
        call = running(first)
        picker.decide = Decide.LATER
        waiting = [line.open(*CHAT) for line in (first, second, second, third) for _ in range(3)]
        for line in it.lines:
            line.exchange()
        call.say(gateway.response_headers(end=True))
        first.deliver(first.h2.data_to_send())
        assert [len(line.pipe.writes) for line in it.lines] == [1, 0, 0]
        assert it.turns.turn() == 1
        assert [len(line.pipe.writes) for line in it.lines] == [2, 0, 0]
        assert it.turns.turn() == 2
        assert [len(line.pipe.writes) for line in it.lines] == [2, 1, 1]
        for line in it.lines:
            line.exchange()
        assert all(len(each.answers) == 2 for each in waiting)


def test_a_decision_is_told_although_the_gateway_has_ended_its_side() -> None:
    """It comes just when the end of the call has been put off for a turn: nobody ends the call before it is told."""
    picker = FakePicker()
    picker.decide = Decide.LATER
    with world(picker) as it:
        line = it.line()
        call = line.open(*CHAT)
        call.leave()
        line.deliver(line.h2.data_to_send())
        picker.dispatch_all()
        line.exchange()
        assert len(call.answers) == 2
        assert call.answers[0].request_headers.response.header_mutation.set_headers
        assert picker.heard["delivery_failed"] == 0
        assert picker.heard["ended"] == 1


def test_an_eviction_out_of_the_blue_is_told_in_the_next_turn() -> None:
    """The refusal, then the end of the call, and then the picker hears of it."""
    picker = FakePicker()
    with world(picker) as it:
        line = it.line()
        call = running(line)
        assert picker.evict_all(Begun.EVICTED) == [True]
        assert picker.responses == []
        line.exchange()
        assert gateway.kinds(call.answers) == ["immediate_response"]
        assert call.status == "0"
        assert [each.outcome for each in picker.responses] == [ResponseOutcome.EVICTED]


# ----------------------------------------------------------------------------------- any fragments


@pytest.mark.parametrize("size", [1, 7, 1400, MIB])
def test_however_the_bytes_are_cut(size: int) -> None:
    """Byte by byte, in packets, in mebibytes: the same answers, and every byte of both bodies."""
    picker = FakePicker()
    with world(picker) as it:
        line = it.line()
        bodies = {}
        for number in range(3):
            call = line.open(*CHAT)
            call.say(gateway.response_headers())
            bodies[call] = bytes([65 + number]) * (2000 if size < 1400 else 20_000)
            call.say(*(gateway.response_body(piece) for piece in in_pieces(bodies[call], 700)))
            call.say(gateway.response_body(b"", end=True))
            call.leave()
        line.deliver(*in_pieces(line.h2.data_to_send(), size))
        line.exchange()
        for call, body in bodies.items():
            assert gateway.body_sent(call.answers, "request_body") == gateway.CHAT
            assert gateway.body_sent(call.answers, "response_body") == body
            assert call.status == "0"
        assert [each.outcome for each in picker.responses] == [ResponseOutcome.COMPLETED] * 3
        assert not it.tally.offences[Offence.FRAGMENTS]


def test_a_long_read_leaves_others_their_turns() -> None:
    """Thousands of requests in one read are worked off bit by bit, and nothing is read meanwhile."""
    picker = FakePicker()
    with world(picker) as it:
        line = it.line()
        calls = [line.open(*LONG_CHAT) for _ in range(60)]
        data = line.h2.data_to_send()
        seen = []
        line.deliver(data)
        while line.pipe.is_reading_paused:
            seen.append(picker.heard["submit"])
            assert it.turns.turn() == 1
        assert len(seen) == len(data) // 32_768
        assert max(after - before for before, after in pairwise([0, *seen])) < 20
        line.exchange()
        assert all(len(call.answers) == 2 for call in calls)


def test_what_a_transport_had_already_read_is_not_lost() -> None:
    """TLS may deliver once more after it was told to pause; and a connection that ends in the middle just ends."""
    picker = FakePicker()
    with world(picker) as it:
        line, other = it.line(), it.line()
        calls = [line.open(*LONG_CHAT) for _ in range(40)]
        data = line.h2.data_to_send()
        line.deliver(data[:70_000], data[70_000:90_000], data[90_000:])
        line.exchange()
        assert all(len(call.answers) == 2 for call in calls)
        for _ in range(40):
            other.open(*LONG_CHAT)
        other.deliver(other.h2.data_to_send())
        other.pipe.close()
        it.turns.settle()
        assert it.endings == [Ending.PEER]
        assert 40 < picker.heard["submit"] < 80


# ----------------------------------------------------------------------------------- back-pressure


def test_a_peer_that_gives_no_window_is_not_read_on() -> None:
    """What can't be passed on isn't taken in: the stream's window isn't given back until there is room."""
    picker = FakePicker()
    with world(picker, conversation=PASSTHROUGH, **ROOMY) as it:
        line = it.line()
        line.gives_back = False
        call = line.open(gateway.request_headers())
        sent = 0
        while line.h2.local_flow_control_window(call.stream) > 70_000:
            call.say(gateway.request_body(b"x" * 60_000, end=False))
            sent += 60_000
            line.exchange()
            assert sent < 3 * MIB
        assert sent > 900_000
        came = gateway.body_sent(call.answers, "request_body")
        assert 0 < len(came) < 70_000
        line.gives_back = True
        line.h2.increment_flow_control_window(2 * MIB)
        line.h2.increment_flow_control_window(2 * MIB, call.stream)
        line.exchange()
        assert gateway.body_sent(call.answers, "request_body") == b"x" * sent
        assert line.h2.local_flow_control_window(call.stream) > 500_000


def test_a_peer_that_reads_nothing_is_asked_for_no_more() -> None:
    """While our buffer is full no stream makes messages, of however many streams; afterwards nothing is missing."""
    picker = FakePicker(Decide.LATER)
    with world(picker, **ROOMY) as it:
        line = it.line(INITIAL_WINDOW_SIZE=16 * MIB)
        line.h2.increment_flow_control_window(2**30)
        body = b"y" * 900_000
        pieces = [gateway.request_body(each, end=False) for each in in_pieces(body, 60_000)]
        request = (gateway.request_headers(path="/raw"), *pieces, gateway.request_body(b""))
        calls = []
        for _ in range(10):
            calls.append(line.open(*request))
            line.exchange()
        line.pipe.is_read = False
        picker.dispatch_all()
        it.turns.settle()
        waiting = line.pipe.get_write_buffer_size()
        assert HIGH_WATER < waiting < 2 * MIB
        for call in calls[:5]:
            call.say(gateway.response_headers())
        line.deliver(line.h2.data_to_send())
        it.turns.settle()
        assert line.pipe.get_write_buffer_size() < waiting + 10 * KIB
        line.pipe.is_read = True
        line.exchange()
        for call in calls:
            assert gateway.body_sent(call.answers, "request_body") == body
        assert [gateway.kinds(call.answers)[-1] for call in calls].count("response_headers") == 5


def test_while_the_buffer_is_full_a_stream_takes_in_no_more_than_a_message_carries() -> None:
    """A server that writes on is held up by its stream's window, and goes on when there is room again."""
    picker = FakePicker()
    with world(picker, **ROOMY) as it:
        line = it.line(INITIAL_WINDOW_SIZE=16 * MIB)
        line.h2.increment_flow_control_window(2**30)
        call, other = running(line), running(line)
        for each in (call, other):
            each.say(gateway.response_headers())
        line.exchange()
        line.pipe.is_read = False
        other.say(gateway.response_body(b"z" * 300_000))
        line.deliver(line.h2.data_to_send())
        sent = 0
        while line.h2.local_flow_control_window(call.stream) > 60_000:
            call.say(gateway.response_body(b"w" * 50_000))
            sent += 50_000
            line.deliver(line.h2.data_to_send())
            it.turns.settle()
        assert sent > 900_000
        assert line.peer.calls.streams[call.stream].receive_window < 100_000
        line.pipe.is_read = True
        line.exchange()
        assert gateway.body_sent(call.answers, "response_body") == b"w" * sent
        assert line.h2.local_flow_control_window(call.stream) > 500_000


def test_an_answer_that_waits_for_a_window_was_not_delivered() -> None:
    """A stream that ends while its header answer still waits was never told: nothing reached the endpoint."""
    picker = FakePicker()
    with world(picker) as it:
        line = it.line(INITIAL_WINDOW_SIZE=0)
        call = line.open(*CHAT)
        line.exchange()
        assert call.answers == []
        call.break_off()
        line.exchange()
        assert picker.heard == {"submit": 1, "delivery_failed": 1}


# --------------------------------------------------------------------------------------------- time


def test_a_call_ends_when_the_peers_own_time_is_up() -> None:
    """Not before, and exactly then; whichever of many comes first; one that has ended by then is left alone."""
    picker = FakePicker(Decide.LATER)
    with world(picker) as it:
        line = it.line()
        calls = [line.open(*CHAT, grpc_timeout=f"{each}m") for each in (3000, 700, 10_000)]
        calls.append(line.open(*CHAT, grpc_timeout="700m"))
        line.exchange()
        calls[3].break_off()
        line.exchange()
        for passed_s, ended in ((0.69, 0), (0.02, 1), (2.2, 1), (0.1, 2), (6.9, 2), (0.2, 3)):
            it.turns.pass_s(passed_s)
            line.exchange()
            assert [call.status for call in calls].count("4") == ended
        assert calls[1].status == "4"
        assert picker.heard == {"submit": 4, "cancel": 4}


def test_deadlines_of_calls_that_are_over_are_forgotten() -> None:
    """A gateway that gives every request a minute leaves no more behind than it has requests."""
    with world(FakePicker(Decide.LATER)) as it:
        line = it.line()
        for _ in range(400):
            line.open(grpc_timeout="1M").break_off()
            line.exchange()
        assert len(line.peer._deadlines) <= 70


def test_a_silent_peer_is_asked_and_one_that_does_not_answer_is_cut_off() -> None:
    """Half-open: no word for a minute, none after a PING: its streams are over, and so is the connection."""
    picker = FakePicker(Decide.LATER)
    with world(picker, keepalive_s=60.0, keepalive_timeout_s=20.0) as it:
        line = it.line()
        line.open(*CHAT)
        line.exchange()
        line.pipe.is_read = False
        it.turns.pass_s(59.0)
        assert line.pipe.writes == []
        it.turns.pass_s(6.0)
        assert len(line.pipe.writes) == 1
        it.turns.pass_s(14.0)
        assert not line.pipe.is_closing()
        it.turns.pass_s(12.0)
        assert line.pipe.is_aborted
        assert it.endings == [Ending.LIMIT]
        assert it.tally.offences[Offence.SILENT] == 1
        assert picker.heard == {"submit": 1, "cancel": 1}


def test_a_silent_peer_without_requests_is_cut_off_as_well() -> None:
    """A connection that nobody is at the other end of isn't kept until somebody asks for something on it."""
    with world(FakePicker(), keepalive_s=60.0, keepalive_timeout_s=20.0) as it:
        line = it.line()
        line.pipe.is_read = False
        it.turns.pass_s(100.0)
        assert it.endings == [Ending.LIMIT]
        assert it.tally.offences[Offence.SILENT] == 1


def test_a_peer_that_answers_pings_may_be_silent_for_ever() -> None:
    """A held stream of a gateway with nothing to say lasts as long as the gateway does."""
    picker = FakePicker(Decide.LATER)
    with world(picker) as it:
        line = it.line()
        call = line.open(*CHAT)
        line.exchange()
        for _ in range(1000):
            it.turns.pass_s(5.0)
            line.exchange()
        assert it.endings == []
        picker.dispatch_all()
        line.exchange()
        assert len(call.answers) == 2


def test_a_peer_that_talks_and_never_reads_is_cut_off() -> None:
    """Pings don't help it: who takes nothing of what is written to it for a minute is gone."""
    picker = FakePicker()
    with world(picker, write_s=60.0) as it:
        line = it.line()
        line.pipe.is_read = False
        line.open(*CHAT)
        for _ in range(58):
            line.h2.ping(b"12345678")
            line.deliver(line.h2.data_to_send())
            it.turns.pass_s(1.0)
        assert it.endings == []
        it.turns.pass_s(10.0)
        assert it.endings == [Ending.LIMIT]
        assert it.tally.offences[Offence.UNREAD] == 1
        assert picker.responses[0].outcome is ResponseOutcome.ABORTED


def test_a_peer_that_reads_slowly_is_not() -> None:
    """As long as something of it goes, however late."""
    with world(FakePicker(), write_s=60.0, keepalive_s=0.0) as it:
        line = it.line()
        line.open(*CHAT)
        line.pipe.is_read = False
        line.deliver(line.h2.data_to_send())
        for _ in range(10):
            it.turns.pass_s(40.0)
            line.pipe.is_read = True
            line.exchange()
            line.pipe.is_read = False
            line.h2.ping(b"12345678")
            line.deliver(line.h2.data_to_send())
        assert it.endings == []


def test_a_stream_that_waits_too_long_for_a_window_is_reset() -> None:
    """It, and no other one of its connection; the picker hears of it."""
    picker = FakePicker()
    with world(picker, stall_s=300.0) as it:
        line = it.line()
        neighbour = running(line)
        line.gives_back = False
        stalled = line.open(gateway.request_headers(path="/raw"), gateway.request_body(b"x" * 100_000))
        for _ in range(32):
            line.exchange()
            it.turns.pass_s(10.0)
        line.exchange()
        assert stalled.reset == 11
        assert neighbour.reset is None
        assert it.tally.offences[Offence.STALLED] == 1
        assert picker.heard["ended"] == 1
        assert it.endings == []


def test_pings_that_are_answered_and_read_add_up_to_nothing() -> None:
    """However many there have been in a connection's life."""
    with world(FakePicker(), max_unsent_replies=100) as it:
        line = it.line()
        for _ in range(1000):
            line.h2.ping(b"12345678")
            line.exchange()
        assert it.endings == []
        line.pipe.is_read = False
        for _ in range(200):
            line.h2.ping(b"12345678")
            line.deliver(line.h2.data_to_send())
        it.turns.pass_s(2.0)
        assert it.endings == [Ending.LIMIT]


def test_a_peer_that_never_greets_is_cut_off() -> None:
    """A connection on which nothing comes, or only a byte now and then, ends after the handshake's time."""
    with world(FakePicker(), handshake_s=10.0) as it:
        silent, slow = Line(it, {}), Line(it, {})
        it.lines += [silent, slow]
        for byte in b"PRI * HTTP":
            slow.deliver(bytes([byte]))
            it.turns.pass_s(0.9)
        assert it.endings == []
        it.turns.pass_s(15.0)
        assert it.endings == [Ending.HANDSHAKE] * 2
        assert it.tally.offences[Offence.HANDSHAKE] == 2


def test_without_limits_on_time_nothing_is_cut_off() -> None:
    """0 means never."""
    never = dict.fromkeys(("handshake_s", "write_s", "stall_s", "keepalive_s", "keepalive_timeout_s"), 0.0)
    with world(FakePicker(Decide.LATER), **never) as it:
        mute, line = Line(it, {}), it.line()
        it.lines.append(mute)
        line.open(*CHAT)
        line.exchange()
        line.pipe.is_read = False
        line.h2.ping(b"12345678")
        line.deliver(line.h2.data_to_send())
        it.turns.pass_s(5_000.0)
        assert it.endings == []


# ---------------------------------------------------------------------------------------- the end


def test_draining_ends_a_connection_when_its_streams_have_ended() -> None:
    """The peer is asked to go, what it opens until it has heard is served, and the last stream's end is the end."""
    picker = FakePicker()
    with world(picker) as it:
        line = it.line()
        call = running(line)
        late = line.open(*CHAT)
        line.peer.announce_shutdown()
        line.exchange()
        assert [each.last_stream_id for each in line.goodbyes] == [2**31 - 1, late.stream]
        assert len(late.answers) == 2
        for each in (call, late):
            assert it.endings == []
            each.say(gateway.response_headers(end=True))
            each.leave()
            line.exchange()
            assert each.status == "0"
        assert it.endings == [Ending.DRAINED]


def test_cutting_off_tells_the_picker_of_every_stream() -> None:
    """Running ones were broken off, queued ones are cancelled."""
    picker = FakePicker()
    with world(picker) as it:
        line = it.line()
        running(line)
        picker.decide = Decide.LATER
        line.open(*CHAT)
        line.exchange()
        line.peer.cut_off()
        line.exchange()
        assert len(line.goodbyes) == 1
        assert it.endings == [Ending.STOPPED]
        assert picker.heard == {"submit": 2, "ended": 1, "cancel": 1}


def test_a_lost_connection_tells_the_picker_of_every_stream() -> None:
    """The gateway's crash: queued and running requests are over, each once, and late decisions do no harm."""
    picker = FakePicker()
    with world(picker) as it:
        line = it.line()
        running(line)
        picker.decide = Decide.LATER
        line.open(*CHAT)
        line.exchange()
        (answer,) = picker.waiting.values()
        line.pipe.close()
        it.turns.settle()
        assert it.endings == [Ending.PEER]
        assert picker.heard == {"submit": 2, "ended": 1, "cancel": 1}
        answer.dispatched(gateway.ADDRESS, 0.0)
        answer.refused(REFUSED)
        it.turns.settle()


def test_whoever_breaks_the_protocol_can_read_why() -> None:
    """A GOAWAY, then the end of our side; the connection is not closed under it before it had time to read."""
    with world(FakePicker()) as it:
        line = it.line()
        line.deliver(b"\0\0\0\0\0\0\0\0\0" * 3)
        it.turns.settle()
        line.listen()
        (goodbye,) = line.goodbyes
        assert goodbye.error_code == 1
        assert line.pipe.eof_written
        assert line.pipe.is_reading_paused
        assert not line.pipe.is_closing()
        line.deliver(b"more of it")
        it.turns.pass_s(2.0)
        assert it.endings == [Ending.PROTOCOL]


def test_a_peer_that_speaks_tls_is_told_of_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says what to do, however many such peers come; and nothing of what they sent."""
    with world(FakePicker()) as it:
        for _ in range(3):
            line = Line(it, {})
            it.lines.append(line)
            line.deliver(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a hello")
            it.turns.pass_s(2.0)
        assert it.endings == [Ending.PROTOCOL] * 3
    said = capsys.readouterr().out
    assert said.count("a gateway speaks TLS, and this port plaintext") == 1
    assert "--secure-serving" in said
    assert "hello" not in said


def test_a_bug_costs_one_stream(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the picker raises, when a stream begins, ends or breaks, its neighbours don't notice."""

    class Buggy(FakePicker):
        is_broken = False

        def ended(self, request_id: int, response: object) -> None:
            if self.is_broken:
                raise RuntimeError("a bug")
            super().ended(request_id, response)  # type: ignore[arg-type]

    picker = Buggy()
    with world(picker) as it:
        line = it.line()
        neighbour, ending, breaking = (running(line) for _ in range(3))
        picker.is_broken = True
        ending.say(gateway.response_headers(end=True))
        breaking.break_off()
        line.exchange()
        assert ending.status == "2"
        assert capsys.readouterr().out.count("a stream failed") >= 2
        picker.is_broken = False
        neighbour.say(gateway.response_headers(end=True))
        neighbour.leave()
        line.exchange()
        assert neighbour.status == "0"
        assert it.endings == []


def test_a_bug_in_a_stream_is_the_end_of_its_request() -> None:
    """A stream that fails in the middle of a response is told as broken off, so that its slot is free."""

    class Buggy(FakePicker):
        def first_byte(self, request_id: int) -> None:
            raise RuntimeError("a bug")

    picker = Buggy()
    with world(picker) as it:
        line = it.line()
        call = running(line)
        call.say(gateway.response_headers(), gateway.response_body(b"x"), gateway.response_body(b"y"))
        line.exchange()
        assert call.status == "2"
        assert [each.outcome for each in picker.responses] == [ResponseOutcome.ABORTED]


@pytest.mark.parametrize("names", [["receive"], ["receive", "close"]], ids=" and ".join)
def test_a_bug_of_ours_costs_one_connection(
    names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its streams end like those of a connection that was lost, and the log has the reason."""
    picker = FakePicker()
    with world(picker) as it:
        line, other = it.line(), it.line()
        running(line)

        def broken(*_: object) -> list[object]:
            raise RuntimeError("a bug")

        for name in names:
            monkeypatch.setattr(line.peer.calls, name, broken)
        line.deliver(b"anything")
        it.turns.settle()
        assert it.endings == [Ending.FAILURE]
        assert "a bug" in capsys.readouterr().out
        assert picker.heard == {"submit": 1, "ended": 1}
        running(other)


@pytest.mark.parametrize("end", ["complete", "reset", "refused", "expired"])
def test_a_stream_that_is_over_leaves_no_garbage(end: str) -> None:
    """It is gone when it has ended, without the collector: thousands end in every second."""
    picker = FakePicker(Decide.LATER if end in {"refused", "expired"} else Decide.AT_ONCE)
    gc.collect()
    gc.disable()
    try:
        with world(picker) as it:
            line = it.line()
            call = line.open(*CHAT, grpc_timeout="1S")
            line.exchange()
            assert _alive(NativeExchange) == _alive(Call) == 1
            if end == "complete":
                call.say(gateway.response_headers(end=True))
                call.leave()
            elif end == "reset":
                call.break_off()
            elif end == "refused":
                picker.refuse_all(REFUSED)
            else:
                it.turns.pass_s(1.5)
            line.exchange()
            assert _alive(NativeExchange) == _alive(Call) == 0
    finally:
        gc.enable()


def _alive(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())


# ---------------------------------------------------------------------------------- health checks


def test_checks_of_any_number_share_a_connection_with_streams() -> None:
    """They count as no stream of the picker's, and a watcher that is slow hears the last state, not every one."""
    with world(FakePicker()) as it:
        line = it.line(INITIAL_WINDOW_SIZE=0)
        request = health_pb2.HealthCheckRequest(service="readiness").SerializeToString()
        watch = line.open(path=WATCH)
        watch.say(request)
        line.exchange()
        for serving in (Serving.YES, Serving.NO, Serving.YES):
            it.health.set_ready(serving)
            it.turns.settle()
        assert it.service.exchanges == 0
        line.h2.increment_flow_control_window(100, watch.stream)
        line.exchange()
        statuses = [health_pb2.HealthCheckResponse.FromString(each).status for each in watch.raw]
        assert statuses == [
            health_pb2.HealthCheckResponse.NOT_SERVING,
            health_pb2.HealthCheckResponse.SERVING,
        ]
        watch.break_off()
        line.exchange()
        assert not it.health.watchers


@pytest.mark.parametrize("said", [None, b"\xff\xff"], ids=["nothing", "garbage"])
def test_a_check_that_asks_nothing_is_refused(said: bytes | None) -> None:
    """A call that is no question gets a status, not silence."""
    with world(FakePicker()) as it:
        line = it.line()
        call = line.open(path=CHECK)
        if said is not None:
            call.say(said)
        call.leave()
        line.exchange()
        assert call.status == "13"


def test_a_watch_may_have_a_deadline() -> None:
    """Its end is told like that of any other call."""
    with world(FakePicker()) as it:
        line = it.line()
        call = line.open(path=WATCH, grpc_timeout="2S")
        call.say(health_pb2.HealthCheckRequest(service="liveness").SerializeToString())
        line.exchange()
        it.turns.pass_s(2.5)
        line.exchange()
        assert call.status == "4"
        assert not it.health.watchers
