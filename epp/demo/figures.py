"""The figures of the demo's report: drawn once, shown as PNG and as SVG that follows the page's colours.

Everybody should be able to read them: colours are told apart with any kind of colour vision (after Okabe and Ito),
lines differ in style as well, and figures in words stand beside areas.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullFormatter

from epp.demo.tally import Outcome, Result, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from epp.demo.tally import ClassSummary
    from epp.demo.verdict import Half

PALETTE = ("#0072b2", "#e69f00", "#cc79a7")
"""Of the classes, highest priority first."""

_LINES = ("-", "--", ":")
_INK = "#1b1b1f"
_FAINT_INK = "#6e6e78"
_GRID = "#d9d9e0"
_GAP = "#fefefe"
_CSS_OF_COLOUR = {_INK: "var(--ink)", _FAINT_INK: "var(--faint)", _GRID: "var(--grid)", _GAP: "var(--card)"}

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _FAINT_INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _FAINT_INK,
    "ytick.color": _FAINT_INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "epp",
}


class Drawing(NamedTuple):
    """What the figures are drawn from."""

    picked: Sequence[Outcome]
    alone: Sequence[Outcome]
    picked_half: Half
    alone_half: Half
    arrivals_s: float
    patience_s: float
    capacity_per_s: float
    headline: str


def save_png(drawing: Drawing, path: Path) -> None:
    """All figures in one picture."""
    with mpl.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15, hspace=0.06, wspace=0.06)
        figure = Figure(figsize=(11, 8.2), layout=layout)
        figure.suptitle(drawing.headline, x=0.02, ha="left", fontsize=14, fontweight="bold")
        grid = figure.add_gridspec(2, 2, height_ratios=(1.25, 1))
        left = figure.add_subplot(grid[0, 0])
        _draw_waits((left, figure.add_subplot(grid[0, 1], sharey=left)), drawing)
        _draw_results(figure.add_subplot(grid[1, 0]), drawing)
        _draw_throughput(figure.add_subplot(grid[1, 1]), drawing)
        figure.savefig(path, dpi=150, facecolor="white")


def waits_svg(drawing: Drawing) -> str:
    """Every request's time to first token, without and with the picker."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        _draw_waits(figure.subplots(1, 2, sharey=True), drawing)
        return _svg(figure)


def results_svg(drawing: Drawing) -> str:
    """How requests ended, by class."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5, 3.4), layout="constrained")
        _draw_results(figure.subplots(), drawing)
        return _svg(figure)


def throughput_svg(drawing: Drawing) -> str:
    """Completed requests over time."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5, 3.4), layout="constrained")
        _draw_throughput(figure.subplots(), drawing)
        return _svg(figure)


def _draw_waits(pair: Sequence[Axes], drawing: Drawing) -> None:
    lost_from_s = drawing.patience_s * 1.8
    halves = (("Envoy alone", drawing.alone), ("With the picker", drawing.picked))
    for axes, (title, outcomes) in zip(pair, halves, strict=True):
        axes.set_title(f"{title}: time to first token")
        for row, (name, colour, line) in enumerate(_styles(drawing.picked_half.classes)):
            mine = [outcome for outcome in outcomes if outcome.class_name == name]
            lost_at_s = lost_from_s * 1.3 ** (2 - row)  # a row for each class, in the order of their priority
            axes.scatter(
                [outcome.due_s for outcome in mine],
                [lost_at_s if outcome.ttft_s is None else _drawable(outcome.ttft_s) for outcome in mine],
                s=5,
                color=colour,
                alpha=0.4,
                linewidths=0,
                rasterized=True,
            )
            medians = _medians(mine, drawing.arrivals_s)
            axes.plot(*zip(*medians, strict=True), color=colour, linestyle=line, linewidth=2, label=name)
        axes.set_yscale("log")
        axes.set_ylim(0.02, lost_from_s * 2)
        axes.set_xlim(0, drawing.arrivals_s)
        axes.set_xlabel("seconds since the beginning")
        axes.set_yticks(
            [0.1, 1.0, drawing.patience_s, lost_from_s * 1.3],
            ["100 ms", "1 s", f"{drawing.patience_s:g} s", "no token"],
        )
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(labelleft=True)
    pair[-1].legend(loc="lower right", ncols=3, title="medians by class", title_fontsize=9, fontsize=9)


