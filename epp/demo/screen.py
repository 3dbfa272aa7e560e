"""What a person sees while the demo runs: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live as LiveDisplay
from rich.table import Table
from rich.text import Text

from epp.demo.verdict import reasons, seconds

if TYPE_CHECKING:
    from types import TracebackType

    from epp.demo.tally import ClassSummary, Snapshot
    from epp.demo.verdict import Half, Verdict

LINE_EVERY_S = 5.0
"""How often a line comes where there is no terminal."""

_STYLES = ("bold cyan", "bold yellow", "bold magenta")


class Screen:
    """Everything that the demo prints."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console if console is not None else Console(highlight=False)

    def say(self, text: str) -> None:
        """A line of plain text."""
        self._console.print(Text(text), soft_wrap=True)

    def half(self, title: str, *, duration_s: float) -> LiveHalf | PlainHalf:
        """The view of one half; show it snapshots within `with`."""
        if self._console.is_terminal:
            return LiveHalf(self._console, title, duration_s)
        return PlainHalf(self._console, title, duration_s)

    def verdict(self, picked: Half, alone: Half, verdict: Verdict) -> None:
        """Both halves side by side, and what they show."""
        self._console.print(
            Text("\nThe same traffic twice: through the picker, and through Envoy alone", "bold")
        )
        self._console.print(_side_by_side(picked, alone))
        for title, half in (("picker", picked), ("Envoy alone", alone)):
            for name, summary in half.classes.items():
                if summary.details:
                    self._console.print(Text(f" {name}, {title}: {reasons(summary)}", "dim"))
        self._console.print()
        checks = Table.grid(padding=(0, 2, 0, 0))
        for check in verdict.checks:
            word = Text("kept", "bold green") if check.kept else Text("BROKEN", "bold red")
            checks.add_row(word, check.promise, Text(check.measured, "dim"))
        self._console.print(checks)
        self._console.print(Text(f"\nThe promise was {'kept' if verdict.kept else 'not kept'}.", "bold"))


class LiveHalf:
    """A table that is redrawn in place."""

    def __init__(self, console: Console, title: str, duration_s: float) -> None:
        self._title = title
        self._duration_s = duration_s
        self._display = LiveDisplay(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Redraw the table."""
        self._display.update(
            Group(
                Text(f"\n{self._title}", "bold"), _progress(snapshot, self._duration_s), _live_table(snapshot)
            ),
            refresh=True,
        )


class PlainHalf:
    """A line every few seconds, for logs and pipes."""

    def __init__(self, console: Console, title: str, duration_s: float) -> None:
        self._console = console
        self._title = title
        self._duration_s = duration_s
        self._next_s = 0.0

    def __enter__(self) -> Self:
        self._console.print(Text(f"\n{self._title}"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        """Print a line if it is time for one."""
        if snapshot.at_s < self._next_s:
            return
        self._next_s = snapshot.at_s + LINE_EVERY_S
        parts = [
            f"{name}: {live.waiting} waiting, {live.streaming} streaming, {live.completed} completed, "
            f"{live.refused} refused, {live.gave_up} gave up, first token {seconds_or_dash(live.ttft_s)}"
            for name, live in snapshot.classes.items()
        ]
        self._console.print(Text(f"{snapshot.at_s:4.0f} s  " + " | ".join(parts)), soft_wrap=True)


def _progress(snapshot: Snapshot, duration_s: float) -> Text:
    if snapshot.at_s < duration_s:
        return Text(f"{snapshot.at_s:.0f} of {duration_s:.0f} s of traffic", "dim")
    return Text(f"{snapshot.at_s:.0f} s: no new requests, the last ones are being answered", "dim")


def _live_table(snapshot: Snapshot) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("class")
    for heading in (
        "queued",
        "waiting",
        "streaming",
        "first token",
        "completed",
        "per s",
        "refused",
        "gave up",
    ):
        table.add_column(heading, justify="right", min_width=len(heading))
    for (name, live), style in zip(snapshot.classes.items(), _STYLES, strict=True):
        table.add_row(
            Text(name, style),
            "-" if snapshot.queued is None else str(snapshot.queued.get(name, 0)),
            str(live.waiting),
            str(live.streaming),
            seconds_or_dash(live.ttft_s),
            str(live.completed),
            f"{live.completed_per_s:.1f}",
            str(live.refused),
            str(live.gave_up),
        )
    return table


def _side_by_side(picked: Half, alone: Half) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for heading in ("class", ""):
        table.add_column(heading, no_wrap=True)
    for heading in ("sent", "TTFT p50", "TTFT p99", "done/s", "refused", "gave up"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (name, summary), style in zip(picked.classes.items(), _STYLES, strict=True):
        table.add_row(Text(name, style), "picker", *_figures(summary))
        table.add_row("", Text("Envoy alone", "dim"), *_figures(alone.classes[name]), end_section=True)
    table.add_row("all", "picker", "", "", "", f"{picked.completed_per_s:.1f}", "", "")
    table.add_row("", Text("Envoy alone", "dim"), "", "", "", f"{alone.completed_per_s:.1f}", "", "")
    return table


def _figures(summary: ClassSummary) -> tuple[str, ...]:
    return (
        str(summary.sent),
        seconds(summary.p50_ttft_s),
        seconds(summary.p99_ttft_s),
        f"{summary.completed_per_s:.1f}",
        str(summary.refused),
        str(summary.gave_up),
    )


def seconds_or_dash(value: float | None) -> str:
    """For people; None is nothing to measure lately."""
    return "-" if value is None else seconds(value)
