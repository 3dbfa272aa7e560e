"""What a configuration comes to: everything that the shell needs to run with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epp.config.scrape import ScrapeConfig
    from epp.config.weights import Weights
    from epp.core.endpoint import EndpointSpec
    from epp.core.policy import FlowControlPolicy
    from epp.picking.labels import LabelRule


class ExplainHeaders(Enum):
    """Whether responses tell how their requests waited."""

    OFF = "off"
    ON = "on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A configuration, ready to run."""

    policy: FlowControlPolicy
    weights: Weights
    """Tenants' shares; where they say nothing, the objective's holds."""
    max_request_ttl_s: float | None
    """The most that a request may ask for itself; None: what it would have without asking. 0: no limit."""
    explain: ExplainHeaders
    parsers: tuple[str, ...]
    """Types of the parsers, in order."""
    scrape: ScrapeConfig | None
    """None: metrics are not scraped."""
    endpoints: LabelRule
    """The endpoints that the profile uses. The others must be kept from the core: see `admits`."""
    notes: tuple[str, ...]
    """One line each, for the log at start-up."""

    def admits(self, endpoint: EndpointSpec) -> bool:
        """Whether the core may know of this endpoint at all."""
        return self.endpoints.admits(endpoint)
