"""Who gives way, and how slowly: the evictor by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from epp.core.eviction import Begun, EvictionPolicy, Evictor
from epp.core.incarnation import Endpoint
from tests.core.building import A, B

POLICY = EvictionPolicy()
HERE, THERE = Endpoint(A), Endpoint(B)


@dataclass(frozen=True, slots=True)
class Held:
    """A running request."""

    priority: int
    dispatched_s: float = 0.0
    endpoint: Endpoint = HERE
    begun: bool = False
    need: int = 1


def decide(
    evictor: Evictor,
    running: dict[int, Held],
    *,
    policy: EvictionPolicy = POLICY,
    priority: int = 10,
    now: float = 0.0,
    wanted: int = 9,
) -> list[int]:
    """A decision for demand that may use `HERE`, which is full."""
    return evictor.decide(
        policy, priority=priority, endpoints={HERE}, running=running, now=now, wanted=wanted
    )


def test_the_lowest_goes_first_and_of_equals_the_latest() -> None:
    """Least work is lost where it is worth least: lowest priority, then newest dispatch, then newest request."""
    running = {1: Held(-1, 9.0), 2: Held(-5, 1.0), 3: Held(-5, 4.0), 4: Held(-5, 4.0), 5: Held(-2, 8.0)}
    policy = replace(POLICY, most_at_once=9)
    assert decide(Evictor(), running, policy=policy) == [4, 3, 2, 5, 1]


def test_only_lower_priority_below_the_threshold_is_evicted() -> None:
    """Neither equals of the demand, nor anybody from the policy's threshold on, nor anybody above."""
    running = {1: Held(0), 2: Held(5), 3: Held(-1), 4: Held(-3)}
    assert decide(Evictor(), running) == [4, 3]
    assert decide(Evictor(), running, priority=-1) == [4]
    assert decide(Evictor(), running, priority=-3) == []
    assert decide(Evictor(), running, policy=replace(POLICY, below_priority=6, most_at_once=9)) == [
        4,
        3,
        1,
        2,
    ]
    assert decide(Evictor(), running, policy=replace(POLICY, below_priority=6, most_at_once=9), priority=5) == [
        4, 3, 1
    ]  # fmt: skip


def test_only_room_that_the_demand_may_use_is_won() -> None:
    """Requests on other endpoints, and those that take no room, are left alone."""
    running = {1: Held(-1, endpoint=THERE), 2: Held(-1, need=0), 3: Held(-1)}
    assert decide(Evictor(), running) == [3]


def test_responses_that_have_begun_are_spared_unless_allowed() -> None:
    """A client that sees its answer break off has lost more than one that hears at once to try again."""
    running = {1: Held(-9, begun=True), 2: Held(-1)}
    assert decide(Evictor(), running) == [2]
    assert decide(Evictor(), running, policy=replace(POLICY, begun=Begun.EVICTED)) == [1, 2]


def test_no_more_than_are_wanted_and_allowed_at_once() -> None:
    """One request of demand evicts one; a burst of them as many as may be outstanding."""
    running = {number: Held(-1) for number in range(20)}
    assert len(decide(Evictor(), running, wanted=1)) == 1
    assert len(decide(Evictor(), running)) == 2
    assert Evictor().decide(POLICY, priority=1, endpoints={HERE}, running=running, now=0.0) == [19]


def test_nothing_is_decided_before_all_are_confirmed_and_the_grace_has_passed() -> None:
    """A burst of demand evicts no more than is seen to help: stop, wait for the ends, and look what they won."""
    evictor = Evictor()
    running = {number: Held(-1) for number in range(20)}
    first = decide(evictor, running)
    for step in range(5):
        assert decide(evictor, running, now=step / 10) == []
    assert evictor.next_s(0.5) == 10.0
    del running[first[0]]
    evictor.ended(first[0], 0.6)
    assert decide(evictor, running, now=5.0) == []
    del running[first[1]]
    evictor.ended(first[1], 6.0)
    assert evictor.next_s(6.0) == 6.01
    assert decide(evictor, running, now=6.009) == []
    second = decide(evictor, running, now=6.01)
    assert len(second) == 2
    assert not {*first} & {*second}
    assert (evictor.issued, evictor.confirmed, evictor.timed_out, evictor.outstanding) == ({10: 4}, 2, 0, 2)


