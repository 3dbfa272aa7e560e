"""What a peer may do, how often, and what it is told when it does more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.http2.codes import ConnectionFault, ErrorCode
from epp.extproc.http2.guard import (
    MOST_UPDATES_BANKED,
    UPDATES_PER_DATA,
    Ending,
    Guard,
    Offence,
    Tally,
    limit_text,
)
from epp.extproc.http2.limits import OVERSIZE, Allowance, Limits
from epp.extproc.http2.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Limits(
    rapid_resets=Allowance(10, 2.0),
    pings=Allowance(20, 4.0),
    settings=Allowance(30, 1.0),
    empty_frames=Allowance(40, 8.0),
    fragments=Allowance(50, 16.0),
    window_updates=Allowance(60, 32.0),
)


def a_guard(limits: Limits = LIMITS, *, now: float = 0.0) -> Guard:
    """A connection's, with small numbers."""
    return Guard(limits, Tally(), now=now)


def a_stream(*, opened_s: float = 0.0, answered: bool = False) -> Stream:
    """One that the peer is about to reset."""
    stream = Stream(1, send_window=0, receive_window=0, now=opened_s)
    stream.answered = answered
    return stream


def rapid_reset(guard: Guard, now: float) -> None:
    """Open a stream and reset it at once."""
    guard.reset(a_stream(opened_s=now), now)


def at_rate(
    guard: Guard, act: Callable[[Guard, float], None], *, per_s: float, start_s: float, count: int
) -> None:
    """Do it `count` times."""
    for step in range(count):
        act(guard, start_s + step / per_s)


BUCKETS: list[tuple[Offence, Callable[[Guard, float], None], Allowance]] = [
    (Offence.RAPID_RESETS, rapid_reset, LIMITS.rapid_resets),
    (Offence.PINGS, Guard.ping, LIMITS.pings),
    (Offence.SETTINGS, Guard.settings, LIMITS.settings),
    (Offence.EMPTY_FRAMES, Guard.empty_frame, LIMITS.empty_frames),
    (Offence.FRAGMENTS, Guard.fragment, LIMITS.fragments),
    (Offence.WINDOW_UPDATES, Guard.window_update, LIMITS.window_updates),
]
each_bucket = pytest.mark.parametrize(
    ("offence", "act", "allowance"), BUCKETS, ids=[offence.value for offence, _, _ in BUCKETS]
)


@each_bucket
def test_a_burst_passes_and_one_more_is_told_which_limit_it_passed(
    offence: Offence, act: Callable[[Guard, float], None], allowance: Allowance
) -> None:
    """The burst is free; the next one is ENHANCE_YOUR_CALM by the flag's name and value, and counted once."""
    guard = a_guard()
    for _ in range(allowance.burst):
        act(guard, 0.0)
    assert sum(guard.tally.offences.values()) == 0
    with pytest.raises(ConnectionFault) as fault:
        act(guard, 0.0)
    assert fault.value.code is ErrorCode.ENHANCE_YOUR_CALM
    flag = offence.value.replace("_", "-")
    assert fault.value.detail.endswith(f"; the limit is --http2-{flag}={allowance.burst}/{allowance.per_s:g}")
    assert {each: count for each, count in guard.tally.offences.items() if count} == {offence: 1}


@each_bucket
def test_what_stays_under_the_rate_goes_on_for_ever(
    offence: Offence, act: Callable[[Guard, float], None], allowance: Allowance
) -> None:
    """Hours at 99 % of the rate, after a burst, are no offence; at 105 % the bucket runs out."""
    guard = a_guard()
    for _ in range(allowance.burst):
        act(guard, 0.0)
    steps = int(10_000 * allowance.per_s)
    rate = 0.99 * allowance.per_s
    at_rate(guard, act, per_s=rate, start_s=1 / rate, count=steps)
    assert guard.tally.offences[offence] == 0
    start_s = (steps + 1) / rate
    with pytest.raises(ConnectionFault):
        at_rate(guard, act, per_s=1.05 * allowance.per_s, start_s=start_s, count=allowance.burst * 50)


