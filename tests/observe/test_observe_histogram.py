"""Histograms."""

from __future__ import annotations

import random

import pytest

from epp.observe.histogram import Buckets, Distribution


def test_every_value_is_counted_where_a_naive_count_would_put_it():
    """A bucket counts what is not above its bound; the last counts everything."""
    bounds = (0.1, 1.0, 2.5, 10.0)
    values = [0.1, 1.0, 1.0000001, 0.0, 11, 10, *(random.Random(7).uniform(0, 12) for _ in range(500))]
    distribution = Distribution(Buckets(*bounds))
    for value in values:
        distribution.observe(value)
    naive = [sum(value <= bound for value in values) for bound in (*bounds, float("inf"))]
    assert list(distribution.cumulative()) == naive
    assert distribution.total == pytest.approx(sum(values))


def test_absorbing_adds_up():
    """Two distributions absorbed into a third make what one would have counted of both."""
    buckets = Buckets(1, 2)
    both, one, other = Distribution(buckets), Distribution(buckets), Distribution(buckets)
    for each, value in ((one, 0.5), (one, 9), (other, 2)):
        each.observe(value)
        both.observe(value)
    total = Distribution(buckets)
    assert total.is_empty
    total.absorb(one)
    total.absorb(other)
    assert list(total.cumulative()) == list(both.cumulative()) == [1, 2, 3]
    assert total.total == both.total
    assert not total.is_empty


def test_bounds_are_written_as_upstream_writes_them():
    """Go's way in the plain format, so that queries for a bucket find it; with a fraction in OpenMetrics."""
    buckets = Buckets(0.0001, 0.5, 1, 2.5, 60, 131072, 1048576)
    assert buckets.text_le == ("0.0001", "0.5", "1", "2.5", "60", "131072", "1.048576e+06", "+Inf")
    assert buckets.openmetrics_le == (
        *("0.0001", "0.5", "1.0", "2.5", "60.0", "131072.0", "1.048576e+06", "+Inf"),
    )


@pytest.mark.parametrize("bounds", [(1, 1), (2, 1)])
def test_bounds_that_do_not_rise_are_refused(bounds):
    """Such a histogram would count wrongly without a word."""
    with pytest.raises(ValueError, match="do not rise"):
        Buckets(*bounds)
