"""What a round leaves behind besides its outcomes: what processes used, what engines did, what Envoy counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process used during a round, by the operating system's accounting."""

    cpu_s: float
    peak_bytes: int
    """The most memory that it ever had in RAM, up to the end of the round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """One model server during a round, by its own truth."""

    slots: int
    submitted: int
    max_waiting: int
    max_running: int
    idle_slot_s: float
    """While requests arrived."""
    kv_peak_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of one round at one target. A figure that the target doesn't have is None."""

    usage: Mapping[str, Usage]
    """By role: `picker`, `envoy`, `servers`, `generator`; those that exist and whose process is known."""
    engines: tuple[EngineFacts, ...]
    extproc_sent: int | None = None
    """Messages that Envoy sent to the picker."""
    extproc_received: int | None = None
    queued_max: int | None = None
    queued_at_end: int | None = None
    streams_at_end: int | None = None
    idle_eligible_slot_s: float | None = None
    notes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What a reader of the report should know, such as a process that ended early."""
