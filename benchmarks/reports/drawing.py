"""What all figures share: colours, lines, axes for times, and how one becomes part of a page or a picture.

Everybody should be able to read them: colours are told apart with any kind of colour vision (after Okabe and Ito),
lines and hatches differ as well, and a page's figures follow its colours, light or dark.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from benchmarks.reports import words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from matplotlib.axes import Axes

INK = "#1b1b1f"
FAINT = "#6e6e78"
GRID = "#d9d9e0"
CARD = "#fefefe"
_CSS_OF_COLOUR = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--grid)", CARD: "var(--card)"}

_COLOURS = ("#0072b2", "#e69f00", "#cc79a7", "#009e73", "#d55e00", "#56b4e9")
_LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 3)))
_HATCHES = ("", "//", "..", "xx", "\\\\", "++")

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "epp",
}
_DPI = 130


class Pen(NamedTuple):
    """How one of several is drawn."""

    colour: str
    line: Any
    hatch: str


def pens(names: Iterable[str]) -> dict[str, Pen]:
    """One for each; after the sixth they come again."""
    return {
        name: Pen(
            _COLOURS[number % len(_COLOURS)], _LINES[number % len(_LINES)], _HATCHES[number % len(_HATCHES)]
        )
        for number, name in enumerate(names)
    }


def svg(draw: Callable[[Figure], None], *, width: float, height: float) -> str:
    """A figure for a page: no size of its own, colours by the page's variables."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout=_layout())
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}, dpi=_DPI
        )
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for colour, variable in _CSS_OF_COLOUR.items():
        text = text.replace(colour, variable)
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r'<svg \1role="img"', text, count=1)


def png(draw: Callable[[Figure], None], path: Path, *, width: float, height: float) -> None:
    """A picture for the docs; the same every time."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout=_layout())
        draw(figure)
        figure.savefig(path, dpi=_DPI, facecolor="white", metadata={"Software": None})


def _layout() -> ConstrainedLayoutEngine:
    return ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, hspace=0.08, wspace=0.04)


def times(axes: Axes, *, least_s: float, most_s: float) -> None:
    """The vertical axis is a time, logarithmic."""
    axes.set_yscale("log")
    low, high = max(least_s * 0.7, 1e-4), max(most_s * 1.5, least_s * 5, 1e-3)
    axes.set_ylim(low, high)
    ticks = [tick for tick in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0) if low <= tick <= high]
    if len(ticks) < 3:
        ticks = sorted({*ticks, *(tick * part for tick in (1e-3, 1e-2, 1e-1, 1.0, 10.0) for part in (2, 5))})
        ticks = [tick for tick in ticks if low <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(lambda value, _: tick_time(value))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def tick_time(value_s: float) -> str:
    """A round time, briefly."""
    return f"{value_s * 1e3:g} ms" if value_s < 1 else f"{value_s:g} s"


def ratios(axes: Axes, *, least: float, most: float) -> None:
    """The horizontal axis is a ratio, logarithmic, with 1 in sight."""
    axes.set_xscale("log")
    low, high = min(least * 0.8, 0.5), max(most * 1.25, 2.0)
    axes.set_xlim(low, high)
    wide = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
    fine = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    ticks = [tick for tick in (fine if high / low < 300 else wide) if low <= tick <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(lambda value, _: words.ratio(value))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axvline(1.0, color=INK, linewidth=1)
