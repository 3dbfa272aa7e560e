"""The generated parts of the docs, between markers: written from a committed report and nothing else.

`docs/performance.md` gets everything, the README's section on costs its short form.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from benchmarks import marked
from benchmarks.reports import cells, words
from benchmarks.reports.figures import RATIOS, WAITS, headline_ratios
from benchmarks.reports.report import ReportError, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from benchmarks.reports.report import Costs, Line, Report, Situation

NUMBERS = "docs/images/performance.json"
"""The committed report, from the root of the tree; the figures are beside it."""
_COMMAND = "python -m benchmarks page"


def fill(text: str, part: str) -> str:
    """The page with its generated part replaced. Raises `ReportError` if it has no markers."""
    try:
        return marked.fill(text, part, command=_COMMAND)
    except ValueError as error:
        raise ReportError(str(error)) from error


def write(root: Path, report: Report) -> list[Path]:
    """Fill all pages of the tree at `root`; returns those that were written."""
    written = []
    for name, part in PAGES.items():
        path = root / name
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ReportError(f"{path}: {error.strerror}") from error
        try:
            filled = fill(text, part(report))
        except ReportError as error:
            raise ReportError(f"{path}: {error}") from error
        path.write_text(filled, encoding="utf-8")
        written.append(path)
    return written


def committed(root: Path) -> Report | None:
    """The report that the pages of the tree at `root` show; None if there is none yet."""
    path = root / NUMBERS
    return read(path) if path.is_file() else None


# ----------------------------------------------------------------------------------------------- the docs


def performance(report: Report) -> str:
    """Everything that was found, scenario by scenario."""
    parts = [_machine(report)]
    if report.situations:
        parts.append(_overview(report))
        if headline_ratios(report):
            parts.append(f"![Time to first token, p95: ours over the others]({_image(RATIOS)})\n")
        parts.append(f"![Percentiles of the time to first token, scenario by scenario]({_image(WAITS)})\n")
        parts += [_situation(each) for each in report.situations]
    if report.costs is not None:
        parts.append(f"### The cost table\n\n{_costs(report.costs)}")
    return "\n".join(parts)


def short(report: Report) -> str:
    """For the README: the comparison of each scenario in a line, then the cost table."""
    parts = [_machine(report)]
    if headline_ratios(report):
        parts.append(_headlines(report))
    if report.costs is not None:
        parts.append(_costs(report.costs))
    return "\n".join(parts)


PAGES: dict[str, Callable[[Report], str]] = {"docs/performance.md": performance, "README.md": short}


def _machine(report: Report) -> str:
    facts = report.machine
    cores = facts.get("cores", "?")
    return (
        f"Measured on {cores} {'core' if cores == 1 else 'cores'} of {facts.get('cpu', 'an unknown CPU')}, which "
        f"generator, Envoy, picker and simulated servers share; Python {facts.get('python', '?')}, grpcio "
        f"{facts.get('grpcio', '?')}, epp {facts.get('epp', '?')}; finished {report.finished[:10]}, size "
        f"{report.size}.\n"
    )


def _overview(report: Report) -> str:
    rows = [
        [f"[{each.name}](#{each.name})", each.question, cells.tally(each) or "no pass lines"]
        for each in report.situations
    ]
    rows += [[name, "", "could not be played"] for name in report.complaints]
    return _table(("scenario", "question", "pass lines"), rows)


def _headlines(report: Report) -> str:
    rows = []
    for row in headline_ratios(report):
        each = row.ratio
        ours, other, ratio, spread = cells.ratio_cells(each)
        rows.append([row.label, each.other, ours, other, f"{ratio} ({spread})" if spread else ratio])
    heads = ("scenario: class", "beside", "TTFT p95, ours", "the other's", "ratio")
    return _table(heads, rows)


def _situation(each: Situation) -> str:
    parts = [f"### {each.name}\n\n{each.question}\n\n{each.story.strip()}\n"]
    parts += ["\n".join(f"- **{name}**: {about}" for name, about in each.traffic.items()) + "\n"]
    if each.lines:
        rows = [
            [line.says, cells.line_about(line), cells.line_figures(line), _word(line)] for line in each.lines
        ]
        parts.append(_table(("pass line", "of", "rounds; bound", ""), rows))
    if each.rounds:
        rows = [
            [*((row.group, row.target) if not number else ("", row.target)), *row.cells]
            for _, members in groupby(cells.summary(each), key=lambda row: row.group)
            for number, row in enumerate(members)
        ]
        parts.append(_table(("class", "target", *cells.SUMMARY_HEADS), rows))
    costs = cells.costs(each)
    if costs:
        parts.append(_table(("target", *cells.COST_HEADS), [[row.target, *row.cells] for row in costs]))
    troubles = [f"{one.target} is left out: {one.why}." for one in each.skipped]
    troubles += [f"{one.target} failed, {one.why}." for one in each.failed]
    parts += [f"{trouble}\n" for trouble in troubles]
    return "\n".join(parts)


def _costs(costs: Costs) -> str:
    rows = [
        [
            line.what,
            line.bound,
            (f"{line.measured} ({line.spread})" if line.spread else line.measured)
            + ("" if line.kept else ": missed"),
        ]
        for line in costs.lines
    ]
    rows += [[row, "", "could not be measured"] for row in costs.failures]
    return _table(("what", "bound", "measured"), rows, left=3)


def _word(line: Line) -> str:
    word = words.standing(line.standing)
    return f"**{word}**" if word.isupper() else word


def _image(name: str) -> str:
    return f"images/{name}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 2) -> str:
    """A table whose first columns are words and whose others are figures."""
    rule = [*["---"] * min(left, len(heads)), *["---:"] * (len(heads) - left)]
    lines = [heads, rule, *[[_cell(cell) for cell in row] for row in rows]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Neither the table's own sign nor the end of a line belongs into a cell."""
    return " ".join(text.replace("|", "\\|").split())
