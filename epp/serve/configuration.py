"""The configuration in force: what the file says, on this machine, behind this gateway.

Made at the start, and again whenever the file changes. Waits are always cut to what the gateway is known to wait.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from epp.config.build import build, within
from epp.config.memory import memory_limit_bytes
from epp.eventlog.recipe import Recipe
from epp.serve.director import DirectorSettings
from epp.serve.gateways import PROFILES, adjusted, advice, describe, granted

if TYPE_CHECKING:
    from epp.config.model import EndpointPickerConfig
    from epp.config.runtime import Runtime
    from epp.serve.gateways import GatewayProfile
    from epp.serve.settings import ServeSettings

SEED = 0
"""Of tie-breaks and jitter: the same traffic meets the same choices."""


class Configuration:
    """What `serve` was told, and the configuration that it comes to."""

    def __init__(self, settings: ServeSettings, config: EndpointPickerConfig) -> None:
        self._settings = settings
        self._memory_bytes = memory_limit_bytes()
        self._profile = _profile(settings)
        self.runtime = self.rebuild(config)
        self.config = config
        self._first_text = config.text

    def rebuild(self, config: EndpointPickerConfig) -> Runtime:
        """What `config` comes to here."""
        self._uncut = build(
            config,
            seed=SEED,
            refresh_interval_s=self._settings.refresh_metrics_interval_s,
            memory_limit_bytes=self._memory_bytes,
        )
        policy = self._uncut.policy
        self._budgets = granted(self._profile, ttl_s=policy.ttl_s, hold_s=policy.hold_s)
        return replace(
            self._uncut, policy=within(policy, ttl_s=self._budgets.ttl_s, hold_s=self._budgets.hold_s)
        )

    def adopt(self, runtime: Runtime, config: EndpointPickerConfig) -> None:
        """This is in force now: what `rebuild` made last."""
        self.runtime, self.config = runtime, config

    def warnings(self) -> list[str]:
        """What the gateway does with the waits that are configured."""
        policy = self._uncut.policy
        return list(advice(self._profile, ttl_s=policy.ttl_s, hold_s=policy.hold_s))

    def describe_gateway(self) -> str:
        """One line about the gateway."""
        return describe(self._profile)

    def for_director(self) -> DirectorSettings:
        """What the director has to know of it."""
        runtime = self.runtime
        return DirectorSettings(
            policy=runtime.policy,
            max_request_ttl_s=runtime.max_request_ttl_s,
            wait_cap_s=self._budgets.longest_ttl_s,
            ignore_subsets=self._settings.disable_endpoint_subset_filter,
            weights=runtime.weights,
            explain=runtime.explain,
        )

    def recipe(self) -> Recipe:
        """From what somebody else can build the same policy."""
        return Recipe(
            config=self.config.text,
            # A reload leaves the choice of endpoints as it was at the start.
            profile_config=None if self.config.text == self._first_text else self._first_text,
            seed=SEED,
            refresh_interval_s=self._settings.refresh_metrics_interval_s,
            memory_limit_bytes=self._memory_bytes,
            ttl_s=self._budgets.ttl_s,
            hold_s=self._budgets.hold_s,
            wait_cap_s=self._profile.wait_cap_s,
        )


def _profile(settings: ServeSettings) -> GatewayProfile:
    profile = PROFILES[settings.gateway_profile]
    if settings.gateway_timeout_s is None:
        return profile
    return adjusted(profile, timeout_s=settings.gateway_timeout_s)
