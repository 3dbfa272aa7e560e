"""The streams of a connection: which are open, and how those that are gone came to their end (RFC 9113, section 5.1).

How a stream ended is remembered for the last thousand. Of older ones, and of those whose ids were passed over, it is
only known that they are gone.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from epp.extproc.http2.codes import ErrorCode, StreamFault
from epp.extproc.http2.stream import Stream

if TYPE_CHECKING:
    from epp.extproc.http2.events import Headers

S = TypeVar("S", bound=Stream)

_ENDS_REMEMBERED: Final = 1_000


class End(Enum):
    """How a stream that is gone came to its end."""

    BOTH_SIDES = "both sides"
    RESET_BY_US = "reset by us"
    """The peer may not have known when it sent what comes now: it is ignored."""
    RESET_BY_PEER = "reset by the peer"
    UNKNOWN = "unknown"


class Streams(Generic[S]):
    """Of one connection."""

    __slots__ = ("_ends", "_lengths", "last_id", "open")

    def __init__(self) -> None:
        self.open: dict[int, S] = {}
        self.last_id = 0
        """The highest that the peer has opened."""
        self._ends: OrderedDict[int, End] = OrderedDict()
        self._lengths: dict[int, int] = {}
        """What is still to come of bodies whose length was announced."""

    def add(self, stream: S) -> None:
        """The peer opened it."""
        self.open[stream.id] = stream

    def announce_length(self, stream_id: int, headers: Headers) -> None:
        """Remember the length of the body that a request announces. Raises StreamFault."""
        for name, value in headers:
            if name == b"content-length":
                # A longer number is no length, and would take its time to be read.
                if not value.isdigit() or len(value) > 18:
                    raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a content-length that is no number")
                if self._lengths.setdefault(stream_id, int(value)) != int(value):
                    raise StreamFault(ErrorCode.PROTOCOL_ERROR, "two content-lengths")

    def has_come(self, stream_id: int, size: int, *, ends: bool) -> None:
        """Section 8.1.1: a body must be as long as was announced. Raises StreamFault."""
        left = self._lengths.get(stream_id) if self._lengths else None
        if left is not None:
            left = self._lengths[stream_id] = left - size
            if left < 0 or (ends and left):
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "not as much data as announced")

    def drop(self, stream: S, end: End) -> None:
        """It is gone."""
        del self.open[stream.id]
        stream.local_closed = stream.remote_closed = True
        self.remember(stream.id, end)

    def remember(self, stream_id: int, end: End) -> None:
        """How a stream ended, or one that never was served."""
        self._lengths.pop(stream_id, None)
        ends = self._ends
        ends[stream_id] = end
        if len(ends) > _ENDS_REMEMBERED:
            ends.popitem(last=False)

    def end_of(self, stream_id: int) -> End:
        """How it ended."""
        return self._ends.get(stream_id, End.UNKNOWN)
