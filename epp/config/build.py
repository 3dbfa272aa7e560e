"""From a configuration to what runs: the core's policies with their numbers, and the choice of endpoint."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.config.runtime import Runtime
from epp.core.policy import BandPolicy, FlowControlPolicy
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
        max_flows=flow_control.max_flows,
        max_lanes=flow_control.max_subsets,
        early_refusal=flow_control.early_refusal,
        estimates=flow_control.estimates,
        limits=flow_control.limits,
        learning=flow_control.learning,
        eviction=flow_control.eviction,
    )
    return Runtime(
        policy=policy,
        weights=flow_control.weights,
        max_request_ttl_s=flow_control.max_request_ttl_s,
        explain=flow_control.explain,
        parsers=config.parsers,
        scrape=config.scrape,
        endpoints=profile.rule,
        notes=config.notes,
    )


def within(policy: FlowControlPolicy, *, ttl_s: float, hold_s: float) -> FlowControlPolicy:
    """The policy where no request is held longer than these budgets, since the gateway wouldn't wait for it.

    Only the budgets that requests have without asking: those that they ask for are cut as they come.
    """

    def cut(band: BandPolicy) -> BandPolicy:
        if band.hold_s is None or not hold_s or 0 < band.hold_s <= hold_s:
            return band
        return replace(band, hold_s=hold_s)

    negative = policy.default_negative_band
    return replace(
        policy,
        ttl_s=ttl_s,
        hold_s=hold_s,
        default_band=cut(policy.default_band),
        default_negative_band=None if negative is None else cut(negative),
        bands=MappingProxyType({priority: cut(band) for priority, band in policy.bands.items()}),
    )
