"""The report: complete in itself, and true."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from epp.demo.report import Story, write_report
from epp.demo.tally import Outcome, Result
from epp.demo.traffic import three_classes
from epp.demo.verdict import Half, judge

CLASSES = three_classes(2.5)
NAMES = [each.name for each in CLASSES]
PATIENCE_S = 10.0


def outcomes(*, served: set[str], due_s: Iterable[float] = range(10)) -> list[Outcome]:
    """Requests of every class, by default ten over ten seconds; the classes that are not served give up."""
    due_s = tuple(due_s)
    return [
        Outcome(name, due, due + 0.1, due + 0.5, Result.COMPLETED)
        if name in served
        else Outcome(name, due, None, due + PATIENCE_S, Result.GAVE_UP)
        for name in NAMES
        for due in due_s
    ]


def story(*, picked: set[str], alone: set[str], how: tuple[tuple[str, str], ...] = (("Seed", "1"),)) -> Story:
    """What happened if these classes were served."""
    with_picker, without = outcomes(served=picked), outcomes(served=alone)
    picked_half = Half.of(with_picker, NAMES, arrivals_s=10.0)
    alone_half = Half.of(without, NAMES, arrivals_s=10.0)
    return Story(
        classes=CLASSES,
        picked=with_picker,
        alone=without,
        picked_half=picked_half,
        alone_half=alone_half,
        verdict=judge(picked=picked_half, alone=alone_half, service_time_s=0.5, patience_s=PATIENCE_S),
        overload=2.5,
        duration_s=10.0,
        patience_s=PATIENCE_S,
        capacity_per_s=3.0,
        how=how,
    )


KEPT = story(picked={"premium", "standard"}, alone={"batch"})


class Checker(HTMLParser):
    """Sees whether tags close and what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember it until it closes."""
        if tag not in {"meta", "br", "img", "link"}:
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_endtag(self, tag: str) -> None:
        """It must be the one that was opened last."""
        assert self.open.pop() == tag


def page_of(told: Story, directory: Path) -> str:
    """The page's text."""
    return write_report(told, directory)[1].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report of a kept promise."""
    directory = tmp_path_factory.mktemp("report")
    write_report(KEPT, directory)
    return directory


def text_of(directory: Path) -> str:
    """The page in a report's folder."""
    return (directory / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_else(kept: Path) -> None:
    """It is well formed, and everything that it refers to is inside it."""
    page = text_of(kept)
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.references
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in checker.references)
    assert set(re.findall(r"https?://([^/\"' ]+)", page)) <= {"www.w3.org"}
    assert "url(http" not in page
    assert page.count("<svg ") == 3


def test_the_picture_is_a_png(kept: Path) -> None:
    """It has the signature of one, and a size that is not that of an empty sheet."""
    picture = kept / "report.png"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.stat().st_size > 20_000


def test_the_page_says_what_was_measured(kept: Path) -> None:
    """Every promise, every class, and how it was run."""
    page = text_of(kept)
    assert "The promise was kept." in page
    for check in KEPT.verdict.checks:
        assert check.promise in page
        assert check.measured in page
    for name in NAMES:
        assert f">{name}<small>" in page
    assert "<dt>Seed</dt><dd>1</dd>" in page


def test_the_page_says_why_requests_were_refused(tmp_path: Path) -> None:
    """Reasons and their counts stand below the table."""
    refused = [Outcome("batch", 1.0, None, 2.0, Result.REFUSED, "429 evicted-ttl")] * 3
    half = Half.of(refused, NAMES, arrivals_s=10.0)
    page = page_of(replace(KEPT, picked=refused, picked_half=half), tmp_path)
    assert "batch, with the picker: 3 x 429 evicted-ttl." in page
    assert "Why:" not in page_of(KEPT, tmp_path)


def test_a_broken_promise_is_the_headline(tmp_path: Path) -> None:
    """The page does not hide it."""
    page = page_of(story(picked={"batch"}, alone={"premium"}), tmp_path)
    assert "The promise was not kept." in page
    assert "<b>Broken</b>" in page


def test_what_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    """A value with markup in it stays text."""
    told = story(picked={"premium"}, alone=set(), how=(("Machine", "<script>1 & 2</script>"),))
    page = page_of(told, tmp_path)
    assert "<script>" not in page
    assert "&lt;script&gt;1 &amp; 2&lt;/script&gt;" in page


def test_figures_follow_the_pages_colours(kept: Path) -> None:
    """Lines and words in the figures are drawn in variables that the page sets for dark and for light."""
    page = text_of(kept)
    figures = "".join(re.findall(r"<svg .*?</svg>", page, re.DOTALL))
    used = set(re.findall(r"var\((--\w+)\)", figures))
    assert {"--ink", "--faint", "--grid"} <= used
    assert "prefers-color-scheme: dark" in page
    assert all(f"{name}:" in page for name in used)


def test_the_same_story_gives_the_same_page(kept: Path, tmp_path: Path) -> None:
    """No date, no random identifier."""
    assert page_of(KEPT, tmp_path) == text_of(kept)


@pytest.mark.parametrize("served", [set(), set(NAMES)])
def test_extremes_can_be_drawn(tmp_path: Path, served: set[str]) -> None:
    """Nobody served, or everybody: the report comes without a warning."""
    assert page_of(story(picked=served, alone=served), tmp_path)


def test_a_short_demo_can_be_drawn(tmp_path: Path) -> None:
    """Half a second of traffic gives figures as well, with a request or with none."""
    short = replace(KEPT, duration_s=0.5, picked=outcomes(served={"premium"}, due_s=[0.1]), alone=[])
    assert page_of(short, tmp_path)
