"""What types can't tell of a scenario: names that must exist, numbers that must fit one another.

Every problem is found at once, and before anything is started: a typo in a pass line shouldn't cost a run.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from itertools import chain
from typing import TYPE_CHECKING, Any, assert_never

from benchmarks.load.plan import Delivery
from benchmarks.plays.measures import OF_GAPS, OF_TRAFFIC
from benchmarks.scenarios.problems import Problem
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
from benchmarks.stage.target import TargetError, parse
from epp.config import ConfigError, parse_config
from epp.config.problems import join, suggest
from epp.sim.faults import FaultError, Faults
from epp.sim.model import ServiceModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from benchmarks.scenarios.scenario import (
        Arrivals,
        Event,
        Length,
        PassLine,
        Scenario,
        Servers,
        TrafficClass,
        Yardstick,
    )

_ENGINE = ServiceModel()
_ENGINE_FIELDS: Mapping[str, type[int] | type[float]] = {
    field.name: type(getattr(_ENGINE, field.name)) for field in fields(ServiceModel)
}


def check(scenario: Scenario, *, folder: Path) -> tuple[Problem, ...]:
    """Everything that is wrong with it; its traces lie in `folder`."""
    return tuple(
        chain(
            _whole(scenario),
            _servers(scenario.servers),
            _config(scenario),
            _traffic(scenario, folder),
            chain.from_iterable(_event(index, scenario) for index in range(len(scenario.events))),
            _targets(scenario),
            chain.from_iterable(_pass_line(index, scenario) for index in range(len(scenario.passes))),
        )
    )


def engine_model(engine: Mapping[str, float]) -> ServiceModel:
    """The model server that these fields describe. Raises `ValueError`."""
    values: dict[str, Any] = {name: _ENGINE_FIELDS[name](value) for name, value in engine.items()}
    return ServiceModel(**values)


def _whole(scenario: Scenario) -> Iterator[Problem]:
    for field in ("name", "question", "story"):
        if not getattr(scenario, field).strip():
            yield Problem(field, "is empty: say it")
    yield from _above_zero("duration_s", scenario.duration_s)
    if scenario.rounds < 1:
        yield Problem("rounds", f"is {scenario.rounds}: there must be at least 1")
    if not scenario.traffic:
        yield Problem("traffic", "is empty: nothing would be sent")


# --------------------------------------------------------------------------------------- servers and picker


def _servers(servers: Servers) -> Iterator[Problem]:
    if servers.count < 1:
        yield Problem("servers.count", f"is {servers.count}: there must be at least 1")
    yield from _engine("servers.engine", servers.engine)
    for number, engine in servers.different.items():
        path = join("servers.different", str(number))
        if not 0 <= number < servers.count:
            yield Problem(path, f"there is no server {number}: {_numbers(servers)}")
        yield from _engine(path, {**servers.engine, **engine})


def _engine(path: str, engine: Mapping[str, float]) -> Iterator[Problem]:
    unknown = [name for name in engine if name not in _ENGINE_FIELDS]
    for name in unknown:
        yield Problem(join(path, name), f"there is no such field of an engine{suggest(name, _ENGINE_FIELDS)}")
    broken = [
        name
        for name, value in engine.items()
        if _ENGINE_FIELDS.get(name) is int and not (math.isfinite(value) and value == int(value))
    ]
    for name in broken:
        yield Problem(join(path, name), f"is {engine[name]:g}: expected a whole number")
    if not unknown and not broken:
        try:
            engine_model(engine)
        except ValueError as error:
            yield Problem(path, str(error))


def _config(scenario: Scenario) -> Iterator[Problem]:
    try:
        # JSON is YAML as well, and unlike a dump of YAML has one spelling for every value.
        parse_config(json.dumps(scenario.picker.config), source="picker.config")
    except (ConfigError, TypeError) as error:
        problems = error.problems if isinstance(error, ConfigError) else ()
        for problem in problems:
            yield Problem(f"picker.config.{problem.field}".removesuffix("."), problem.message)
        if not problems:
            yield Problem("picker.config", f"{error}: write plain texts and numbers")


# ------------------------------------------------------------------------------------------------- traffic


def _traffic(scenario: Scenario, folder: Path) -> Iterator[Problem]:
    for name, traffic in scenario.traffic.items():
        path = join("traffic", name)
        if not traffic.arrivals:
            yield Problem(f"{path}.arrivals", "is empty: nothing would be sent")
        for index, arrivals in enumerate(traffic.arrivals):
            yield from _arrivals(f"{path}.arrivals[{index}]", arrivals, scenario, folder)
        if traffic.objective is not None and traffic.objective not in scenario.picker.objectives:
            yield Problem(f"{path}.objective", _no_objective(traffic.objective, scenario))
        for tenant in {tenant for tenant in traffic.tenants if traffic.tenants.count(tenant) > 1}:
            yield Problem(f"{path}.tenants", f"{tenant!r} stands there more than once: keep one")
        yield from _above_zero(f"{path}.patience_s", traffic.patience_s)
        yield from _lengths(path, traffic, scenario)


def _arrivals(path: str, arrivals: Arrivals, scenario: Scenario, folder: Path) -> Iterator[Problem]:
    match arrivals:
        case Poisson():
            yield from _above_zero(f"{path}.per_s", arrivals.per_s)
            yield from _span(path, arrivals.from_s, arrivals.until_s, scenario)
        case Ramp():
            for name in ("from_per_s", "to_per_s"):
                yield from _not_below_zero(f"{path}.{name}", getattr(arrivals, name))
            if not arrivals.from_per_s and not arrivals.to_per_s:
                yield Problem(path, "goes from 0 to 0 requests per second: raise one of them")
            yield from _span(path, arrivals.from_s, arrivals.until_s, scenario)
        case Burst():
            if arrivals.count < 1:
                yield Problem(f"{path}.count", f"is {arrivals.count}: there must be at least 1")
            yield from _within_run(f"{path}.at_s", arrivals.at_s, scenario)
            yield from _not_below_zero(f"{path}.within_s", arrivals.within_s)
            if arrivals.every_s is not None:
                yield from _above_zero(f"{path}.every_s", arrivals.every_s)
        case Recorded():
            if not (folder / arrivals.path).is_file():
                message = (
                    f"there is no file {folder / arrivals.path}; paths are relative to the scenario's folder"
                )
                yield Problem(f"{path}.path", message)
        case _:
            assert_never(arrivals)


def _span(path: str, from_s: float, until_s: float | None, scenario: Scenario) -> Iterator[Problem]:
    yield from _within_run(f"{path}.from_s", from_s, scenario)
    if until_s is not None:
        yield from _within_run(f"{path}.until_s", until_s, scenario)
        if until_s <= from_s:
            yield Problem(f"{path}.until_s", f"is {until_s:g}: it must be after from_s, which is {from_s:g}")


def _lengths(path: str, traffic: TrafficClass, scenario: Scenario) -> Iterator[Problem]:
    problems = [
        *_length(f"{path}.prompt_tokens", traffic.prompt_tokens),
        *_length(f"{path}.output_tokens", traffic.output_tokens),
    ]
    yield from problems
    if problems or all(isinstance(arrivals, Recorded) for arrivals in traffic.arrivals):
        return
    longest = _longest(traffic.prompt_tokens) + _longest(traffic.output_tokens)
    engine = scenario.servers.engine
    most = engine.get("max_model_tokens", _ENGINE.max_model_tokens)
    if longest > most:
        yield Problem(
            path,
            f"prompt and output have up to {longest:g} tokens together, but servers take {most:g}: "
            "shorten them (a lognormal has `most`), or raise servers.engine.max_model_tokens",
        )


def _length(path: str, length: Length) -> Iterator[Problem]:
    match length:
        case int():
            least, most = length, length
        case Uniform():
            least, most = length.least, length.most
        case Lognormal():
            least, most = 1, length.most
            yield from _above_zero(f"{path}.mean", length.mean)
            yield from _not_below_zero(f"{path}.sigma", length.sigma)
        case _:
            assert_never(length)
    if not 1 <= least <= most:
        yield Problem(path, f"goes from {least} to {most} tokens: expected 1 or more, the least first")


def _longest(length: Length) -> int:
    return length if isinstance(length, int) else length.most


# -------------------------------------------------------------------------------------------------- events


def _event(index: int, scenario: Scenario) -> Iterator[Problem]:
    path = f"events[{index}]"
    event: Event = scenario.events[index]
    yield from _within_run(f"{path}.at_s", event.at_s, scenario)
    match event:
        case Fault():
            for number in event.servers:
                if not 0 <= number < scenario.servers.count:
                    message = f"there is no server {number}: {_numbers(scenario.servers)}"
                    yield Problem(f"{path}.servers", message)
            if not event.servers:
                yield Problem(f"{path}.servers", f"is empty: {_numbers(scenario.servers)}")
            try:
                Faults.parse(
                    {
                        "metrics": event.metrics,
                        "metrics_delay_s": event.metrics_delay_s,
                        "requests": event.requests,
                    }
                )
            except FaultError as error:
                yield Problem(path, str(error))
        case Scale():
            if not 0 <= event.to <= scenario.servers.count:
                message = f"is {event.to}: there are {scenario.servers.count} servers, so 0 to that many"
                yield Problem(f"{path}.to", message)
        case SetObjective():
            if event.name not in scenario.picker.objectives:
                yield Problem(f"{path}.name", _no_objective(event.name, scenario))
        case HangUp():
            yield from _class_exists(f"{path}.traffic", event.traffic, scenario)
            if not 0 < event.share <= 1:
                yield Problem(f"{path}.share", f"is {event.share:g}: expected more than 0 and at most 1")
        case _:
            assert_never(event)


# ---------------------------------------------------------------------------------------------- pass lines


def _targets(scenario: Scenario) -> Iterator[Problem]:
    if not scenario.targets:
        yield Problem("targets", "is empty: name at least one, such as picker")
    seen = set[str]()
    for index, text in enumerate(scenario.targets):
        try:
            name = parse(text).name
        except TargetError as error:
            yield Problem(f"targets[{index}]", str(error))
        else:
            if name in seen:
                yield Problem(f"targets[{index}]", f"{name!r} stands there a second time: keep one")
            seen.add(name)


def _target_names(scenario: Scenario) -> tuple[str, ...]:
    names = []
    for text in scenario.targets:
        try:
            names.append(parse(text).name)
        except TargetError:
            continue
    return tuple(names)


def _pass_line(index: int, scenario: Scenario) -> Iterator[Problem]:
    path = f"pass[{index}]"
    line: PassLine = scenario.passes[index]
    if not line.says.strip():
        yield Problem(f"{path}.says", "is empty: say in words what is promised")
    bounds = [(name, bound) for name in ("at_most", "at_least") if (bound := getattr(line, name)) is not None]
    if len(bounds) != 1:
        there = "no bound: give at_most or at_least" if not bounds else "two bounds: make two lines of it"
        yield Problem(path, f"has {there}")
    for name, bound in bounds:
        yield from _not_below_zero(f"{path}.{name}", bound)
    yield from _measured(path, line, scenario)
    yield from _played(f"{path}.target", line.target, scenario)
    if line.times is not None:
        yield from _measured(f"{path}.times", line.times, scenario)
        if line.times.target is not None:
            yield from _played(f"{path}.times.target", line.times.target, scenario)


def _measured(path: str, asked: PassLine | Yardstick, scenario: Scenario) -> Iterator[Problem]:
    name = asked.measure.value
    if asked.traffic is None:
        classes = list(scenario.traffic.values())
    elif asked.measure not in OF_TRAFFIC:
        yield Problem(f"{path}.traffic", f"{name} is of the whole round, not of a class: remove it")
        return
    else:
        yield from _class_exists(f"{path}.traffic", asked.traffic, scenario)
        classes = [scenario.traffic[asked.traffic]] if asked.traffic in scenario.traffic else []
    if asked.measure in OF_GAPS and classes and all(each.delivery is Delivery.WHOLE for each in classes):
        yield Problem(f"{path}.measure", f"{name}: answers that come whole have no gaps between tokens")


def _played(path: str, target: str, scenario: Scenario) -> Iterator[Problem]:
    names = _target_names(scenario)
    if target not in names:
        yield Problem(path, f"is {target!r}, which is not among targets{suggest(target, names)}")


# ------------------------------------------------------------------------------------------------- phrases


def _class_exists(path: str, name: str, scenario: Scenario) -> Iterator[Problem]:
    if name not in scenario.traffic:
        yield Problem(path, f"there is no class {name!r} in traffic{suggest(name, scenario.traffic)}")


def _no_objective(name: str, scenario: Scenario) -> str:
    near = suggest(name, scenario.picker.objectives)
    return f"{name!r} is not among picker.objectives{near or ': add it, with null for no priority'}"


def _numbers(servers: Servers) -> str:
    return f"they are numbered from 0 to {servers.count - 1}"


def _above_zero(path: str, value: float) -> Iterator[Problem]:
    if not (math.isfinite(value) and value > 0):
        yield Problem(path, f"is {value:g}: expected a number above 0")


def _not_below_zero(path: str, value: float) -> Iterator[Problem]:
    if not (math.isfinite(value) and value >= 0):
        yield Problem(path, f"is {value:g}: expected 0 or more")


def _within_run(path: str, at_s: float, scenario: Scenario) -> Iterator[Problem]:
    if not 0 <= at_s <= scenario.duration_s:
        yield Problem(
            path, f"is {at_s:g}: the run goes from 0 to duration_s, which is {scenario.duration_s:g}"
        )
