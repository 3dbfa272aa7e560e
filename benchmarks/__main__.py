"""`python -m benchmarks`: measure the picker, beside others and beside a bare server, and say what came of it.

The exit status is 0 if everything was measured and every bound and pass line was kept, 1 if not, 2 for a mistake in
what was typed, 130 or 143 if a signal ended it; what was finished by then is written all the same.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, assert_never

import uvloop
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import machine
from benchmarks.arguments import Everything, ListAll, RunSome, WritePages, WriteTrace, parse
from benchmarks.costs.__main__ import measure as measure_costs
from benchmarks.costs.scale import FULL, QUICK
from benchmarks.load import trace
from benchmarks.reports import figures, page, report, table
from benchmarks.reports.report import Report, ReportError
from benchmarks.reports.screen import Screen
from benchmarks.scenarios.loading import ScenarioError, Size, find, load, shipped
from benchmarks.scenarios.planning import PlanError, draw
from benchmarks.scenarios.problems import Problem
from benchmarks.scenarios.scenario import Kind
from benchmarks.session import COST_ROWS, Ordered, Session
from benchmarks.stage.target import TargetError
from benchmarks.stage.target import parse as parse_target
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy
from epp.serve import garbage

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from benchmarks.costs.scale import Scale
    from benchmarks.costs.table import Failure, Line
    from benchmarks.scenarios.scenario import Scenario
    from benchmarks.stage.target import Target

HEADLINES = ("batch-burst", "overload-by-class")
QUICK_COSTS = ("request", "chunk", "core", "drain", "turn", "idle")
"""The scenarios and the rows of the cost table of a quick run: together they fit into two minutes."""
_WIDTH = 120
"""Of tables that no window sets a width for."""
_KEPT, _NOT_KEPT, _MISTAKE, _INTERRUPTED, _TERMINATED = 0, 1, 2, 130, 143


def main(argv: Sequence[str] | None = None, *, console: Console | None = None) -> int:
    """Do what was typed; the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    command = parse(words)
    console = console if console is not None else _console()
    try:
        match command:
            case Everything():
                return _everything(command, words, console)
            case RunSome():
                return _run_some(command, words, console)
            case ListAll():
                return _list(console)
            case WriteTrace():
                return _write_trace(command, console)
            case WritePages():
                return _write_pages(command, console)
            case _:
                assert_never(command)
    except (
        ScenarioError,
        PlanError,
        TargetError,
        EnvoyNotFoundError,
        ReportError,
        trace.TraceError,
    ) as error:
        sys.stderr.write(f"python -m benchmarks: {error}\n")
        return _MISTAKE
    except OSError as error:
        sys.stderr.write(f"python -m benchmarks: {error.filename}: {error.strerror}\n")
        return _MISTAKE


class Costs(NamedTuple):
    """What is measured of the cost table."""

    scale: Scale
    groups: tuple[tuple[str, ...], ...]


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


# --------------------------------------------------------------------------------------------- to measure


def _everything(command: Everything, words: Sequence[str], console: Console) -> int:
    size = Size.QUICK if command.quick else Size.FULL
    chosen = HEADLINES if command.quick else shipped()
    orders = [_order(load(name, size), name) for name in chosen]
    left_out = [_quick_note(chosen)] if command.quick else []
    begun = _begin(words, size, left_out)
    session = Session(
        begun,
        screen=Screen(console),
        directory=command.out,
        binary=find_envoy(command.envoy),
        kinds=frozenset(Kind),
    )
    costs = Costs(QUICK, (QUICK_COSTS,)) if command.quick else Costs(FULL, COST_ROWS)
    return _measure(session, orders, console, costs=costs)


def _quick_note(chosen: Sequence[str]) -> str:
    others = [name for name in shipped() if name not in chosen]
    rows = [row for group in COST_ROWS for row in group if row not in QUICK_COSTS]
    return (
        f"Quick: rounds are fewer and shorter. Left out are {len(others)} scenarios: {', '.join(others)}; "
        f"and of the cost table: {', '.join(rows)}. All of it: python -m benchmarks. One scenario: "
        "python -m benchmarks run NAME. The whole cost table: python -m benchmarks.costs --quick"
    )


def _run_some(command: RunSome, words: Sequence[str], console: Console) -> int:
    targets = tuple(parse_target(text) for text in command.targets)
    _check_names(targets)
    orders = []
    for name in command.scenarios:
        scenario = load(name, command.size)
        if command.seed is not None:
            scenario = replace(scenario, seed=command.seed)
        orders.append(_order(scenario, name, targets=targets, rounds=command.rounds))
    _check_scenarios(orders)
    kinds = frozenset({Kind.BEHAVIOUR}) if command.behaviour_only else frozenset(Kind)
    left_out = []
    if command.behaviour_only:
        left_out = ["Pass lines about time are not judged: --behaviour-only"]
    session = Session(
        _begin(words, command.size, left_out),
        screen=Screen(console),
        directory=command.out,
        binary=find_envoy(command.envoy),
        kinds=kinds,
        server_port=command.server_port,
    )
    return _measure(session, orders, console, costs=None)


