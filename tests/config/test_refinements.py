"""The keys of `flowControl` that are ours: what they come to, and what is said of wrong ones."""

from __future__ import annotations

import pytest

from epp.config.runtime import ExplainHeaders
from epp.config.weights import UNWEIGHTED, PatternWeight, Weights
from epp.core.eviction import Begun, EvictionPolicy
from epp.core.learning import LearnedLimitPolicy, LearnedLimits
from epp.core.policy import EarlyRefusal, EstimatePolicy


@pytest.fixture
def section(parsed):
    """The `flowControl` section of this text."""
    return lambda text: parsed(f"flowControl: {text}").flow_control


def test_nothing_of_it_is_on_by_default(section):
    """Without a word everything is as upstream has it, or off."""
    flow_control = section("{}")
    assert flow_control.weights == UNWEIGHTED
    assert (flow_control.eviction, flow_control.learning) == (None, None)
    assert flow_control.estimates == EstimatePolicy(bytes_per_token=4.0, output_tokens=256)
    assert (flow_control.early_refusal, flow_control.explain) == (EarlyRefusal.OFF, ExplainHeaders.OFF)
    assert flow_control.max_request_ttl_s is None
    assert (flow_control.max_flows, flow_control.max_subsets) == (4096, 128)


def test_weights_by_id_and_by_pattern(section):
    """Ids and patterns may be mixed; patterns keep their order."""
    weights = section(
        "{weights: [{pattern: 'b*', weight: 3}, {fairnessID: a, weight: 2.5}, {pattern: '*', weight: 0.001}]}"
    ).weights
    assert weights == Weights(
        by_id={"a": 2.5}, by_pattern=(PatternWeight("b*", 3.0), PatternWeight("*", 0.001))
    )
    assert [weights.of(name, 1.0) for name in ("a", "bcd", "c")] == [2.5, 3.0, 0.001]


def test_an_id_and_a_pattern_of_the_same_text_are_two(section):
    """Neither takes the other's place."""
    weights = section("{weights: [{pattern: a, weight: 3}, {fairnessID: a, weight: 2}]}").weights
    assert (weights.of("a", 1.0), len(weights.by_pattern)) == (2.0, 1)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("{enableEviction: true}", EvictionPolicy()),
        ("{enableEviction: true, eviction: {}}", EvictionPolicy()),
        (
            (
                "{enableEviction: true, eviction: {belowPriority: -3, begun: evicted, mostAtOnce: 9, "
                "grace: 0s, confirmWithin: 1m}}"
            ),
            EvictionPolicy(
                below_priority=-3, begun=Begun.EVICTED, most_at_once=9, grace_s=0.0, confirm_within_s=60.0
            ),
        ),
        ("{eviction: {mostAtOnce: 9}}", None),
        ("{enableEviction: false, eviction: {mostAtOnce: 9}}", None),
    ],
)
def test_eviction(section, text, policy):
    """Only `enableEviction` switches it on."""
    assert section(text).eviction == policy


def learned(mode: LearnedLimits, least: int, most: int, initial: int) -> LearnedLimitPolicy:
    """Mode, bounds and start."""
    return LearnedLimitPolicy(mode=mode, least=least, most=most, initial=initial)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("{learnedLimit: {}}", learned(LearnedLimits.SHADOW, 1, 256, 20)),
        ("{learnedLimit: {mode: on}}", learned(LearnedLimits.ON, 1, 256, 20)),
        ("{learnedLimit: {mode: true}}", learned(LearnedLimits.ON, 1, 256, 20)),
        ("{learnedLimit: {max: 10}}", learned(LearnedLimits.SHADOW, 1, 10, 10)),
        ("{learnedLimit: {min: 30}}", learned(LearnedLimits.SHADOW, 30, 256, 30)),
        ("{learnedLimit: {min: 1000}}", learned(LearnedLimits.SHADOW, 1000, 1000, 1000)),
        (
            "{learnedLimit: {min: 5, max: 5, initial: 5}}",
            learned(LearnedLimits.SHADOW, 5, 5, 5),
        ),
        ("{learnedLimit: null}", None),
    ],
)
def test_learned_limit(parsed, text, policy):
    """Where the bounds exclude the default start, it is the nearer bound."""
    assert parsed(f"flowControl: {text}").flow_control.learning == policy


