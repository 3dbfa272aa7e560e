"""The parts of the `flowControl` section that are ours: tenants' weights, eviction, learned limits, estimates.

All of them may be left out. Where a part is written that something else keeps from having an effect, a note says so.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.api.annotations import MAX_WEIGHT, MIN_WEIGHT
from epp.api.problem import describe
from epp.config.weights import MAX_PATTERN_CHARACTERS, MAX_PATTERNS, PatternWeight, Weights
from epp.core.eviction import EvictionPolicy
from epp.core.learning import LearnedLimitPolicy
from epp.core.policy import EstimatePolicy

if TYPE_CHECKING:
    from epp.config.fields import Fields

_MOST_LIMIT = 100_000
"""Requests in flight on one endpoint; no engine takes more."""
_MOST_TOKENS = 10_000_000
_MOST_EVICTIONS = 1000


def read_weights(flow_control: Fields) -> Weights:
    """`weights`: a list whose entries name a fairness id or a pattern."""
    by_id: dict[str, float] = {}
    by_pattern: list[PatternWeight] = []
    lines: dict[tuple[str, str], int] = {}
    for entry in flow_control.sections("weights"):
        entry.require("weight", "is required: the tenant's share, 1 being everybody else's")
        weight = entry.number("weight", 1.0, least=MIN_WEIGHT, most=int(MAX_WEIGHT))
        exact, pattern = entry.text("fairnessID"), entry.text("pattern")
        entry.close()
        key, name = ("fairnessID", exact) if exact else ("pattern", pattern)
        if bool(exact) == bool(pattern):
            entry.reject("must have either a fairnessID, or a pattern such as team-*")
        elif (key, name) in lines:
            first = lines[key, name]
            entry.fail(key, f"{describe(name)} has a weight already, on line {first}: keep one of them")
        elif key == "fairnessID":
            if "*" in name:
                entry.findings.note(
                    f"{entry.path}.fairnessID {describe(name)} is compared as it stands: write pattern for a pattern"
                )
            by_id[name] = weight
        elif len(name) > MAX_PATTERN_CHARACTERS:
            entry.fail(
                key, f"is longer than {MAX_PATTERN_CHARACTERS} characters: shorten it, * stands for any"
            )
        elif len(by_pattern) == MAX_PATTERNS:
            entry.fail(
                key,
                f"is one more than {MAX_PATTERNS} patterns: use fairnessID, of which there may be any number",
            )
        else:
            by_pattern.append(PatternWeight(name, weight))
        lines.setdefault((key, name), entry.line)
    return Weights(by_id=MappingProxyType(by_id), by_pattern=tuple(by_pattern))


def read_eviction(flow_control: Fields) -> EvictionPolicy | None:
    """`enableEviction`, and `eviction` for its details; None unless it is enabled."""
    is_enabled = flow_control.flag("enableEviction", default=False)
    fields = flow_control.section("eviction")
    default = EvictionPolicy()
    policy = EvictionPolicy(
        below_priority=fields.priority("belowPriority", default.below_priority),
        begun=fields.choice("begun", default.begun),
        most_at_once=fields.whole("mostAtOnce", default.most_at_once, least=1, most=_MOST_EVICTIONS),
        grace_s=_span_s(fields, "grace", default.grace_s),
        confirm_within_s=_span_s(fields, "confirmWithin", default.confirm_within_s),
    )
    if policy.confirm_within_s <= 0:
        fields.fail("confirmWithin", "must be above 0: within it, the end of an evicted request must show")
    fields.close()
    if is_enabled:
        return policy
    if fields.given:
        fields.findings.note(f"{fields.path} has no effect without flowControl.enableEviction: true")
    return None


def read_learned_limit(flow_control: Fields) -> LearnedLimitPolicy | None:
    """`learnedLimit`; None if it is left out. A start outside of narrower bounds moves to the nearer one."""
    fields = flow_control.section("learnedLimit")
    default = LearnedLimitPolicy()
    least = fields.whole("min", default.least, least=1, most=_MOST_LIMIT)
    most = fields.whole("max", max(default.most, least), least=1, most=_MOST_LIMIT)
    if most < least:
        fields.fail("max", f"must be at least min, which is {least}, got {most}")
        most = least
    policy = LearnedLimitPolicy(
        mode=fields.choice("mode", default.mode),
        least=least,
        most=most,
        initial=fields.whole("initial", min(max(default.initial, least), most), least=least, most=most),
    )
    fields.close()
    return policy if fields.given else None


def read_estimates(flow_control: Fields) -> EstimatePolicy:
    """`estimates`: what is assumed of requests until something is learned."""
    fields = flow_control.section("estimates")
    default = EstimatePolicy()
    policy = EstimatePolicy(
        bytes_per_token=fields.number("bytesPerToken", default.bytes_per_token, least=0.1, most=1000),
        output_tokens=fields.whole("outputTokens", default.output_tokens, least=1, most=_MOST_TOKENS),
    )
    fields.close()
    return policy


def _span_s(fields: Fields, key: str, default: float) -> float:
    span_s = fields.duration_s(key)
    if span_s is not None and span_s < 0:
        fields.fail(key, f"must not be negative, got {fields.text(key)}")
        return default
    return default if span_s is None else span_s
