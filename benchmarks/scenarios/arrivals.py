"""Arrival times of one class, drawn from its dice.

Promises:
- Another rate stretches the same sequence of arrivals; nothing else of the dice changes.
- A ramp is exact: the expected number of arrivals up to any moment is the integral of the rate, since arrivals of rate
  1 are mapped through its inverse. Poisson arrivals are the ramp that doesn't rise.
- What is due at the scenario's end or later is left out, so that a shorter run is the beginning of a longer one.
- What would be nobody's intention is an error that names the field, the value and the remedy: no arrivals at all, or
  more than `MOST_REQUESTS`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchmarks.scenarios.scenario import Burst, Poisson, Ramp

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

MOST_REQUESTS = 2_000_000
"""Of one `arrivals` entry: more is a mistake of units, and a plan is held in memory."""


class ArrivalsError(ValueError):
    """These arrivals can't be drawn; the message begins with the field."""


def draw(arrivals: Poisson | Ramp | Burst, dice: random.Random, *, duration_s: float) -> tuple[float, ...]:
    """When each is due, in order. Raises `ArrivalsError`."""
    match arrivals:
        case Burst():
            return tuple(_burst(arrivals, duration_s=duration_s))
        case Poisson(per_s=per_s):
            _check_rate("per_s", per_s)
            if per_s == 0:
                raise ArrivalsError("per_s is 0: give more, or leave the entry out")
            return _ramp(per_s, per_s, arrivals, dice, duration_s=duration_s)
        case Ramp(from_per_s=begin, to_per_s=end):
            _check_rate("from_per_s", begin)
            _check_rate("to_per_s", end)
            if begin == end == 0:
                raise ArrivalsError("to_per_s is 0, and so is from_per_s: give more, or leave the entry out")
            return _ramp(begin, end, arrivals, dice, duration_s=duration_s)


def _ramp(
    begin_per_s: float, end_per_s: float, period: Poisson | Ramp, dice: random.Random, *, duration_s: float
) -> tuple[float, ...]:
    from_s = _seconds("from_s", period.from_s)
    until_s = duration_s if period.until_s is None else _seconds("until_s", period.until_s)
    stop_s = min(until_s, duration_s)
    if not from_s < stop_s:
        raise ArrivalsError(f"from_s is {from_s:g}: give less than {stop_s:g}, when the arrivals end")
    slope = (end_per_s - begin_per_s) / (until_s - from_s)
    length_s = stop_s - from_s
    expected = begin_per_s * length_s + slope * length_s**2 / 2
    _check_number(expected)
    times: list[float] = []
    arrived = dice.expovariate(1.0)
    while arrived < expected:
        # The root of begin*t + slope*t^2/2 = arrived, in the form that survives a slope of 0.
        passed_s = 2 * arrived / (begin_per_s + math.sqrt(max(0.0, begin_per_s**2 + 2 * slope * arrived)))
        times.append(min(from_s + passed_s, math.nextafter(stop_s, 0.0)))
        arrived += dice.expovariate(1.0)
    return tuple(times)


def _burst(burst: Burst, *, duration_s: float) -> Iterator[float]:
    at_s, within_s = _seconds("at_s", burst.at_s), _seconds("within_s", burst.within_s)
    if burst.count < 1:
        raise ArrivalsError(f"count is {burst.count}: give at least 1")
    if not at_s < duration_s:
        raise ArrivalsError(f"at_s is {at_s:g}: give less than duration_s, which is {duration_s:g}")
    every_s = burst.every_s
    if every_s is not None and not (math.isfinite(every_s) and every_s > 0 and every_s >= within_s):
        raise ArrivalsError(
            f"every_s is {every_s:g}: give more than 0 and at least within_s, which is {within_s:g}"
        )
    bursts = 1 if every_s is None else math.ceil((duration_s - at_s) / every_s)
    _check_number(bursts * burst.count)
    for number in range(bursts):
        begin_s = at_s + number * (every_s or 0.0)
        for place in range(burst.count):
            due_s = begin_s + within_s * place / burst.count
            if due_s < duration_s:
                yield due_s


def _check_rate(field: str, per_s: float) -> None:
    if not (math.isfinite(per_s) and per_s >= 0):
        raise ArrivalsError(f"{field} is {per_s:g}: give requests per second, 0 or more")


def _check_number(expected: float) -> None:
    if expected > MOST_REQUESTS:
        raise ArrivalsError(
            f"it makes {expected:.3g} requests: the most is {MOST_REQUESTS:,}, so give a lower rate"
        )


def _seconds(field: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ArrivalsError(f"{field} is {value:g}: give seconds since the beginning, 0 or more")
    return value
