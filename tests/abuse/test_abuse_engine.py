"""Every attack, on the engine alone: the right code, the right count, and nothing that grows."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from epp.extproc.http2.calls import Calls
from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import CallEvent, CallOpened, CallReset, ConnectionEnded, MessageSent
from epp.extproc.http2.guard import Offence, Tally
from epp.extproc.http2.limits import Allowance, Limits
from epp.extproc.http2.statuses import Status
from epp.extproc.listen import METHOD
from tests.abuse.attacks import ATTACKS, KIB, MIB, Attack, Client, End
from tests.abuse.holding import held_bytes
from tests.extproc.http2.frames_by_hand import (
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    data,
    of_kind,
    ping,
    resets,
    rst_stream,
    settings,
    split,
    window_update,
)

SPEED_BYTES_PER_S = 10 * MIB
"""What a peer sends, in the attack's own time."""
FLAT_BYTES = 1 * MIB
"""What a connection may keep besides its open streams."""
STREAM_BYTES = 1_500
"""What each of those may take."""
PART_BYTES = 64 * KIB
FEW_RESETS = Limits(rapid_resets=Allowance(5_000, 500.0))
"""Few enough for an attack that doesn't take long."""
NO_RESETS = Limits(rapid_resets=Allowance(1, 0.001))
"""For those who are never to be taken for such an attack."""

those_that_end = pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.end is not End.SERVED], ids=lambda attack: attack.name
)
those_that_go_on = pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.end is End.SERVED], ids=lambda attack: attack.name
)


class Target:
    """One connection that is attacked, and read from all the while."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.tally = Tally()
        self.calls = Calls(self.limits, tally=self.tally, methods=frozenset({METHOD}), now=0.0)
        self.now = 0.0
        self.sent_bytes = 0
        self.written = b""
        """In answer to the last piece."""
        self.events: list[CallEvent] = []

    def feed(self, piece: bytes) -> None:
        """One read."""
        self.sent_bytes += len(piece)
        self.now += len(piece) / SPEED_BYTES_PER_S
        self.events = self.calls.receive(piece, self.now)
        out = b"".join(self.calls.take())
        self.written = out
        self.calls.note_written()

    def kept_bytes(self) -> int:
        """What the connection keeps, besides its open streams."""
        kept = held_bytes(self.calls, without=(self.limits, self.tally))
        return kept - STREAM_BYTES * len(self.calls.streams)


@those_that_end
def test_an_attack_ends_with_its_code_and_is_counted_once(attack: Attack) -> None:
    """GOAWAY by the time when a limit's worth has come; little is kept until then, and nothing looked at afterwards."""
    target = Target(FEW_RESETS)
    for index, piece in enumerate(attack.pieces()):
        target.feed(piece)
        if target.calls.is_over:
            break
        if index % 8 == 0:
            assert target.kept_bytes() < FLAT_BYTES
        assert target.sent_bytes < attack.within_bytes + 2 * len(piece)
    farewell = of_kind(split(target.written), GOAWAY)[-1]
    assert farewell.numbers[1] == attack.end.code
    ended = target.events[-1]
    assert isinstance(ended, ConnectionEnded)
    assert ended.code is attack.end.code
    counted = {offence: count for offence, count in target.tally.offences.items() if count}
    assert counted == ({} if attack.offence is None else {attack.offence: 1})
    if attack.end is End.CALM:
        assert "; the limit is --http2-" in ended.detail
    assert not target.calls.streams
    before = target.kept_bytes()
    assert before < FLAT_BYTES
    for piece in islice(attack.pieces(), 20):
        target.feed(piece)
        assert target.events == []
        assert not target.written
    assert target.kept_bytes() <= before


@those_that_go_on
def test_what_is_only_wrong_with_a_request_ends_that_and_no_more(attack: Attack) -> None:
    """The connection goes on, each offence is counted, and what is kept doesn't grow with what comes."""
    target = Target(Limits(max_streams=100))
    kept: list[int] = []
    for piece in attack.pieces():
        target.feed(piece)
        assert not target.calls.is_over, target.events[-1:]
        if target.sent_bytes > len(kept) * PART_BYTES:
            kept.append(target.kept_bytes())
        if len(kept) == 6:
            break
    if attack.offence is not None:
        assert target.tally.offences[attack.offence] > 10
    assert max(kept[3:]) < max(kept[:3]) * 1.1 + 4096
    assert kept[-1] < FLAT_BYTES


def test_a_refused_stream_is_safe_to_try_again() -> None:
    """Over the limit it is REFUSED_STREAM; when there is room again, the same connection opens streams."""
    attack = next(attack for attack in ATTACKS if attack.offence is Offence.STREAMS)
    target = Target(Limits(max_streams=3))
    pieces = attack.pieces()
    target.feed(next(pieces))
    target.feed(next(pieces))
    assert len([event for event in target.events if isinstance(event, CallOpened)]) == 3
    assert target.tally.streams_refused == target.tally.offences[Offence.STREAMS] > 100
    for call in list(target.calls.streams.values()):
        target.calls.finish(call, Status.OK)
    target.feed(next(pieces))
    assert len([event for event in target.events if isinstance(event, CallOpened)]) == 3
    last = Counter(code for _, code in resets(split(target.written)))
    # Those that were finished before their peer had, and then those that found no place.
    assert last == {ErrorCode.NO_ERROR: 3, ErrorCode.REFUSED_STREAM: last[ErrorCode.REFUSED_STREAM]}


