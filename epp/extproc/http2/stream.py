"""One stream of a connection, as HTTP/2 sees it: which sides are open, the windows, and what waits to be sent.

Plain state; the rules are in `connection` and `sending`. A protocol above derives its own streams from this class, so
that a stream is one object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque

    from epp.extproc.http2.events import Headers


class Stream:
    """Made by the connection when the peer opens it."""

    __slots__ = (
        "answered",
        "id",
        "local_closed",
        "opened_s",
        "pending",
        "pending_end",
        "receive_window",
        "remote_closed",
        "send_window",
        "stalled_s",
        "taken_bytes",
        "withheld",
    )

    def __init__(self, stream_id: int, *, send_window: int, receive_window: int, now: float) -> None:
        self.id = stream_id
        self.opened_s = now
        self.send_window = send_window
        """What the peer still takes; negative after it has lowered its initial window."""
        self.receive_window = receive_window
        """What the peer may still send."""
        self.taken_bytes = 0
        """What came and has not been given back to the peer's window."""
        self.withheld = False
        """Nothing is given back for now: whoever works on the stream has enough."""
        self.answered = False
        """Something has been sent on it."""
        self.local_closed = False
        """The end of our side has been sent."""
        self.remote_closed = False
        """The peer has said so."""
        self.pending: deque[bytes | memoryview] | None = None
        """What waits for a window."""
        self.pending_end: Headers | None = None
        """The trailers that follow it, once we have said that nothing else will. Encoded when their turn comes."""
        self.stalled_s: float | None = None
        """Since when it has been waiting."""
