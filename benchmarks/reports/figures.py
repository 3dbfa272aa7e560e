"""The figures: of one scenario for the HTML report, of all of them for the docs.

A request that got no token is never left out: curves end where such requests begin, and dots have a row of their own.
"""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.lines import Line2D

from benchmarks.plays.measures import Measure
from benchmarks.reports import words
from benchmarks.reports.cells import headline, middle, ratio_title
from benchmarks.reports.drawing import CARD, FAINT, INK, pens, png, ratios, svg, times
from benchmarks.reports.report import Never

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmarks.reports.drawing import Pen
    from benchmarks.reports.report import Curve, Ratio, Report, Situation

WAITS, RATIOS = "performance-waits.png", "performance-ratios.png"
"""The pictures of the docs."""

_DRAWN_OF_TRAFFIC = (
    Measure.TTFT_P50_S.value,
    Measure.TTFT_P95_S.value,
    Measure.TTFT_P99_S.value,
    Measure.GAP_P99_S.value,
    Measure.COMPLETED_PER_S.value,
)
_DRAWN_OF_ROUND = (
    Measure.OUTPUT_TOKENS.value,
    Measure.PICKER_CPU_PER_REQUEST_S.value,
    Measure.PICKER_CPU_PER_CHUNK_S.value,
    Measure.ENVOY_CPU_PER_REQUEST_S.value,
)
_QUANTILES = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
_ROW_INCHES = 0.27
_MANY_DOTS = 150
_CELL = (5.2, 3.4)


# --------------------------------------------------------------------------------------------- one scenario