def _drawable(ttft_s: float) -> float:
    return max(ttft_s, 0.001)  # the scale is logarithmic


def _medians(outcomes: Sequence[Outcome], arrivals_s: float) -> list[tuple[float, float]]:
    """Middle of each stretch of time and the median there; nan (no line) where the median request got no token."""
    width_s = max(1.0, arrivals_s / 30)
    points = []
    start_s = 0.0
    while start_s < arrivals_s:
        inside = [each.ttft_s for each in outcomes if start_s <= each.due_s < start_s + width_s]
        median = percentile(inside, 0.5)
        points.append((start_s + width_s / 2, float("nan") if median is None else _drawable(median)))
        start_s += width_s
    return points


def _draw_results(axes: Axes, drawing: Drawing) -> None:
    axes.set_title("What became of the requests")
    labels = []
    place = 0.0
    for name, colour, _ in _styles(drawing.picked_half.classes):
        for title, half in (("with the picker", drawing.picked_half), ("Envoy alone", drawing.alone_half)):
            _draw_bar(axes, half.classes[name], place=place, colour=colour)
            labels.append((place, f"{name}, {title}"))
            place -= 1.0
        place -= 0.4
    axes.set_yticks([at for at, _ in labels], [label for _, label in labels])
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[["bottom", "left"]].set_visible(False)


def _draw_bar(axes: Axes, summary: ClassSummary, *, place: float, colour: str) -> None:
    left = 0.0
    for word, count, alpha, hatch in (
        ("completed", summary.completed, 0.95, ""),
        ("refused", summary.refused, 0.45, "////"),
        ("gave up", summary.gave_up, 0.18, "...."),
        ("broken", summary.broken, 0.05, "xxxx"),
    ):
        share = count / max(1, summary.sent)
        axes.barh(place, share, left=left, height=0.8, color=colour, alpha=alpha, hatch=hatch, edgecolor=_GAP)
        if share >= 0.08:
            axes.text(
                left + share / 2,
                place,
                f"{share:.0%} {word}" if share >= 0.3 else f"{share:.0%}",
                ha="center",
                va="center",
                fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5},
                color="black",
            )
        left += share


def _draw_throughput(axes: Axes, drawing: Drawing) -> None:
    axes.set_title("Completed requests per second")
    axes.axhline(drawing.capacity_per_s, color=_FAINT_INK, linewidth=0.8)
    axes.text(
        1.01,
        drawing.capacity_per_s,
        "capacity",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=_FAINT_INK,
        fontsize=9,
    )
    for label, outcomes, line, width in (
        ("with the picker", drawing.picked, "-", 2.2),
        ("Envoy alone", drawing.alone, "--", 1.4),
    ):
        points = _rates(outcomes, drawing.arrivals_s)
        axes.plot(*zip(*points, strict=True), color=_INK, linestyle=line, linewidth=width, label=label)
    axes.set_xlim(0, drawing.arrivals_s)
    axes.set_ylim(0, drawing.capacity_per_s * 1.35)
    axes.set_xlabel("seconds since the beginning")
    axes.legend(loc="lower right", fontsize=9)


def _rates(outcomes: Sequence[Outcome], arrivals_s: float) -> list[tuple[float, float]]:
    width_s = min(arrivals_s, max(2.0, arrivals_s / 15))
    ends = [outcome.ended_s for outcome in outcomes if outcome.result is Result.COMPLETED]
    points = []
    start_s = 0.0
    while start_s + width_s <= arrivals_s + 0.001:
        inside = sum(start_s <= end_s < start_s + width_s for end_s in ends)
        points.append((start_s + width_s / 2, inside / width_s))
        start_s += width_s
    return points


def _styles(classes: Mapping[str, object]) -> Iterable[tuple[str, str, str]]:
    return zip(classes, PALETTE, _LINES, strict=True)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}, dpi=150)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for colour, variable in _CSS_OF_COLOUR.items():
        text = text.replace(colour, variable)
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r'<svg \1role="img"', text, count=1)