def _order(
    scenario: Scenario, name: str, *, targets: tuple[Target, ...] = (), rounds: int | None = None
) -> Ordered:
    targets = targets or tuple(parse_target(text) for text in scenario.targets)
    return Ordered(
        scenario=scenario, folder=find(name).parent, targets=targets, rounds=rounds or scenario.rounds
    )


def _check_scenarios(orders: Sequence[Ordered]) -> None:
    names = [order.scenario.name for order in orders]
    for name in names:
        if names.count(name) > 1:
            raise ScenarioError(
                name, [Problem("", "comes twice in one run; leave one out, or give it another name")]
            )


def _check_names(targets: Sequence[Target]) -> None:
    names = [target.name for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise TargetError(
                f"--target: two are called {name}; leave one out, or add name=NAME to a foreign picker"
            )


def _begin(words: Sequence[str], size: Size, left_out: list[str]) -> Report:
    return Report(
        finished=report.now(),
        command=shlex.join(["python", "-m", "benchmarks", *words]),
        size=size.value,
        machine=machine.describe(),
        situations=[],
        left_out=left_out,
    )


def _measure(session: Session, orders: Sequence[Ordered], console: Console, *, costs: Costs | None) -> int:
    status = _KEPT
    session.prepare()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop_runner:
            loop_runner.run(_until_terminated(_all(session, orders, console, costs)))
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except asyncio.CancelledError:
        status = _TERMINATED
    return _conclude(session, console, status)


async def _all(session: Session, orders: Sequence[Ordered], console: Console, costs: Costs | None) -> None:
    if costs is not None:
        with tempfile.TemporaryDirectory(prefix="epp-bench-") as directory:

            async def measure(rows: Sequence[str]) -> tuple[list[Line], list[Failure]]:
                return await measure_costs(
                    rows, costs.scale, directory=Path(directory) / rows[0], console=console
                )

            await session.costs(measure, costs.groups)
    await session.play(orders)


async def _until_terminated(work: Coroutine[Any, Any, None]) -> None:
    """Let SIGTERM end the work as Ctrl-C does: in order."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work


def _conclude(session: Session, console: Console, status: int) -> int:
    numbers, webpage = session.finish(interrupted=status != _KEPT)
    found = session.report
    if found.situations or found.complaints:
        console.print(table.overview(found))
    for name, why in found.complaints.items():
        console.print(Text(f"{name}: {why}", "red"), soft_wrap=True)
    for note in found.left_out:
        console.print(Text(note, "yellow"), soft_wrap=True)
    described = ", ".join(f"{name} {value}" for name, value in found.machine.items())
    console.print(Text(described, "dim"), soft_wrap=True)
    if found.interrupted:
        console.print(Text("Interrupted: the reports have what was finished.", "bold"))
    console.print(Text(f"Reports: {webpage} and {numbers}"), soft_wrap=True)
    if status != _KEPT:
        return status
    return _KEPT if found.kept else _NOT_KEPT


# ------------------------------------------------------------------------------------------- not to measure


def _list(console: Console) -> int:
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), header_style="dim")
    for heading in ("scenario", "question", "targets", "rounds x seconds"):
        shown.add_column(heading)
    for name in shipped():
        scenario = load(name, Size.FULL)
        shown.add_row(
            Text(name, "bold"),
            scenario.question,
            "\n".join(scenario.targets),
            f"{scenario.rounds} x {scenario.duration_s:g}",
        )
    console.print(shown)
    return _KEPT


def _write_trace(command: WriteTrace, console: Console) -> int:
    scenario = load(command.scenario, command.size)
    if command.seed is not None:
        scenario = replace(scenario, seed=command.seed)
    plan = draw(scenario, folder=find(command.scenario).parent)
    path = command.out if command.out is not None else Path(f"{scenario.name}.jsonl")
    trace.write(path, plan.requests)
    console.print(
        Text(f"{len(plan.requests):,} requests of {', '.join(plan.manners)}: {path}"), soft_wrap=True
    )
    return _KEPT


def _write_pages(command: WritePages, console: Console) -> int:
    numbers = command.root / page.NUMBERS
    if command.report is not None:
        report.write(report.compact(report.read(command.report)), numbers)
    shown = page.committed(command.root)
    if shown is None:
        raise ReportError(
            f"{numbers}: there is no committed report yet: measure with `python -m benchmarks`, then give "
            "--report bench-report/report.json"
        )
    pictures = figures.save(shown, numbers.parent)
    written = [*page.write(command.root, shown), *(numbers.parent / name for name in pictures)]
    for path in written:
        console.print(Text(f"wrote {path}"), soft_wrap=True)
    return _KEPT


if __name__ == "__main__":
    garbage.settle()
    sys.exit(main())
