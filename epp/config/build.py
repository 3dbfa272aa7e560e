"""From a configuration to what runs: the core's policies with their numbers, and the choice of endpoint."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from epp.config.runtime import Runtime
from epp.core.policy import FlowControlPolicy
from epp.picking.profile import Profile

if TYPE_CHECKING:
    from epp.config.model import EndpointPickerConfig

QUEUE_SHARE_OF_MEMORY = 4
"""Queued bodies may fill one part in so many of the memory that there is."""
STALE_AFTER_INTERVALS = 3
"""A sample that is younger than so many scrape intervals is never stale: scrapes may be late, or fail once."""


def build(
    config: EndpointPickerConfig, *, seed: int, refresh_interval_s: float, memory_limit_bytes: int | None
) -> Runtime:
    """What `config` comes to on this machine. The same seed gives the same choices of endpoints."""
    flow_control, profile = config.flow_control, config.profile
    max_bytes = flow_control.max_bytes
    if max_bytes is None and memory_limit_bytes is not None:
        max_bytes = memory_limit_bytes // QUEUE_SHARE_OF_MEMORY
    policy = FlowControlPolicy(
        capacity=flow_control.capacity,
        ceiling=flow_control.ceiling,
        choice=Profile(
            name=profile.name,
            scorers=profile.scorers,
            picker=profile.picker,
            uniform=Random(seed).random,  # noqa: S311 - breaks ties, guards nothing
        ),
        default_band=flow_control.default_band,
        default_negative_band=flow_control.default_negative_band,
        bands=flow_control.bands,
        max_requests=flow_control.max_requests,
        max_bytes=max_bytes or None,
        ttl_s=flow_control.ttl_s,
        hold_s=flow_control.hold_s,
        staleness_s=max(flow_control.staleness_s, STALE_AFTER_INTERVALS * refresh_interval_s),
        scrape_interval_s=refresh_interval_s,
    )
    return Runtime(
        policy=policy,
        parsers=config.parsers,
        scrape=config.scrape,
        endpoints=profile.rule,
        notes=config.notes,
    )
