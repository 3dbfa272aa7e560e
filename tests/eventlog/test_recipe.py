"""The same policy from the same recipe, and other configurations in the same place."""

from __future__ import annotations

from epp.config.parse import parse_config
from epp.core.policy import BandPolicy
from epp.eventlog.recipe import Recipe, fingerprint
from epp.serve.gateways import PROFILES, adjusted, granted
from tests.eventlog.tape import CONFIGS, HEAD


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
