"""One number out of a metrics page, without parsing the page.

A page of 60 KB has thousands of series and we want three of them, so a scan looks for the metric's name at the
start of a line and reads only there. What it promises:

- A name matches whole: `waiting` never takes `waiting_total` or `waiting_bucket`.
- Labels may come in any order, with any characters in their values. `# HELP` and `# TYPE` are no series.
- Of several matching series the one with the largest timestamp counts, and the first of those (as upstream does):
  a sum would be wrong for engines that repeat one number for each of their ranks. Who wants one engine
  of several names its label in the selector.
- A series whose number is no finite one (`NaN`, `+Inf`, garbage) counts as absent.

It relies on the format's own rule that all lines of one metric form one group.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epp.config.scrape import MetricSelector

_LABEL = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*+)\s*+=\s*+"((?:[^"\\]|\\.)*+)"')
_ESCAPE = re.compile(rb"\\(.)")
_AFTER_NAME = (b"{", b" ", b"\t")
_ABSENT: tuple[bytes, None, float] = (b"", None, -math.inf)


class SeriesScan:
    """Finds the number of one selector; made once, used on every page."""

    __slots__ = ("_labels", "_line_start", "_name")

    def __init__(self, selector: MetricSelector) -> None:
        self._name = selector.name.encode()
        self._line_start = b"\n" + self._name
        self._labels = {label.encode(): value.encode() for label, value in selector.labels}

    def value(self, page: bytes) -> float | None:
        """The number, or None if the page has no such series with a finite one."""
        best: float | None = None
        best_timestamp = -math.inf
        at = self._line(page, 0)
        while at >= 0:
            end = page.find(b"\n", at)
            after_name = page[at + len(self._name) : end if end >= 0 else len(page)]
            if after_name[:1] not in _AFTER_NAME:  # another metric that begins alike
                at = self._line(page, at + 1)
                continue
            labels, value, timestamp = _parts(after_name)
            if value is not None and timestamp > best_timestamp and self._admits(labels):
                best, best_timestamp = value, timestamp
            at = end + 1 if end >= 0 and page.startswith(self._name, end + 1) else -1
        return best

    def _line(self, page: bytes, at: int) -> int:
        """Where the next line that begins with the name starts, at or after `at`; -1 if none does."""
        if at == 0 and page.startswith(self._name):
            return 0
        found = page.find(self._line_start, max(at - 1, 0))
        return found if found < 0 else found + 1

    def _admits(self, labels: bytes) -> bool:
        """Whether a series with these labels, as they stand on its line, is one of the selector's."""
        if not self._labels:
            return True
        missing = dict(self._labels)
        for name, raw in _LABEL.findall(labels):
            wanted = missing.pop(name, None)
            if wanted is not None and wanted != _unescaped(raw):
                return False
        return not missing


def _parts(after_name: bytes) -> tuple[bytes, float | None, float]:
    """What follows a name on its line: labels as they stand there, value, and timestamp (0 if there is none).

    No value may hold a brace, so the last one ends the labels, whatever their values are.
    """
    close = after_name.rfind(b"}") + 1
    labels = after_name[:close].lstrip()
    fields = after_name[close:].split()
    if not 1 <= len(fields) <= 2 or (labels and not labels.startswith(b"{")):
        return _ABSENT
    value = _finite(fields[0])
    timestamp = _finite(fields[1]) if len(fields) == 2 else 0.0
    return _ABSENT if value is None or timestamp is None else (labels, value, timestamp)


def _unescaped(raw: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: b"\n" if found[1] == b"n" else found[1], raw) if b"\\" in raw else raw


def _finite(token: bytes) -> float | None:
    """The number that a token spells; underscores are Python's, not the format's."""
    try:
        number = float(token)
    except ValueError:
        return None
    return number if math.isfinite(number) and b"_" not in token else None
