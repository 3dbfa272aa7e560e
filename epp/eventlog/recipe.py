"""What a policy was built from: the configuration's own words, and what it doesn't say.

A log carries recipes, never policies, so that whoever reads it can build the same policy again, or another.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
import yaml

from epp.config.build import build, within
from epp.config.parse import parse_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from epp.config.model import EndpointPickerConfig
    from epp.core.policy import FlowControlPolicy
    from epp.eventlog.pseudonyms import Pseudonyms

_NAMES = "fairnessID"
"""The field whose values are tenants' names."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration on one machine, behind one gateway."""

    config: str
    """The configuration's text; empty for the default one."""
    profile_config: str | None = None
    """The text that the choice of endpoints is from, which only a start changes; None: the same."""
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
        config = parse_config(self.config, source="recorded configuration")
        if self.profile_config is None:
            return config
        return replace(config, profile=parse_config(self.profile_config, source="recorded profile").profile)

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


def disguised(recipe: Recipe, names: Pseudonyms) -> Recipe:
    """The recipe of the same policy in which tenants have the names that they have in the log, without comments."""
    profile = recipe.profile_config
    return msgspec.structs.replace(
        recipe,
        config=_disguised(recipe.config, names.name),
        profile_config=None if profile is None else _disguised(profile, names.name),
    )


def _disguised(text: str, name: Callable[[str], str]) -> str:
    # YAML forbids the tabs that JSON allows between its tokens.
    readable = text.replace("\t", " ") if text.lstrip().startswith("{") else text
    root = yaml.compose(readable, Loader=yaml.BaseLoader)
    if root is None:
        return ""
    for node in _nodes(root):
        if isinstance(node, yaml.MappingNode):
            node.value = [
                (key, _renamed(value, name) if key.value == _NAMES else value) for key, value in node.value
            ]
        elif isinstance(node, yaml.ScalarNode) and not node.value and node.style is None:
            node.value = "null"  # what is left out can't be written everywhere
    # The base dumper leaves what is plain plain and what is quoted quoted, which a configuration tells apart.
    return str(yaml.serialize(root, Dumper=yaml.BaseDumper, width=1 << 30, allow_unicode=True))


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Each once, aliases or not."""
    seen, left = {id(root)}, [root]
    while left:
        node = left.pop()
        below: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            below = [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            below = node.value
        yield node
        for each in below:
            if id(each) not in seen:
                seen.add(id(each))
                left.append(each)


def _renamed(node: yaml.Node, name: Callable[[str], str]) -> yaml.Node:
    if not isinstance(node, yaml.ScalarNode) or (not node.value and node.style is None):
        return node
    return yaml.ScalarNode(node.tag, name(node.value), style='"')


def fingerprint(policy: FlowControlPolicy) -> str:
    """Sixteen digits that differ where policies do; whose turn a random choice is at doesn't count."""
    text = repr(replace(policy, choice=type(policy.choice)))  # type: ignore[arg-type]  # only its words matter
    return blake2b(text.encode(), digest_size=8).hexdigest()
