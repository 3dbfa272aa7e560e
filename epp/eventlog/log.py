"""The event log of a running picker: every event before the core hears of it, and what the core decided as one number.

Rules of this file:

- A segment can be replayed by itself: it starts with what the policy was built from and a snapshot of the controller,
  and the choice of endpoints starts anew with the segment's seed, here and in the replay.
- Taking a snapshot holds the picker up, so a full segment waits with it while the controller holds much, and ends
  without a successor if that doesn't pass: losing events is better than holding requests up. After a failure none is
  taken before there is a file for it.
- Whatever can't be written is counted, said once, and tried again. A gap ends the segment: what comes after it would
  mean something else.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import msgspec

from epp import __version__
from epp.core.events import PolicyChanged
from epp.core.snapshot import dump
from epp.eventlog.codec import Encoder
from epp.eventlog.digest import DecisionDigest
from epp.eventlog.header import FORMAT, Header
from epp.eventlog.pseudonyms import Pseudonyms
from epp.eventlog.recipe import disguised, fingerprint
from epp.eventlog.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from epp.core import Controller
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy
    from epp.eventlog.recipe import Recipe

_BUFFER_BYTES = 64 * 1024
_FLUSH_S = 1.0
_CHECKPOINT_EVENTS = 1000
_SALT_BYTES = 16
_FLOWS_PER_REQUEST = 2
"""A flow takes no less than a request in a snapshot, but flows are there for long: a log that waits for them waits
for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLogSettings:
    """Where, and how much."""

    path: Path
    segment_bytes: int = 64 * 1024 * 1024
    """Of one segment, before compression."""
    keep: int = 8
    """Finished segments that are kept, besides the live one."""
    snapshot_below: int = 500
    """A new segment waits while a snapshot would hold more than this: requests, queued or running, and flows in
    proportion to what they take."""
    patience: int = 4
    """To how many times its size a segment may grow while the next one waits."""
    pending_bytes: int = 32 * 1024 * 1024
    """Not yet written: more is lost."""
    retry_s: float = 10.0
    """After a failure."""


class Chance(Protocol):
    """Where salts and seeds come from."""

    def __call__(self, count: int, /) -> bytes:
        """So many bytes that nobody foresees."""


@runtime_checkable
class Reseedable(Protocol):
    """A choice of endpoints that can be begun anew."""

    def reseed(self, seed: int, /) -> None:
        """From here on as one that was made with this seed."""


class EventLogStatistics(NamedTuple):
    """What the log has to say of itself; totals since the start."""

    events: int
    """Taken down."""
    lost_events: int
    """Not taken down, since nothing could be written, or no segment could be started."""
    bytes: int
    """Written, before compression."""
    pending_bytes: int
    segments: int
    failures: int
    is_recording: bool


