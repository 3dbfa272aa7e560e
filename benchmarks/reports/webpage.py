"""The report for people: one HTML file that needs nothing else and no network.

It is readable on a dark and on a light screen and on a phone, says what was asked before what was measured, and shows
nothing that isn't in `report.json`. Every word that comes from elsewhere is escaped.
"""

from __future__ import annotations

import html
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.reports import cells, figures, words
from benchmarks.reports.report import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.reports.cells import Row
    from benchmarks.reports.report import Costs, Line, Report, Situation

FILE_NAME = "report.html"
_CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
_CLASS_OF = {Standing.KEPT: "good", Standing.MISSED: "bad", Standing.NOT_JUDGED: "unsure"}


def write(report: Report, directory: Path) -> Path:
    """Write it, and return where."""
    path = directory / FILE_NAME
    path.write_text(page(report), encoding="utf-8")
    return path


def page(report: Report) -> str:
    """The whole page."""
    title = _title(report)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Endpoint picker benchmark: {_text(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<main>
<header>
<p class="kicker">Endpoint picker benchmark &middot; {_text(report.finished)} &middot; size {_text(report.size)}</p>
<h1>{_text(title)}</h1>
<p class="lead">{_lead(report)}</p>
</header>
{_contents(report)}
{"".join(_situation(each) for each in report.situations)}
{_costs(report.costs) if report.costs is not None else ""}
{_how(report)}
</main>
</body>
</html>
"""


def _title(report: Report) -> str:
    lines = [line for each in report.situations for line in each.lines]
    missed = sum(line.standing is Standing.MISSED for line in lines)
    over = 0 if report.costs is None else sum(not line.kept for line in report.costs.lines)
    failed = len(report.complaints) + sum(len(each.failed) for each in report.situations)
    failed += 0 if report.costs is None else len(report.costs.failures)
    parts = [f"{missed} of {len(lines)} pass lines missed"] if missed else []
    parts += [f"{over} of {len(report.costs.lines)} costs over their bounds"] if over and report.costs else []
    parts += ["one measurement failed" if failed == 1 else f"{failed} measurements failed"] if failed else []
    parts += ["interrupted"] if report.interrupted else []
    if parts:
        return "; ".join(parts) + "."
    return "Everything was kept." if report.kept else "Not everything could be judged."


def _lead(report: Report) -> str:
    if not report.situations:
        return "No scenario was played in this run."
    targets = list(dict.fromkeys(target for each in report.situations for target in each.targets))
    number = len(report.situations)
    return (
        f"{'One scenario' if number == 1 else f'{number} scenarios'}, the same requests at the same times for every "
        f"target: {_text(', '.join(targets))}. Compare ratios, which are made within a round; absolute figures are "
        "true for this machine only."
    )


def _contents(report: Report) -> str:
    items = [
        f'<li><b><a href="#{_anchor(each.name)}">{_text(each.name)}</a></b>'
        f'<span class="{"good" if each.kept else "bad"}">{_text(cells.tally(each))}</span>'
        f"<span>{_text(each.question)}</span></li>"
        for each in report.situations
    ]
    items += [
        f'<li><b>{_text(name)}</b><span class="bad">could not be played</span><span>{_text(why)}</span></li>'
        for name, why in report.complaints.items()
    ]
    if report.costs is not None:
        word = "within all bounds" if report.costs.kept else "bounds missed"
        items.append(
            f'<li><b><a href="#costs">costs</a></b><span class="{"good" if report.costs.kept else "bad"}">{word}</span>'
            "<span>What the picker takes, beside a bare server that decides nothing</span></li>"
        )
    left_out = "".join(f'<p class="note">{_text(each)}</p>' for each in report.left_out)
    return f'<ul class="contents">{"".join(items)}</ul>{left_out}'


# --------------------------------------------------------------------------------------------- one scenario


def _situation(each: Situation) -> str:
    return f"""<section id="{_anchor(each.name)}">
<h2>{_text(each.name)}</h2>
<p class="question">{_text(each.question)}</p>
<p class="story">{_text(each.story)}</p>
<ul class="checks">{"".join(_line(line) for line in each.lines)}</ul>
{_troubles(each)}
{_measured(each) if each.rounds else ""}
<details><summary>How it was played</summary>{_played(each)}</details>
</section>
"""


def _measured(each: Situation) -> str:
    ratios, costs = figures.ratios_svg(each), figures.costs_svg(each)
    reasons = cells.reasons(each)
    return f"""<h3>By class and target</h3>
{_table(("class", "target"), cells.SUMMARY_HEADS, cells.summary(each))}
<p class="note">Medians of the rounds. TTFT: time to first token, over all requests that were sent, from the moment they
were due; one that got no token ranks behind all others, and &ldquo;never&rdquo; means that this percentile is such a
request. Tokens per second: delivered while requests arrived.</p>
{f'<p class="note">Why: {_text("; ".join(reasons))}.</p>' if reasons else ""}
<h3>How long the first token took</h3>
<figure class="wide">{figures.curves_svg(each)}
<figcaption>All rounds together. To the right are the slowest, each step a tenth of the requests before.</figcaption>
</figure>
<figure class="wide">{figures.courses_svg(each)}
<figcaption>Each dot is a request of one round, at the time when it was due.</figcaption></figure>
<div class="pair"><figure>{figures.throughput_svg(each)}</figure>
{f"<figure>{costs}</figure>" if costs else ""}</div>
{_cost_table(each)}
{_ratios(each, ratios) if ratios else ""}
"""


def _cost_table(each: Situation) -> str:
    rows = cells.costs(each)
    if not rows:
        return ""
    return (
        f"<h3>What it took</h3>{_table(('', 'target'), cells.COST_HEADS, rows)}"
        "<p class=\"note\">CPU by the operating system's accounting, all of the round's each time: divided by the "
        "requests that were sent, and by the chunks that reached clients, so that where answers are short a chunk's "
        "share is mostly that of its request (none is told where answers came whole). The most memory that a process "
        "ever had in any round.</p>"
    )


def _ratios(each: Situation, drawn: str) -> str:
    ours = each.ratios[0].ours
    return (
        f'<h3>{_text(ours)} over the others</h3><figure class="wide">{drawn}</figure>'
        "<details><summary>All ratios</summary>"
        f"{_table(('measure', 'over'), cells.RATIO_HEADS, cells.ratios(each))}"
        '<p class="note">A ratio is made of two plays of one round; shown are its median over the rounds and its '
        "spread. The absolute figures are medians of their own.</p></details>"
    )


def _line(line: Line) -> str:
    return (
        f'<li><b class="{_CLASS_OF[line.standing]}">{_text(words.standing(line.standing))}</b>'
        f"<span>{_text(line.says)}<small>{_text(cells.line_about(line))}; {_text(line.kind)}</small></span>"
        f"<i>{_text(cells.line_figures(line))}</i></li>"
    )


def _troubles(each: Situation) -> str:
    told = [f'<p class="note">{_text(one.target)} is left out: {_text(one.why)}</p>' for one in each.skipped]
    told += [f'<p class="bad">{_text(one.target)} failed, {_text(one.why)}</p>' for one in each.failed]
    told += [f'<p class="note">{_text(note)}</p>' for note in cells.notes(each)]
    return "".join(told)


def _played(each: Situation) -> str:
    facts = [
        ("Traffic", f"{each.duration_s:g} s, seed {each.seed}"),
        *((name, described) for name, described in each.traffic.items()),
        ("Servers", f"{each.servers} simulated ones, started anew for every play, like our picker and Envoy"),
        (
            "Rounds",
            f"{len({one.number for one in each.rounds})} of {each.rounds_asked}, interleaved over the targets",
        ),
        *(("Event", event) for event in each.events),
    ]
    return _facts(facts)


# ------------------------------------------------------------------------------------------------ the rest


def _costs(costs: Costs) -> str:
    rows = [
        f'<tr class="first"><th scope="row">{_text(line.row)}</th><td class="wrap">{_text(line.what)}'
        f"<small>{_text(', '.join(f'{name} {value}' for name, value in line.facts.items()))}</small></td>"
        f"<td>{_text(line.bound)}</td><td>{_text(line.measured)}<small>{_text(line.spread)}</small></td>"
        f'<td class="{"good" if line.kept else "bad"}">{"kept" if line.kept else "MISSED"}</td></tr>'
        for line in costs.lines
    ]
    rows += [
        f'<tr class="first"><th scope="row">{_text(row)}</th><td class="wrap">{_text(message)}</td><td></td><td></td>'
        '<td class="bad">FAILED</td></tr>'
        for row, message in costs.failures.items()
    ]
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("bound", "measured", ""))
    return (
        '<section id="costs"><h2>What the picker costs</h2>'
        '<p class="story">Ratios to a bare server in the same run: grpc.aio with the same message classes and loop, '
        "which echoes and decides nothing. Medians of the rounds, and from where to where they reach.</p>"
        '<div class="scroll"><table><thead><tr><th class="name">row</th><th class="name">what</th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _how(report: Report) -> str:
    facts = [("Command", report.command), ("Finished", report.finished)]
    facts += [(name, str(value)) for name, value in report.machine.items()]
    return (
        f'<section><h2>How it was run</h2>{_facts(facts)}<p class="note">Open loop: requests leave when they are due, '
        "however long earlier ones take, and clients do not retry. Generator, Envoy, picker and simulated servers "
        "share this machine; its load is that of other work, before the run. Histograms of every round, in "
        "HdrHistogram's own format, are in report.json; the .hgrm files beside it are for its plotters.</p></section>"
    )


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{_text(name)}</dt><dd>{_text(value)}</dd>' for name, value in facts)}</dl>"


def _table(groups: Sequence[str], heads: Iterable[str], rows: Sequence[Row]) -> str:
    head = "".join(f'<th class="name" scope="col">{_text(each)}</th>' for each in groups)
    head += "".join(f'<th scope="col">{_text(each)}</th>' for each in heads)
    body = []
    for group, members in groupby(rows, key=lambda row: row.group):
        together = list(members)
        for number, row in enumerate(together):
            first = number == 0
            name = f'<th scope="rowgroup" rowspan="{len(together)}">{_text(group)}</th>' if first else ""
            figures_ = "".join(f"<td>{_text(cell)}</td>" for cell in row.cells)
            body.append(
                f"<tr{' class=' + chr(34) + 'first' + chr(34) if first else ''}>{name}"
                f'<td class="name">{_text(row.target)}</td>{figures_}</tr>'
            )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _anchor(name: str) -> str:
    return "s-" + "".join(each if each.isalnum() else "-" for each in name)


def _text(value: str) -> str:
    return html.escape(value)
