"""Requests made up from a specification: who comes when, and how much each takes. The same seed makes the same ones."""

from __future__ import annotations

from math import exp, pi, sin
from random import Random
from typing import TYPE_CHECKING, NamedTuple, assert_never

from epp.replay.spec import Process, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.replay.spec import Arrivals, Lengths, Tenants, TraceSpec

_OVERHEAD_BYTES = 200
_BYTES_PER_TOKEN = (3.5, 4.5)


class Demand(NamedTuple):
    """One request."""

    at_s: float
    tenant: str
    group: Tenants
    input_tokens: int
    output_tokens: int
    body_bytes: int


def demands(spec: TraceSpec, *, seed: int) -> list[Demand]:
    """All requests of the trace, in the order in which they come."""
    made: list[Demand] = []
    for group in spec.tenants:
        for number in range(1, group.count + 1):
            tenant = group.name if group.count == 1 else f"{group.name}-{number}"
            random = Random(f"{seed}/{tenant}/{group.priority}")  # noqa: S311 - traffic is no secret
            made += [
                _demand(random, at_s, tenant, group)
                for at_s in _moments(random, group.arrivals, spec.duration_s)
            ]
    made.sort(key=lambda each: (each.at_s, each.tenant))
    return made


def _demand(random: Random, at_s: float, tenant: str, group: Tenants) -> Demand:
    input_tokens = _length(random, group.input)
    output_tokens = _length(random, group.output)
    if group.max_output_tokens is not None:
        output_tokens = min(output_tokens, group.max_output_tokens)
    body_bytes = _OVERHEAD_BYTES + int(input_tokens * random.uniform(*_BYTES_PER_TOKEN))
    return Demand(at_s, tenant, group, input_tokens, output_tokens, body_bytes)


def _length(random: Random, lengths: Lengths) -> int:
    match lengths.shape:
        case Shape.FIXED:
            drawn = lengths.median
        case Shape.LOGNORMAL:
            drawn = lengths.median * exp(lengths.sigma * random.gauss(0.0, 1.0))
        case Shape.PARETO:
            least = lengths.median / 2 ** (1 / lengths.alpha)
            drawn = least * (1.0 - random.random()) ** (-1 / lengths.alpha)
        case _:
            assert_never(lengths.shape)
    return max(1, min(lengths.most, round(drawn)))


def _moments(random: Random, arrivals: Arrivals, until_s: float) -> Iterator[float]:
    match arrivals.process:
        case Process.POISSON:
            yield from _poisson(random, arrivals.rate_per_s, 0.0, until_s)
        case Process.BURSTS:
            begin_s = 0.0
            while begin_s < until_s:
                end_s = begin_s + random.expovariate(1 / arrivals.on_s)
                yield from _poisson(random, arrivals.rate_per_s, begin_s, min(end_s, until_s))
                begin_s = end_s + random.expovariate(1 / arrivals.off_s)
        case Process.DIURNAL:
            # By thinning: candidates at the highest rate, of which each is kept with the share that its moment has.
            highest = 1 + arrivals.amplitude
            for at_s in _poisson(random, arrivals.rate_per_s * highest, 0.0, until_s):
                share = 1 + arrivals.amplitude * sin(2 * pi * at_s / arrivals.period_s)
                if random.random() * highest < share:
                    yield at_s
        case _:
            assert_never(arrivals.process)


def _poisson(random: Random, rate_per_s: float, begin_s: float, until_s: float) -> Iterator[float]:
    at_s = begin_s + random.expovariate(rate_per_s)
    while at_s < until_s:
        yield at_s
        at_s += random.expovariate(rate_per_s)
