"""The parameters of flow control's plugins: fairness, saturation detectors, usage limits.

Names, parameters and defaults are upstream's; ours on top are how limits follow from labels, and what holds of an
endpoint whose metrics are old.
"""

from __future__ import annotations

import re
from enum import Enum
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from epp.api.problem import describe
from epp.api.selector import key_problem
from epp.config.fields import HIGHEST_PRIORITY, LOWEST_PRIORITY
from epp.config.plugins import CapacityPlugin, CeilingPlugin, FairnessPlugin
from epp.core.capacity import ConcurrencyDetector, ConcurrencyMode, StalenessPolicy, UtilizationDetector
from epp.core.ceilings import (
    ExplicitCeilings,
    HoldbackDomain,
    PriorityHoldback,
    SoftReflectiveCeiling,
    StaticCeiling,
)
from epp.core.fairness import ProgramAwareFairness, TokenFairness
from epp.core.limits import LabelLimit, LimitRules

if TYPE_CHECKING:
    from epp.config.fields import Fields

DEFAULT_STALENESS_S = 0.2
DEFAULT_DETECTOR = CapacityPlugin(UtilizationDetector(), DEFAULT_STALENESS_S)

_PRIORITY = re.compile(r"[-+]?[0-9]{1,10}")
_MOST_COST = 1_000_000
_MOST_HALF_LIFE_S = 10_000_000_000


class _Strategy(Enum):
    LAS = "las"


class _Shape(Enum):
    LINEAR = "linear"


class _Domain(Enum):
    RANK = "rank"
    VALUE = "value"
    EXPLICIT = "explicit"


# ---------------------------------------------------------------------- fairness


def read_token_fairness(fields: Fields) -> FairnessPlugin:
    """What a token costs its tenant."""
    return FairnessPlugin(
        TokenFairness(
            input_cost=fields.number("inputTokenCost", 1.0, above=0, most=_MOST_COST),
            output_cost=fields.number("outputTokenCost", 1.0, above=0, most=_MOST_COST),
        )
    )


def read_program_aware_fairness(fields: Fields) -> FairnessPlugin:
    """Least attained service; of upstream's parameters only the half-life is needed."""
    fields.choice("strategy", _Strategy.LAS)
    for weight in ("lasWeightService", "lasWeightHeadWait"):
        if fields.has(weight):
            fields.number(weight, 0.0, least=0)
            fields.findings.note(
                f"{fields.path}.{weight} has no effect: flows go by attained service alone, and none is passed "
                "over for ever, since every dispatch is charged at once"
            )
    for span in ("evictionTtlSeconds", "evictionSweepSeconds"):
        if fields.has(span):
            fields.number(span, 0.0, least=0)
            fields.findings.note(
                f"{fields.path}.{span} has no effect: what is kept of tenants is bounded by flowControl.maxFlows"
            )
    half_life_s = fields.number("lasHalfLifeSeconds", 60.0, least=0, most=_MOST_HALF_LIFE_S)
    return FairnessPlugin(ProgramAwareFairness(half_life_s=half_life_s or inf))


# ---------------------------------------------------------------------- saturation detectors


def read_utilization_detector(fields: Fields) -> CapacityPlugin:
    """Room by the engine's own queue and cache."""
    staleness_s = fields.duration_s("metricsStalenessThreshold")
    if staleness_s is not None and staleness_s <= 0:
        fields.fail("metricsStalenessThreshold", f"must be above 0, got {staleness_s:g}s")
    _note_headroom(fields)
    return CapacityPlugin(
        UtilizationDetector(
            queue_depth_threshold=fields.whole("queueDepthThreshold", 5, above=0),
            kv_cache_util_threshold=fields.number("kvCacheUtilThreshold", 0.8, above=0, most=1),
            staleness=fields.choice("stalenessPolicy", StalenessPolicy.OWN_ACCOUNTING),
        ),
        staleness_s=DEFAULT_STALENESS_S if staleness_s is None else staleness_s,
        limits=_limit_rules(fields),
    )


def read_concurrency_detector(fields: Fields) -> CapacityPlugin:
    """Room by a number of requests, of tokens, or of both."""
    _note_headroom(fields)
    fields.text("inFlightLoadProducerName")  # requests in flight are counted by the core itself
    return CapacityPlugin(
        ConcurrencyDetector(
            mode=fields.choice("concurrencyMode", ConcurrencyMode.REQUESTS),
            max_concurrency=fields.whole("maxConcurrency", 100, above=0),
            max_token_concurrency=fields.whole("maxTokenConcurrency", 1_000_000, above=0),
            staleness=fields.choice("stalenessPolicy", StalenessPolicy.OWN_ACCOUNTING),
        ),
        staleness_s=DEFAULT_STALENESS_S,
        limits=_limit_rules(fields),
    )