@each_bucket
def test_an_uneven_pace_is_as_good_as_an_even_one(
    offence: Offence, act: Callable[[Guard, float], None], allowance: Allowance
) -> None:
    """Fractions of a frame that were gained are kept: long and short gaps whose mean is within the rate pass."""
    guard = a_guard()
    for _ in range(allowance.burst):
        act(guard, 0.0)
    now = 0.0
    for _ in range(1_000):
        for gap in (1.45, 0.6):
            now += gap / allowance.per_s
            act(guard, now)
    assert guard.tally.offences[offence] == 0


@each_bucket
def test_a_rest_fills_a_bucket_and_no_more_than_that(
    offence: Offence, act: Callable[[Guard, float], None], allowance: Allowance
) -> None:
    """After a year's rest there is one burst again, not a year's worth."""
    guard = a_guard()
    for _ in range(allowance.burst):
        act(guard, 0.0)
    year_s = 365 * 24 * 3600.0
    for _ in range(allowance.burst):
        act(guard, year_s)
    with pytest.raises(ConnectionFault):
        act(guard, year_s)
    assert guard.tally.offences[offence] == 1


@given(
    st.lists(st.floats(min_value=0, max_value=3), min_size=1, max_size=300),
    st.integers(1, 12),
    st.floats(0.5, 20),
)
def test_no_span_of_time_lets_more_through_than_the_docstring_says(
    gaps_s: list[float], burst: int, per_s: float
) -> None:
    """Between any two moments at most `2 * burst + per_s * t` pass, and what comes within the bucket always passes."""
    guard = a_guard(Limits(pings=Allowance(burst, per_s)))
    passed: list[float] = []
    level, at, now = float(burst), 0.0, 0.0
    for gap_s in gaps_s:
        now += gap_s
        level, at = min(burst, level + (now - at) * per_s), now
        try:
            guard.ping(now)
        except ConnectionFault:
            # Only where a bucket that is filled all the time would be empty as well.
            assert level < 1 + 1e-6
            break
        passed.append(now)
        level -= 1
    for index, begin in enumerate(passed):
        for count, end in enumerate(passed[index:], 1):
            assert count <= 2 * burst + per_s * (end - begin) + 1e-6


# ------------------------------------------------------------------------ gateways that mean well


def test_keepalive_pings_are_never_an_offence() -> None:
    """Ten pings a second for a week, with the defaults."""
    guard = a_guard(Limits())
    for second in range(7 * 24 * 3600):
        guard.ping(float(second))
    for step in range(20_000):
        guard.ping(7 * 24 * 3600 + step / 10)
    assert guard.tally.offences[Offence.PINGS] == 0


def test_resets_of_answered_streams_are_never_an_offence() -> None:
    """A gateway may end any number of streams by a reset, at once after their answer."""
    guard = a_guard()
    for step in range(100_000):
        guard.reset(a_stream(opened_s=step / 10_000, answered=True), step / 10_000 + 0.0001)
    assert guard.tally.offences[Offence.RAPID_RESETS] == 0


def test_all_clients_hanging_up_at_once_is_no_offence() -> None:
    """5,000 clients that queued for over a second leave in the same instant, again and again."""
    guard = a_guard()
    for wave in range(20):
        for _ in range(5_000):
            guard.reset(a_stream(opened_s=2.0 * wave), 2.0 * wave + 1.1)
    assert guard.tally.offences[Offence.RAPID_RESETS] == 0


def test_the_same_without_waiting_is_one() -> None:
    """Streams that are reset as fast as they are opened end the connection soon after the burst."""
    guard = a_guard(Limits())
    with pytest.raises(ConnectionFault, match="--http2-rapid-resets=100000/10000"):
        at_rate(guard, rapid_reset, per_s=100_000, start_s=0, count=120_000)
    assert guard.tally.offences[Offence.RAPID_RESETS] == 1


