"""The report's figures. Colours can be told apart with any kind of colour vision (after Okabe and Ito)."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.fairness.report import Report
    from benchmarks.fairness.waiting import Accuracy

_COLOURS = ("#e69f00", "#cc79a7", "#0072b2")
_HATCHES = ("//", "..", "")
_LINES = ("--", ":", "-")
_INK, _FAINT, _GRID = "#1b1b1f", "#6e6e78", "#d9d9e0"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _FAINT,
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
    "xtick.color": _INK,
    "ytick.color": _FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}
_DPI = 130

SHARES, COURSES, WAITS = "fairness-shares.png", "fairness-courses.png", "retry-after.png"


def save(report: Report, directory: Path) -> None:
    """Draw all of them."""
    with mpl.rc_context(_STYLE):
        for name, figure in ((SHARES, _shares(report)), (COURSES, _courses(report)), (WAITS, _waits(report))):
            figure.savefig(directory / name, dpi=_DPI, facecolor="white", metadata={"Software": None})


def _shares(report: Report) -> Figure:
    """Jain's index and the largest lag, of every policy under every workload."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    workloads = list(dict.fromkeys(each.workload for each in report.outcomes))
    policies = list(dict.fromkeys(each.policy for each in report.outcomes))
    found = {(each.workload, each.policy): each for each in report.outcomes}
    for number, policy in enumerate(policies):
        at = [place + (number - 1) * 0.27 for place in range(len(workloads))]
        drawn: dict[str, Any] = {
            "color": _COLOURS[number],
            "hatch": _HATCHES[number],
            "edgecolor": "white",
            "linewidth": 0,
            "label": policy,
        }
        outcomes = [found[workload, policy] for workload in workloads]
        bars = left.bar(at, [each.jain for each in outcomes], 0.25, **drawn)
        left.bar_label(bars, [f"{each.jain:.2f}" for each in outcomes], fontsize=7, padding=2, color=_FAINT)
        right.bar(at, [each.lag_units for each in outcomes], 0.25, **drawn)
    for place, workload in enumerate(workloads):
        bound = found[workload, policies[-1]].bound_units
        right.plot(
            [place - 0.45, place + 0.45],
            [bound, bound],
            color=_INK,
            linewidth=1.5,
            label="promised at most",
        )
    left.set_title("Tokens per weight: Jain's index (1 is even)")
    left.set_ylim(0, 1.12)
    right.set_title("Largest lag between two tenants, in units of cmax/w")
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xticks(range(len(workloads)), [workload.replace(" ", "\n", 1) for workload in workloads])
    handles, labels = right.get_legend_handles_labels()
    kinds = dict(zip(labels, handles, strict=True))
    figure.legend(kinds.values(), kinds.keys(), loc="outside lower center", ncols=len(kinds))
    return figure


def _courses(report: Report) -> Figure:
    """How far one tenant gets ahead of another, over time."""
    workloads = list(dict.fromkeys(each.workload for each in report.courses))
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    titles = {
        "sizes 10:1": "Large requests beside small ones: the large ahead",
        "bursts": "Bursts beside steady work: the steady ahead",
    }
    for axes, workload in zip(figure.subplots(1, len(workloads)), workloads, strict=True):
        courses = [each for each in report.courses if each.workload == workload]
        for number, course in enumerate(courses):
            axes.plot(
                course.at_s,
                [nan if units is None else units for units in course.ahead_units],
                color=_COLOURS[number],
                linestyle=_LINES[number],
                linewidth=1.6,
                label=course.policy,
            )
        bound = courses[-1].bound_units
        axes.axhspan(-bound, bound, color=_COLOURS[-1], alpha=0.10, linewidth=0)
        axes.set_title(titles.get(workload, workload))
        axes.set_xlabel("seconds")
        axes.set_ylabel("units of cmax/w")
        axes.set_xlim(0, min(max(course.at_s) for course in courses))
        axes.set_yscale("symlog", linthresh=bound)
        ticks = [-1000, -100, -bound, 0, bound, 100, 1000]
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _waits(report: Report) -> Figure:
    """What clients were told over what they would have waited, regime by regime."""
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    axes = figure.subplots()
    shown = [each for each in report.accuracies if not each.never]
    axes.axvspan(0.5, 2.0, color=_COLOURS[-1], alpha=0.10, linewidth=0)
    axes.axvline(1.0, color=_INK, linewidth=1)
    for place, accuracy in enumerate(reversed(shown)):
        _draw_ratios(axes, place, accuracy)
    axes.set_yticks(range(len(shown)), [each.regime for each in reversed(shown)])
    axes.tick_params(axis="y", labelcolor=_INK)
    axes.grid(visible=False, axis="y")
    axes.set_xscale("log")
    ticks = [0.1, 0.25, 0.5, 1, 2, 4, 10]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.set_xlim(0.09, 11)
    axes.set_title("Retry-After over the wait that the request would have had")
    axes.set_xlabel("each dot a refusal; shaded: within a factor of 2; thick: the middle 80 %")
    return figure


def _draw_ratios(axes: Axes, place: int, accuracy: Accuracy) -> None:
    spread = [place + 0.22 * ((number * 0.618) % 1.0 - 0.5) for number in range(len(accuracy.ratios))]
    axes.scatter(accuracy.ratios, spread, s=9, color=_COLOURS[-1], alpha=0.35, linewidths=0)
    axes.plot(
        [accuracy.percentile(10), accuracy.percentile(90)],
        [place - 0.27, place - 0.27],
        color=_COLOURS[-1],
        linewidth=3,
        solid_capstyle="butt",
    )
    axes.plot([accuracy.percentile(50)] * 2, [place - 0.34, place - 0.20], color=_INK, linewidth=2)
