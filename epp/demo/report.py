"""The demo's report: `report.png`, and `report.html`, one file that needs nothing else and no network.

The page is readable on a dark and on a light screen and on a narrow one, and says how the figures came about.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epp.demo.figures import PALETTE, Drawing, results_svg, save_png, throughput_svg, waits_svg
from epp.demo.verdict import reasons, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from epp.demo.tally import ClassSummary, Outcome
    from epp.demo.traffic import TrafficClass
    from epp.demo.verdict import Half, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that the report tells."""

    classes: Sequence[TrafficClass]
    picked: Sequence[Outcome]
    alone: Sequence[Outcome]
    picked_half: Half
    alone_half: Half
    verdict: Verdict
    overload: float
    duration_s: float
    patience_s: float
    capacity_per_s: float
    how: Sequence[tuple[str, str]]
    """How it was run: pairs of a name and a value, shown at the end."""


def write_report(story: Story, directory: Path) -> tuple[Path, Path]:
    """Write the picture and the page; returns their paths."""
    headline = f"{story.overload:g} times the capacity, with the picker and without"
    drawing = Drawing(
        picked=story.picked,
        alone=story.alone,
        picked_half=story.picked_half,
        alone_half=story.alone_half,
        arrivals_s=story.duration_s,
        patience_s=story.patience_s,
        capacity_per_s=story.capacity_per_s,
        headline=headline,
    )
    picture, page = directory / "report.png", directory / "report.html"
    save_png(drawing, picture)
    page.write_text(_page(story, drawing), encoding="utf-8")
    return picture, page


def _page(story: Story, drawing: Drawing) -> str:
    judgement = "kept" if story.verdict.kept else "not kept"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>EPP demo: promise {judgement}</title>
