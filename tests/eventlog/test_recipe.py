"""The same policy from the same recipe, and other configurations in the same place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from epp.config.parse import parse_config
from epp.config.problems import ConfigError
from epp.core.policy import BandPolicy
from epp.eventlog.pseudonyms import Pseudonyms
from epp.eventlog.recipe import Recipe, disguised, fingerprint
from epp.serve.gateways import PROFILES, adjusted, granted
from tests.eventlog.tape import CONFIGS, HEAD

NAMES = Pseudonyms(b"salt")
WEIGHTS = (
    HEAD
    + """
# acme is our largest tenant
plugins:
- {type: program-aware-fairness, parameters: }
flowControl: # for acme-corp
  maxRequests: 40
  explainHeaders: on
  defaultRequestTTL: "7s"
  noEndpointRequestTTL:
  weights:
  - &first {fairnessID: acme, weight: 4}
  - {<<: *first, fairnessID: 'acme-corp'}
  - fairnessID: "10"
    weight: 1e1
  - {pattern: 'team-*', weight: 2}
"""
)
FILES = [
    path
    for folder in ("deploy", "docs", "examples", "tests", "benchmarks")
    for path in sorted((Path(__file__).parents[2] / folder).rglob("*.yaml"))
    if "kind: EndpointPickerConfig" in path.read_text(encoding="utf-8")
]


def test_fingerprints_tell_policies_apart() -> None:
    """The same words make the same, whatever the seed; others make others."""
    prints = [fingerprint(Recipe(config=text).policy()) for text in CONFIGS]
    assert len(set(prints)) == len(CONFIGS)
    assert prints == [fingerprint(Recipe(config=text, seed=5).policy()) for text in CONFIGS]
    assert prints[0] != fingerprint(Recipe(config=CONFIGS[0], ttl_s=3.0).policy())


def test_another_configuration_keeps_its_own_budgets() -> None:
    """What was in force belongs to the recorded configuration; the gateway's patience holds for all."""
    other = parse_config(
        HEAD + "flowControl: {defaultRequestTTL: 7s, noEndpointRequestTTL: 5s}\n", source="x"
    )
    recipe = Recipe(config="", ttl_s=20.0, hold_s=20.0, wait_cap_s=40.0)
    assert (recipe.policy().ttl_s, recipe.policy().hold_s) == (20.0, 20.0)
    assert (recipe.policy_of(other).ttl_s, recipe.policy_of(other).hold_s) == (7.0, 5.0)


def test_a_gateways_patience_cuts_as_the_picker_does() -> None:
    """The arithmetic is that of `serve`."""
    other = parse_config(
        HEAD + "flowControl: {defaultRequestTTL: 90s, noEndpointRequestTTL: 0s}\n", source="x"
    )
    profile = adjusted(PROFILES["envoy"], timeout_s=60.0)
    budgets = granted(profile, ttl_s=90.0, hold_s=0.0)
    policy = Recipe(config="", wait_cap_s=profile.wait_cap_s).policy_of(other)
    assert (policy.ttl_s, policy.hold_s) == (budgets.ttl_s, budgets.hold_s)
    assert isinstance(policy.default_band, BandPolicy)


def test_no_tenant_is_named_in_a_disguised_recipe() -> None:
    """Exact ids are pseudonyms, comments are gone, patterns stay, and it builds what the original does."""
    other = json.dumps({"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"}, indent="\t")
    recipe = Recipe(config=WEIGHTS, profile_config=WEIGHTS, seed=4)
    hidden = disguised(recipe, NAMES)
    assert "acme" not in hidden.config
    assert hidden.profile_config == hidden.config
    assert fingerprint(hidden.policy()) == fingerprint(recipe.policy())
    said, told = (each.parsed().flow_control.weights for each in (recipe, hidden))
    assert told == replace(said, by_id={NAMES.name(each): weight for each, weight in said.by_id.items()})
    assert len(told.by_id) == 3
    assert disguised(Recipe(config=""), NAMES) == Recipe(config="")
    assert disguised(Recipe(config=other), NAMES).policy() is not None


@pytest.mark.parametrize("text", [*CONFIGS, *(path.read_text(encoding="utf-8") for path in FILES)])
def test_a_disguised_configuration_means_the_same(text: str) -> None:
    """Whatever is plain or quoted, in blocks or in braces."""
    try:
        before = parse_config(text, source="x")
    except ConfigError:
        return
    after = disguised(Recipe(config=text), NAMES).parsed()
    weights = before.flow_control.weights
    by_id = {NAMES.name(each): weight for each, weight in weights.by_id.items()}
    expected = replace(before.flow_control, weights=replace(weights, by_id=by_id))
    assert (after.profile, after.scrape, after.parsers) == (before.profile, before.scrape, before.parsers)
    assert after.flow_control == expected
