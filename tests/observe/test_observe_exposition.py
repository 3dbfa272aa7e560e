"""The text formats."""

from __future__ import annotations

import math

import pytest

from epp.observe.exposition import (
    PIECE_LINES,
    Distributions,
    Format,
    Numbers,
    counter,
    gauge,
    histogram,
    number,
    pieces,
)
from epp.observe.histogram import Buckets, Distribution
from tests.observe.surroundings import PARSERS


def page(readings, page_format):
    """The page, complete."""
    text = "".join(pieces(readings, page_format))
    return text + "# EOF\n" if page_format is Format.OPENMETRICS else text


def distribution(*values):
    """A distribution of these values."""
    built = Distribution(Buckets(1, 2.5))
    for value in values:
        built.observe(value)
    return built


@pytest.mark.parametrize("page_format", Format)
def test_an_independent_parser_reads_every_kind(page_format):
    """Types, names, labels, values and buckets come back as they went in."""
    readings = [
        Numbers(counter("runs_total", "Runs, all of them."), [('a="x"', 3), ('a="y"', 2.5)]),
        Numbers(gauge("level", "A level."), [("", math.inf)]),
        Distributions(histogram("took_seconds", "Time."), [('a="x"', distribution(0.5, 1, 9)), ("", distribution(2))]),
    ]  # fmt: skip
    runs, level, took = PARSERS[page_format](page(readings, page_format))
    assert (runs.type, level.type, took.type) == ("counter", "gauge", "histogram")
    assert (runs.name, runs.documentation) == ("runs", "Runs, all of them.")
    assert [(each.name, each.labels, each.value) for each in runs.samples] == [
        ("runs_total", {"a": "x"}, 3),
        ("runs_total", {"a": "y"}, 2.5),
    ]
    assert level.samples[0].value == math.inf
    counted = {(each.name, tuple(sorted(each.labels.items()))): each.value for each in took.samples}
    bound = "1" if page_format is Format.TEXT else "1.0"
    assert counted["took_seconds_bucket", (("a", "x"), ("le", bound))] == 2
    assert counted["took_seconds_bucket", (("a", "x"), ("le", "+Inf"))] == 3
    assert counted["took_seconds_sum", (("a", "x"),)] == 10.5
    assert counted["took_seconds_count", ()] == 1


def test_a_family_without_samples_is_not_mentioned():
    """As Go's client does it."""
    assert page([Numbers(gauge("level", "A level."), [])], Format.TEXT) == ""


def test_pieces_are_bounded():
    """A family of any size comes in pieces that take about the same time each, and nothing gets lost."""
    samples = [(f'a="{index}"', index) for index in range(5 * PIECE_LINES)]
    many = list(pieces([Numbers(gauge("level", "A level."), samples)], Format.TEXT))
    assert len(many) >= 5
    assert max(piece.count("\n") for piece in many) <= PIECE_LINES + 2
    assert "".join(many).count("\n") == len(samples) + 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (0.25, "0.25"), (1e-9, "1e-09"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")],
)
def test_numbers(value, text):
    """Values are written as both formats know them."""
    assert number(value) == text
