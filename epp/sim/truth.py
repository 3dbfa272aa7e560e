"""What really happened in an engine, so that tests can hold it against what others believe of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

TIMELINE_LENGTH = 20_000


class Occupancy(NamedTuple):
    """From `at_s` on, so many requests waited and ran."""

    at_s: float
    waiting: int
    running: int


@dataclass(frozen=True, slots=True)
class Truth:
    """An engine's account of itself since it was ready."""

    idle_slot_s: float
    """Sequence slots for which there was no request, neither running nor waiting, times the seconds that lasted."""
    max_waiting: int
    max_running: int
    max_kv_utilization: float
    """The three peaks are those since they were last forgotten."""
    submitted: int
    finished: int
    aborted: int
    preemptions: int
    prompt_tokens: int
    """Of the requests submitted."""
    output_tokens: int
    timeline: tuple[Occupancy, ...]
    """Every change of the occupancy, the oldest first; the newest `TIMELINE_LENGTH` of them."""


class Record:
    """Where an engine writes its truth down."""

    def __init__(self, *, slots: int, blocks: int, since_s: float) -> None:
        self.submitted = 0
        self.finished = 0
        self.aborted = 0
        self.preemptions = 0
        self.prompt_tokens = 0
        self.output_tokens = 0
        self._slots = slots
        self._blocks = blocks
        self._accounted_s = since_s
        self._idle_slot_s = 0.0
        self._max_waiting = 0
        self._max_running = 0
        self._used_blocks = 0
        self._max_used_blocks = 0
        self._last = Occupancy(since_s, 0, 0)
        self._timeline = deque[Occupancy](maxlen=TIMELINE_LENGTH)

    def note(self, at_s: float, *, waiting: int, running: int) -> None:
        """So many requests there are from now on."""
        if (waiting, running) == (self._last.waiting, self._last.running):
            return
        self._account(at_s)
        self._last = Occupancy(at_s, waiting, running)
        self._timeline.append(self._last)
        self._max_waiting = max(self._max_waiting, waiting)
        self._max_running = max(self._max_running, running)

    def note_blocks(self, used: int) -> None:
        """So many blocks of the KV cache are in use from now on."""
        self._used_blocks = used
        self._max_used_blocks = max(self._max_used_blocks, used)

    def forget_peaks(self) -> None:
        """From now on, peaks are those that come, beginning with how it is."""
        self._max_waiting, self._max_running = self._last.waiting, self._last.running
        self._max_used_blocks = self._used_blocks

    def truth(self, now: float) -> Truth:
        """Everything up to `now`."""
        self._account(now)
        return Truth(
            idle_slot_s=self._idle_slot_s,
            max_waiting=self._max_waiting,
            max_running=self._max_running,
            max_kv_utilization=self._max_used_blocks / self._blocks,
            submitted=self.submitted,
            finished=self.finished,
            aborted=self.aborted,
            preemptions=self.preemptions,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            timeline=tuple(self._timeline),
        )

    def _account(self, now: float) -> None:
        """Adds the idle slots since the last change. Before the engine was ready there were none."""
        if now > self._accounted_s:
            idle_slots = max(0, self._slots - self._last.waiting - self._last.running)
            self._idle_slot_s += idle_slots * (now - self._accounted_s)
            self._accounted_s = now
