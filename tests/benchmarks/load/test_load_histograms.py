"""Histograms of times."""

from __future__ import annotations

import random

import pytest
from hdrh.histogram import HdrHistogram

from benchmarks.load.histograms import NEVER_US, ClassHistograms, HistogramError, Which, merged
from epp.demo.tally import percentile


def counted(*values: float | None, which: Which = Which.TTFT) -> ClassHistograms:
    """A histogram of these."""
    histograms = ClassHistograms()
    for value in values:
        histograms.record(which, value)
    return histograms


@pytest.mark.parametrize("never", [0, 1, 30, 199, 200])
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])
def test_percentiles_are_those_of_the_values(never: int, quantile: float) -> None:
    """The same rank as among the values themselves, to a thousandth; those that never came rank last."""
    dice = random.Random(4)
    values: list[float | None] = [dice.lognormvariate(-3, 1.5) for _ in range(200 - never)]
    values += [None] * never
    true = percentile(values, quantile)
    measured = counted(*values).percentile_s("ttft", quantile)
    if true is None:
        assert measured is None
    else:
        assert measured is not None
        assert true - 1e-6 <= measured <= true * 1.001 + 1e-6


def test_nothing_has_no_percentiles() -> None:
    """Where nothing was measured nothing is told."""
    assert ClassHistograms().percentile_s(Which.GAP, 0.5) is None


def test_times_beyond_the_scale_keep_their_place() -> None:
    """A negative one is 0, and one of hours is long but not never."""
    assert counted(-1.0).percentile_s(Which.TTFT, 1.0) == 0.0
    longest = counted(1e9).percentile_s(Which.TTFT, 1.0)
    assert longest is not None
    assert 3500 < longest < 3600


def test_never_is_at_the_top_of_the_scale_for_other_readers() -> None:
    """Who decodes the standard form with another library gets the rank right, too."""
    foreign = HdrHistogram.decode(counted(0.5, None).encode()["ttft"])
    assert foreign.get_total_count() == 2
    assert foreign.get_value_at_percentile(50) == pytest.approx(500_000, rel=1e-3)
    assert foreign.get_value_at_percentile(100) == pytest.approx(NEVER_US, rel=1e-3)


def test_encoding_loses_nothing() -> None:
    """Counts and percentiles of all three are the same afterwards."""
    histograms = counted(0.001, 0.02, None)
    histograms.record(Which.GAP, 0.03, count=70)
    histograms.record(Which.LATENCY, 2.5)
    again = ClassHistograms.decode(histograms.encode())
    for which in Which:
        assert again.of(which).get_total_count() == histograms.of(which).get_total_count()
        for quantile in (0.0, 0.3, 0.5, 0.6, 0.7, 1.0):
            assert again.percentile_s(which, quantile) == histograms.percentile_s(which, quantile)
    assert again.encode() == histograms.encode()


def test_rounds_are_merged() -> None:
    """The result counts all of them, decoded ones included, and they stay as they are."""
    one, two = counted(0.1, 0.2), ClassHistograms.decode(counted(0.3, None).encode())
    total = merged([one, two])
    shares = [total.percentile_s(Which.TTFT, quantile) for quantile in (0.25, 0.5, 0.75, 1.0)]
    assert shares == [
        *(pytest.approx(value, rel=1e-3) for value in (0.1, 0.2, 0.3)),
        None,
    ]
    assert one.ttft.get_total_count() == two.ttft.get_total_count() == 2


@pytest.mark.parametrize("bad", ["", "nonsense", "HISTFAAAAB542pNpmSzMwMDA", "ÄÖÜ"])
def test_what_is_no_histogram_is_an_error(bad: str) -> None:
    """The message names which of the three, and the remedy."""
    encoded = ClassHistograms().encode() | {"gap": bad}
    with pytest.raises(HistogramError, match=r"^gap: .*give what encode\(\) wrote"):
        ClassHistograms.decode(encoded)


def test_a_missing_or_foreign_histogram_is_an_error() -> None:
    """One of another scale can't be merged, so it isn't taken."""
    with pytest.raises(HistogramError, match=r"^gap: missing"):
        ClassHistograms.decode({"ttft": counted().encode()["ttft"], "latency": counted().encode()["latency"]})
    other = HdrHistogram(1, 1000, 2)
    other.record_value(3)
    with pytest.raises(HistogramError, match=r"^gap: .*with 2 digits; expected 1 to 3600000000 us with 3"):
        ClassHistograms.decode(counted().encode() | {"gap": other.encode().decode()})