def curves_svg(situation: Situation) -> str:
    """Percentiles of the time to first token: a panel for each class, a line for each target."""
    classes = list(situation.traffic)
    columns = min(2, len(classes))
    rows = -(-len(classes) // columns)

    def draw(figure: Figure) -> None:
        cells = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, name in zip(cells, classes, strict=False):
            of_class = [curve for curve in situation.curves if curve.traffic == name]
            _draw_curves(axes, of_class, pens(situation.targets), title=name)
        for spare in cells[len(classes) :]:
            spare.set_visible(False)
        _legend(figure, pens(situation.targets))

    return svg(draw, width=_CELL[0] * columns, height=_CELL[1] * rows + 0.3)


def courses_svg(situation: Situation) -> str:
    """Single requests over time: a panel for each target, a colour for each class."""
    columns = min(2, len(situation.targets))
    rows = -(-len(situation.targets) // columns)

    def draw(figure: Figure) -> None:
        cells = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
        ttfts = [ttft_s for _, _, ttft_s in _dots(situation) if ttft_s is not None]
        for axes, target in zip(cells, situation.targets, strict=False):
            _draw_course(axes, situation, target, longest_s=max(ttfts, default=1.0))
            times(axes, least_s=min(ttfts, default=0.01), most_s=max(ttfts, default=1.0) * 3)
            axes.tick_params(labelleft=True)
        for spare in cells[len(situation.targets) :]:
            spare.set_visible(False)
        _dot_legend(figure, pens(situation.traffic))

    return svg(draw, width=_CELL[0] * columns, height=_CELL[1] * rows + 0.3)


def throughput_svg(situation: Situation) -> str:
    """Completed requests per second over time, the mean of the rounds."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_title("Completed requests per second")
        for target, pen in pens(situation.targets).items():
            rates = [each.completed_per_s for each in situation.rounds if each.target == target]
            steps = max(len(rate) for rate in rates)
            means = [
                sum(rate[step] if step < len(rate) else 0.0 for rate in rates) / len(rates)
                for step in range(steps)
            ]
            axes.plot(
                [(step + 0.5) * situation.step_s for step in range(steps)],
                means,
                color=pen.colour,
                linestyle=pen.line,
                linewidth=1.8,
                label=target,
            )
        axes.axvline(situation.duration_s, color=FAINT, linewidth=0.8)
        axes.annotate(
            "no new requests",
            (situation.duration_s, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2),
            textcoords="offset points",
            va="top",
            color=FAINT,
            fontsize=8,
        )
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds since the beginning")
        _legend(figure, pens(situation.targets))

    return svg(draw, width=_CELL[0], height=_CELL[1] + 0.3)


def costs_svg(situation: Situation) -> str | None:
    """CPU of picker and Envoy per request and per chunk; None where nobody's cost is known."""
    kinds = (
        ("per request", Measure.PICKER_CPU_PER_REQUEST_S.value, Measure.ENVOY_CPU_PER_REQUEST_S.value),
        ("per streamed chunk", Measure.PICKER_CPU_PER_CHUNK_S.value, Measure.ENVOY_CPU_PER_CHUNK_S.value),
    )
    known = {
        (target, measure): value
        for target in situation.targets
        for _, *measures in kinds
        for measure in measures
        if (value := middle(situation, target, measure)) is not None
    }
    if not known:
        return None

    def draw(figure: Figure) -> None:
        for axes, (title, *measures) in zip(figure.subplots(2, 1), kinds, strict=True):
            axes.set_title(f"CPU {title}")
            for place, target in enumerate(situation.targets):
                left = 0.0
                for (who, pen), measure in zip(pens(("picker", "Envoy")).items(), measures, strict=True):
                    value = known.get((target, measure), 0.0)
                    axes.barh(
                        -place,
                        value,
                        left=left,
                        height=0.62,
                        color=pen.colour,
                        hatch=pen.hatch,
                        edgecolor=CARD,
                        linewidth=0,
                        label=who if not place else None,
                    )
                    left += value
                told = " + ".join(
                    words.fine_seconds(known[target, each]) for each in measures if (target, each) in known
                )
                axes.annotate(
                    told or "not known", (left, -place), xytext=(5, 0), textcoords="offset points",
                    va="center", fontsize=8, color=INK,
                )  # fmt: skip
            axes.set_yticks([-place for place in range(len(situation.targets))], situation.targets)
            axes.tick_params(axis="y", labelcolor=INK)
            axes.margins(x=0.35)
            axes.set_xlim(left=0)
            axes.set_xticks([])
            axes.grid(visible=False)
            axes.spines[["bottom", "left"]].set_visible(False)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=9)

    return svg(draw, width=_CELL[0], height=max(_CELL[1] + 0.3, 1.4 + 0.6 * len(situation.targets)))


def ratios_svg(situation: Situation) -> str | None:
    """Ours over the others, medians and spreads; None where there was nothing to compare with."""
    rows = [
        _Row(ratio_title(each), each)
        for each in situation.ratios
        if each.measure in (_DRAWN_OF_ROUND if each.traffic is None else _DRAWN_OF_TRAFFIC)
    ]
    if not rows:
        return None
    others = list(dict.fromkeys(each.other for each in situation.ratios))

    def draw(figure: Figure) -> None:
        _draw_ratios(figure.subplots(), rows, pens((rows[0].ratio.ours, *others)))
        _dot_legend(figure, {f"over {name}": pens((rows[0].ratio.ours, *others))[name] for name in others})

    height = _ROW_INCHES * len({row.label for row in rows}) * max(1, 0.7 * len(others)) + 1.3
    return svg(draw, width=_CELL[0] * 2, height=height)


# --------------------------------------------------------------------------------------------- all of them


def save(report: Report, directory: Path) -> tuple[str, ...]:
    """The pictures of the docs; the names of those that there was something for."""
    shown = [each for each in report.situations if each.curves]
    saved = []
    if shown:
        columns = min(3, len(shown))
        rows = -(-len(shown) // columns)
        png(lambda figure: _draw_waits(figure, shown, rows, columns), directory / WAITS,
            width=4.2 * columns, height=3.1 * rows + 0.4)  # fmt: skip
        saved.append(WAITS)
    compared = headline_ratios(report)
    if compared:
        others = list(dict.fromkeys(row.ratio.other for row in compared))
        drawn = pens((compared[0].ratio.ours, *others))

        def draw(figure: Figure) -> None:
            axes = figure.subplots()
            axes.set_title("Time to first token, p95")
            _draw_ratios(axes, compared, drawn)
            _dot_legend(figure, {f"over {name}": drawn[name] for name in others})

        height = _ROW_INCHES * len(compared) + 1.5
        png(draw, directory / RATIOS, width=10, height=height)
        saved.append(RATIOS)
    return tuple(saved)


class _Row(NamedTuple):
    """A ratio, and what it is called in its figure."""

    label: str
    ratio: Ratio


def headline_ratios(report: Report) -> list[_Row]:
    """Of every scenario the p95 of its headline class beside each other target."""
    return [
        _Row(f"{situation.name}: {each.traffic}", each)
        for situation in report.situations
        for each in situation.ratios
        if each.measure == Measure.TTFT_P95_S.value and each.traffic == headline(situation)
    ]


# --------------------------------------------------------------------------------------------------- parts


def _draw_waits(figure: Figure, situations: Sequence[Situation], rows: int, columns: int) -> None:
    everybody = list(dict.fromkeys(target for each in situations for target in each.targets))
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, situation in zip(cells, situations, strict=False):
        name = headline(situation)
        of_class = [curve for curve in situation.curves if curve.traffic == name]
        _draw_curves(axes, of_class, pens(everybody), title=f"{situation.name}: {name}")
    for spare in cells[len(situations) :]:
        spare.set_visible(False)
    _legend(figure, pens(everybody))


def _draw_curves(axes: Axes, curves: Iterable[Curve], drawn: dict[str, Pen], *, title: str) -> None:
    curves = [curve for curve in curves if curve.points]
    axes.set_title(title)
    least_s = min((seconds for curve in curves for _, seconds in curve.points), default=0.01)
    most_s = max((seconds for curve in curves for _, seconds in curve.points), default=1.0)
    for curve in curves:
        pen = drawn[curve.target]
        nines = [_nines(quantile) for quantile, _ in curve.points]
        axes.plot(
            nines,
            [seconds for _, seconds in curve.points],
            color=pen.colour,
            linestyle=pen.line,
            linewidth=1.8,
        )
        if curve.served_share < 1:
            axes.plot(nines[-1:], [curve.points[-1][1]], marker="X", color=pen.colour, markersize=7)
    furthest = max((_nines(curve.points[-1][0]) for curve in curves), default=2.0)
    ticks = [quantile for quantile in _QUANTILES if _nines(quantile) <= max(furthest, 1.0) + 0.1]
    axes.set_xticks([_nines(each) for each in ticks], [f"{each * 100:g} %" for each in ticks])
    axes.set_xlim(0, max(furthest, 1.0) + 0.15)
    axes.set_xlabel("of all requests; x: the others got no token")
    times(axes, least_s=least_s, most_s=most_s)


def _nines(quantile: float) -> float:
    """Equal steps from 90 to 99 to 99.9 %, as HdrHistogram's plots have them."""
    return -log10(max(1e-9, 1 - quantile))


def _dots(situation: Situation) -> Iterable[tuple[str, str, float | None]]:
    for each in situation.rounds:
        for name, figures in each.classes.items():
            for _, ttft_s in figures.points:
                yield each.target, name, ttft_s


def _draw_course(axes: Axes, situation: Situation, target: str, *, longest_s: float) -> None:
    axes.set_title(target)
    drawn = pens(situation.traffic)
    for each in situation.rounds:
        if each.target != target:
            continue
        for row, (name, figures) in enumerate(each.classes.items()):
            lost_s = longest_s * 2.0 * 1.15**row
            axes.scatter(
                [due_s for due_s, _ in figures.points],
                [lost_s if ttft_s is None else max(ttft_s, 1e-4) for _, ttft_s in figures.points],
                s=6 if len(figures.points) > _MANY_DOTS else 16,
                color=drawn[name].colour,
                alpha=0.45 if len(figures.points) > _MANY_DOTS else 0.7,
                linewidths=0,
                rasterized=True,
            )
    axes.axhline(longest_s * 1.7, color=FAINT, linewidth=0.8)
    axes.annotate(
        "no token", (1, longest_s * 1.75), xycoords=("axes fraction", "data"), ha="right", va="bottom",
        fontsize=8, color=FAINT,
    )  # fmt: skip
    axes.set_xlim(-0.02 * situation.duration_s, 1.02 * situation.duration_s)
    axes.set_xlabel("seconds since the beginning")


def _draw_ratios(axes: Axes, rows: Sequence[_Row], drawn: dict[str, Pen]) -> None:
    labels = list(dict.fromkeys(row.label for row in rows))
    others = list(dict.fromkeys(row.ratio.other for row in rows))
    numbers = [
        value
        for row in rows
        for value in (row.ratio.low, row.ratio.high, row.ratio.median)
        if not isinstance(value, Never) and value > 0
    ]
    least, most = min(numbers, default=1.0), max(numbers, default=1.0)
    edges = {Never.OURS: most * 1.4, Never.OTHER: least / 1.4}

    def at(value: float | Never) -> float:
        return edges[value] if isinstance(value, Never) else max(value, least / 1.4)

    step = 0.7 / len(others)
    for row in rows:
        pen = drawn[row.ratio.other]
        beside = [each.ratio.other for each in rows if each.label == row.label]
        place = -labels.index(row.label) - (beside.index(row.ratio.other) - (len(beside) - 1) / 2) * step
        axes.plot(
            [at(row.ratio.low), at(row.ratio.high)],
            [place, place],
            color=pen.colour,
            linewidth=2.2,
            alpha=0.5,
        )
        never = isinstance(row.ratio.median, Never)
        axes.plot(
            [at(row.ratio.median)], [place], marker="X" if never else "o", color=pen.colour, markersize=6
        )
        axes.annotate(
            words.ratio(row.ratio.median), (at(row.ratio.high), place), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=7.5, color=FAINT,
        )  # fmt: skip
    axes.set_yticks([-place for place in range(len(labels))], labels)
    axes.set_ylim(-len(labels) + 0.4, 0.6)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    ratios(
        axes,
        least=min(least, *(at(row.ratio.low) for row in rows)),
        most=max(most, *(at(row.ratio.high) for row in rows)) * 1.3,
    )
    axes.set_xlabel(
        f"{rows[0].ratio.ours} over the other, in the same round: median, and from the least to the most"
    )


def _legend(figure: Figure, drawn: dict[str, Pen]) -> None:
    handles = [Line2D([], [], color=pen.colour, linestyle=pen.line, linewidth=1.8) for pen in drawn.values()]
    figure.legend(handles, list(drawn), loc="outside lower left", ncols=min(4, len(drawn)), fontsize=9)


def _dot_legend(figure: Figure, drawn: dict[str, Pen]) -> None:
    handles = [
        Line2D([], [], color=pen.colour, marker="o", linestyle="", markersize=5) for pen in drawn.values()
    ]
    figure.legend(handles, list(drawn), loc="outside lower left", ncols=min(4, len(drawn)), fontsize=9)
