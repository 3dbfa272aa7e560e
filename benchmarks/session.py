"""One session: scenarios played one after the other, judged, shown, and written to `bench-report/` as they come.

Promises:
- What breaks in one scenario is told and counts as not kept; the others are played all the same.
- However a session ends, what was finished by then is written, and no process of it stays behind.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from benchmarks.costs.rows import GROUPS
from benchmarks.costs.table import render
from benchmarks.plays import runner
from benchmarks.plays.judge import judge
from benchmarks.plays.runner import Run, plain
from benchmarks.reports import gathering, percentiles, report, table, webpage
from benchmarks.reports.screen import STAGE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from pathlib import Path

    from benchmarks.costs.table import Failure, Line
    from benchmarks.load.live import Snapshot
    from benchmarks.plays.play import Play
    from benchmarks.plays.runner import Failed
    from benchmarks.reports.report import Report
    from benchmarks.reports.screen import Screen
    from benchmarks.scenarios.scenario import Kind, Scenario
    from benchmarks.stage.target import Target

    MeasureCosts = Callable[[Sequence[str]], Awaitable[tuple[list[Line], list[Failure]]]]

OUTCOMES = "outcomes.jsonl"
COST_ROWS = tuple(tuple(row for entry in group for row in entry.rows) for group in GROUPS)
"""All rows of the cost table; what is measured at the same time belongs together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A scenario to be played."""

    scenario: Scenario
    folder: Path
    """Where its traces are."""
    targets: tuple[Target, ...]
    rounds: int

    @property
    def expected_s(self) -> float:
        """About how long it takes."""
        return self.rounds * len(self.targets) * (self.scenario.duration_s + STAGE_S)


class Session:
    """Collects one report."""

    def __init__(
        self,
        begun: Report,
        *,
        screen: Screen,
        directory: Path,
        binary: Path,
        kinds: Collection[Kind],
        server_port: int | None = None,
    ) -> None:
        """`begun` is the report so far: everything that is known before anything is measured."""
        self._report = begun
        self._screen = screen
        self._directory = directory
        self._binary = binary
        self._kinds = kinds
        self._server_port = server_port

    @property
    def report(self) -> Report:
        """Everything so far."""
        return self._report

    def prepare(self) -> None:
        """See that there is a place for the reports, before anything takes time. Raises OSError."""
        report.write(self._report, self._directory / report.FILE_NAME)

    async def costs(self, measure: MeasureCosts, groups: Sequence[tuple[str, ...]]) -> None:
        """Measure these rows of the cost table, group by group."""
        lines: list[Line] = []
        failures: list[Failure] = []
        for rows in groups:
            measured, failed = await measure(rows)
            lines += measured
            failures += failed
            self._report = replace(self._report, costs=gathering.costs(lines, failures))
        self._screen.say(render(lines, failures))

    async def play(self, orders: Sequence[Ordered]) -> None:
        """Play all of them."""
        self._screen.expect(sum(order.expected_s for order in orders))
        for order in orders:
            await self._play(order)
            report.write(self._report, self._directory / report.FILE_NAME)

    def finish(self, *, interrupted: bool) -> tuple[Path, Path]:
        """Write the report for machines and the one for people."""
        self._report = replace(self._report, finished=report.now(), interrupted=interrupted)
        path = self._directory / report.FILE_NAME
        report.write(self._report, path)
        return path, webpage.write(self._report, self._directory)

    async def _play(self, order: Ordered) -> None:
        place = self._directory / plain(order.scenario.name)
        _forget_rounds(place)
        run = Run(order.scenario)
        try:
            with self._screen:
                await runner.run(
                    order.scenario,
                    order.targets,
                    rounds=order.rounds,
                    directory=place,
                    folder=order.folder,
                    binary=self._binary,
                    watcher=_Keeper(self._screen, place),
                    server_port=self._server_port,
                    into=run,
                )
        except Exception as error:  # whatever it is: the others are to be played
            self._complain(order, str(error) or type(error).__name__)
            return
        finally:
            if run.plays or run.failed:
                self._conclude(run, order, place)
        if not run.plays and not run.failed:
            why = "; ".join(f"not played at {skipped.target}: {skipped.why}" for skipped in run.skipped)
            self._complain(order, why)

    def _conclude(self, run: Run, order: Ordered, place: Path) -> None:
        """Judge, show, and put it into the report."""
        verdicts = judge(run.scenario, run.plays, kinds=self._kinds)
        found = gathering.situation(run, verdicts, kinds=self._kinds, rounds_asked=order.rounds)
        self._report = replace(self._report, situations=[*self._report.situations, found])
        percentiles.write(run.plays, place)
        self._screen.say(table.situation(found))

    def _complain(self, order: Ordered, why: str) -> None:
        complaints = {**self._report.complaints, order.scenario.name: why}
        self._report = replace(self._report, complaints=complaints)


class _Keeper:
    """Shows what happens, and writes down single requests."""

    def __init__(self, screen: Screen, place: Path) -> None:
        self._place = place
        self.play_begins = screen.play_begins
        self.play_failed: Callable[[Failed], None] = screen.play_failed
        self.progress: Callable[[Snapshot], None] = screen.progress
        self._shown: Callable[[Play], None] = screen.play_ended

    def play_ended(self, play: Play) -> None:
        """Its requests go to a file of their own: there are too many for a report."""
        directory = self._place / plain(play.target) / f"round-{play.round}"
        directory.mkdir(parents=True, exist_ok=True)
        lines = (each._asdict() for each in play.outcomes)
        (directory / OUTCOMES).write_bytes(msgspec.json.Encoder().encode_lines(lines))
        self._shown(play)


def _forget_rounds(place: Path) -> None:
    """Rounds of an earlier session would be taken for this one's."""
    for old in place.glob("*/round-*"):
        shutil.rmtree(old, ignore_errors=True)
