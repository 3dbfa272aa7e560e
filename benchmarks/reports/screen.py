"""What a person sees while plays go on: a bar and live rates on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live as LiveDisplay
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmarks.reports import words

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import RenderableType

    from benchmarks.load.live import Live, Snapshot
    from benchmarks.plays.play import Play
    from benchmarks.plays.runner import Failed
    from benchmarks.scenarios.scenario import Scenario

LINE_EVERY_S = 5.0
"""How often a line comes where there is no terminal."""
STAGE_S = 6.0
"""About how long a play takes besides its traffic."""

_HEADINGS = (
    "waiting",
    "streaming",
    "first token",
    "completed",
    "per s",
    "tokens/s",
    "refused",
    "gave up",
    "broken",
)
_BAR_WIDTH = 40


class Screen:
    """Shows plays within `with`, and says lines."""

    def __init__(
        self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console if console is not None else Console(highlight=False)
        self._clock = clock
        self._display: LiveDisplay | None = None
        self._expected_s = 0.0
        self._begun_s = 0.0
        self._title = ""
        self._next_s = 0.0
        self._duration_s = 0.0

    def expect(self, seconds: float) -> None:
        """All plays together will take about so long."""
        self._expected_s = seconds
        self._begun_s = self._clock()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._display = LiveDisplay(console=self.console, auto_refresh=False, transient=True)
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None

    def say(self, what: RenderableType) -> None:
        """Something that stays on the screen."""
        self.console.print(what, soft_wrap=isinstance(what, Text))

    def play_begins(self, scenario: Scenario, *, target: str, round_number: int, rounds: int) -> None:
        """A stage is being put up for it."""
        self._title = f"{scenario.name}, {target}, round {round_number} of {rounds}"
        self._duration_s = scenario.duration_s
        self._next_s = 0.0
        if self._display is None:
            self.say(Text(f"{self._title}: starting"))
        else:
            self._display.update(Group(self._bar(), Text(f"{self._title}: starting", "bold")), refresh=True)

    def progress(self, snapshot: Snapshot) -> None:
        """Redraw, or print a line if it is time for one."""
        if self._display is not None:
            heading = Text.assemble((self._title, "bold"), (f"  {self._when(snapshot)}", "dim"))
            self._display.update(Group(self._bar(), heading, _table(snapshot)), refresh=True)
        elif snapshot.elapsed_s >= self._next_s:
            self._next_s = snapshot.elapsed_s + LINE_EVERY_S
            classes = " | ".join(f"{name}: {_in_a_line(live)}" for name, live in snapshot.classes.items())
            self.say(Text(f"  {self._when(snapshot)}: {classes}"))

    def play_ended(self, play: Play) -> None:
        """It is complete."""
        self.say(Text(f"{self._title}: {len(play.outcomes):,} requests", "dim"))

    def play_failed(self, failure: Failed) -> None:
        """It could not be finished."""
        self.say(Text(f"{self._title}: FAILED: {failure.why}", "bold red"))

    def _when(self, snapshot: Snapshot) -> str:
        if snapshot.elapsed_s < self._duration_s:
            when = f"{snapshot.elapsed_s:.0f} of {self._duration_s:g} s"
        else:
            when = f"{snapshot.elapsed_s:.0f} s, no new requests"
        return f"{when}, generator {words.seconds(snapshot.lag_s)} behind" if snapshot.lag_s > 0.05 else when

    def _bar(self) -> RenderableType:
        elapsed_s = self._clock() - self._begun_s
        line = Table.grid(padding=(0, 1))
        left_s = self._expected_s - elapsed_s
        to_go = (
            f"about {_clock_time(left_s)} to go"
            if left_s > 0
            else "the last answers take longer than expected"
        )
        line.add_row(
            ProgressBar(total=max(self._expected_s, 1.0), completed=elapsed_s, width=_BAR_WIDTH),
            Text(f"{_clock_time(elapsed_s)}, {to_go}", "dim"),
        )
        return line


def _table(snapshot: Snapshot) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("class")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", min_width=len(heading))
    for name, live in snapshot.classes.items():
        table.add_row(
            Text(name, "bold"),
            str(live.waiting),
            str(live.streaming),
            words.NOTHING if live.ttft_s is None else words.seconds(live.ttft_s),
            str(live.completed),
            f"{live.completed_per_s:.1f}",
            f"{live.tokens_per_s:,.0f}",
            str(live.refused),
            str(live.gave_up),
            str(live.broken),
        )
    return table


def _in_a_line(live: Live) -> str:
    first = words.NOTHING if live.ttft_s is None else words.seconds(live.ttft_s)
    told = [
        f"{live.waiting} waiting",
        f"{live.streaming} streaming",
        f"{live.completed} completed ({live.completed_per_s:.1f}/s)",
        f"first token {first}",
    ]
    told += [
        f"{number} {what}"
        for number, what in ((live.refused, "refused"), (live.gave_up, "gave up"), (live.broken, "broken"))
        if number
    ]
    return ", ".join(told)


def _clock_time(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
