"""The learned limit, on simulated engines: near the knee of each, and moved by nothing that isn't the limit's doing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf, isfinite, nan
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.core.learning import LearnedLimit, LearnedLimitPolicy, LearnedLimits, PrefillLine

if TYPE_CHECKING:
    from collections.abc import Callable

ON = LearnedLimitPolicy(mode=LearnedLimits.ON)
ENDLESS = 1_000_000


def alike(_: Random) -> int:
    """Prompts of one length."""
    return 500


def heavy_tailed(chance: Random) -> int:
    """Prompts from a few tokens to 16,000, most of them short."""
    return min(16_000, int(chance.lognormvariate(6, 1.2)) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """How fast a simulated engine is."""

    slots: int = 32
    """Requests in its batch; further ones wait inside it."""
    first_token_s: float = 0.03
    prefill_token_s: float = 0.0001
    """Prompts are processed one after the other."""
    decode_token_s: float = 0.02
    crowding: float = 0.01
    """Everything takes so much longer for each request in the batch."""


class World:
    """One engine, and clients who always want `demand` requests to be there at once."""

    def __init__(
        self,
        engine: Engine,
        policy: LearnedLimitPolicy = ON,
        *,
        prompts: Callable[[Random], int] = alike,
        seed: int = 1,
        fixed: int | None = None,
    ) -> None:
        self.engine = engine
        self.policy = policy
        self.learned = LearnedLimit(policy)
        self.demand = ENDLESS
        self.fixed = fixed
        """A limit that holds instead of the learned one."""
        self.slowness = 1.0
        self.occupied = 0
        """Slots that somebody holds whom we don't see."""
        self.in_flight = 0
        self.done = 0
        self._prompts = prompts
        self._chance = Random(seed)
        self._now = 0.0
        self._batch = 0
        self._waiting: deque[tuple[float, int]] = deque()
        self._prefill_free_s = 0.0
        self._number = 0
        self._events: list[tuple[float, int, float, int]] = []

    @property
    def limit(self) -> float:
        """What was learned."""
        return self.learned.bounded(self.policy)

    def run(self, seconds: float) -> float:
        """Let time pass. Returns the requests that ended per second."""
        before, until_s = self.done, self._now + seconds
        self._fill()
        while self._events and self._events[0][0] <= until_s:
            self._now, _, sent_s, tokens = heappop(self._events)
            if tokens:
                self.learned.observe(
                    self.policy,
                    load=self.in_flight,
                    took_s=self._now - sent_s,
                    input_tokens=tokens,
                    now=self._now,
                )
            else:
                self.in_flight -= 1
                self._batch -= 1
                self.done += 1
            assert self.policy.least <= self.limit <= self.policy.most
            self._fill()
        self._now = until_s
        return (self.done - before) / seconds

    def mean_limit(self, seconds: float) -> float:
        """The mean of what was learned over some more time."""
        seen = []
        for _ in range(20):
            self.run(seconds / 20)
            seen.append(self.limit)
        return sum(seen) / len(seen)

    def _fill(self) -> None:
        allowed = self.fixed or self.learned.in_force(self.policy)
        while self.in_flight < min(allowed, self.demand):
            self.in_flight += 1
            self._waiting.append((self._now, self._prompts(self._chance)))
        while self._waiting and self._batch + self.occupied < self.engine.slots:
            self._begin(*self._waiting.popleft())

    def _begin(self, sent_s: float, tokens: int) -> None:
        engine = self.engine
        self._batch += 1
        pace = self.slowness * (1 + engine.crowding * (self._batch + self.occupied))
        begin_s = max(self._now, self._prefill_free_s)
        self._prefill_free_s = begin_s + engine.prefill_token_s * tokens * pace
        service_s = self._prefill_free_s - begin_s + engine.first_token_s * pace
        first_s = begin_s + service_s * self._chance.lognormvariate(0, 0.15)
        end_s = first_s + engine.decode_token_s * self._chance.randint(50, 250) * pace
        for at_s, shown in ((first_s, tokens), (end_s, 0)):
            self._number += 1
            heappush(self._events, (at_s, self._number, sent_s, shown))


def capacity(engine: Engine, limit: int, prompts: Callable[[Random], int] = alike) -> float:
    """What the engine does per second with so many requests in flight."""
    world = World(engine, prompts=prompts, fixed=limit)
    world.run(100)
    return world.run(400)


# -------------------------------------------------------------------------------------- the knee


@pytest.mark.parametrize("prompts", [alike, heavy_tailed])
@pytest.mark.parametrize("slots", [4, 8, 16, 32])
def test_it_finds_the_knee_of_engines_that_run_out_of_slots(
    slots: int, prompts: Callable[[Random], int]
) -> None:
    """From the same start it comes near the batch of small and of large engines, and costs little of their work."""
    world = World(Engine(slots=slots), prompts=prompts)
    world.run(1200)
    assert slots * 0.6 <= world.mean_limit(800) <= slots * 1.4 + 1
    least_share = 0.9 if prompts is alike else 0.7
    assert world.run(500) >= least_share * capacity(Engine(slots=slots), slots, prompts)


