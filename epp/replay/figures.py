"""The figures of a comparison: waits, the course of the queue, how tokens were shared. Drawn for any kind of eye."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from epp.replay.table import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from epp.replay.course import Course
    from epp.replay.summary import RunSummary

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""After Okabe and Ito: told apart with any kind of colour vision."""
_LINES = ("-", "--", ":", "-.")
_INK = "#1b1b1f"
_FAINT = "#6e6e78"
_MOST_FLOWS = 12
_LEAST_WAIT_S = 0.001
_POINTS = 400
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _FAINT,
    "axes.edgecolor": "#d9d9e0",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6ec",
    "grid.linewidth": 0.6,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "legend.frameon": False,
}


def save(runs: Sequence[tuple[RunSummary, Course]], folder: Path) -> list[Path]:
    """Draw everything into the folder."""
    drawn = []
    with mpl.rc_context(_STYLE):
        for name, draw in (("waits.png", _waits), ("course.png", _course), ("fairness.png", _fairness)):
            figure = draw(runs)
            if figure is not None:
                path = folder / name
                figure.savefig(path, dpi=140, facecolor="white")
                drawn.append(path)
    return drawn


def _panels(count: int, *, title: str, row_height: float = 2.9) -> tuple[Figure, list[Axes]]:
    columns = 1 if count == 1 else 2
    rows = -(-count // columns)
    figure = Figure(figsize=(5.6 * columns + 0.6, row_height * rows + 1.1), layout="constrained")
    figure.suptitle(title, x=0.015, ha="left", fontsize=13, fontweight="bold")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]


def _bands(runs: Sequence[tuple[RunSummary, Course]]) -> list[int]:
    return sorted({priority for run, _ in runs for priority in run.bands}, reverse=True)


def _look(number: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _LINES[number % len(_LINES)],
        "linewidth": 2,
    }


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))


def _waits(runs: Sequence[tuple[RunSummary, Course]]) -> Figure:
    """For each band, the share of its requests that was sent within a time: the higher and further left, the better."""
    bands = _bands(runs)
    figure, panels = _panels(len(bands), title="How soon requests were sent")
    longest_s = max([f.waited_s for _, course in runs for f in course.fates.values()], default=0.0)
    decades = next(n for n in range(2, 9) if longest_s < 10**n)
    for axes, priority in zip(panels, bands, strict=True):
        for number, (run, course) in enumerate(runs):
            fates = [fate for fate in course.fates.values() if fate.arrived.priority == priority]
            waits = sorted(max(_LEAST_WAIT_S, f.waited_s) for f in fates if f.dispatched_s is not None)
            shares = [(rank + 1) / len(fates) for rank in range(len(waits))]
            if waits:
                # On to the right edge: whoever was never sent keeps the curve below 100 %.
                waits, shares = [_LEAST_WAIT_S, *waits, 10.0**decades], [0.0, *shares, shares[-1]]
            axes.step(waits, shares, where="post", label=run.name, **_look(number))
        axes.set_title(f"priority {priority}")
        axes.set_xscale("log")
        axes.set_xlim(_LEAST_WAIT_S, 10**decades)
        axes.set_ylim(0, 1.03)
        axes.set_xticks([10.0**power for power in range(-3, decades + 1)])
        axes.xaxis.set_major_formatter(FuncFormatter(_waited))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
        axes.set_xlabel("waited at most")
        axes.set_ylabel("of its requests")
    _legend(figure, panels[0])
    return figure


def _waited(at_s: float, _: int) -> str:
    return "≤ 1 ms" if at_s <= _LEAST_WAIT_S else seconds(at_s).replace(".0", "")


