"""Go durations, `1h30m` or `250ms`: how Kubernetes objects, upstream's flags and our headers write spans of time.

The grammar is Go's `time.ParseDuration`: an optional sign, then one or more decimal numbers, each with its unit
(`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`); a bare `0` needs none. The range is Go's as well, about 292 years.
"""

from __future__ import annotations

import re

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign
    "\u03bcs": 1_000,  # the Greek letter mu, which looks the same
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_NUMBER = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?")
_UNIT = re.compile(r"[^0-9.]*")
_LIMIT_NS = 2**63 - 1
_LONGEST_TEXT = 128
"""Longer than any duration that says something; keeps a hostile header from costing anything."""


def parse_go_duration(text: str) -> float:
    """The duration in seconds, negative if signed so.

    Raises ValueError with a message that names the text and what is wrong with it.
    """
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"invalid duration of {len(text)} characters: a duration looks like 1h30m or 250ms")
    unsigned = text[1:] if text[:1] in {"+", "-"} else text
    if unsigned == "0":
        return 0.0
    if not unsigned:
        raise ValueError(f"invalid duration {text!r}: a number and its unit, like 30s, are missing")
    total_ns = 0
    position = 0
    while position < len(unsigned):
        number = _NUMBER.match(unsigned, position)
        if number is None or not (number["whole"] or number["fraction"]):
            raise ValueError(f"invalid duration {text!r}: a number is missing at {unsigned[position:]!r}")
        unit = _UNIT.match(unsigned, number.end())
        symbol = unit[0] if unit is not None else ""
        if not symbol:
            raise ValueError(
                f"invalid duration {text!r}: the unit of {number[0]!r} is missing, one of ns us ms s m h"
            )
        if symbol not in _NANOSECONDS:
            raise ValueError(f"invalid duration {text!r}: unknown unit {symbol!r}, use one of ns us ms s m h")
        fraction = number["fraction"] or ""
        scale = _NANOSECONDS[symbol]
        total_ns += int(number["whole"] or "0") * scale + int(fraction or "0") * scale // 10 ** len(fraction)
        position = number.end() + len(symbol)
    if total_ns > _LIMIT_NS:
        raise ValueError(f"invalid duration {text!r}: longer than 292 years")
    return (-total_ns if text[0] == "-" else total_ns) / 1e9
