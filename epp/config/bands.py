"""The bands of the `flowControl` section: those of single priorities, and the templates for all others.

Caps and policies are upstream's. A band's own waiting budgets, and caps on each of its flows, are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.config.plugins import FairnessPlugin, OrderingPlugin
from epp.config.roster import Wanted
from epp.core.fairness import TokenFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy

if TYPE_CHECKING:
    from epp.config.fields import Fields
    from epp.config.roster import Roster

DEFAULT_BAND_REQUESTS = 5000
DEFAULT_BAND_BYTES = 1_000_000_000

_FAIRNESS = Wanted(
    'no fairness policy registered for name "{name}"',
    'plugin "{name}" is not a flowcontrol.FairnessPolicy (type: {type})',
    "use token-fairness-policy, round-robin-fairness-policy, global-strict-fairness-policy or program-aware-fairness",
)
_ORDERING = Wanted(
    'no ordering policy registered for name "{name}"',
    'plugin "{name}" is not a flowcontrol.OrderingPolicy (type: {type})',
    "use fcfs-ordering-policy, edf-ordering-policy or slo-deadline-ordering-policy",
)


class BandReader:
    """Reads bands, which fill in from the section around them what they leave open."""

    def __init__(self, flow_control: Fields, roster: Roster) -> None:
        self._flow_control = flow_control
        self._roster = roster

    def bands(self) -> dict[int, BandPolicy]:
        """The entries of `priorityBands`, by priority."""
        bands: dict[int, BandPolicy] = {}
        lines: dict[int, int] = {}
        for band in self._flow_control.sections("priorityBands"):
            band.require("priority", "is required: the priority of the objectives that the band is for")
            priority = band.priority("priority")
            policy = self._policy(band)
            band.close()
            if not band.has("priority"):
                continue
            if priority in lines:
                band.fail(
                    "priority",
                    f"duplicate priority level {priority}, first on line {lines[priority]}: keep one",
                )
                continue
            lines[priority] = band.line
            bands[priority] = policy
        return bands

    def template(self, band: Fields) -> BandPolicy:
        """A band for priorities that no entry of `priorityBands` names."""
        if band.priority("priority"):
            band.findings.note(
                f"{band.path}.priority has no effect: the band is a template for other priorities"
            )
        policy = self._policy(band)
        band.close()
        return policy

    def _policy(self, band: Fields) -> BandPolicy:
        fairness = self._roster.resolve(band, "fairnessPolicyRef", FairnessPlugin, _FAIRNESS)
        ordering = self._roster.resolve(band, "orderingPolicyRef", OrderingPlugin, _ORDERING)
        ttl_s = read_budget_s(band, "ttl")
        hold_s = read_budget_s(band, "noEndpointTTL")
        if hold_s is None and not self._flow_control.has("noEndpointRequestTTL"):
            hold_s = ttl_s  # as in the section: without endpoints as long as with them, unless it is said
        return BandPolicy(
            fairness=fairness.policy if fairness else TokenFairness(),
            ordering=ordering.policy if ordering else FcfsOrdering(),
            max_requests=band.quantity("maxRequests") or DEFAULT_BAND_REQUESTS,
            max_bytes=band.quantity("maxBytes") or DEFAULT_BAND_BYTES,
            ttl_s=ttl_s,
            hold_s=hold_s,
            flow_max_requests=band.quantity("maxRequestsPerFlow") or None,
            flow_max_bytes=band.quantity("maxBytesPerFlow") or None,
            flow_max_in_flight=band.quantity("maxInFlightPerFlow") or None,
        )


def read_budget_s(fields: Fields, key: str) -> float | None:
    """A waiting budget; 0 means no limit, None that nothing is said."""
    budget_s = fields.duration_s(key)
    if budget_s is not None and budget_s < 0:
        fields.fail(key, f'must not be negative, got {fields.text(key)}: write "0s" for no limit')
        return None
    return budget_s