@pytest.mark.parametrize(
    ("text", "early", "explain"),
    [
        ("{earlyRefusal: when-sure, explainHeaders: on}", EarlyRefusal.WHEN_SURE, ExplainHeaders.ON),
        ("{earlyRefusal: off, explainHeaders: off}", EarlyRefusal.OFF, ExplainHeaders.OFF),
        ("{earlyRefusal: false, explainHeaders: true}", EarlyRefusal.OFF, ExplainHeaders.ON),
        ("{explainHeaders: False}", EarlyRefusal.OFF, ExplainHeaders.OFF),
    ],
)
def test_switches_survive_yaml_tools(section, text, early, explain):
    """A tool that reads and writes YAML 1.1 makes booleans of `on` and `off`; both are understood."""
    flow_control = section(text)
    assert (flow_control.early_refusal, flow_control.explain) == (early, explain)


@pytest.mark.parametrize(
    ("text", "budgets"),
    [
        ("{}", (None, None)),
        ("{ttl: 5s}", (5.0, 5.0)),
        ("{ttl: 0s}", (0.0, 0.0)),
        ("{noEndpointTTL: 5m}", (None, 300.0)),
        ("{ttl: 5s, noEndpointTTL: 0s}", (5.0, 0.0)),
    ],
)
@pytest.mark.parametrize("where", ["defaultPriorityBand", "defaultNegativePriorityBand", "priorityBands"])
def test_budgets_of_bands(section, where, text, budgets):
    """A band waits as long without endpoints as with them, unless it is said, there or for all bands."""
    inner = text.removeprefix("{").removesuffix("}")
    band = f"[{{priority: 1, {inner}}}]" if where == "priorityBands" else text
    for around, expected in (("", budgets), ("noEndpointRequestTTL: 9s, ", _said_above(text, budgets))):
        flow_control = section(f"{{{around}{where}: {band}}}")
        policy = {
            "defaultPriorityBand": flow_control.default_band,
            "defaultNegativePriorityBand": flow_control.default_negative_band,
            "priorityBands": flow_control.bands.get(1),
        }[where]
        assert (policy.ttl_s, policy.hold_s) == expected


def _said_above(text, budgets):
    """What is said for all bands holds for a band that says nothing of it."""
    return budgets if "noEndpointTTL" in text else (budgets[0], None)


def test_caps_of_flows(section):
    """Quantities, as the band's own caps; 0 means none."""
    flow_control = section(
        "{defaultPriorityBand: {maxRequestsPerFlow: 1k, maxBytesPerFlow: 10Mi, maxInFlightPerFlow: 8}, "
        "priorityBands: [{priority: 1, maxRequestsPerFlow: 0, maxBytesPerFlow: '0', maxInFlightPerFlow: 0}]}"
    )
    band, free = flow_control.default_band, flow_control.bands[1]
    assert (band.flow_max_requests, band.flow_max_bytes, band.flow_max_in_flight) == (1000, 10 * 2**20, 8)
    assert (free.flow_max_requests, free.flow_max_bytes, free.flow_max_in_flight) == (None, None, None)


def test_the_longest_budget_that_a_request_may_ask_for(section):
    """A duration; 0 for any."""
    assert section("{maxRequestTTL: 5m}").max_request_ttl_s == 300.0
    assert section("{maxRequestTTL: 0s}").max_request_ttl_s == 0.0