def test_more_than_a_streams_window_ends_the_stream() -> None:
    """A peer that goes on although its window isn't given back loses the stream, and nothing else."""
    target = Target(Limits(stream_window_bytes=64 * 16_384))
    client = Client()
    first, opening = client.open()
    target.feed(client.greet() + opening)
    (opened,) = target.events
    assert isinstance(opened, CallOpened)
    target.calls.withhold(opened.call)
    target.feed(data(first, b"\x00\x00\x80\x00\x00" + bytes(16_379)))
    for _ in range(63):
        target.feed(data(first, bytes(16_384)))
        assert target.events == []
    target.feed(data(first, b"!"))
    assert target.events == [CallReset(opened.call, ErrorCode.FLOW_CONTROL_ERROR)]
    assert resets(split(target.written)) == [(first, ErrorCode.FLOW_CONTROL_ERROR)]
    assert target.tally.offences[Offence.WINDOW_OVERFLOW] == 1
    target.feed(client.open()[1])
    assert isinstance(target.events[0], CallOpened)


def test_more_than_the_connections_window_ends_the_connection() -> None:
    """One frame may be larger than a small window; then it is FLOW_CONTROL_ERROR, and counted."""
    target = Target(Limits(connection_window_bytes=65_535, stream_window_bytes=65_535, max_frame_bytes=MIB))
    client = Client()
    first, opening = client.open()
    target.feed(client.greet() + opening + data(first, bytes(65_536)))
    ended = target.events[-1]
    assert isinstance(ended, ConnectionEnded)
    assert ended.code is ErrorCode.FLOW_CONTROL_ERROR
    assert target.tally.offences[Offence.WINDOW_OVERFLOW] == 1


def test_windows_below_zero_stall_and_come_back() -> None:
    """Lowering the windows of running streams holds them up, for so long; raising them lets them go on."""
    target = Target(Limits(stall_s=10.0))
    client = Client()
    openings = [client.open()[1] for _ in range(100)]
    target.feed(client.greet() + window_update(0, MIB) + b"".join(openings))
    calls = [event.call for event in target.events if isinstance(event, CallOpened)]
    for call in calls:
        target.calls.send_message(call, bytes(200))
    target.feed(settings((INITIAL_WINDOW_SIZE, 0)))
    for call in calls:
        target.calls.send_message(call, bytes(1_000))
        assert call.pending is not None
        assert call.send_window < 0
    target.feed(settings((INITIAL_WINDOW_SIZE, 65_535)))
    assert [type(event) for event in target.events] == [MessageSent] * 100
    target.feed(settings((INITIAL_WINDOW_SIZE, 0)))
    for call in calls:
        target.calls.send_message(call, bytes(1_000))
    assert target.calls.tick(target.now + 9.9) == []
    assert len(target.calls.tick(target.now + 10.1)) == 100
    assert target.tally.offences[Offence.STALLED] == 100
    assert not target.calls.streams
    assert target.kept_bytes() < FLAT_BYTES


# ------------------------------------------------------------------------ gateways that mean well


def test_a_gateway_at_full_speed_is_left_alone() -> None:
    """Ten thousand requests, their windows updated frame by frame, pings and resets among them, count nothing."""
    target = Target(NO_RESETS)
    client = Client()
    target.feed(client.greet())
    opened = 0
    for turn in range(100):
        requests = []
        for _ in range(100):
            number, opening = client.open()
            requests.append(opening + data(number, b"\x00\x00\x00\x00\x02ok"))
        target.feed(b"".join(requests) + (ping() if turn % 10 == 0 else b""))
        calls = [event.call for event in target.events if isinstance(event, CallOpened)]
        opened += len(calls)
        for call in calls:
            target.calls.send_message(call, b"yes")
        target.calls.take()
        updates = b"".join(window_update(call.id, 8) + window_update(0, 8) for call in calls)
        target.feed(updates + b"".join(rst_stream(call.id) for call in calls))
    assert opened == 10_000
    assert not target.calls.is_over
    assert sum(target.tally.offences.values()) == 0
    assert target.tally.streams_opened == target.tally.streams_ended == 10_000


def test_everything_that_a_gateway_still_sent_after_its_refusals_is_ignored() -> None:
    """5,000 requests are refused at once, in the middle of their bodies: what was on its way harms nobody."""
    target = Target(FEW_RESETS)
    client = Client()
    numbers, openings = zip(*(client.open() for _ in range(5_000)), strict=True)
    target.feed(client.greet() + b"".join(openings))
    for call in list(target.calls.streams.values()):
        target.calls.send_message(call, b"429")
        target.calls.finish(call, Status.OK)
    target.calls.take()
    for number in numbers:
        target.feed(data(number, bytes(1_000)) + data(number, b"", end=True))
    for number in numbers:
        target.feed(rst_stream(number))
    assert not target.calls.is_over, target.events
    assert sum(target.tally.offences.values()) == 0
    target.feed(client.open()[1])
    assert isinstance(target.events[0], CallOpened)


def test_5000_clients_hang_up_while_they_wait() -> None:
    """All of their streams are reset in one read, after more than a second in the queue, wave after wave."""
    target = Target(NO_RESETS)
    client = Client()
    target.feed(client.greet())
    for _ in range(2):
        numbers, openings = zip(*(client.open() for _ in range(5_000)), strict=True)
        target.feed(b"".join(openings))
        target.now += 1.5
        target.feed(b"".join(rst_stream(number) for number in numbers))
        assert len(target.events) == 5_000
    assert not target.calls.is_over
    assert sum(target.tally.offences.values()) == 0
