"""One number for everything that was decided: two runs that decide the same have the same, whatever the machine."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from epp.core.actions import Dispatch, Evict, Reason, Refuse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.actions import Action

_pack = Struct("<qd").pack
_REASONS = {reason: reason.value.encode() for reason in Reason}


class Checkpoint(NamedTuple):
    """What had been decided after so many events."""

    events: int
    decisions: int
    crc: int


class DecisionDigest:
    """Counts decisions and folds them into a number: who, what, where, after how long. When to wake is no decision."""

    __slots__ = ("crc", "decisions", "events")

    def __init__(self) -> None:
        self.events = 0
        self.decisions = 0
        self.crc = 0

    def add(self, actions: Iterable[Action]) -> None:
        """What one event led to."""
        self.events += 1
        for action in actions:
            if isinstance(action, Dispatch):
                where, waited_s = action.endpoint.address.encode(), action.waited_s
                if action.prefill is not None:
                    where += b"," + action.prefill.address.encode()
            elif isinstance(action, Refuse):
                where, waited_s = _REASONS[action.reason], action.waited_s
            elif isinstance(action, Evict):
                where, waited_s = b"evict", 0.0
            else:
                continue
            self.decisions += 1
            self.crc = crc32(where, crc32(_pack(action.request_id, waited_s), self.crc))

    def checkpoint(self) -> Checkpoint:
        """Where it stands."""
        return Checkpoint(self.events, self.decisions, self.crc)
