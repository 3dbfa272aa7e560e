"""A scenario's traffic and events in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from benchmarks.load.plan import Delivery
from benchmarks.scenarios.scenario import (
    Burst,
    Fault,
    HangUp,
    Lognormal,
    Poisson,
    Ramp,
    Recorded,
    Scale,
    SetObjective,
    Uniform,
)

if TYPE_CHECKING:
    from benchmarks.scenarios.scenario import Arrivals, Event, Length, TrafficClass


def traffic(each: TrafficClass) -> str:
    """A class in one line."""
    parts = [" and ".join(arrivals(some) for some in each.arrivals)]
    if each.objective is not None:
        parts.append(f"objective {each.objective}")
    if each.tenants:
        parts.append(
            "tenant " + each.tenants[0] if len(each.tenants) == 1 else f"{len(each.tenants)} tenants"
        )
    parts.append(f"{length(each.prompt_tokens)} tokens in, {length(each.output_tokens)} out")
    if each.delivery is Delivery.WHOLE:
        parts.append("not streamed")
    parts.append(f"patience {each.patience_s:g} s")
    return "; ".join(parts)


def arrivals(each: Arrivals) -> str:
    """When requests come."""
    match each:
        case Poisson():
            return f"{each.per_s:g} per second{_between(each.from_s, each.until_s)}"
        case Burst():
            within = f" within {each.within_s:g} s" if each.within_s else " at once"
            again = "" if each.every_s is None else f", again every {each.every_s:g} s"
            return f"{each.count:,}{within} at {each.at_s:g} s{again}"
        case Ramp():
            return f"from {each.from_per_s:g} to {each.to_per_s:g} per second{_between(each.from_s, each.until_s)}"
        case Recorded():
            return f"as recorded in {each.path}"
        case _:
            assert_never(each)


def length(each: Length) -> str:
    """How long prompts or answers are."""
    match each:
        case int():
            return f"{each:,}"
        case Lognormal():
            return f"about {each.mean:g} (up to {each.most:,})"
        case Uniform():
            return f"{each.least:,} to {each.most:,}"
        case _:
            assert_never(each)


def event(each: Event) -> str:
    """What happens, and when."""
    at = f"at {each.at_s:g} s: "
    match each:
        case Fault():
            wrongs = [
                f"{what} {how}"
                for what, how in (("metrics", each.metrics), ("requests", each.requests))
                if how != "none"
            ]
            return (
                f"{at}servers {_numbers(each.servers)}: {', '.join(wrongs) if wrongs else 'all right again'}"
            )
        case Scale():
            return f"{at}the pool has {each.to} {'server' if each.to == 1 else 'servers'}"
        case SetObjective():
            return f"{at}objective {each.name} gets priority {'none' if each.priority is None else each.priority}"
        case HangUp():
            return f"{at}{each.share:.0%} of the clients of {each.traffic} hang up"
        case _:
            assert_never(each)


def _between(from_s: float, until_s: float | None) -> str:
    if until_s is None:
        return f" from {from_s:g} s on" if from_s else ""
    return f" from {from_s:g} to {until_s:g} s"


def _numbers(servers: list[int]) -> str:
    return ", ".join(str(number) for number in servers)
