"""`python -m benchmarks.costs`: measure what the picker costs, show the table, and write the report.

The exit status is 1 if a bound is missed or a row could not be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks import machine
from benchmarks.costs import report, variant
from benchmarks.costs.programs import Programs
from benchmarks.costs.rows import ENTRIES, GROUPS
from benchmarks.costs.scale import FULL, QUICK
from benchmarks.costs.table import Failure, Line, Skip, render
from benchmarks.costs.variant import BOTH
from epp.quickstart.children import Children

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.costs.rows import Entry
    from benchmarks.costs.scale import Scale
    from benchmarks.costs.variant import Variant

ROWS = tuple(name for entry in ENTRIES for name in entry.rows)


async def measure(
    rows: Iterable[str],
    scale: Scale,
    *,
    directory: Path,
    console: Console,
    variants: Sequence[Variant] = BOTH,
) -> tuple[list[Line], list[Failure]]:
    """Measure these rows. What can't be measured is told, and the others go on.

    What is left out is told on the console only.
    """
    wanted = frozenset(rows)
    groups = [[entry for entry in group if wanted & set(entry.rows)] for group in GROUPS]
    found: list[Line | Skip | Failure] = []
    async with Children(logs=directory / "logs") as children:
        base = Programs(children, directory=directory, variants=variants)
        with _progress(console) as progress:
            bar = progress.add_task("", total=sum(map(len, groups)))
            for group in filter(None, groups):
                progress.update(bar, description=", ".join(row for entry in group for row in entry.rows))
                for measured in await asyncio.gather(*(_measure(entry, scale, base) for entry in group)):
                    found += measured
                progress.advance(bar, len(group))
    for each in found:
        if isinstance(each, Skip) and each.row in wanted:
            told = f"{each.row}: left out: {each.what}: {each.why}"
            console.print(told, style="yellow", highlight=False, markup=False)
    lines = [each for each in found if isinstance(each, Line) and each.row in wanted]
    failures = [each for each in found if isinstance(each, Failure) and each.row in wanted]
    return lines, failures


async def _measure(entry: Entry, scale: Scale, base: Programs) -> Sequence[Line | Skip | Failure]:
    """The lines of an entry, or a failure for each of its rows."""
    place = base.directory / entry.rows[0]
    try:
        async with Children(logs=place / "logs") as children:
            return await entry.measure(Programs(children, directory=place, base=base), scale)
    except Exception as error:  # whatever it is: one row's failure is a result
        return [Failure(row, str(error)) for row in entry.rows]


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("measuring {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and shorter ones: about a minute")
    parser.add_argument("--rounds", type=_at_least_one, metavar="N", help="rounds of each row")
    parser.add_argument(
        "--only", action="append", choices=ROWS, metavar="ROW", help="one of: " + ", ".join(ROWS)
    )
    parser.add_argument(
        "--picker-flags",
        action="append",
        default=[],
        type=variant.parse,
        metavar="'FLAGS'",
        help="measure a picker with these flags, too, beside those without; on the native transport unless they say "
        "otherwise; give it again for another one",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("bench-report"),
        metavar="DIR",
        help="where the report goes (%(default)s)",
    )
    return parser.parse_args(argv)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} rounds measure nothing: give 1 or more")
    return number


def main(argv: list[str] | None = None, *, scale: Scale | None = None) -> int:
    """Measure, show, report; the exit status."""
    options = parse(argv)
    scale = scale or (QUICK if options.quick else FULL)
    if options.rounds:
        scale = replace(scale, rounds=options.rounds)
    console = Console()
    described = machine.describe()
    with tempfile.TemporaryDirectory(prefix="epp-bench-") as directory:
        lines, failures = asyncio.run(
            measure(
                options.only or ROWS,
                scale,
                directory=Path(directory),
                console=console,
                variants=(*BOTH, *options.picker_flags),
            )
        )
    console.print(render(lines, failures))
    for failure in failures:
        console.print(f"{failure.row}: {failure.message}", style="red", highlight=False, markup=False)
    console.print(", ".join(f"{name} {value}" for name, value in described.items()), highlight=False)
    path = report.write(options.out, lines=lines, failures=failures, scale=scale, machine=described)
    console.print(f"All rounds: {path}", highlight=False)
    return 0 if report.all_kept(lines, failures) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
