"""What a newcomer would wait, whether such estimates are good, and when a refused client is told to come again."""

from __future__ import annotations

from collections import Counter
from math import inf

import pytest

from epp.core.outlook import LONGEST_RETRY_S, SHORTEST_RETRY_S, Outlook, expected_wait_s


def retry_s(outlook: Outlook, estimated_s: float, *, sequence: int = 0, now: float = 0.0) -> int:
    """What the client is told."""
    return outlook.retry_after_s(estimated_s=estimated_s, sequence=sequence, now=now)


def trusted(estimated_s: float = 10.0) -> Outlook:
    """An outlook whose estimates have come true lately."""
    outlook = Outlook()
    for _ in range(20):
        outlook.learn(estimated_s=estimated_s, waited_s=estimated_s, now=0.0)
    return outlook


# --------------------------------------------------------------------- the estimate


def test_nothing_ahead_is_no_wait() -> None:
    """Without work ahead nobody waits, whether anything drained lately or not."""
    assert expected_wait_s(above=0, above_per_second=0.0, own=0.0, flows=3, own_per_second=0.0) == 0.0


def test_a_flow_waits_until_all_flows_have_had_as_much() -> None:
    """100 tokens before it, four flows, 50 tokens a second: all four get their 100 first."""
    assert expected_wait_s(above=0, above_per_second=0.0, own=100.0, flows=4, own_per_second=50.0) == 8.0


def test_higher_bands_go_first_at_the_pace_of_all() -> None:
    """30 requests above at 10 a second are 3 s on top."""
    assert expected_wait_s(above=30, above_per_second=10.0, own=100.0, flows=1, own_per_second=50.0) == 5.0


@pytest.mark.parametrize(("above_rate", "own_rate"), [(0.0, 1.0), (1.0, 0.0)])
def test_work_that_does_not_move_is_an_endless_wait(above_rate: float, own_rate: float) -> None:
    """Whichever of the two stands still."""
    wait_s = expected_wait_s(above=1, above_per_second=above_rate, own=1.0, flows=1, own_per_second=own_rate)
    assert wait_s == inf


# ------------------------------------------------------------------------- its worth


def test_estimates_are_not_good_before_there_are_enough() -> None:
    """A few hits may be luck."""
    outlook = Outlook()
    assert not outlook.is_good(0.0)
    for _ in range(7):
        outlook.learn(estimated_s=5.0, waited_s=5.0, now=0.0)
    assert not outlook.is_good(0.0)
    outlook.learn(estimated_s=5.0, waited_s=5.0, now=0.0)
    assert outlook.is_good(0.0)


@pytest.mark.parametrize(("estimated_s", "waited_s"), [(30.0, 10.0), (10.0, 30.0), (inf, 10.0)])
def test_estimates_that_fail_are_not_good(estimated_s: float, waited_s: float) -> None:
    """Too long is as bad as too short, and endless was wrong if the turn came."""
    outlook = trusted()
    for _ in range(40):
        outlook.learn(estimated_s=estimated_s, waited_s=waited_s, now=1.0)
    assert not outlook.is_good(1.0)


def test_fractions_of_a_second_are_not_held_against_estimates() -> None:
    """Nobody is told fractions: 0.1 s instead of 0.4 s is good."""
    outlook = Outlook()
    for _ in range(20):
        outlook.learn(estimated_s=0.1, waited_s=0.4, now=0.0)
    assert outlook.is_good(0.0)


def test_what_was_learned_is_forgotten() -> None:
    """After two minutes without news nobody knows whether estimates are good."""
    outlook = trusted()
    assert outlook.is_good(30.0)
    assert not outlook.is_good(120.0)


def test_estimates_become_good_again() -> None:
    """Old errors fade as time passes and estimates come true."""
    outlook = Outlook()
    for _ in range(50):
        outlook.learn(estimated_s=100.0, waited_s=1.0, now=0.0)
    for second in range(60, 160):
        outlook.learn(estimated_s=9.0, waited_s=10.0, now=float(second))
    assert outlook.is_good(160.0)


