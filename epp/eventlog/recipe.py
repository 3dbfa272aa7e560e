"""What a policy was built from: the configuration's own words, and what it doesn't say.

A log carries recipes, never policies, so that whoever reads it can build the same policy again, or another.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from epp.config.build import build, within
from epp.config.parse import parse_config

if TYPE_CHECKING:
    from epp.config.model import EndpointPickerConfig
    from epp.core.policy import FlowControlPolicy


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration on one machine, behind one gateway."""

    config: str
    """The configuration's text; empty for the default one."""
    seed: int = 0
    """Of the choice of endpoints."""
    refresh_interval_s: float = 0.2
    memory_limit_bytes: int | None = None
    ttl_s: float | None = None
    """The waiting budgets in force, where a gateway's patience cut them; None: the configuration's own."""
    hold_s: float | None = None
    wait_cap_s: float | None = None
    """How long the gateway sees a wait to its end, both budgets together; None: as long as it takes."""

    def parsed(self) -> EndpointPickerConfig:
        """The configuration. Raises `ConfigError`."""
        return parse_config(self.config, source="recorded configuration")

    def policy(self) -> FlowControlPolicy:
        """The policy again, its choice of endpoints at the beginning. Raises `ConfigError`."""
        policy = self._built(self.parsed())
        return within(
            policy,
            ttl_s=policy.ttl_s if self.ttl_s is None else self.ttl_s,
            hold_s=policy.hold_s if self.hold_s is None else self.hold_s,
        )

    def policy_of(self, config: EndpointPickerConfig) -> FlowControlPolicy:
        """What another configuration would come to in the same place."""
        policy, cap_s = self._built(config), self.wait_cap_s
        if cap_s is None:
            return policy
        ttl_s, hold_s = policy.ttl_s or cap_s, policy.hold_s or cap_s
        share = min(1.0, cap_s / (ttl_s + hold_s))
        return within(policy, ttl_s=ttl_s * share, hold_s=hold_s * share)

    def _built(self, config: EndpointPickerConfig) -> FlowControlPolicy:
        return build(
            config,
            seed=self.seed,
            refresh_interval_s=self.refresh_interval_s,
            memory_limit_bytes=self.memory_limit_bytes,
        ).policy


def fingerprint(policy: FlowControlPolicy) -> str:
    """Sixteen digits that differ where policies do; whose turn a random choice is at doesn't count."""
    text = repr(replace(policy, choice=type(policy.choice)))  # type: ignore[arg-type]  # only its words matter
    return blake2b(text.encode(), digest_size=8).hexdigest()
