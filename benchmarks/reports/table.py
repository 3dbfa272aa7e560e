"""The tables on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.reports import cells, words
from benchmarks.reports.report import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from benchmarks.reports.cells import Row
    from benchmarks.reports.report import Report, Situation

_STYLES = {Standing.KEPT: "bold green", Standing.MISSED: "bold red", Standing.NOT_JUDGED: "yellow"}


def situation(each: Situation) -> RenderableType:
    """Everything that was found of one scenario."""
    parts: list[RenderableType] = [
        Text.assemble((f"\n{each.name}", "bold"), f": {each.question}"),
        Text(
            f"{each.duration_s:g} s of traffic, {words.count(each.servers)} simulated servers, "
            f"{len({one.number for one in each.rounds})} of {each.rounds_asked} rounds, medians of them",
            "dim",
        ),
    ]
    if each.rounds:
        parts.append(_table(("class", "target"), cells.SUMMARY_HEADS, cells.summary(each)))
        parts += [Text(f" {why}", "dim") for why in cells.reasons(each)]
    costs = cells.costs(each)
    if costs:
        parts.append(_table(("", "target"), cells.COST_HEADS, costs))
    parts.append(lines(each))
    parts += [Text(f" {skipped.target} is left out: {skipped.why}", "dim") for skipped in each.skipped]
    parts += [Text(f" {failed.target} FAILED, {failed.why}", "bold red") for failed in each.failed]
    parts += [Text(f" {note}", "dim") for note in cells.notes(each)]
    return Group(*parts)


def lines(each: Situation) -> Table:
    """The pass lines and their standing."""
    table = Table.grid(padding=(0, 2, 0, 1))
    for line in each.lines:
        table.add_row(
            Text(words.standing(line.standing), _STYLES[line.standing]),
            Text(line.says).append(f"\n{cells.line_about(line)}: {cells.line_figures(line)}", "dim"),
        )
    return table


def overview(report: Report) -> Table:
    """Each scenario in a line."""
    table = Table(box=SIMPLE, pad_edge=False, header_style="dim", title="In short", title_justify="left")
    for heading in ("scenario", "pass lines", ""):
        table.add_column(heading)
    for each in report.situations:
        word = Text("kept", "green") if each.kept else Text("NOT KEPT", "bold red")
        table.add_row(each.name, cells.tally(each), word)
    for name, why in report.complaints.items():
        table.add_row(name, Text(why.strip().splitlines()[0], "red"), Text("FAILED", "bold red"))
    return table


def _table(groups: Sequence[str], heads: Iterable[str], rows: Sequence[Row]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for heading in groups:
        table.add_column(heading, overflow="fold")
    for heading in heads:
        # What may break in a narrow window are names and headings, never a figure.
        longest = max((len(row.cells[len(table.columns) - len(groups)]) for row in rows), default=0)
        table.add_column(heading, justify="right", min_width=longest, overflow="fold")
    last = ""
    for number, row in enumerate(rows):
        ends = number + 1 == len(rows) or rows[number + 1].group != row.group
        table.add_row(row.group if row.group != last else "", row.target, *row.cells, end_section=ends)
        last = row.group
    return table
