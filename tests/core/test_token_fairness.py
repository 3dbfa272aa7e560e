"""Promise 5 in the long run: tenants of every habit, sizes wrong both ways, and how far apart they ever got."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from epp.core.eligibility import ANY, Subset
from tests.core.building import A, B, C
from tests.core.market import Market

if TYPE_CHECKING:
    from random import Random

    from epp.core.eligibility import Eligibility

ON_AB = Subset.of([A.address, B.address])
ON_C = Subset.of([C.address])
SPEEDS = {A.address: 1, B.address: 3, C.address: 9}


@dataclass
class Habit:
    """How one tenant sends."""

    depth: int
    """Requests that it keeps queued, or with `closed` queued and running together."""
    largest: int
    """Tokens of its largest request, estimated or actual."""
    weight: float = 1.0
    eligibility: Eligibility = ANY
    closed: bool = False
    """It sends the next one only when one has ended."""
    away: tuple[int, int] = (0, 0)
    """From which to which step it sends nothing."""

    def size(self, random: Random) -> int:
        """Of one request: mostly small, at times the largest."""
        return self.largest if random.random() < 0.1 else random.randint(1, max(1, self.largest // 10))


HABITS = {
    "deep": Habit(4, 1000),
    "double": Habit(4, 200, weight=2.0),
    "late": Habit(4, 500, weight=4.0, away=(0, 6000)),
    "leaving": Habit(4, 300, away=(5000, 11000)),
    "loop of 1": Habit(1, 700, closed=True),
    "loop of 2": Habit(2, 100, closed=True),
    "loop of 3": Habit(3, 400, closed=True),
    "ab deep": Habit(4, 600, eligibility=ON_AB),
    "ab double": Habit(4, 100, weight=2.0, eligibility=ON_AB),
    "ab loop": Habit(3, 300, eligibility=ON_AB, closed=True),
    "c deep": Habit(4, 900, eligibility=ON_C),
    "c late": Habit(4, 90, eligibility=ON_C, away=(3000, 9000)),
}


@dataclass
class Spread:
    """How far apart two tenants drifted within one stretch in which both had work queued all the time."""

    unit: float
    lowest: float = 0.0
    highest: float = 0.0
    worst: float = 0.0
    steps: int = 0
    lasts: bool = False

    def note(self, gap: float, *, backlogged: bool) -> None:
        """One step; the gap counts from where the stretch began."""
        if not backlogged:
            self.lasts = False
            return
        if not self.lasts:
            self.lowest = self.highest = gap
        self.lasts = True
        self.steps += 1
        self.lowest, self.highest = min(self.lowest, gap), max(self.highest, gap)
        self.worst = max(self.worst, (self.highest - self.lowest) / self.unit)


@dataclass
class Outcome:
    """What a run came to."""

    market: Market
    by_estimate: dict[tuple[str, str], Spread] = field(default_factory=dict)
    corrected: dict[tuple[str, str], Spread] = field(default_factory=dict)


def live(*, slots: int, steps: int, exact: bool, judged: bool) -> Outcome:
    """So many ends on three endpoints of unlike speed, and what the tenants made of it."""
    market = Market(A, B, C, slots=slots, seed=slots, judged=judged)
    for _ in range(3 * slots):
        market.send("nobody", 1)
    outcome = Outcome(market)
    for one, other in combinations(HABITS, 2):
        f, g = HABITS[one], HABITS[other]
        if f.eligibility == g.eligibility:
            unit = f.largest / f.weight + g.largest / g.weight
            outcome.by_estimate[one, other], outcome.corrected[one, other] = Spread(unit), Spread(unit)
    for step in range(steps):
        for name, habit in HABITS.items():
            if habit.away[0] <= step < habit.away[1]:
                continue
            held = market.queued.get(name, 0) + (market.out[name] if habit.closed else 0)
            for _ in range(habit.depth - held):
                actual = habit.size(market.random)
                estimate = actual if exact else habit.size(market.random)
                market.send(name, estimate, actual, weight=habit.weight, eligibility=habit.eligibility)
        busy = [address for address, jobs in market.on.items() if jobs]
        market.finish_at(market.random.choices(busy, [SPEEDS[address] for address in busy])[0])
        for (one, other), spread in outcome.corrected.items():
            backlogged = market.queued.get(one, 0) > 0 and market.queued.get(other, 0) > 0
            f, g = HABITS[one].weight, HABITS[other].weight
            spread.note(market.counted[one] / f - market.counted[other] / g, backlogged=backlogged)
            outcome.by_estimate[one, other].note(
                market.sent[one] / f - market.sent[other] / g, backlogged=backlogged
            )
    return outcome


def judge_stretches(spreads: dict[tuple[str, str], Spread], *, most: float, steps: int) -> None:
    """No pair drifted further apart, and none of them was idle for most of the time, which would prove little."""
    for pair, spread in spreads.items():
        assert spread.worst <= most, (pair, spread)
        assert spread.steps >= steps / 10, f"{pair} had work at the same time for {spread.steps} steps only"
    assert sum(spread.steps for spread in spreads.values()) >= 0.5 * steps * len(spreads)


@pytest.mark.parametrize("slots", [1, 16])
def test_exact_estimates_keep_two_backlogged_tenants_within_one_unit(slots: int) -> None:
    """Over 20,000 ends, in every stretch in which both had work: at most `cmax/w + cmax/w` apart."""
    outcome = live(slots=slots, steps=20_000, exact=True, judged=False)
    judge_stretches(outcome.by_estimate, most=1.0, steps=20_000)


@pytest.mark.parametrize("slots", [1, 16])
def test_wrong_estimates_keep_them_within_what_is_outstanding(slots: int) -> None:
    """The same with sizes wrong both ways and corrections counted: at most D+1 times that, D being outstanding."""
    outcome = live(slots=slots, steps=20_000, exact=False, judged=False)
    judge_stretches(outcome.corrected, most=3 * slots + 1, steps=20_000)


def test_a_long_life_of_wrong_estimates_is_judged_turn_by_turn() -> None:
    """The oracle adds up every flow's whole history at each of 3,000 turns, and finds none out of turn."""
    live(slots=2, steps=3_000, exact=False, judged=True)
