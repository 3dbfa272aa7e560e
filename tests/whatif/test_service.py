"""How long requests would run elsewhere, and what engines would say."""

from __future__ import annotations

import pytest

from epp.core.endpoint import EngineSample
from epp.whatif.service import ServiceRates, moved_sample

A, B = ("10.0.0.1:80", ""), ("10.0.0.2:80", "")


def test_rates_are_learned_for_each_endpoint() -> None:
    """A request runs as fast as those before it on that endpoint, or as all, where none ran."""
    rates = ServiceRates()
    rates.learn(A, 100, 1.0)
    assert rates.run_s(A, 200) == pytest.approx(2.0)
    assert rates.run_s(B, 200) == pytest.approx(2.0)
    rates.learn(B, 100, 3.0)
    assert rates.run_s(B, 100) == pytest.approx(3.0)
    assert rates.run_s(("new", ""), 100) == pytest.approx(2.0, rel=0.01)


def test_rates_follow_changes() -> None:
    """What was long ago counts less and less."""
    rates = ServiceRates()
    for _ in range(1000):
        rates.learn(A, 100, 1.0)
    for _ in range(2000):
        rates.learn(A, 100, 4.0)
    assert rates.run_s(A, 100) == pytest.approx(4.0, rel=0.02)


def test_endpoints_that_left_are_forgotten() -> None:
    """The table is as large as the pool."""
    rates = ServiceRates()
    rates.learn(A, 100, 1.0)
    rates.learn(B, 100, 3.0)
    rates.forget({A})
    assert rates.run_s(B, 100) == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(
    ("sample", "more", "most_running", "moved"),
    [
        ((0, 4, 0.4), 0, 8, (0, 4, 0.4)),
        ((0, 4, 0.4), 2, 0, (0, 6, 0.6)),
        ((0, 4, 0.4), 6, 8, (2, 8, 1.0)),
        ((3, 8, 0.5), -5, 8, (0, 6, 0.5 * 6 / 11)),
        ((0, 2, 0.5), -9, 8, (0, 0, 0.0)),
        ((0, 0, 0.1), 3, 0, (0, 3, 0.1)),
    ],
)
def test_samples_move_with_the_load(
    sample: tuple[int, int, float], more: int, most_running: int, moved: tuple[int, int, float]
) -> None:
    """An engine works on what it can, and the rest waits there."""
    said = moved_sample(EngineSample(*sample), more=more, most_running=most_running)
    assert (said.waiting, said.running) == moved[:2]
    assert said.kv_utilization == pytest.approx(moved[2])
