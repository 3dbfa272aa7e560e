"""Lines, bounds, and the table that shows them."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.costs.table import Bound, Failure, Judged, Line, Unit, microseconds, render, written

RATIO = Bound(1.5, Unit.RATIO, "the bare server")


def line(*rounds: float, bound: Bound = RATIO, row: str = "request") -> Line:
    """A line with these rounds."""
    return Line(row=row, what="CPU per request", bound=bound, rounds=rounds, facts={"picker": "700 us"})


def shown(*lines: Line, failures: tuple[Failure, ...] = ()) -> str:
    """The table as text."""
    console = Console(file=io.StringIO(), width=200)
    console.print(render(lines, failures))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_median_within_the_bound_is_kept_whatever_one_round_says() -> None:
    """One bad round is noise of the machine."""
    assert line(1.2, 9.9, 1.4).kept


def test_a_median_above_the_bound_is_missed() -> None:
    """One good round is luck."""
    assert not line(1.6, 1.0, 1.7).kept


def test_the_bound_itself_is_within() -> None:
    """Bounds are "at most"."""
    assert line(1.5).kept


def test_what_may_never_happen_counts_in_every_round() -> None:
    """One stall in one round is a stall."""
    never = Bound(0.020, Unit.SECONDS, judged=Judged.EVERY_ROUND)
    assert line(0.001, 0.019, 0.002, bound=never).kept
    assert not line(0.001, 0.021, 0.002, bound=never).kept


def test_the_spread_is_that_of_the_rounds() -> None:
    """Lowest and highest; nothing if there was one round."""
    assert line(1.4, 1.25, 1.3).spread == "1.25x to 1.4x"
    assert line(1.4).spread == ""


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.234, Unit.RATIO, "1.23x"),
        (0.0345, Unit.SHARE, "3.5%"),
        (2048, Unit.BYTES, "2,048 bytes"),
        (0.0201, Unit.SECONDS, "20.1 ms"),
        (3.0, Unit.COUNT, "3"),
        (29.5666, Unit.COUNT, "29.6"),
        (12345.0, Unit.COUNT, "12,345"),
    ],
)
def test_numbers_are_written_by_their_unit(value: float, unit: Unit, text: str) -> None:
    """As people read them."""
    assert written(value, unit) == text


@pytest.mark.parametrize(("seconds", "text"), [(1.84e-6, "1.84 us"), (0.00123, "1,230 us")])
def test_microseconds_have_three_digits_at_least(seconds: float, text: str) -> None:
    """Neither exponents nor digits that mean nothing."""
    assert microseconds(seconds) == text


def test_a_line_says_which_picker_was_measured() -> None:
    """By its transport and the flags that it was started with; where no picker was measured, nobody is named."""
    with_flags = replace(line(1.2), variant="native --v=5")
    assert "CPU per request [native --v=5]" in shown(with_flags)
    assert "[" not in shown(line(1.2))


def test_the_table_says_what_was_kept_and_missed() -> None:
    """Bound, median and verdict stand beside each other, the facts and the spread below."""
    text = shown(line(1.2, 1.3, 1.4), line(1.9, row="chunk"))
    kept, missed = (next(each for each in text.splitlines() if row in each) for row in ("request ", "chunk "))
    for part in ("≤ 1.5x the bare server", "1.3x", "kept"):
        assert part in kept
    assert "1.9x" in missed
    assert "MISSED" in missed
    below = text.splitlines()[text.splitlines().index(kept) + 1]
    assert "picker 700 us" in below
    assert "1.2x to 1.4x" in below


def test_a_failed_row_shows_the_last_word_of_its_message() -> None:
    """A child's last lines are long; what went wrong is said at their end."""
    text = shown(failures=(Failure("held", "hold-3 ended early:\n  Traceback\n  ValueError: no room\n"),))
    assert "ValueError: no room" in text
    assert "Traceback" not in text
    assert "FAILED" in text
