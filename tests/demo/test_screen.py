"""What a person sees."""

from __future__ import annotations

import io

from rich.console import Console

from epp.demo.screen import LINE_EVERY_S, Screen
from epp.demo.tally import ClassSummary, Live, Snapshot
from epp.demo.verdict import Half, judge

NAMES = ("premium", "standard", "batch")


def snapshot(at_s: float, *, queued: dict[str, int] | None = None) -> Snapshot:
    """Figures that can be recognised."""
    live = Live(
        waiting=11,
        streaming=22,
        completed=33,
        refused=44,
        gave_up=55,
        broken=0,
        completed_per_s=6.6,
        ttft_s=0.077,
    )
    return Snapshot(at_s, dict.fromkeys(NAMES, live), queued)


def screen(*, terminal: bool) -> tuple[Screen, io.StringIO]:
    """A screen and what it wrote."""
    out = io.StringIO()
    return Screen(Console(file=out, force_terminal=terminal, width=100, highlight=False)), out


def halves() -> tuple[Half, Half]:
    """Both halves of a demo in which the promise was kept."""
    served = ClassSummary(
        sent=100,
        completed=100,
        refused=0,
        gave_up=0,
        broken=0,
        completed_per_s=5.0,
        p50_ttft_s=0.1,
        p99_ttft_s=0.25,
    )
    lost = ClassSummary(
        details={"429 evicted-ttl": 39, "503 other": 1},
        sent=100,
        completed=50,
        refused=40,
        gave_up=10,
        broken=0,
        completed_per_s=5.0,
        p50_ttft_s=6.0,
        p99_ttft_s=None,
    )
    return Half({"premium": served, "standard": served, "batch": lost}), Half(dict.fromkeys(NAMES, lost))


def test_a_pipe_gets_a_line_now_and_then() -> None:
    """Without a terminal there are few whole lines and no control characters."""
    show, out = screen(terminal=False)
    with show.half("Through the picker", duration_s=30.0) as view:
        for tick in range(45):
            view.show(snapshot(tick * 0.25))
    lines = out.getvalue().strip().splitlines()
    assert lines[0] == "Through the picker"
    assert len(lines) == 1 + 1 + int(44 * 0.25 / LINE_EVERY_S)
    assert (
        "premium: 11 waiting, 22 streaming, 33 completed, 44 refused, 55 gave up, first token 77 ms"
        in lines[1]
    )
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_a_table() -> None:
    """Every class has a row with its queue, waits and throughput."""
    show, out = screen(terminal=True)
    with show.half("Through the picker", duration_s=30.0) as view:
        view.show(snapshot(12.0, queued={"premium": 0, "standard": 0, "batch": 987}))
        view.show(snapshot(40.0, queued={"premium": 0, "standard": 0, "batch": 0}))
    text = out.getvalue()
    for word in ("premium", "standard", "batch", "987", "77 ms", "6.6", "12 of 30 s", "no new requests"):
        assert word in text


def test_without_a_picker_there_is_no_queue_to_show() -> None:
    """The column says so instead of claiming zero."""
    show, out = screen(terminal=True)
    with show.half("Envoy alone", duration_s=30.0) as view:
        view.show(snapshot(1.0, queued=None))
    assert " - " in out.getvalue()


def test_the_verdict_shows_both_halves_and_every_promise() -> None:
    """Figures side by side, then each promise with what was measured, within 100 columns."""
    picked, alone = halves()
    show, out = screen(terminal=False)
    verdict = judge(picked=picked, alone=alone, service_time_s=1.0, patience_s=10.0)
    show.verdict(picked, alone, verdict)
    text = out.getvalue()
    assert "250 ms" in text
    assert "never" in text
    assert "batch, picker: 39 x 429 evicted-ttl, 1 x 503 other" in text
    assert text.count("Envoy alone") >= 4
    assert text.count("kept") == len(verdict.checks) + 1
    assert text.endswith("The promise was kept.\n")
    assert "BROKEN" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_broken_promise_is_called_that() -> None:
    """In words, not by colour alone."""
    picked, alone = halves()
    show, out = screen(terminal=False)
    show.verdict(alone, picked, judge(picked=alone, alone=picked, service_time_s=1.0, patience_s=10.0))
    assert "BROKEN" in out.getvalue()
    assert out.getvalue().endswith("The promise was not kept.\n")
