"""Deciding a recording again, event by event: the same decisions, or where they begin to differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from epp.config.problems import ConfigError
from epp.core.events import Scraped
from epp.core.snapshot import SnapshotError, restore
from epp.eventlog.codec import Recorded, Truth
from epp.eventlog.digest import Checkpoint, DecisionDigest
from epp.eventlog.reading import LogError, segments
from epp.eventlog.recipe import fingerprint
from epp.replay.course import Course

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from epp.core.events import Event
    from epp.eventlog.header import Header
    from epp.eventlog.reading import Segment


@dataclass(frozen=True, slots=True)
class Difference:
    """The first stretch in which the decisions aren't those that were recorded."""

    path: Path
    first_event: int
    """Counted from 1 in its segment."""
    last_event: int
    first_s: float
    """Since the segment's beginning."""
    last_s: float
    recorded: Checkpoint
    decided: Checkpoint

    def __str__(self) -> str:
        return (
            f"{self.path}: decisions differ between event {self.first_event} and event {self.last_event} "
            f"({self.first_s:.3f} s to {self.last_s:.3f} s after the segment's beginning): "
            f"recorded were {self.recorded.decisions} decisions ({self.recorded.crc:08x}), "
            f"decided {self.decided.decisions} ({self.decided.crc:08x})"
        )


@dataclass(slots=True)
class Recording:
    """A log that was decided again."""

    header: Header
    """Of the first segment of the last stretch without a gap."""
    snapshot: dict[str, Any]
    """Of the same."""
    timeline: list[tuple[float, Event, int]] = field(default_factory=list)
    """(when, what, how many requests ran on the endpoint it is about, where it is a scrape), of that stretch."""
    truths: dict[int, Truth] = field(default_factory=dict)
    course: Course = field(default_factory=Course)
    events: int = 0
    decisions: int = 0
    unchecked_events: int = 0
    """Behind the last checkpoint of their segment, where a process was killed."""
    segments: int = 0
    difference: Difference | None = None
    notes: list[str] = field(default_factory=list)


def decide_again(path: Path) -> Recording:
    """Go through the log. Raises LogError."""
    recording: Recording | None = None
    before: tuple[Header, int] | None = None
    notes: list[str] = []
    for segment in segments(path, skipped=notes.append):
        header = segment.header
        if recording is None or before is None:
            recording = Recording(header, segment.snapshot, notes=notes)
        elif not _follows(*before, header):
            recording.notes.append(
                f"{segment.path}: events before it are missing, so what-if comparisons begin with it"
            )
            recording.header, recording.snapshot = header, segment.snapshot
            recording.timeline.clear()
            recording.truths.clear()
            recording.course = Course()
        try:
            before = header, _decide_segment(recording, segment)
        except LogError:
            raise
        except Exception as error:  # whatever a log says that no picker ever wrote
            what = f"{type(error).__name__}: {error}"
            raise LogError(f"{segment.path}:{segment.line}: can't be decided again: {what}") from error
        if recording.difference is not None:
            break
    assert recording is not None  # `segments` raises if there is none
    return recording


def _follows(before: Header, counted: int, header: Header) -> bool:
    """Whether a segment goes on where the one before it, of so many events, ended."""
    return (
        header.salt == before.salt
        and header.segment == before.segment + 1
        and header.events_before == before.events_before + counted
    )


def _decide_segment(recording: Recording, segment: Segment) -> int:
    """One segment, from its own snapshot. Returns how many events it has."""
    header = segment.header
    try:
        policy = header.recipe.policy()
    except ConfigError as error:
        raise LogError(f"{segment.path}: its configuration can't be used: {error}") from error
    if fingerprint(policy) != header.fingerprint:
        recording.notes.append(
            f"{segment.path}: was written by epp {header.version}, whose policy for the same configuration differs"
        )
    try:
        controller = restore(segment.snapshot, policy)
    except SnapshotError as error:
        raise LogError(f"{segment.path}: {error} (it was written by epp {header.version})") from error
    recording.segments += 1
    course, digest = recording.course, DecisionDigest()
    checked, checked_s, now = 0, header.monotonic_s, header.monotonic_s
    for line in segment:
        if isinstance(line, Recorded):
            now, event = line
            actions = controller.handle(event, now)
            digest.add(actions)
            course.observe(event, actions, now)
            own = course.load.get(event.key, 0) if isinstance(event, Scraped) else 0
            recording.timeline.append((now, event, own))
        elif isinstance(line, Checkpoint):
            if digest.checkpoint() != line:
                recording.difference = Difference(
                    segment.path,
                    checked + 1,
                    digest.events,
                    checked_s - header.monotonic_s,
                    now - header.monotonic_s,
                    line,
                    digest.checkpoint(),
                )
                break
            checked, checked_s = digest.events, now
        else:
            recording.truths[line.request_id] = line
    recording.events += digest.events
    recording.decisions += digest.decisions
    recording.unchecked_events += digest.events - checked
    if segment.torn:
        recording.notes.append(segment.torn)
    return digest.events