class EventLog:
    """Takes down what one controller is told. `record` before `Controller.handle`, `decided` after it."""

    def __init__(
        self,
        settings: EventLogSettings,
        controller: Controller,
        recipe: Recipe,
        *,
        warn: Callable[[str], None],
        chance: Chance = os.urandom,
        wall_clock: Callable[[], float] = time.time,
        spool: Spool | None = None,
    ) -> None:
        self._settings = settings
        self._controller = controller
        self._warn = warn
        self._chance = chance
        self._wall_clock = wall_clock
        self._spool = spool or Spool(settings.path, keep=settings.keep)
        self._salt = chance(_SALT_BYTES)
        self._recipe = self._next_recipe = self._disguised(recipe)
        self._label_keys: set[str] = set()
        self._encoder: Encoder | None = None
        self._digest = DecisionDigest()
        self._next_checkpoint = 0
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0
        self._buffered_events = 0
        self._segment_bytes = 0
        self._flushed_s = 0.0
        self._retry_at_s = 0.0
        self._complained = False
        self._opening = False
        """A file was asked for, and nothing was written to it."""
        self._doubtful = False
        """The attempt before this one failed."""
        self._closed = False
        self._segment = 0
        self._events = 0
        self._lost = 0

    # ------------------------------------------------------------------ for the director

    def record(self, event: Event, now: float) -> None:
        """Take an event down that the core is about to hear. Never raises."""
        try:
            self._take_down(event, now)
        except Exception as error:
            self._lost += 1
            self._give_up(f"{type(error).__name__}: {error}", now)
        if type(event) is PolicyChanged:
            self._recipe = self._next_recipe

    def decided(self, actions: Iterable[Action]) -> None:
        """Take down what the core made of it. Never raises."""
        if self._encoder is not None:
            self._digest.add(actions)

    def reloaded(self, recipe: Recipe) -> None:
        """What the policy of the next `PolicyChanged` was built from."""
        self._next_recipe = self._disguised(recipe)

    def statistics(self) -> EventLogStatistics:
        """A snapshot."""
        spool = self._spool.statistics()
        return EventLogStatistics(
            events=self._events - spool.lost_events,
            lost_events=self._lost + spool.lost_events,
            bytes=spool.written_bytes,
            pending_bytes=spool.pending_bytes + self._buffered_bytes,
            segments=spool.segments,
            failures=spool.failures,
            is_recording=self._encoder is not None,
        )

    def close(self) -> None:
        """End the segment; returns when it is written, or when the disk takes too long. What comes then is lost."""
        if not self._closed:
            self._closed = True
            self._end(self._flushed_s)
            self._spool.close()
            if left := self._spool.pending_bytes:
                self._warn(
                    f"--event-log {self._settings.path}: the last {left} bytes were not written in time"
                )

    # -------------------------------------------------------------------------- inside

    def _take_down(self, event: Event, now: float) -> None:
        if type(event) is PolicyChanged:
            self._learn_labels(event.policy)
        encoder = self._ready(now)
        if encoder is None:
            self._lost += 1
            return
        digest = self._digest
        if digest.events >= self._next_checkpoint or now - self._flushed_s >= _FLUSH_S:
            self._put(encoder.checkpoint(digest.checkpoint()))
            self._next_checkpoint = digest.events + _CHECKPOINT_EVENTS
            self._complained = False
            self._flush(now)
        self._put(encoder.event(event, now, recipe=self._next_recipe))
        self._events += 1
        self._buffered_events += 1
        if self._buffered_bytes >= _BUFFER_BYTES:
            self._flush(now)

    def _ready(self, now: float) -> Encoder | None:
        """Who writes to the segment; starts one where it is time to. None: there is none."""
        if self._encoder is not None:
            fault = self._trouble()
            if fault is not None:
                self._give_up(fault, now)
                return None
            full = self._settings.segment_bytes
            if self._segment_bytes < full:
                return self._encoder
            if not self._is_calm() and self._segment_bytes < full * self._settings.patience:
                return self._encoder
            self._end(now)
            if not self._is_calm():
                limit = self._settings.snapshot_below
                self._complain(f"a segment can't begin while more than {limit} requests and flows are held")
        if now >= self._retry_at_s and not self._closed and self._is_calm() and self._has_file(now):
            self._begin(now)
        return self._encoder

    def _has_file(self, now: float) -> bool:
        """Whether there is a file to begin a segment in, or is going to be one as far as anybody knows."""
        if not self._opening:
            self._spool.begin()
            self._opening = True
        fault = self._trouble()
        if fault is not None:
            self._give_up(fault, now)
            return False
        return self._spool.is_open or not self._doubtful

    def _is_calm(self) -> bool:
        controller = self._controller
        load = controller.queued_requests + controller.running_requests
        limit = self._settings.snapshot_below
        return load <= limit and load + controller.known_flows // _FLOWS_PER_REQUEST <= limit

    def _trouble(self) -> str | None:
        pending = self._spool.pending_bytes
        if pending > self._settings.pending_bytes:
            return f"{pending} bytes wait to be written: the disk is too slow"
        return self._spool.fault

    def _give_up(self, fault: str, now: float) -> None:
        self._lost += self._buffered_events
        self._events -= self._buffered_events
        self._forget_buffer()
        self._encoder = None
        self._opening, self._doubtful = False, True
        self._retry_at_s = now + self._settings.retry_s
        self._complain(f"{fault}; writing is tried again every {self._settings.retry_s:g}s")

    def _complain(self, fault: str) -> None:
        if not self._complained:
            self._complained = True
            self._warn(f"--event-log {self._settings.path}: events are lost: {fault}")

    def _begin(self, now: float) -> None:
        controller = self._controller
        policy = controller.policy
        self._learn_labels(policy)
        pseudonyms = Pseudonyms(self._salt, label_keys=sorted(self._label_keys))
        seed = int.from_bytes(self._chance(4), "big")
        if isinstance(policy.choice, Reseedable):
            policy.choice.reseed(seed)
        self._recipe = msgspec.structs.replace(self._recipe, seed=seed)
        self._segment += 1
        header = Header(
            format=FORMAT,
            version=__version__,
            segment=self._segment,
            events_before=self._events + self._lost,
            wall_s=self._wall_clock(),
            monotonic_s=now,
            salt=self._salt.hex(),
            recipe=self._recipe,
            fingerprint=fingerprint(policy),
        )
        snapshot = dump(controller, disguise=pseudonyms)
        self._encoder = Encoder(pseudonyms)
        self._digest = DecisionDigest()
        self._next_checkpoint = _CHECKPOINT_EVENTS
        self._segment_bytes = 0
        self._flushed_s = now
        self._opening = self._doubtful = False
        self._put(msgspec.json.encode(header))
        self._flush(now)
        self._spool.append_json(snapshot)

    def _end(self, now: float) -> None:
        if self._encoder is not None:
            self._put(self._encoder.checkpoint(self._digest.checkpoint()))
            self._flush(now)
            self._encoder = None

    def _put(self, line: bytes) -> None:
        self._buffer.append(line)
        self._buffered_bytes += len(line) + 1
        self._segment_bytes += len(line) + 1

    def _flush(self, now: float) -> None:
        self._flushed_s = now
        if self._buffer:
            self._buffer.append(b"")
            self._spool.append(b"\n".join(self._buffer), events=self._buffered_events)
            self._forget_buffer()

    def _forget_buffer(self) -> None:
        self._buffer.clear()
        self._buffered_bytes = self._buffered_events = 0

    def _disguised(self, recipe: Recipe) -> Recipe:
        return disguised(recipe, Pseudonyms(self._salt))

    def _learn_labels(self, policy: FlowControlPolicy) -> None:
        """Labels that limits go by are written from here on; what is known of endpoints has to be written anew."""
        rules = policy.limits
        keys = {rule.key for rule in rules.by_label} | ({rules.label} if rules.label else set())
        if keys <= self._label_keys:
            return
        self._label_keys |= keys
        if self._encoder is not None:
            self._end(self._flushed_s)