def test_one_that_does_not_end_is_waited_for_no_longer_and_not_asked_again() -> None:
    """A stream that nobody closes holds evictions up for the time that the policy says, and then never again."""
    evictor = Evictor()
    running = {1: Held(-2), 2: Held(-1)}
    assert decide(evictor, running, wanted=1) == [1]
    assert decide(evictor, running, now=9.99, wanted=1) == []
    assert evictor.next_s(9.99) == 10.0
    assert decide(evictor, running, now=10.0, wanted=1) == [2]
    assert (evictor.timed_out, evictor.outstanding) == (1, 1)
    evictor.ended(2, 11.0)
    assert decide(evictor, {1: running[1]}, now=12.0) == []
    evictor.ended(1, 13.0)
    assert (evictor.confirmed, evictor.timed_out) == (1, 1)


def test_ends_of_others_confirm_nothing() -> None:
    """Only the streams that were asked to end count."""
    evictor = Evictor()
    running = {1: Held(-1), 2: Held(5)}
    decide(evictor, running)
    evictor.ended(2, 1.0)
    evictor.ended(77, 1.0)
    assert (evictor.confirmed, evictor.outstanding) == (0, 1)
    assert decide(evictor, running, now=2.0) == []


def test_looks_that_find_nobody_are_rare() -> None:
    """Everything that runs is gone through at most every 50 ms, however often it is asked for in one moment."""
    evictor = Evictor()
    running = {1: Held(-1, endpoint=THERE)}
    assert decide(evictor, running) == []
    assert evictor.next_s(0.0) == 0.05
    running[2] = Held(-1)
    assert decide(evictor, running, now=0.04) == []
    assert decide(evictor, running, now=0.05) == [2]
    other = Evictor()
    assert decide(other, {3: Held(5)}) == []
    assert other.decide(POLICY, priority=9, endpoints={THERE}, running=running, now=0.0) == []
    assert other.decide(POLICY, priority=9, endpoints={THERE}, running=running, now=0.05) == [1]


def test_without_anything_planned_nobody_is_woken() -> None:
    """It names no moment before its first decision, and none that is past: no busy loop once the demand is gone."""
    evictor = Evictor()
    assert evictor.next_s() == inf
    decide(evictor, {1: Held(-1)})
    evictor.ended(1, 3.0)
    assert evictor.next_s(3.0) == 3.01
    assert evictor.next_s(3.01) == inf
    assert evictor.next_s(99.0) == inf


steps = st.lists(
    st.tuples(
        st.sampled_from(("run", "decide", "end", "begin", "wait")),
        st.integers(-4, 4),
        st.integers(0, 30),
        st.floats(0, 4),
    ),
    max_size=80,
)


@given(
    steps=steps,
    most=st.integers(1, 3),
    below=st.integers(-3, 5),
    begun=st.sampled_from(Begun),
    confirm_s=st.floats(0.1, 5),
)
def test_the_rules_hold_whatever_happens(
    steps: list[tuple[str, int, int, float]], most: int, below: int, begun: Begun, confirm_s: float
) -> None:
    """Nobody twice, nobody of the demand's priority or above, never more outstanding than allowed, and never stuck."""
    policy = EvictionPolicy(below_priority=below, begun=begun, most_at_once=most, confirm_within_s=confirm_s)
    evictor, running, asked, now, number = Evictor(), dict[int, Held](), dict[int, float](), 0.0, 0
    ended_s = -inf
    for kind, priority, pick, pause_s in steps:
        chosen = list(running)[pick % len(running)] if running else None
        if kind == "wait":
            now += pause_s
        elif kind == "run":
            number += 1
            running[number] = Held(priority, now, HERE if pick % 3 else THERE)
        elif kind == "begin" and chosen is not None:
            running[chosen] = replace(running[chosen], begun=True)
        elif kind == "end" and chosen is not None:
            del running[chosen]
            waited_for = evictor.outstanding
            evictor.ended(chosen, now)
            ended_s = now if evictor.outstanding < waited_for else ended_s
        elif kind == "decide":
            waiting = [each for each, at_s in asked.items() if each in running and now < at_s + confirm_s]
            victims = decide(evictor, running, policy=policy, priority=priority, now=now)
            assert len(victims) <= most
            assert not (victims and waiting)
            assert not (victims and now < ended_s + policy.grace_s and evictor.timed_out == 0)
            for victim in victims:
                held = running[victim]
                assert victim not in asked
                assert held.priority < min(priority, below)
                assert held.endpoint is HERE
                assert begun is Begun.EVICTED or not held.begun
                asked[victim] = now
    assert sum(evictor.issued.values()) == len(asked)
    assert evictor.confirmed + evictor.timed_out + evictor.outstanding == len(asked)
    running[number + 1] = Held(-9)
    late_s = now + confirm_s + policy.grace_s + 0.05
    if min(1, below) > -9:
        assert decide(evictor, running, policy=policy, priority=1, now=late_s + 0.001)
