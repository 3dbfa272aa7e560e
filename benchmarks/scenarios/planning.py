"""Draws a plan from a scenario: every request that will be sent, before the first one is.

Promises:
- The same scenario and seed give the same plan. Every class has its own dice, and in it every `arrivals` entry, the
  tenants and the two lengths have theirs: changing one leaves all others' draws as they are.
- What can't be drawn is a `PlanError` that begins with the field's path, such as `traffic.batch.arrivals[0].per_s`.
"""

from __future__ import annotations

import math
import random
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchmarks.load import trace
from benchmarks.load.plan import Due, Manner, Plan
from benchmarks.scenarios import arrivals, lengths
from benchmarks.scenarios.scenario import Recorded

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.scenarios.scenario import Length, Scenario, TrafficClass

LONGEST_S = 86_400.0
LONGEST_PATIENCE_S = 3_500.0
"""The histograms end at an hour."""


class PlanError(ValueError):
    """The scenario's traffic can't be drawn; the message names the field, its value and the remedy."""


def draw(scenario: Scenario, *, folder: Path) -> Plan:
    """The scenario's requests, in order of time; trace files are relative to `folder`. Raises `PlanError`."""
    if not 0 < scenario.duration_s <= LONGEST_S:
        raise PlanError(
            f"duration_s is {scenario.duration_s:g}: give seconds, more than 0 and at most {LONGEST_S:g}"
        )
    if not scenario.traffic:
        raise PlanError("traffic is empty: give at least one class")
    requests = [
        due
        for name, traffic in scenario.traffic.items()
        for due in _ClassPlan(name, traffic, scenario, folder).requests()
    ]
    return Plan(
        manners=MappingProxyType({name: _manner(name, each) for name, each in scenario.traffic.items()}),
        requests=tuple(sorted(requests, key=lambda due: due.due_s)),
        duration_s=scenario.duration_s,
    )


class _ClassPlan:
    """The requests of one class."""

    def __init__(self, name: str, traffic: TrafficClass, scenario: Scenario, folder: Path) -> None:
        self._name = name
        self._traffic = traffic
        self._duration_s = scenario.duration_s
        self._seed = scenario.seed
        self._folder = folder
        self._path = f"traffic.{name}"

    def requests(self) -> list[Due]:
        if not self._traffic.arrivals:
            raise PlanError(f"{self._path}.arrivals is empty: give at least one entry")
        requests: list[Due] = []
        for number, entry in enumerate(self._traffic.arrivals):
            path = f"{self._path}.arrivals[{number}]"
            if isinstance(entry, Recorded):
                requests += self._recorded(entry, path=path)
                continue
            try:
                times = arrivals.draw(entry, self._dice(f"arrivals/{number}"), duration_s=self._duration_s)
            except arrivals.ArrivalsError as error:
                raise PlanError(f"{path}.{error}") from error
            requests += self._drawn(times, number=number)
        return requests

    def _drawn(self, times: tuple[float, ...], *, number: int) -> list[Due]:
        tenants = self._traffic.tenants
        tenant_dice = self._dice(f"tenants/{number}")
        prompt = self._sampler("prompt_tokens", self._traffic.prompt_tokens, number=number)
        output = self._sampler("output_tokens", self._traffic.output_tokens, number=number)
        return [
            Due(due_s, self._name, tenant_dice.choice(tenants) if tenants else "", prompt(), output())
            for due_s in times
        ]

    def _recorded(self, entry: Recorded, *, path: str) -> list[Due]:
        file = self._folder / entry.path
        try:
            recorded = trace.read(file)
        except trace.TraceError as error:
            raise PlanError(f"{path}.path: {error}") from error
        mine = [due for due in recorded if due.class_name == self._name and due.due_s < self._duration_s]
        if not mine:
            names = ", ".join(sorted({due.class_name for due in recorded})) or "none"
            raise PlanError(
                f"{path}.path is {entry.path!r}: {file} has no request of class {self._name!r} that arrives before "
                f"{self._duration_s:g} s; its classes are {names}"
            )
        return mine

    def _sampler(self, field: str, length: Length, *, number: int) -> lengths.Sampler:
        try:
            return lengths.sampler(length, self._dice(f"{field}/{number}"))
        except lengths.LengthError as error:
            raise PlanError(f"{self._path}.{field}{error}") from error

    def _dice(self, purpose: str) -> random.Random:
        return random.Random(f"{self._seed}/{self._name}/{purpose}")


def _manner(name: str, traffic: TrafficClass) -> Manner:
    path = f"traffic.{name}"
    if not (math.isfinite(traffic.patience_s) and 0 < traffic.patience_s <= LONGEST_PATIENCE_S):
        raise PlanError(
            f"{path}.patience_s is {traffic.patience_s:g}: give more than 0 and at most {LONGEST_PATIENCE_S:g}"
        )
    if traffic.objective is not None:
        _check_header(f"{path}.objective", traffic.objective)
    for number, tenant in enumerate(traffic.tenants):
        _check_header(f"{path}.tenants[{number}]", tenant)
    for header, value in traffic.headers.items():
        _check_header(f"{path}.headers, the name", header)
        _check_header(f"{path}.headers.{header}", value)
    return Manner(
        name=name,
        objective=traffic.objective,
        delivery=traffic.delivery,
        patience_s=traffic.patience_s,
        headers=MappingProxyType(dict(traffic.headers)),
    )


def _check_header(path: str, value: str) -> None:
    if not value or not value.isprintable() or value != value.strip():
        raise PlanError(
            f"{path} is {value!r}: give what a header can hold, without line breaks or spaces around it"
        )
