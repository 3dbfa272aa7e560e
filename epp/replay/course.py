"""What became of every request, told by the events and the decisions: of a recording, or of what would have been."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.actions import Dispatch, Evict, Refuse
from epp.core.events import Arrived, Cancelled, DeliveryFailed, Ended, FirstByte
from epp.whatif.service import BYTES_PER_TOKEN, DEFAULT_OUTPUT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.actions import Action, Entry, Reason
    from epp.core.events import Event


class Fate:
    """One request, as far as it got."""

    __slots__ = (
        "arrived",
        "arrived_s",
        "cut_off",
        "dispatched_s",
        "ended_s",
        "entry",
        "first_byte_s",
        "gave_up_s",
        "input_tokens",
        "key",
        "output_tokens",
        "refused",
        "undelivered",
        "waited_s",
    )

    def __init__(self, arrived: Arrived, arrived_s: float) -> None:
        self.arrived = arrived
        self.arrived_s = arrived_s
        self.entry: Entry | None = None
        self.dispatched_s: float | None = None
        self.waited_s = 0.0
        self.key: tuple[str, str] = ("", "")
        self.first_byte_s: float | None = None
        self.ended_s: float | None = None
        self.cut_off = False
        """Its run was evicted, so how long it would have run is unknown."""
        self.input_tokens = arrived.input_tokens or arrived.body_bytes // BYTES_PER_TOKEN
        limit = arrived.max_output_tokens
        self.output_tokens = DEFAULT_OUTPUT_TOKENS if limit is None else min(limit, DEFAULT_OUTPUT_TOKENS)
        self.refused: Reason | None = None
        self.gave_up_s: float | None = None
        self.undelivered = False

    @property
    def tokens(self) -> int:
        """What it took, or would take by what its arrival says, as of one that was cut off; at least 1."""
        return max(1, self.input_tokens + self.output_tokens)

    @property
    def left_s(self) -> float | None:
        """When it stopped waiting; None while it waits."""
        if self.dispatched_s is not None:
            return self.dispatched_s
        if self.refused is not None:
            return self.arrived_s + self.waited_s
        return self.gave_up_s


class Course:
    """All requests of one run, by id."""

    def __init__(self) -> None:
        self.fates: dict[int, Fate] = {}
        self.load: dict[tuple[str, str], int] = {}
        """How many of them run on each endpoint."""
        self.begun_s: float | None = None
        self.last_s = 0.0

    def observe(self, event: Event, actions: Iterable[Action], now: float) -> None:
        """`event` happened, and this was done about it."""
        if self.begun_s is None:
            self.begun_s = now
        self.last_s = now
        match event:
            case Arrived(request_id):
                self.fates[request_id] = Fate(event, now)
            case Ended():
                self._ended(event, now)
            case FirstByte(request_id):
                fate = self.fates.get(request_id)
                if fate is not None and fate.ended_s is None:
                    # One that was to be evicted, and begins nevertheless, was spared.
                    fate.first_byte_s, fate.cut_off = now, False
            case Cancelled() | DeliveryFailed():
                self._gone(event, now)
            case _:
                pass
        for action in actions:
            self._done(action, now)

    def _done(self, action: Action, now: float) -> None:
        if isinstance(action, Dispatch):
            self._dispatched(action, now)
        elif isinstance(action, Refuse):
            fate = self.fates.get(action.request_id)
            if fate is not None:
                fate.refused, fate.waited_s, fate.entry = action.reason, action.waited_s, action.entry
        elif isinstance(action, Evict):
            fate = self.fates.get(action.request_id)
            if fate is not None:
                fate.cut_off = True

    def _dispatched(self, action: Dispatch, now: float) -> None:
        fate = self.fates.get(action.request_id)
        if fate is not None:
            fate.dispatched_s, fate.waited_s = now, action.waited_s
            fate.key, fate.entry = action.endpoint.key, action.entry
            self.load[fate.key] = self.load.get(fate.key, 0) + 1

    def _ended(self, event: Ended, now: float) -> None:
        fate = self.fates.get(event.request_id)
        if fate is None or fate.dispatched_s is None or fate.ended_s is not None:
            return
        self._end(fate, now)
        if fate.cut_off:
            return
        if event.input_tokens is not None:
            fate.input_tokens = event.input_tokens
        if event.output_tokens is not None:
            fate.output_tokens = event.output_tokens

    def _gone(self, event: Cancelled | DeliveryFailed, now: float) -> None:
        fate = self.fates.get(event.request_id)
        if fate is None or fate.ended_s is not None or fate.refused is not None:
            return
        if fate.dispatched_s is None:
            fate.gave_up_s = now
        else:
            self._end(fate, now)
            fate.undelivered = isinstance(event, DeliveryFailed)

    def _end(self, fate: Fate, now: float) -> None:
        fate.ended_s = now
        self.load[fate.key] -= 1
