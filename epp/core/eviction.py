"""Running requests that give way to higher priority (upstream: in-flight eviction): opt-in, and paced.

Rules of this file:

- Demand is a queued request of a higher band that could go now if there were room on an endpoint.
- Victims run on that endpoint, are of a priority below the demand's and below the policy's threshold, and have not
  begun to answer, unless the policy allows it. The lowest priority goes first, then the latest dispatched.
- Evictions are confirmed by the ends of their streams. While one is outstanding no other is decided, and after the
  last confirmation a grace passes in which the room that was won is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Begun(Enum):
    """What happens to requests whose response has begun."""

    SPARED = "spared"
    EVICTED = "evicted"
    """The client sees its response break off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionPolicy:
    """Who may be evicted, and how fast."""

    below_priority: int = 0
    """Only requests of lower priority than this are ever evicted."""
    begun: Begun = Begun.SPARED
    most_at_once: int = 2
    """Evictions outstanding at a time."""
    grace_s: float = 0.01
    """Between the last confirmation and the next decision."""
    confirm_within_s: float = 10.0
    """An eviction that its stream's end hasn't confirmed by then isn't waited for any more."""
