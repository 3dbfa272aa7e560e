"""A stream of the native transport. Nothing is made for it but itself: no task, no future, no closure.

Rules of this file:

- It is asked for the next message only when the message before has left for the connection's buffer: `next_message`
  takes the question for a receipt. So it stops where the peer's windows are used up (`Call.pending`) and where that
  buffer is full, and goes on when the connection says so.
- While it has more to send than one message carries and can't, the peer may send no more than its window has left.
- Once it is over it has let go of its call, and the call of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from epp.extproc.exchange import Exchange
from epp.extproc.http2.statuses import Status
from epp.extproc.phases import Phase

if TYPE_CHECKING:
    from epp.extproc.http2.call import Call
    from epp.extproc.transports.peer import Peer


_OVER: Final = Phase.OVER


class NativeExchange(Exchange):
    """One stream of one gateway."""

    __slots__ = ("_call", "_peer", "touched")

    def __init__(self, peer: Peer, call: Call) -> None:
        service = peer.service
        super().__init__(service.conversation, picker=service.picker, clock=service.clock)
        self.touched = False
        """The connection will ask for messages."""
        self._peer = peer
        self._call: Call | None = call
        """None once it is over."""

    def wake(self) -> None:
        """A decision has come on another stream's account."""
        self._peer.touch(self)

    def send(self) -> None:
        """Send what there is, as far as the peer takes it."""
        call = self._call
        if call is None:
            return
        peer = self._peer
        calls = peer.calls
        # Not by way of the methods above it: this is asked twice for every streamed chunk.
        conversation = self._conversation
        next_message = conversation.next_message
        while call.pending is None:
            message = next_message()
            if message is None:
                if not (conversation.is_to_settle and peer.writes_before(self, self.follow_up)):
                    self.follow_up()
                return
            calls.send_message(call, message)
            peer.room_bytes -= len(message)
            if peer.room_bytes < 0 and not peer.has_made_room():
                # Behind the others that wait: they are served in turn.
                peer.touch(self)
                break
        self.hold_back()

    def follow_up(self) -> None:
        """Everything has been said: see to what comes of that."""
        call = self._call
        conversation = self._conversation
        if conversation.is_to_settle:
            self.settle()
        if conversation.phase is _OVER:
            self._finish(Status.OK)
        elif call is not None and call.withheld:
            self._peer.calls.release(call)

    def hold_back(self) -> None:
        """Take no more in than can be passed on."""
        call = self._call
        if call is not None and call.withheld is not self.is_backlogged:
            if call.withheld:
                self._peer.calls.release(call)
            else:
                self._peer.calls.withhold(call)

    def reset(self) -> None:
        """The stream is gone."""
        self._leave()
        super().reset()

    def fail(self) -> None:
        """End it: a bug."""
        try:
            self._finish(Status.UNKNOWN, "unexpected error")
        finally:
            super().reset()

    def expire(self) -> None:
        """The gateway's own time for it is up."""
        try:
            self._finish(Status.DEADLINE_EXCEEDED)
        finally:
            super().reset()

    def _finish(self, status: Status, message: str = "") -> None:
        call = self._call
        if call is not None:
            self._leave()
            self._peer.calls.finish(call, status, message)

    def _leave(self) -> None:
        if self._call is not None:
            self._call.owner = None
            self._call = None
            self._peer.service.exchange_ended()
