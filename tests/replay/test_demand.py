"""Made-up requests follow their specification, and nothing else."""

from __future__ import annotations

import itertools
from statistics import median

import pytest

from epp.replay.demand import demands
from epp.replay.spec import TraceSpec, parse_spec


def _spec(tenant: str, duration: str = "1000s") -> TraceSpec:
    return parse_spec(f"duration: {duration}\nendpoints: [{{}}]\ntenants:\n- {tenant}\n", source="x")


def test_the_same_seed_makes_the_same_and_another_makes_others() -> None:
    """Traces can be named by their seed."""
    spec = _spec("{name: a, count: 3, arrivals: {rate: 1}}", "50s")
    assert demands(spec, seed=1) == demands(spec, seed=1) != demands(spec, seed=2)


def test_a_tenant_more_changes_no_other() -> None:
    """Every tenant has a chance of its own, so traces can be compared."""
    one = _spec("{name: a, arrivals: {rate: 1}}", "50s")
    two = _spec("{name: a, arrivals: {rate: 1}}\n- {name: b, arrivals: {rate: 9}}", "50s")
    of_a = [each.at_s for each in demands(two, seed=1) if each.tenant == "a"]
    assert of_a == [each.at_s for each in demands(one, seed=1)]


def test_arrivals_come_at_their_rate() -> None:
    """Over a long time, and in order."""
    times = [each.at_s for each in demands(_spec("{arrivals: {rate: 5}}"), seed=1)]
    assert len(times) == pytest.approx(5000, rel=0.05)
    assert times == sorted(times)


def test_bursts_come_and_go() -> None:
    """At their rate while they come: long pauses, and as much altogether as the share of time says."""
    times = [
        each.at_s
        for each in demands(
            _spec("{arrivals: {process: bursts, rate: 20, on: 5s, off: 15s}}", "4000s"), seed=2
        )
    ]
    assert len(times) == pytest.approx(20 * 4000 / 4, rel=0.25)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert median(gaps) < 0.1
    assert max(gaps) > 10


def test_a_day_has_its_peak_and_its_valley() -> None:
    """The rate follows a sine."""
    times = [
        each.at_s
        for each in demands(
            _spec("{arrivals: {process: diurnal, rate: 10, amplitude: 0.9, period: 100s}}"), seed=1
        )
    ]
    assert len(times) == pytest.approx(10_000, rel=0.05)
    peak = sum(each % 100 < 50 for each in times)
    assert peak / len(times) == pytest.approx(0.5 + 0.9 / 3.14159, abs=0.03)


@pytest.mark.parametrize(
    ("lengths", "tail"),
    [("{median: 200, sigma: 1}", 3.6), ("{distribution: pareto, median: 200, alpha: 1.3}", 5 ** (1 / 1.3))],
)
def test_lengths_have_their_median_and_their_tail(lengths: str, tail: float) -> None:
    """Half are shorter than the median, and a tenth is longer than the distribution says."""
    spec = _spec(f"{{arrivals: {{rate: 10}}, input: {lengths}}}")
    drawn = sorted(each.input_tokens for each in demands(spec, seed=1))
    assert median(drawn) == pytest.approx(200, rel=0.05)
    assert drawn[int(0.9 * len(drawn))] / 200 == pytest.approx(tail, rel=0.1)


def test_lengths_are_cut_to_their_bounds() -> None:
    """No request is longer than the most, nor than its own cap."""
    spec = _spec(
        "{arrivals: {rate: 5}, maxTokens: 50, input: {distribution: pareto, alpha: 0.5, max: 900}}", "100s"
    )
    drawn = demands(spec, seed=1)
    assert max(each.input_tokens for each in drawn) == 900
    assert max(each.output_tokens for each in drawn) == 50
