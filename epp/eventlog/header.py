"""The first line of a segment: of what it is, and what the policy of its beginning was built from."""

from __future__ import annotations

import msgspec

from epp.eventlog.recipe import Recipe  # noqa: TC001 - msgspec looks the type up

FORMAT = "epp-event-log/1"


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """A made-up model server."""

    slots: int
    """Requests that it works on at once; the others wait there."""
    tokens_per_s: float
    """Of output, for each request."""
    prefill_tokens_per_s: float
    cache_tokens: int
    """Of prompts and outputs together, when its cache is full."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader must know before the first event."""

    format: str
    version: str
    """Of the picker."""
    segment: int
    """Counted from 1 by each process."""
    events_before: int
    """Heard by the process before this segment, lost ones included: where none was lost, segments add up."""
    wall_s: float
    """The time of day when the segment began, in seconds since 1970."""
    monotonic_s: float
    """The same moment on the clock that events go by."""
    salt: str
    """Of the pseudonyms, in hexadecimal; empty: names are names."""
    recipe: Recipe
    fingerprint: str
    """Of the policy, to notice that another version of the picker builds another one from the same words."""
    engines: dict[str, Engine] | None = None
    """For traces that were made up: what the endpoints are like, by address."""
