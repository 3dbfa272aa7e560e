"""Percentile files, the page for people, the pictures: that they are whole, escaped, and on their own."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.reports import figures, percentiles, webpage
from benchmarks.reports.figures import RATIOS, WAITS
from tests.benchmarks.reports import sample

VOID = {"meta", "br", "img", "input", "path", "use", "rect", "image", "stop", "line", "circle"}


class Tags(HTMLParser):
    """Sees whether every tag is closed, and notes down what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.referred: list[str] = []
        self.ids: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.referred += [value for name in ("src", "href", "xlink:href") if (value := given.get(name))]
        self.ids.add(given.get("id") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a run with everything in it."""
    folder = tmp_path_factory.mktemp("scenario")
    return webpage.page(sample.report(sample.situation(folder), sample.troubled(folder)))


def test_the_page_needs_nothing_else(page: str) -> None:
    """Every tag is closed; whatever it refers to is within it."""
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.referred
    for each in tags.referred:
        assert each.startswith(("#", "data:")), each
        assert not each.startswith("#s-") or each[1:] in tags.ids
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "<script" not in page


def test_every_word_from_elsewhere_is_escaped(page: str) -> None:
    """Scenario, reasons, notes, failures, facts of the machine."""
    for word in (
        "<longest>",
        "<breaks>",
        "<ttl>",
        "<something>",
        "<ended>",
        "<fast>",
        "<all>",
        "<else>",
        "<chunk>",
    ):
        assert word not in page
        assert word.replace("<", "&lt;").replace(">", "&gt;") in page


def test_the_page_says_what_was_found(page: str) -> None:
    """Verdicts in words, figures, the cost table, what is missing."""
    tags = Tags()
    tags.feed(page)
    for word in (
        "MISSED",
        "kept",
        "never",
        "direct is left out: there is no pool",
        "picker over the others",
        "CPU per request",
        "FAILED",
        "the child is gone",
    ):
        assert word in tags.text
    assert "40 x rejected" in tags.text
    assert page.count("<svg") >= 5
    assert "1 of 8 pass lines missed" in tags.text


def test_figures_follow_the_pages_colours(tmp_path: Path) -> None:
    """Text and lines are drawn in the page's variables, so that they can be read on dark and on light."""
    drawn = figures.curves_svg(sample.situation(tmp_path))
    assert "var(--ink)" in drawn
    assert "var(--faint)" in drawn
    assert "#1b1b1f" not in drawn
    assert not re.search(r"<svg [^>]*width=", drawn)


def test_figures_without_anything_to_show_are_left_out(tmp_path: Path) -> None:
    """One target has nobody to compare with; without known processes there are no costs."""
    alone = sample.situation(tmp_path, sample.PICKER)
    assert figures.ratios_svg(alone) is None
    bare = replace(alone, rounds=[replace(each, measures={}) for each in alone.rounds])
    assert figures.costs_svg(bare) is None
    assert figures.costs_svg(alone) is not None


def test_pictures_for_the_docs(tmp_path: Path) -> None:
    """Both, and none where there is nothing to draw."""
    assert figures.save(sample.report(sample.situation(tmp_path)), tmp_path) == (WAITS, RATIOS)
    for name in (WAITS, RATIOS):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert figures.save(sample.report(), tmp_path) == ()


def test_percentile_files_are_what_plotters_read(tmp_path: Path) -> None:
    """A head, then value, percentile, count and 1/(1-percentile) in each line; values in milliseconds."""
    written = percentiles.write(sample.run(tmp_path).plays, tmp_path / "out")
    names = {str(path.relative_to(tmp_path / "out")) for path in written}
    assert "picker/chat-ttft.hgrm" in names
    assert "envoy-least-request/batch-latency.hgrm" in names
    lines = (tmp_path / "out" / "picker" / "chat-ttft.hgrm").read_text().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [line.split() for line in lines[2:] if not line.startswith("#")]
    assert [len(row) for row in rows[:-1]] == [4] * (len(rows) - 1)
    assert float(rows[0][0]) == pytest.approx(100, rel=0.01)
    assert int(rows[-1][2]) == 40
    assert float(rows[-1][0]) == pytest.approx(219, rel=0.01)
