"""The fairness report: that the docs show its committed numbers, and that their point holds whenever it is run anew."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.fairness import __main__ as command
from benchmarks.fairness import page
from benchmarks.fairness.figures import COURSES, SHARES, WAITS
from benchmarks.fairness.lag import Counted, course, jain, largest
from benchmarks.fairness.report import OURS, POLICIES, Report, measure
from benchmarks.fairness.tenants import Backlogged, Tenant, around
from benchmarks.fairness.world import Moment, What

DOCS = Path(__file__).parents[2] / "docs"
ROUND_ROBIN, ATTAINED, _ = POLICIES


@pytest.fixture(scope="module")
def report() -> Report:
    """A coarse one, made now."""
    return measure(steps=2_500, seed=2, samples=2)


def check_the_point(report: Report) -> None:
    """What the docs say of it."""
    found = {(each.workload, each.policy): each for each in report.outcomes}
    for workload in {each.workload for each in report.outcomes}:
        ours = found[workload, OURS]
        assert ours.jain >= 0.98, f"{workload}: {ours.jain}"
        assert ours.lag_units <= ours.bound_units, f"{workload}: {ours.lag_units} units"
    assert found["sizes 10:1", ROUND_ROBIN].jain < 0.7
    assert found["sizes 10:1", ROUND_ROBIN].lag_units > 20 * found["sizes 10:1", ROUND_ROBIN].bound_units
    assert found["bursts", ATTAINED].jain < 0.8
    assert found["bursts", ATTAINED].lag_units > 2 * found["bursts", ATTAINED].bound_units
    assert found["weights 1:2:4", ATTAINED].jain < 0.9


def test_the_point_holds_in_a_quick_run(report: Report) -> None:
    """Ours is even and within its promise in every workload; turns are not, and counting afterwards isn't in bursts."""
    check_the_point(report)


def test_the_point_holds_for_the_committed_numbers() -> None:
    """The same of what the docs show, with enough dispatches behind every comparison."""
    committed = command.read(DOCS / "images")
    check_the_point(committed)
    assert committed.steps >= 20_000
    assert min(each.turns for each in committed.outcomes) >= 1_000


@pytest.mark.parametrize("name", command.PAGES)
def test_the_docs_show_the_committed_numbers(name: str) -> None:
    """Writing the generated part again changes nothing."""
    text = (DOCS / name).read_text()
    assert page.fill(text, command.PAGES[name](command.read(DOCS / "images"))) == text


def test_the_figures_are_there() -> None:
    """Every figure that a page shows is committed."""
    for name in command.PAGES:
        text = (DOCS / name).read_text()
        for figure in (SHARES, COURSES, WAITS):
            if figure in text:
                assert (DOCS / "images" / figure).stat().st_size > 10_000


def test_the_command_writes_everything(
    tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers, figures, and the tables in the pages beside them."""
    monkeypatch.setattr(command, "measure", lambda **_: report)
    for name in command.PAGES:
        (tmp_path / name).write_text((DOCS / name).read_text())
    command.main(["--quick", "--out", str(tmp_path / "images")])
    assert command.read(tmp_path / "images") == report
    assert sorted(each.name for each in (tmp_path / "images").iterdir()) == sorted(
        [command.NUMBERS, SHARES, COURSES, WAITS]
    )
    assert page.shares(report) in (tmp_path / "fairness.md").read_text()
    assert page.waits(report) in (tmp_path / "waiting.md").read_text()


def test_a_page_without_markers_is_not_overwritten() -> None:
    """There is no telling where the numbers would go."""
    with pytest.raises(ValueError, match="begin: written by"):
        page.fill("# A page\n", "numbers")


# ------------------------------------------------------------------- the measure itself


ADA = Tenant(name="ada", demand=Backlogged(), size=around(10))
BOB = Tenant(name="bob", demand=Backlogged(), size=around(10), weight=2.0)


def moments(*happened: tuple[str, What, int]) -> list[Moment]:
    """One a second."""
    return [Moment(float(at), *each) for at, each in enumerate(happened)]


def test_the_largest_gap_is_over_intervals_in_which_both_are_backlogged() -> None:
    """What one gets while the other is idle is no gap; a gap may begin anywhere, not only at the start."""
    record = moments(
        ("ada", What.BACKLOGGED, 0),
        ("ada", What.CHARGED, 1000),
        ("bob", What.BACKLOGGED, 0),
        ("bob", What.CHARGED, 40),
        ("bob", What.CHARGED, 40),
        ("ada", What.CHARGED, 30),
        ("ada", What.CHARGED, 30),
        ("ada", What.CHARGED, 30),
        ("bob", What.IDLE, 0),
        ("ada", What.CHARGED, 500),
    )
    lag = largest(record, ADA, BOB, Counted.CHARGED)
    assert lag.gap == 90
    assert lag.turns == 5
    assert lag.unit == 1000 + 40 / 2
    assert largest(record, BOB, ADA, Counted.CHARGED) == lag


def test_the_one_pass_finds_what_all_intervals_would_show() -> None:
    """Compared with every pair of moments, on a jagged record."""
    steps = [7, -3, -3, 11, -20, 4, 4, -1, 9, -30, 12]
    happened = [
        ("ada", What.CHARGED, step) if step > 0 else ("bob", What.CHARGED, -2 * step) for step in steps
    ]
    record = moments(("ada", What.BACKLOGGED, 0), ("bob", What.BACKLOGGED, 0), *happened)
    sums = [sum(steps[:end]) for end in range(len(steps) + 1)]
    expected = max(abs(after - before) for at, before in enumerate(sums) for after in sums[at:])
    assert largest(record, ADA, BOB, Counted.CHARGED).gap == expected
    points = [units for _, units in course(record, ADA, BOB, Counted.CHARGED) if units is not None]
    unit = largest(record, ADA, BOB, Counted.CHARGED).unit
    assert [round((after - before) * unit) for before, after in pairwise(points[-len(sums) :])] == steps


def test_jains_index() -> None:
    """1 if all have the same, 1/n if one has everything."""
    assert jain([5, 5, 5]) == pytest.approx(1.0)
    assert jain([9, 0, 0]) == pytest.approx(1 / 3)