def test_clients_of_a_gateway_that_hang_up_all_the_time_are_none() -> None:
    """More of them than get through a gateway, for as long as they like: others share the connection."""
    guard = a_guard(Limits())
    at_rate(guard, rapid_reset, per_s=9_000, start_s=0, count=400_000)
    assert guard.tally.offences[Offence.RAPID_RESETS] == 0


def test_resets_of_streams_that_are_gone_share_the_bucket() -> None:
    """Thousands may cross our own ends of streams; a flood of them ends as one of rapid resets does."""
    guard = a_guard(Limits(rapid_resets=Allowance(5_000, 500.0)))
    at_rate(guard, Guard.late_reset, per_s=1e9, start_s=0, count=5_000)
    assert sum(guard.tally.offences.values()) == 0
    with pytest.raises(ConnectionFault, match="--http2-rapid-resets=5000/500"):
        guard.late_reset(0.0)


def test_window_updates_that_go_with_what_was_sent_are_free() -> None:
    """A peer that updates both windows for each DATA frame, in any batches, is left alone; what nobody sent counts."""
    guard = a_guard()
    for _ in range(1_000):
        for _ in range(100):
            guard.data_sent()
        for _ in range(100 * UPDATES_PER_DATA):
            guard.window_update(0.0)
    for _ in range(LIMITS.window_updates.burst):
        guard.window_update(0.0)
    with pytest.raises(ConnectionFault):
        guard.window_update(0.0)


def test_a_busy_past_buys_no_endless_flood() -> None:
    """What may be sent for DATA frames of long ago has an end."""
    guard = a_guard()
    for _ in range(MOST_UPDATES_BANKED):
        guard.data_sent()
    most = MOST_UPDATES_BANKED + UPDATES_PER_DATA + LIMITS.window_updates.burst
    with pytest.raises(ConnectionFault):
        at_rate(guard, Guard.window_update, per_s=1e9, start_s=0, count=most + 1)


# ------------------------------------------------------------------------------- plain numbers


def test_a_header_block_has_an_end() -> None:
    """The 32nd CONTINUATION is the last one, and a block of 64 KiB the largest."""
    guard = a_guard(Limits())
    guard.continuation(32)
    with pytest.raises(ConnectionFault, match=r"33 CONTINUATION.*--http2-max-continuations=32"):
        guard.continuation(33)
    guard.header_block(OVERSIZE * 16384)
    with pytest.raises(ConnectionFault, match="--http2-max-header-list=16384"):
        guard.header_block(OVERSIZE * 16384 + 1)
    assert guard.tally.offences[Offence.CONTINUATIONS] == guard.tally.offences[Offence.HEADER_LIST] == 1


def test_replies_are_counted_from_read_to_read() -> None:
    """One read may call for any number of replies; what is still unsent when the peer sends more has a limit."""
    guard = a_guard(Limits())
    for _ in range(3):
        guard.reading()
        for _ in range(5_000):
            guard.reply_queued()
        guard.replies_written()
    for _ in range(1_000):
        guard.reply_queued()
    guard.reading()
    guard.reply_queued()
    with pytest.raises(ConnectionFault, match=r"1001 replies .*--http2-max-unsent-replies=1000"):
        guard.reading()
    assert guard.tally.offences[Offence.UNSENT_REPLIES] == 1


def test_every_offence_that_has_a_limit_names_it() -> None:
    """Whoever reads of an offence in the log is told the flag, except where no limit was passed but the protocol."""
    texts = {offence: limit_text(offence, Limits()) for offence in Offence}
    assert [offence for offence, text in texts.items() if not text] == [Offence.WINDOW_OVERFLOW]
    assert texts[Offence.HANDSHAKE] == "; the limit is --http2-handshake-timeout=10s"


def test_a_tally_starts_with_every_label() -> None:
    """A series that appears with its first event can't show the increase from 0 to 1."""
    tally = Tally()
    assert set(tally.offences) == set(Offence)
    assert set(tally.connections_ended) == set(Ending)
    tally.ended(Ending.PEER)
    assert tally.connections_ended[Ending.PEER] == 1