def _course(runs: Sequence[tuple[RunSummary, Course]]) -> Figure:
    """For each band what was queued over time, and the tokens of what was sent."""
    bands = _bands(runs)
    figure, panels = _panels(len(bands) + 1, title="The course of the queue", row_height=2.6)
    longest_s = max(run.duration_s for run, _ in runs)
    for axes, priority in zip(panels, bands, strict=False):
        for number, (run, course) in enumerate(runs):
            axes.plot(
                *_queued(course, priority, longest_s), label=run.name, **(_look(number) | {"linewidth": 1.6})
            )
        axes.set_title(f"priority {priority}: requests queued")
    axes = panels[-1]
    for number, (run, course) in enumerate(runs):
        axes.plot(*_token_rate(course, longest_s), label=run.name, **(_look(number) | {"linewidth": 1.6}))
    axes.set_title("Tokens per second of what was sent")
    for each in panels:
        each.set_xlim(0, longest_s)
        each.set_ylim(bottom=0)
        each.set_xlabel("seconds since the beginning")
    _legend(figure, axes)
    return figure


def _queued(course: Course, priority: int, longest_s: float) -> tuple[list[float], list[int]]:
    begun_s = course.begun_s or 0.0
    steps: list[tuple[float, int]] = []
    for fate in course.fates.values():
        if fate.arrived.priority == priority and fate.left_s != fate.arrived_s:
            steps.append((fate.arrived_s - begun_s, 1))
            if fate.left_s is not None:
                steps.append((fate.left_s - begun_s, -1))
    steps.sort()
    times, counts, queued, place = [], [], 0, 0
    for point in range(_POINTS + 1):
        at_s = longest_s * point / _POINTS
        while place < len(steps) and steps[place][0] <= at_s:
            queued += steps[place][1]
            place += 1
        times.append(at_s)
        counts.append(queued)
    return times, counts


def _token_rate(course: Course, longest_s: float) -> tuple[list[float], list[float]]:
    begun_s = course.begun_s or 0.0
    width_s = max(2.0, longest_s / 40)
    sums = [0] * max(1, int(longest_s / width_s))
    for fate in course.fates.values():
        if fate.dispatched_s is not None:
            place = int((fate.dispatched_s - begun_s) / width_s)
            if place < len(sums):  # a last stretch that is shorter than the others would look like a drop
                sums[place] += fate.tokens
    return [(place + 0.5) * width_s for place in range(len(sums))], [each / width_s for each in sums]


def _fairness(runs: Sequence[tuple[RunSummary, Course]]) -> Figure | None:
    """For each band with several tenants, the tokens per weight that each got."""
    shared = {priority: names for priority in _bands(runs) if len(names := _tenants(runs, priority)) > 1}
    if not shared:
        return None
    figure, panels = _panels(len(shared), title="Tokens per weight, by tenant", row_height=3.4)
    height = 0.8 / len(runs)
    for axes, (priority, names) in zip(panels, shared.items(), strict=True):
        for number, (run, _) in enumerate(runs):
            values = [
                run.flows[priority, name].tokens / run.weights[priority, name]
                if (priority, name) in run.flows
                else 0.0
                for name in names
            ]
            places = [place + number * height for place in range(len(names))]
            axes.barh(
                places, values, height=height * 0.92, label=run.name, color=_COLOURS[number % len(_COLOURS)]
            )
        middle = height * (len(runs) - 1) / 2
        axes.set_yticks([place + middle for place in range(len(names))], [_shown(name) for name in names])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        axes.set_title(f"priority {priority}")
        axes.set_xlabel("tokens / weight")
    _legend(figure, panels[0])
    return figure


def _tenants(runs: Sequence[tuple[RunSummary, Course]], priority: int) -> list[str]:
    """Those with the most tokens in any run."""
    most: dict[str, int] = {}
    for run, _ in runs:
        for (band, name), summary in run.flows.items():
            if band == priority:
                most[name] = max(most.get(name, 0), summary.tokens)
    return sorted(most, key=lambda name: (-most[name], name))[:_MOST_FLOWS]


def _shown(name: str) -> str:
    return (name if len(name) <= 18 else f"{name[:17]}…") or "(none)"


def _thousands(value: float, _: int) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g} M"
    return f"{value / 1000:g} k" if value >= 1000 else f"{value:g}"