def _limit_rules(fields: Fields) -> LimitRules:
    """How limits follow from pods' labels."""
    by_label: list[LabelLimit] = []
    lines: dict[tuple[str, str], int] = {}
    for rule in fields.sections("maxConcurrencyByLabel"):
        rule.require("label", "is required: the name of a pod label")
        rule.require("value", "is required: the value of the label")
        rule.require("maxConcurrency", "is required: how many requests such endpoints take at once")
        label, value = _label(rule, "label"), rule.text("value")
        limit = rule.whole("maxConcurrency", 1, above=0)
        rule.close()
        if (label, value) in lines:
            rule.reject(
                f"{label}={value} has a limit already, on line {lines[label, value]}: keep one of them"
            )
        lines.setdefault((label, value), rule.line)
        by_label.append(LabelLimit(label, value, limit))
    return LimitRules(label=_label(fields, "maxConcurrencyLabel"), by_label=tuple(by_label))


def _label(fields: Fields, key: str) -> str:
    label = fields.text(key)
    problem = key_problem(label) if label else None
    if problem is not None:
        fields.fail(key, f"{describe(label)} is no name of a label: {problem}")
    return label


def _note_headroom(fields: Fields) -> None:
    if fields.number("headroom", 0.0, least=0) > 0:
        fields.findings.note(
            f"{fields.path}.headroom has no effect: endpoints without room are never candidates, "
            "so there is no overshoot to allow for"
        )


# ---------------------------------------------------------------------- usage limits


def read_static_usage_limit(fields: Fields) -> CeilingPlugin:
    """One share of every endpoint's limit for all bands."""
    return CeilingPlugin(StaticCeiling(fields.number("threshold", 1.0, above=0, most=1)))


def read_soft_reflective_ceiling(fields: Fields) -> CeilingPlugin:
    """Lower bands give way as an endpoint fills; there is nothing to set."""
    del fields
    return CeilingPlugin(SoftReflectiveCeiling())


def read_priority_holdback(fields: Fields) -> CeilingPlugin:
    """Lower bands fill less of every endpoint: by their rank, by their priority, or as it is written down."""
    fields.choice("shape", _Shape.LINEAR)
    match fields.choice("domain", _Domain.RANK):
        case _Domain.RANK:
            return CeilingPlugin(_holdback(fields, HoldbackDomain.RANK))
        case _Domain.VALUE:
            return CeilingPlugin(_holdback(fields, HoldbackDomain.VALUE))
        case _Domain.EXPLICIT:
            return CeilingPlugin(_explicit(fields))


def _holdback(fields: Fields, domain: HoldbackDomain) -> PriorityHoldback:
    fields.require("minCeiling", "is required: the ceiling of the lowest band in use, such as 0.5")
    least = fields.number("minCeiling", 0.0, least=0)
    most = fields.number("maxCeiling", 1.0, above=0, most=1)
    if least >= most:
        fields.fail("minCeiling", f"must be below maxCeiling, which is {most:g}, got {least:g}")
    if fields.has("minCeiling") and least == 0:
        fields.findings.note(
            f"{fields.path}.minCeiling is 0: the lowest band is never served while a higher one is in use"
        )
    if fields.has("ceilings"):
        fields.fail("ceilings", "is for domain: explicit: write that, or remove the ceilings")
    return PriorityHoldback(domain=domain, min_ceiling=least, max_ceiling=most)


def _explicit(fields: Fields) -> ExplicitCeilings:
    for key in ("minCeiling", "maxCeiling"):
        if fields.has(key):
            fields.fail(key, "is for the domains rank and value: remove it, ceilings say everything")
    section = fields.section("ceilings")
    if not section.names():
        fields.fail(
            "ceilings",
            "is required for domain: explicit: priorities and their ceilings, such as {10: 1, 0: 0.8}",
        )
    named: dict[int, float] = {}
    for name in section.names():
        ceiling = section.number(name, 1.0, least=0, most=1)
        if not _PRIORITY.fullmatch(name) or not LOWEST_PRIORITY <= int(name) <= HIGHEST_PRIORITY:
            section.fail(name, f"must be a priority, a whole number of 32 bits, got {describe(name)}")
        elif int(name) in named:
            section.fail(name, f"names priority {int(name)} a second time: keep one")
        else:
            named[int(name)] = ceiling
            if ceiling == 0:
                fields.findings.note(f"{section.path}.{name} is 0: such requests are never dispatched")
    _check_descent(section, named)
    return ExplicitCeilings(tuple(sorted(named.items(), reverse=True)))


def _check_descent(section: Fields, named: dict[int, float]) -> None:
    """A band's ceiling is never above that of a higher one, or strict priority would be upside down."""
    names = {int(name): name for name in section.names() if _PRIORITY.fullmatch(name)}
    falling = sorted(named, reverse=True)
    for higher, lower in pairwise(falling):
        if named[lower] > named[higher]:
            section.fail(
                names[lower],
                f"must not be above that of priority {higher}, which is {named[higher]:g}, got {named[lower]:g}",
            )