def test_it_finds_the_knee_of_an_engine_that_slows_down_gradually() -> None:
    """Without a sharp end of its batch an engine is filled while that gains something, and not much longer."""
    engine = Engine(slots=256, crowding=0.05)
    world = World(engine)
    world.run(1500)
    assert 20 <= world.mean_limit(1000) <= 64
    assert world.run(500) >= 0.75 * max(capacity(engine, limit) for limit in (32, 48, 64))


def test_prefill_alone_can_be_the_knee() -> None:
    """If prompts take longer to process than answers to write, few requests fill the engine, and few are let in."""
    engine = Engine(slots=256, prefill_token_s=0.0005)
    world = World(engine, prompts=heavy_tailed)
    world.run(1500)
    assert 2 <= world.mean_limit(1000) <= 20
    assert world.run(1000) >= 0.5 * capacity(engine, 16, heavy_tailed)


@pytest.mark.parametrize("prompts", [alike, heavy_tailed])
def test_a_start_far_beyond_the_knee_is_no_baseline(prompts: Callable[[Random], int]) -> None:
    """Overloaded from its first request on and never quiet, it still sees that half the load waits less than half."""
    world = World(
        Engine(slots=8), LearnedLimitPolicy(mode=LearnedLimits.ON, initial=200), prompts=prompts, seed=3
    )
    world.run(2000)
    assert world.mean_limit(500) <= 13


# --------------------------------------------------------------------------------------- overload


@pytest.mark.parametrize("seed", [1, 2])
def test_repeated_overload_does_not_ratchet(seed: int) -> None:
    """Four times somebody else takes three quarters of the engine for long: each time it gives way, and comes back."""
    world = World(Engine(slots=32), seed=seed)
    world.run(1000)
    for _ in range(4):
        world.occupied = 24
        world.run(800)
        assert world.mean_limit(300) <= 13
        world.occupied = 0
        world.run(800)
        assert 24 <= world.mean_limit(300) <= 40


@pytest.mark.parametrize("prompts", [alike, heavy_tailed])
def test_an_engine_that_is_slower_as_such_keeps_its_limit(prompts: Callable[[Random], int]) -> None:
    """Five times slower for long, four times over: the knee is where it was, and the limit stays near it throughout."""
    world = World(Engine(slots=32), prompts=prompts, seed=4)
    world.run(1000)
    for _ in range(4):
        for slowness in (5.0, 1.0):
            world.slowness = slowness
            world.run(900)
            assert 16 <= world.mean_limit(300) <= 42


def test_waves_of_demand_do_not_move_it() -> None:
    """Idle and overloaded in turn: idle times teach nothing wrong, and overload begins where the last one ended."""
    world = World(Engine(slots=32))
    world.run(1000)
    for _ in range(4):
        world.demand = 6
        world.run(200)
        world.demand = ENDLESS
        assert 24 <= world.mean_limit(200) <= 40


# --------------------------------------------------------------------------------------- what doesn't teach


def test_while_less_than_half_of_it_is_used_it_does_not_move() -> None:
    """However quick, and however slow, a half empty engine says nothing about its limit."""
    world = World(Engine(slots=32))
    for demand, slowness in ((5, 1.0), (10, 1.0), (10, 7.0), (2, 0.3)):
        world.demand, world.slowness = demand, slowness
        world.run(200)
        assert world.limit == 20


def test_prompts_of_other_lengths_are_no_overload() -> None:
    """A fit engine keeps its limit when its prompts become forty times longer, or shorter, from one to the next."""
    lengths = [500]
    world = World(Engine(slots=64, prefill_token_s=0.00001), prompts=lambda _: lengths[0])
    world.run(500)
    for lengths[0] in (2000, 100, 4000):
        world.run(200)
        assert 48 <= world.mean_limit(200) <= 80


def test_a_quiet_engine_teaches_what_prompts_take() -> None:
    """The line comes near the engine's constant and its time per token, whatever mixture of prompts it is shown."""
    line = PrefillLine()
    chance = Random(5)
    for _ in range(400):
        tokens = heavy_tailed(chance)
        line.add(tokens, (0.04 + 0.0002 * tokens) * chance.uniform(0.8, 1.2))
    assert line.constant_s == pytest.approx(0.04, rel=0.25)
    assert line.per_token_s == pytest.approx(0.0002, rel=0.15)
    assert line.expect_s(10) == pytest.approx(0.042, rel=0.25)


def test_prompts_that_are_all_alike_place_the_line_where_they_are() -> None:
    """Nothing tells constant from slope then; what such prompts take is known all the same."""
    line = PrefillLine()
    for _ in range(100):
        line.add(300, 0.2)
    assert line.expect_s(300) == pytest.approx(0.2)
    assert line.constant_s > 0
    assert line.per_token_s > 0


# --------------------------------------------------------------------------------------- bounds and modes


