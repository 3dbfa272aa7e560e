"""The docs' generated parts: that they show the committed report, and what they make of any."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.reports import figures, page
from benchmarks.reports.report import ReportError, compact
from benchmarks.scenarios.loading import Size, load
from tests.benchmarks.reports import sample

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", page.PAGES)
def test_the_docs_show_the_committed_report(name: str) -> None:
    """Writing the generated part again changes nothing; while there is no report, there is a place for it."""
    text = (ROOT / name).read_text()
    report = page.committed(ROOT)
    assert page.fill(text, "something else") != text
    if report is not None:
        assert page.fill(text, page.PAGES[name](report)) == text


def test_the_figures_are_committed_with_the_report() -> None:
    """Every figure that the page shows is there."""
    shown = re.findall(r"\(images/(performance-[a-z]+\.png)\)", (ROOT / "docs/performance.md").read_text())
    assert bool(shown) == (page.committed(ROOT) is not None)
    for name in shown:
        assert (ROOT / "docs" / "images" / name).stat().st_size > 5_000


def test_the_committed_report_is_compact() -> None:
    """No single requests, no histograms: they are megabytes."""
    report = page.committed(ROOT)
    assert report is None or compact(report) == report


def test_the_example_scenario_can_be_played(tmp_path: Path) -> None:
    """It is read and checked as any other."""
    text = (ROOT / "docs/performance.md").read_text()
    path = tmp_path / "example.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)[0])
    for size in Size:
        scenario = load(path, size)
        assert list(scenario.traffic) == ["chat", "batch"]


def test_the_page_has_everything(tmp_path: Path) -> None:
    """Machine, each scenario with its lines and both tables, figures that exist, the cost table; cells hold no bars."""
    report = sample.report(sample.situation(tmp_path), sample.troubled(tmp_path))
    text = page.performance(report)
    assert "2 cores of A <fast> one" in text
    assert "**MISSED**" in text
    assert "| CPU per <chunk> | ≤ 1.1x | 1.5x: missed |" in text
    assert "| held |  | could not be measured |" in text
    assert "picker failed, round 1: it <ended> early" in text
    for name in re.findall(r"\(images/([a-z-]+\.png)\)", text):
        assert name in {figures.WAITS, figures.RATIOS}
    widths: set[int] = set()
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line))
        if not line.startswith("|"):
            widths = set()
            continue
        widths.add(cells)
        assert len(widths) == 1, line


def test_the_short_form_has_headlines_and_costs(tmp_path: Path) -> None:
    """A line for each scenario and other target, of the class that it is about."""
    text = page.short(sample.report(sample.situation(tmp_path)))
    (line,) = [line for line in text.splitlines() if line.startswith("| sample: chat |")]
    assert "envoy:least-request" in line
    assert "0.274x (0.267x to 0.282x)" in line
    assert "CPU per request" in text


def test_a_run_without_scenarios_or_costs_makes_a_page_too(tmp_path: Path) -> None:
    """Whatever was measured is shown."""
    assert "CPU per request" in page.performance(sample.report())
    assert page.short(sample.report(sample.situation(tmp_path, sample.PICKER)))


def test_pages_are_filled_between_their_markers(tmp_path: Path) -> None:
    """What people wrote around them stays; filling again changes nothing."""
    (tmp_path / "docs").mkdir()
    for name in page.PAGES:
        (tmp_path / name).write_text((ROOT / name).read_text())
    report = sample.report(sample.situation(tmp_path))
    written = page.write(tmp_path, report)
    texts = [path.read_text() for path in written]
    assert [path.relative_to(tmp_path).as_posix() for path in written] == list(page.PAGES)
    assert "# What it does under load" in texts[0]
    assert "## Coming from the Go picker" in texts[1]
    page.write(tmp_path, report)
    assert [path.read_text() for path in written] == texts


def test_a_page_without_markers_is_not_overwritten(tmp_path: Path) -> None:
    """There is no telling where the numbers would go; the error names the page."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/performance.md").write_text("# A page\n")
    with pytest.raises(ReportError, match=r"performance\.md: the page has no <!-- begin"):
        page.write(tmp_path, sample.report())
    with pytest.raises(ReportError, match="No such file"):
        page.write(tmp_path / "elsewhere", sample.report())
