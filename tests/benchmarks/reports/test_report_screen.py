"""What is shown while plays go on, and the tables afterwards."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.load.live import Live, Snapshot
from benchmarks.plays.runner import Failed
from benchmarks.reports import table, words
from benchmarks.reports.report import Never
from benchmarks.reports.screen import LINE_EVERY_S, Screen
from tests.benchmarks.plays.played import answered, play
from tests.benchmarks.reports import sample


def screen(*, terminal: bool, width: int = 120) -> tuple[Screen, io.StringIO]:
    """One that writes into memory, and whose clock stands still."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width, highlight=False, color_system=None)
    return Screen(console, clock=lambda: 90.0), file


def snapshot(elapsed_s: float, *, lag_s: float = 0.0) -> Snapshot:
    """A class in the middle of it."""
    live = Live(
        waiting=3, streaming=4, completed=20, refused=5, gave_up=0, hung_up=0, broken=0,
        completed_per_s=2.0, tokens_per_s=1234.0, ttft_s=0.25,
    )  # fmt: skip
    return Snapshot(elapsed_s, lag_s, {"chat": live})


def test_without_a_terminal_there_is_a_line_now_and_then(tmp_path: Path) -> None:
    """Not one for every look; it has time, counts and rates, and no control characters."""
    shown, file = screen(terminal=False)
    with shown:
        shown.play_begins(sample.scenario(tmp_path), target="picker", round_number=1, rounds=2)
        for tenth in range(101):
            shown.progress(snapshot(tenth / 10))
        shown.play_ended(play(answered()))
    lines = file.getvalue().splitlines()
    assert lines[0] == "sample, picker, round 1 of 2: starting"
    looks = [line for line in lines if "waiting" in line]
    assert len(looks) == 10 / LINE_EVERY_S + 1
    assert (
        looks[1]
        .strip()
        .startswith("5 of 10 s: chat: 3 waiting, 4 streaming, 20 completed (2.0/s), first token 250 ms")
    )
    assert "5 refused" in looks[1]
    assert "no new requests" in looks[-1]
    assert "\x1b" not in file.getvalue()


def test_a_terminal_has_a_bar_and_a_table(tmp_path: Path) -> None:
    """With how far it is in all, and live rates by class."""
    shown, file = screen(terminal=True)
    shown.expect(300.0)
    with shown:
        shown.play_begins(sample.scenario(tmp_path), target="picker", round_number=1, rounds=2)
        shown.progress(snapshot(4.0, lag_s=0.3))
    text = file.getvalue()
    assert "about 5:00 to go" in text
    assert "4 of 10 s, generator 300 ms behind" in text
    assert "tokens/s" in text
    assert "1,234" in text


def test_a_failure_is_told_at_once(tmp_path: Path) -> None:
    """With its play and its reason."""
    shown, file = screen(terminal=False)
    with shown:
        shown.play_begins(sample.scenario(tmp_path), target="picker", round_number=1, rounds=2)
        shown.play_failed(Failed("picker", 1, "the port [bold]is taken"))
    assert "sample, picker, round 1 of 2: FAILED: the port [bold]is taken" in file.getvalue()


@pytest.mark.parametrize("width", [80, 110])
def test_tables_show_every_figure_whole(tmp_path: Path, width: int) -> None:
    """In a narrow window too: names may break, figures may not."""
    shown, file = screen(terminal=False, width=width)
    shown.say(table.situation(sample.situation(tmp_path)))
    text = file.getvalue()
    for figure in ("159 ms", "never", "90 MB", "2.00 ms", "250 us", "MISSED", "kept", "40 x rejected <ttl>"):
        assert figure in text, figure
    assert "…" not in text


def test_troubles_are_in_the_table(tmp_path: Path) -> None:
    """What was skipped, what failed, and what could not be judged."""
    shown, file = screen(terminal=False)
    shown.say(table.situation(sample.troubled(tmp_path)))
    shown.say(table.overview(sample.report(sample.troubled(tmp_path))))
    text = file.getvalue()
    assert "direct is left out: there is no pool" in text
    assert "picker FAILED, round 1: it <ended> early" in text
    assert "NOT KEPT" in text
    assert "4 not judged, 1 FAILED" in text


@pytest.mark.parametrize(
    ("measure", "value", "expected"),
    [
        ("ttft_p95_s", 0.0042, "4.2 ms"),
        ("ttft_p95_s", 0.2504, "250 ms"),
        ("ttft_p95_s", 12.34, "12.3 s"),
        ("ttft_p95_s", None, "never"),
        ("gap_p99_s", None, "-"),
        ("picker_cpu_per_chunk_s", 0.0000621, "62 us"),
        ("picker_cpu_per_request_s", 0.00154, "1.54 ms"),
        ("picker_peak_bytes", 123_456_789, "123 MB"),
        ("completed_share", 0.995, "99.5%"),
        ("jain", 0.98765, "0.988"),
        ("sent", 1234.0, "1,234"),
        ("completed_per_s", 23.456, "23.5"),
        ("of_another_version", 3.0, "3"),
    ],
)
def test_figures_are_written_for_people(measure: str, value: float | None, expected: str) -> None:
    """With their unit, and no more digits than mean something."""
    assert words.figure(measure, value) == expected


def test_ratios_are_written_for_people() -> None:
    """One that isn't a number says why."""
    assert words.ratio(0.2512) == "0.251x"
    assert words.ratio(1234.5) == "1,234x"
    assert words.ratio(Never.OTHER) == "never at the other"
    assert words.spread(0.25, 0.5) == "0.25x to 0.5x"
    assert words.spread(0.25, Never.OURS) == "0.25x to never at ours"
