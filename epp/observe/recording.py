"""The event log, and the policies that are tried out beside the live one: how they get on.

Their own snapshots are read as they are. They belong to other rooms, so only their shape is known here; nothing of it
appears where neither is switched on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from epp.observe.exposition import Numbers, Reading, counter, gauge
from epp.observe.labels import PriorityNames, clean, label_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from epp.observe.exposition import Family


class EventLogFigures(Protocol):
    """The event log at one moment; totals since the start."""

    @property
    def events(self) -> int:
        """Taken down."""

    @property
    def lost_events(self) -> int:
        """Not taken down."""

    @property
    def bytes(self) -> int:
        """Written, before compression."""

    @property
    def pending_bytes(self) -> int:
        """Still to be written."""

    @property
    def segments(self) -> int:
        """Begun."""

    @property
    def failures(self) -> int:
        """Times that writing failed."""

    @property
    def is_recording(self) -> bool:
        """Whether the next event would be taken down."""


class ShadowBandFigures(Protocol):
    """One priority of a shadow: the requests that were decided on both sides; totals since the start."""

    @property
    def priority(self) -> int:
        """Of all these requests."""

    @property
    def dispatched_by_both(self) -> int:
        """Sent to an endpoint, here and there."""

    @property
    def wait_difference_s(self) -> float:
        """Sum over those of the shadow's wait less the live one's."""

    @property
    def refused_by_shadow(self) -> int:
        """That the live policy sent."""

    @property
    def refused_by_live(self) -> int:
        """That the shadow would have sent."""

    @property
    def refused_by_both(self) -> int:
        """That nobody sent."""


class ShadowFigures(Protocol):
    """One policy that is tried out, at one moment."""

    @property
    def name(self) -> str:
        """What operators know it by."""

    @property
    def events(self) -> int:
        """That it was shown."""

    @property
    def queued_requests(self) -> int:
        """That would wait now."""

    @property
    def running_requests(self) -> int:
        """That would be at an endpoint now."""

    @property
    def bands(self) -> Sequence[ShadowBandFigures]:
        """By priority."""

    @property
    def dropped_because(self) -> str | None:
        """Why it has ended; None while it goes on."""


LOG: tuple[tuple[Family, Callable[[EventLogFigures], float]], ...] = (
    (
        gauge("epp_event_log_recording", "Whether events are being taken down, 0 or 1."),
        lambda log: int(log.is_recording),
    ),
    (counter("epp_event_log_events_total", "Events that were taken down."), lambda log: log.events),
    (
        counter("epp_event_log_lost_events_total", "Events that were not: nothing could be written."),
        lambda log: log.lost_events,
    ),
    (counter("epp_event_log_bytes_total", "Bytes written, before compression."), lambda log: log.bytes),
    (
        gauge("epp_event_log_pending_bytes", "Bytes that are still to be written."),
        lambda log: log.pending_bytes,
    ),
    (counter("epp_event_log_segments_total", "Segments that were begun."), lambda log: log.segments),
    (counter("epp_event_log_failures_total", "Times that writing failed."), lambda log: log.failures),
)
SHADOW: tuple[tuple[Family, Callable[[ShadowFigures], float]], ...] = (
    (
        gauge("epp_shadow_active", "Whether a shadow policy is still being tried out, 0 or 1."),
        lambda shadow: int(shadow.dropped_because is None),
    ),
    (
        counter("epp_shadow_events_total", "Events that a shadow policy was shown."),
        lambda shadow: shadow.events,
    ),
    (
        gauge("epp_shadow_queue_size", "Requests that would be queued with a shadow policy."),
        lambda shadow: shadow.queued_requests,
    ),
    (
        gauge("epp_shadow_running_requests", "Requests that would be running with a shadow policy."),
        lambda shadow: shadow.running_requests,
    ),
)
DECISIONS: tuple[tuple[str, Callable[[ShadowBandFigures], int]], ...] = (
    ("sent_by_both", lambda band: band.dispatched_by_both),
    ("refused_by_shadow", lambda band: band.refused_by_shadow),
    ("refused_by_live", lambda band: band.refused_by_live),
    ("refused_by_both", lambda band: band.refused_by_both),
)
SHADOW_DECISIONS = counter(
    "epp_shadow_decisions_total",
    "Requests that both the live and a shadow policy have decided, by who sent and who refused them.",
)
SHADOW_WAITS = gauge(
    "epp_shadow_wait_difference_seconds",
    "Sum over requests that both sent of what they would have waited with a shadow policy, less what they waited. "
    "A policy that refuses more sends the rest sooner: look at the decisions first.",
)


def read_event_log(log: EventLogFigures | None) -> Iterator[Reading]:
    """The series of the event log; none without one."""
    if log is not None:
        for family, of_log in LOG:
            yield Numbers(family, [("", of_log(log))])


def read_shadows(shadows: Sequence[ShadowFigures], priorities: PriorityNames) -> Iterator[Reading]:
    """The series of policies that are tried out."""
    labelled = [(label_text(("shadow", clean(each.name))), each) for each in shadows]
    for family, of_shadow in SHADOW:
        yield Numbers(family, [(label, of_shadow(each)) for label, each in labelled])
    decisions: list[tuple[str, float]] = []
    waits: list[tuple[str, float]] = []
    for label, each in labelled:
        for decision, of_band in DECISIONS:
            sums = priorities.sums({band.priority: of_band(band) for band in each.bands})
            decisions += [
                (f'{label},decision="{decision}",priority="{priority}"', count)
                for priority, count in sums.items()
            ]
        seconds = priorities.sums({band.priority: band.wait_difference_s for band in each.bands})
        waits += [(f'{label},priority="{priority}"', value) for priority, value in seconds.items()]
    yield Numbers(SHADOW_DECISIONS, decisions)
    yield Numbers(SHADOW_WAITS, waits)