def test_an_expiry_that_was_foretold_is_no_error() -> None:
    """Whose estimate said longer than the budget, and who then expired, was told the truth."""
    outlook = Outlook()
    for _ in range(20):
        outlook.learn_expiry(estimated_s=inf, waited_s=5.0, now=0.0)
        outlook.learn_expiry(estimated_s=50.0, waited_s=5.0, now=0.0)
    assert outlook.is_good(0.0)


def test_an_expiry_that_was_not_foretold_is_an_error() -> None:
    """Who was told 2 s and expired after 20 was told wrong."""
    outlook = Outlook()
    for _ in range(20):
        outlook.learn_expiry(estimated_s=2.0, waited_s=20.0, now=0.0)
    assert not outlook.is_good(0.0)


# --------------------------------------------------------------- what clients are told


def test_the_hint_stays_within_its_bounds() -> None:
    """Never below 1 s, never above 60."""
    outlook = trusted()
    hints = {
        retry_s(outlook, estimate, sequence=n) for n in range(100) for estimate in (0.0, 0.3, 59.5, 1e9, inf)
    }
    assert (min(hints), max(hints)) == (SHORTEST_RETRY_S, LONGEST_RETRY_S) == (1, 60)


def test_a_band_that_does_not_drain_says_sixty() -> None:
    """There is no telling, so the longest."""
    assert {retry_s(Outlook(), inf, sequence=n) for n in range(50)} == {LONGEST_RETRY_S}


def test_nobody_is_told_to_come_before_the_turn() -> None:
    """The jitter only adds, by a quarter and a second at most."""
    outlook = trusted()
    for estimate in (1.0, 1.2, 4.0, 17.3, 40.0):
        hints = [retry_s(outlook, estimate, sequence=n) for n in range(200)]
        assert min(hints) >= estimate
        assert max(hints) <= 1.25 * (estimate + 1) + 1


def test_clients_refused_together_do_not_come_back_together() -> None:
    """A thousand refusals of one estimate are spread over all seconds of the jitter about evenly."""
    outlook = trusted()
    hints = Counter(retry_s(outlook, 20.0, sequence=n) for n in range(1000))
    assert sorted(hints) == [20, 21, 22, 23, 24, 25]
    assert max(hints.values()) <= 1.1 * min(hints.values())


def test_the_same_refusal_is_told_the_same() -> None:
    """No dice: the sequence number decides."""
    hints = [[retry_s(trusted(), 20.0, sequence=n) for n in range(50)] for _ in range(2)]
    assert hints[0] == hints[1]


def test_the_floor_rises_while_refusals_keep_coming_and_estimates_are_poor() -> None:
    """Ten refusals a second whose estimate says 1 s and isn't trusted: soon they are told half a minute."""
    outlook = Outlook()
    hints = [retry_s(outlook, 0.5, now=tenth / 10) for tenth in range(1200)]
    assert hints[0] == SHORTEST_RETRY_S
    assert hints == sorted(hints)
    assert hints[-1] == 32


def test_the_floor_falls_once_refusals_become_rare() -> None:
    """A refusal every few seconds brings it down step by step; a long pause brings it down at once."""
    outlook = Outlook()
    for tenth in range(1200):
        retry_s(outlook, 0.5, now=tenth / 10)
    slower = [retry_s(outlook, 0.5, now=120.0 + 5 * n) for n in range(200)]
    assert slower == sorted(slower, reverse=True)
    assert slower[-1] == SHORTEST_RETRY_S
    for tenth in range(1200):
        retry_s(outlook, 0.5, now=2000.0 + tenth / 10)
    later_s = 5000.0
    retry_s(outlook, 0.5, now=later_s)
    assert outlook.floor_s == SHORTEST_RETRY_S


def test_good_estimates_know_no_floor() -> None:
    """However many are refused: an estimate that comes true is what they are told."""
    outlook = Outlook()
    for tenth in range(1200):
        outlook.learn(estimated_s=3.0, waited_s=3.0, now=tenth / 10)
        hint = retry_s(outlook, 3.0, now=tenth / 10)
        assert tenth < 10 or hint == 3