def test_the_operator_bounds_it() -> None:
    """An engine that could take more gets no more than the most, one that should get less no less than the least."""
    most = World(Engine(slots=64), LearnedLimitPolicy(mode=LearnedLimits.ON, initial=8, most=12))
    least = World(Engine(slots=2), LearnedLimitPolicy(mode=LearnedLimits.ON, initial=10, least=6))
    most.run(500)
    least.run(1500)
    assert most.limit == 12
    assert 6 <= least.mean_limit(200) <= 7


def test_a_probe_never_goes_below_the_least() -> None:
    """Halving for a look at the line respects the operator's least as well, and a limit of one stays one."""
    policy = LearnedLimitPolicy(mode=LearnedLimits.ON, initial=10, least=8)
    learned = LearnedLimit(policy)
    seen = set()
    for step in range(2000):
        learned.observe(policy, load=10, took_s=0.1, input_tokens=100, now=float(step))
        seen.add(learned.in_force(policy))
    assert min(seen) == 8


@pytest.mark.parametrize("fixed", [32, 48, 100])
def test_in_shadow_it_says_where_the_limit_would_be(fixed: int) -> None:
    """It doesn't run away while it isn't acted on: if there were quiet times, it names the knee under any load."""
    world = World(Engine(slots=32), LearnedLimitPolicy(), fixed=fixed)
    world.demand = 6
    world.run(60)
    world.demand = ENDLESS
    world.run(600)
    assert 22 <= world.mean_limit(300) <= 44
    assert world.learned.cap == inf


def test_a_probe_halves_the_limit_for_a_moment() -> None:
    """A full endpoint is looked at half empty after thirty turnovers at the latest, and refilled one by one."""
    policy = LearnedLimitPolicy(mode=LearnedLimits.ON, initial=10, most=10)
    learned = LearnedLimit(policy)
    now, load, forces = 0.0, 10, []
    for _ in range(700):
        now += 1.0
        learned.observe(policy, load=load, took_s=0.1, input_tokens=100, now=now)
        forces.append(learned.in_force(policy))
        load = int(forces[-1])
    first = forces.index(5.0)
    assert first <= 300
    assert forces[first : first + 8] == [5.0] * 8
    after = [force for force in forces[first:] if force != 5.0]
    assert after[:5] == [6.0, 7.0, 8.0, 9.0, 10.0]
    assert forces.count(10.0) > 0.9 * len(forces)


def test_a_probe_that_gets_nowhere_ends() -> None:
    """Others' requests alone keep the endpoint half full: then nothing of ours could tell, and the limit comes back."""
    policy = LearnedLimitPolicy(mode=LearnedLimits.ON, initial=10, most=10)
    learned = LearnedLimit(policy)
    now = 0.0
    while learned.in_force(policy) == 10 and now < 1000:
        now += 1.0
        learned.observe(policy, load=10, took_s=0.1, input_tokens=100, now=now)
    assert not learned.give_up(own_requests=1, now=now + 1)
    assert learned.give_up(own_requests=0, now=now + 2)
    assert not learned.give_up(own_requests=0, now=now + 3)
    for step in range(6):
        learned.observe(policy, load=10, took_s=0.1, input_tokens=100, now=now + 3 + step)
    assert learned.in_force(policy) == 10


@given(
    samples=st.lists(
        st.tuples(
            st.integers(0, 400),
            st.one_of(st.floats(), st.floats(0, 10)),
            st.integers(-5, 10**12),
            st.floats(0, 50),
        ),
        max_size=120,
    ),
    least=st.integers(1, 20),
    span=st.integers(0, 200),
    mode=st.sampled_from(LearnedLimits),
)
def test_no_sample_breaks_it(
    samples: list[tuple[int, float, int, float]], least: int, span: int, mode: LearnedLimits
) -> None:
    """Whatever times and sizes are reported, the limit is a finite number within its bounds."""
    policy = LearnedLimitPolicy(mode=mode, least=least, most=least + span, initial=least)
    learned, now = LearnedLimit(policy), 0.0
    for load, took_s, tokens, pause_s in samples:
        now += pause_s
        learned.observe(policy, load=load, took_s=took_s, input_tokens=tokens, now=now)
        assert least <= learned.bounded(policy) <= least + span
        assert least <= learned.in_force(policy) <= least + span
        assert isfinite(learned.line.expect_s(1000))


def test_what_is_no_time_is_no_sample() -> None:
    """A time that is negative or no number changes nothing."""
    learned = LearnedLimit(ON)
    for took_s in (-1.0, nan, -inf):
        learned.observe(ON, load=20, took_s=took_s, input_tokens=10, now=1.0)
    assert (learned.line.samples, learned.full.count, learned.unquiet) == (0, 0, inf)


def test_the_same_samples_teach_the_same() -> None:
    """Two engines of the same seed are learned bit for bit alike."""
    first, second = World(Engine(), prompts=heavy_tailed), World(Engine(), prompts=heavy_tailed)
    first.run(300)
    second.run(300)
    assert first.limit == second.limit
    assert first.learned.line.constant_s == second.learned.line.constant_s
