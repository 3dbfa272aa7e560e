"""Label values: whose they are, how they are written, and how many there may be.

Models and fairness ids come from clients, so both their form and their number are bounded here: a value is
printable and short, and once there is no room for another one, newcomers share `OTHER`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHER = "other"
"""Stands for every value that found no room. Upstream's word."""
LONGEST_VALUE = 128
"""Longer values are cut, and those that then look the same share a series."""

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class RequestLabels(NamedTuple):
    """What the metrics of one request are labelled with."""

    model: str
    """The model that was asked for; '' if unknown."""
    target_model: str
    """The model that the request was sent to; the same, unless it was rewritten."""
    fairness_id: str
    priority: int


UNREADABLE = RequestLabels(model="", target_model="", fairness_id="", priority=0)
"""The labels of a request of which nothing could be read."""


def clean(value: str) -> str:
    """`value` as it may be shown: printable, which also keeps what isn't UTF-8 out, and not too long."""
    if len(value) <= LONGEST_VALUE and value.isprintable():
        return value
    return "".join(each if each.isprintable() else "?" for each in value[:LONGEST_VALUE])


def label_text(*pairs: tuple[str, str]) -> str:
    """Labels as both text formats write them, without the braces."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs)


class PriorityNames:
    """Priorities as label values. They come from the pool's objectives, so the first ones keep their names."""

    __slots__ = ("_limit", "_names")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: dict[int, str] = {0: "0"}

    def name(self, priority: int) -> str:
        """The label value for `priority`."""
        known = self._names.get(priority)
        if known is not None:
            return known
        if len(self._names) >= self._limit:
            return OTHER
        self._names[priority] = text = str(priority)
        return text

    def sums(self, by_priority: Mapping[int, float]) -> dict[str, float]:
        """Figures by label value; those that share `OTHER` are added up."""
        sums: dict[str, float] = {}
        for priority, value in by_priority.items():
            name = self.name(priority)
            sums[name] = sums.get(name, 0) + value
        return sums