<style>{_CSS}</style>
</head>
<body>
<main>
<header>
<p class="kicker">EPP demo &middot; {_text(drawing.headline)}</p>
<h1>The promise was {judgement}.</h1>
<p class="lead">{_lead(story)}</p>
</header>
<section>
{_checks(story.verdict)}
</section>
<section>
<h2>By class</h2>
{_table(story)}
<p class="note">First token: over all requests that were sent, from the moment they were due; a request that got no
token ranks behind all others, and &ldquo;never&rdquo; means that this percentile is such a request.
Completed per second: while traffic arrived.</p>
{_reasons(story)}
</section>
<section>
<h2>Every request</h2>
<figure>{waits_svg(drawing)}
<figcaption>Each dot is a request. Lines are medians; a line ends where the median request got no token.</figcaption>
</figure>
<div class="pair">
<figure>{results_svg(drawing)}</figure>
<figure>{throughput_svg(drawing)}</figure>
</div>
</section>
<section>
<h2>How it was run</h2>
<dl>{"".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in story.how)}</dl>
<p class="note">Open loop: requests leave when they are due, however long earlier ones take, and clients do not
retry. Both halves get the same requests at the same times.</p>
</section>
</main>
</body>
</html>
"""


def _lead(story: Story) -> str:
    top = story.classes[0].name
    first, other = story.picked_half.classes[top], story.alone_half.classes[top]
    return (
        f"Under the same overload, the 99th percentile of the time to first token of {_text(top)} requests was "
        f"<strong>{seconds(first.p99_ttft_s)}</strong> with the picker and "
        f"<strong>{seconds(other.p99_ttft_s)}</strong> with Envoy alone. Without an answer stayed "
        f"{first.sent - first.completed} of {first.sent} with the picker, {other.sent - other.completed} with Envoy "
        "alone."
    )


def _checks(verdict: Verdict) -> str:
    items = "".join(
        f'<li class="{"kept" if check.kept else "broken"}"><b>{"Kept" if check.kept else "Broken"}</b>'
        f"<span>{_text(check.promise)}</span><i>{_text(check.measured)}</i></li>"
        for check in verdict.checks
    )
    return f'<ul class="checks">{items}</ul>'


def _table(story: Story) -> str:
    rows = []
    for traffic_class, colour in zip(story.classes, PALETTE, strict=True):
        name = traffic_class.name
        for title, half in (("with the picker", story.picked_half), ("Envoy alone", story.alone_half)):
            head = (
                f'<th scope="rowgroup" rowspan="2"><span class="dot" style="background:{colour}"></span>'
                f"{_text(name)}<small>priority {traffic_class.priority}</small></th>"
                if half is story.picked_half
                else ""
            )
            cells = "".join(f"<td>{_text(value)}</td>" for value in _figures(half.classes[name]))
            rows.append(f"<tr>{head}<td>{title}</td>{cells}</tr>")
    for title, half in (("with the picker", story.picked_half), ("Envoy alone", story.alone_half)):
        head = '<th scope="rowgroup" rowspan="2">all</th>' if half is story.picked_half else ""
        blank = "<td></td>" * 3
        total = f"<td>{half.completed_per_s:.1f}</td><td></td><td></td>"
        rows.append(f"<tr>{head}<td>{title}</td>{blank}{total}</tr>")
    headings = ("sent", "first token p50", "p99", "completed per s", "refused", "gave up")
    return (
        '<div class="scroll"><table><thead><tr><th></th><th></th>'
        + "".join(f'<th scope="col">{heading}</th>' for heading in headings)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _reasons(story: Story) -> str:
    told = [
        f"{_text(name)}, {title}: {_text(reasons(summary))}"
        for title, half in (("with the picker", story.picked_half), ("Envoy alone", story.alone_half))
        for name, summary in half.classes.items()
        if summary.details
    ]
    return f'<p class="note">Why: {"; ".join(told)}.</p>' if told else ""


def _figures(summary: ClassSummary) -> tuple[str, ...]:
    return (
        str(summary.sent),
        seconds(summary.p50_ttft_s),
        seconds(summary.p99_ttft_s),
        f"{summary.completed_per_s:.1f}",
        str(summary.refused),
        str(summary.gave_up),
    )


def _text(value: str) -> str:
    return html.escape(value)


_CSS = """
:root { --ink: #1b1b1f; --faint: #5d5d68; --grid: #d9d9e0; --page: #fcfcfa; --card: #ffffff; --good: #00684a;
  --bad: #b3261e; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf1; --faint: #a6a6b3; --grid: #3a3a44; --page: #16161a; --card: #1e1e24; --good: #5fd3a8;
    --bad: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
.kicker { color: var(--faint); margin: 0; }
h1 { font-size: clamp(2rem, 5vw, 3rem); line-height: 1.1; letter-spacing: -0.02em; margin: 0.4rem 0 1rem; }
h2 { font-size: 1.15rem; margin: 3rem 0 1rem; }
.lead { font-size: 1.2rem; max-width: 44rem; margin: 0 0 2rem; }
.note, figcaption { color: var(--faint); font-size: 0.9rem; max-width: 46rem; }
.checks { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--grid); }
.checks li { display: grid; grid-template-columns: 5rem 1fr auto; gap: 1rem; padding: 0.55rem 0;
  border-bottom: 1px solid var(--grid); }
.checks i { font-style: normal; color: var(--faint); font-variant-numeric: tabular-nums; text-align: right; }
.kept b { color: var(--good); } .broken b { color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 0.4rem 0.75rem; text-align: right; font-weight: 400; }
thead th { color: var(--faint); font-size: 0.85rem; }
tbody th { text-align: left; font-weight: 600; vertical-align: top; padding-left: 0; }
tbody th small { display: block; color: var(--faint); font-weight: 400; }
tbody tr:nth-child(odd) > * { border-top: 1px solid var(--grid); }
tbody tr:nth-child(odd) td:nth-child(2), tbody tr:nth-child(even) td:first-child { text-align: left;
  color: var(--faint); }
.dot { display: inline-block; width: 0.7em; height: 0.7em; border-radius: 50%; margin-right: 0.5em; }
figure { margin: 0 0 1.5rem; padding: 1rem; background: var(--card); border: 1px solid var(--grid);
  border-radius: 10px; }
figure svg { display: block; width: 100%; height: auto; }
figure svg text { font-family: inherit !important; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.3rem 1.5rem; margin: 0 0 1rem; }
dt { color: var(--faint); } dd { margin: 0; }
@media (max-width: 36rem) {
  .checks li, dl { grid-template-columns: 1fr; gap: 0.1rem; }
  .checks i { text-align: left; }
}
"""