NO_LIMIT = 'write "0s" for no limit'


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (
            "{weights: [{fairnessID: a}]}",
            "weights[0].weight",
            "is required: the tenant's share, 1 being everybody else's",
        ),
        (
            "{weights: [{fairnessID: a, weight: 0}]}",
            "weights[0].weight",
            "must be at least 0.001 and at most 1000000, got 0",
        ),
        (
            "{weights: [{fairnessID: a, weight: 1000001}]}",
            "weights[0].weight",
            "must be at least 0.001 and at most 1000000, got 1000001",
        ),
        (
            "{weights: [{fairnessID: a, weight: '2'}]}",
            "weights[0].weight",
            'must be a number without quotes, got "2"',
        ),
        (
            "{weights: [{weight: 2}]}",
            "weights[0]",
            "must have either a fairnessID, or a pattern such as team-*",
        ),
        (
            "{weights: [{fairnessID: a, pattern: b, weight: 2}]}",
            "weights[0]",
            "must have either a fairnessID, or a pattern such as team-*",
        ),
        (
            "{weights: [{fairnessID: a, weight: 2}, {fairnessID: a, weight: 2}]}",
            "weights[1].fairnessID",
            '"a" has a weight already, on line 3: keep one of them',
        ),
        (
            "{weights: [{pattern: a*, weight: 2}, {pattern: a*, weight: 3}]}",
            "weights[1].pattern",
            '"a*" has a weight already, on line 3: keep one of them',
        ),
        (
            "{weights: [{fairnessId: a, pattern: b, weight: 2}]}",
            "weights[0].fairnessId",
            "unknown field \"fairnessId\"; did you mean 'fairnessID'?",
        ),
        (
            f"{{weights: [{{pattern: {'x' * 257}, weight: 2}}]}}",
            "weights[0].pattern",
            "is longer than 256 characters: shorten it, * stands for any",
        ),
        ("{weights: {a: 2}}", "weights", "must be a list, got a mapping"),
        (
            "{eviction: {begun: spare}}",
            "eviction.begun",
            "must be one of spared, evicted, got \"spare\"; did you mean 'spared'?",
        ),
        ("{eviction: {mostAtOnce: 0}}", "eviction.mostAtOnce", "must be at least 1 and at most 1000, got 0"),
        ("{eviction: {grace: -1s}}", "eviction.grace", "must not be negative, got -1s"),
        (
            "{eviction: {confirmWithin: 0s}}",
            "eviction.confirmWithin",
            "must be above 0: within it, the end of an evicted request must show",
        ),
        (
            "{eviction: {belowPriority: 2147483648}}",
            "eviction.belowPriority",
            "must be at least -2147483648 and at most 2147483647, got 2147483648",
        ),
        (
            "{eviction: {mostAtonce: 1}}",
            "eviction.mostAtonce",
            "unknown field \"mostAtonce\"; did you mean 'mostAtOnce'?",
        ),
        ("{learnedLimit: {mode: off}}", "learnedLimit.mode", 'must be one of shadow, on, got "off"'),
        ("{learnedLimit: {min: 0}}", "learnedLimit.min", "must be at least 1 and at most 100000, got 0"),
        ("{learnedLimit: {min: 9, max: 8}}", "learnedLimit.max", "must be at least min, which is 9, got 8"),
        (
            "{learnedLimit: {max: 8, initial: 9}}",
            "learnedLimit.initial",
            "must be at least 1 and at most 8, got 9",
        ),
        (
            "{estimates: {bytesPerToken: 0}}",
            "estimates.bytesPerToken",
            "must be at least 0.1 and at most 1000, got 0",
        ),
        ("{estimates: {outputTokens: 1.5}}", "estimates.outputTokens", "must be a whole number, got 1.5"),
        (
            "{estimates: {outputToken: 1}}",
            "estimates.outputToken",
            "unknown field \"outputToken\"; did you mean 'outputTokens'?",
        ),
        ("{maxFlows: 0}", "maxFlows", "must be at least 1 and at most 1000000, got 0"),
        ("{maxSubsets: 10001}", "maxSubsets", "must be at least 1 and at most 10000, got 10001"),
        ("{maxRequestTTL: -1s}", "maxRequestTTL", f"must not be negative, got -1s: {NO_LIMIT}"),
        (
            "{defaultPriorityBand: {ttl: -1s}}",
            "defaultPriorityBand.ttl",
            f"must not be negative, got -1s: {NO_LIMIT}",
        ),
        (
            "{defaultPriorityBand: {noEndpointTTL: 5}}",
            "defaultPriorityBand.noEndpointTTL",
            "invalid duration '5': the unit of '5' is missing, one of ns us ms s m h",
        ),
        (
            "{defaultPriorityBand: {maxInFlightPerFlow: -1}}",
            "defaultPriorityBand.maxInFlightPerFlow",
            "maxInFlightPerFlow must be non-negative, got -1: leave it out for the default",
        ),
        (
            "{defaultPriorityBand: {maxRequestPerFlow: 1}}",
            "defaultPriorityBand.maxRequestPerFlow",
            "unknown field \"maxRequestPerFlow\"; did you mean 'maxRequestsPerFlow'?",
        ),
        ("{earlyRefusal: on}", "earlyRefusal", 'must be one of off, when-sure, got "on"'),
        ("{explainHeaders: yes}", "explainHeaders", 'must be one of off, on, got "yes"'),
    ],
)
def test_wrong_fields(problems, text, field, message):
    """Each fault once, with its path, the value and the remedy."""
    (problem,) = problems(f"flowControl: {text}\n")
    assert (problem.line, problem.field) == (3, f"flowControl.{field}")
    assert problem.message == message


def test_the_number_of_patterns_is_bounded(problems):
    """Each request may be compared with all of them; exact ids cost nothing and may be many."""
    ids = "".join(f"  - {{fairnessID: id-{n}, weight: 2}}\n" for n in range(500))
    patterns = "".join(f"  - {{pattern: p{n}*, weight: 2}}\n" for n in range(101))
    (problem,) = problems(f"flowControl:\n  weights:\n{ids}{patterns}")
    assert (problem.line, problem.field) == (605, "flowControl.weights[600].pattern")
    assert "is one more than 100 patterns" in problem.message
