"""One connection of a gateway: bytes from the transport to its calls, and all of their answers back in one write.

Rules of this file:

- A read is worked off as a whole: every message goes to its stream, then each stream that heard something says what it
  has to say, then one write takes all of it away. Only a very long one takes several turns of the loop.
- What is decided on another connection's account is said in the loop's next turn, and so is what a timer or a probe
  caused: however many streams it concerns, that is one write as well.
- While the transport's buffer is full no stream is asked for messages. What is written all the same, acknowledgements
  and the like, is bounded by the engine's guard.
- One timer looks after everything that can take too long. It is coarse, except for what gateways themselves say
  (`grpc-timeout`).
- Whatever fails in a stream ends that stream. Every end of a connection has one reason, and is counted by it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, assert_never, cast

import structlog

from epp.extproc.http2.calls import Calls
from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import (
    CallOpened,
    CallReset,
    ConnectionEnded,
    HalfClosed,
    MessageReceived,
    MessageSent,
)
from epp.extproc.http2.guard import Ending, Offence, limit_text
from epp.extproc.listen import METHOD
from epp.extproc.transports.checks import HealthCall, Method
from epp.extproc.transports.deadlines import Deadlines
from epp.extproc.transports.service import Complaint, shown_address
from epp.extproc.transports.vigil import OVERDUE, Vigil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epp.extproc.http2.events import CallEvent
    from epp.extproc.transports.handler import Handler
    from epp.extproc.transports.service import Service

_ROOM_BYTES: Final = 256 * 1024
"""So much is collected before it is written: memory for one stream's body must not hold up the others' answers."""
_TURN_BYTES: Final = 32 * 1024
"""So much of a read is worked off in one turn of the loop: that many bytes can be a thousand streams."""
_PARTING_S: Final = 5.0
"""How long a peer may take to read the last that we said."""
_REASON_S: Final = 1.0
"""How long one may that was cut off for what it did, to read why."""
_TLS_RECORD: Final = b"\x16\x03"
"""How a peer begins that speaks TLS."""

_log = structlog.get_logger()


class Peer(asyncio.Protocol):
    """One connection. Made when it is accepted; it begins once its TLS handshake is done."""

    def __init__(self, service: Service) -> None:
        now = service.clock()
        limits = service.limits
        self.service = service
        self.calls = Calls(limits, tally=service.tally, methods=service.methods, now=now)
        self.room_bytes = _ROOM_BYTES
        """What may still be collected before `has_made_room` is asked."""
        self._tally = service.tally
        self._clock = service.clock
        self.has_begun = False
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._touched: list[Handler] = []
        self._unread = b""
        """A read of which some is for the turns to come."""
        self._unread_at = 0
        self._is_busy = False
        """What is touched now is looked at before we are done."""
        self._is_scheduled = False
        self._is_alone = False
        """The stream that is asked to send is the only one."""
        self._follow_up: tuple[Handler, Callable[[], None]] | None = None
        self._is_paused = False
        self._is_closing = False
        self._ending: Ending | None = None
        self._reason = ""
        self._written_bytes = 0
        self._vigil = Vigil(limits, now)
        self._deadlines = Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    # -------------------------------------------------------------------- from the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the peer."""
        self.has_begun = True
        # uvloop's have the methods without the base class.
        self._transport = cast(asyncio.Transport, transport)
        self._address = shown_address(transport.get_extra_info("peername"))
        self.service.joined(self)
        self._wait_until(self._clock() + self._vigil.tick_s)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """A read."""
        transport = self._transport
        if self._is_closing or transport is None:
            return
        if self._unread:
            # Decrypted before the transport heard that it should pause.
            self._unread += data
        elif len(data) > _TURN_BYTES:
            self._unread = data
            self._unread_at = _TURN_BYTES
            transport.pause_reading()
            self.service.loop.call_soon(self._go_on)
            self._read(data[:_TURN_BYTES], transport)
        else:
            self._read(data, transport)

    def _go_on(self) -> None:
        """Take the next part of a long read."""
        transport = self._transport
        if self._is_closing or transport is None:
            self._unread = b""
            return
        start = self._unread_at
        data = self._unread[start : start + _TURN_BYTES]
        self._unread_at = start + len(data)
        if self._unread_at < len(self._unread):
            self.service.loop.call_soon(self._go_on)
        else:
            self._unread = b""
            transport.resume_reading()
        self._read(data, transport)

    def _read(self, data: bytes, transport: asyncio.Transport) -> None:
        calls = self.calls
        self._tally.bytes_in += len(data)
        if not transport.get_write_buffer_size():
            calls.note_written()
        self._is_busy = True
        try:
            self._hear(calls.receive(data, self._clock()))
            if self._ending is not None:
                self._complain(data)
        except Exception:
            self._break()
            return
        self._is_busy = False
        self._flush()

    def eof_received(self) -> None:
        """The peer has left: nobody closes only one side of a connection that carries streams both ways."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is no more."""
        del exc
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._ending is None:
            self._ending = Ending.PEER
        try:
            self._hear(self.calls.close(ErrorCode.NO_ERROR, ""))
        except Exception:
            _log.exception("a connection failed while it was ended", peer=self._address)
        # None is left, unless that failed: whatever else does, the picker hears of the end of every stream.
        for call in tuple(self.calls.streams.values()):
            self._let_go(call.owner)
        self._touched.clear()
        self.service.ended(self._ending)
        self.service.left(self)

    def pause_writing(self) -> None:
        """The peer doesn't read as fast as we write."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._is_paused = False
        self._schedule()

    # ------------------------------------------------------------------------ from its streams

    def touch(self, handler: Handler) -> None:
        """Let it send, soon."""
        if not handler.touched:
            handler.touched = True
            self._touched.append(handler)
            self._schedule()

    def writes_before(self, handler: Handler, follow_up: Callable[[], None]) -> bool:
        """Whether `follow_up` is called once everything said has been written; if not, it is for the stream to do now.

        So when a stream has the connection to itself, its gateway doesn't wait while the picker hears what has ended.
        Where many do, one write for all is worth more.
        """
        if not self._is_alone or self._follow_up is not None:
            return False
        self._follow_up = (handler, follow_up)
        # Not at once: an event loop may write at the end of its turn.
        self.service.loop.call_soon(self._go_after)
        return True

    def has_made_room(self) -> bool:
        """Write what has been collected. Whether there may be more."""
        self._write()
        return not self._is_paused

    # ------------------------------------------------------------------------ from the server

    def announce_shutdown(self) -> None:
        """Ask the peer to go elsewhere with what it begins from now on."""
        self.calls.announce_shutdown()
        self._flush()

    def cut_off(self) -> None:
        """End it now."""
        if self._ending is None:
            self._ending = Ending.STOPPED if self.calls.streams else Ending.DRAINED
        self._hear(self.calls.close(ErrorCode.NO_ERROR, "stopping"))
        self._flush()

    def abort(self) -> None:
        """End it without another word."""
        if self._transport is not None:
            self._transport.abort()

    # --------------------------------------------------------------------------------- hearing

    def _hear(self, events: Sequence[CallEvent]) -> None:
        touched = self._touched
        handler: Handler | None
        for event in events:
            if isinstance(event, MessageReceived):
                handler = event[0].owner
                if handler is None:
                    continue
                try:
                    handler.receive(event[1])
                except Exception:
                    self._fail(handler)
                if not handler.touched:
                    handler.touched = True
                    touched.append(handler)
                if self._is_paused:
                    handler.hold_back()
            else:
                self._hear_of(event)

    def _hear_of(self, event: CallOpened | HalfClosed | CallReset | MessageSent | ConnectionEnded) -> None:
        """All but messages, which come more often than all others."""
        if isinstance(event, ConnectionEnded):
            self._end_heard(event)
            return
        if isinstance(event, CallOpened):
            self._open(event)
            return
        handler: Handler | None = event.call.owner
        if handler is None:
            return
        try:
            match event:
                case HalfClosed():
                    handler.half_closed()
                case CallReset():
                    handler.reset()
                case MessageSent():
                    pass
                case _:
                    assert_never(event)
        except Exception:
            self._fail(handler)
        self.touch(handler)

    def _open(self, opened: CallOpened) -> None:
        call, path, timeout_s = opened
        if path == METHOD:
            call.owner = self.service.new_exchange(self, call)
            self.service.exchange_opened()
        else:
            assert self.service.health is not None
            call.owner = HealthCall(Method(path), health=self.service.health, peer=self, call=call)
        if timeout_s is not None:
            self._deadlines.add(call.id, self._clock() + timeout_s, among=self.calls.streams)
            if self._deadlines.next_s < self._timer_s:
                self._wait_until(self._deadlines.next_s)

    def _end_heard(self, ended: ConnectionEnded) -> None:
        if self._ending is None:
            is_limit = ended.code is ErrorCode.ENHANCE_YOUR_CALM
            self._ending = Ending.LIMIT if is_limit else Ending.PROTOCOL
            self._reason = ended.detail

    def _complain(self, data: bytes) -> None:
        """Say why the peer was cut off; `data` was the last that it sent."""
        if self._ending is Ending.LIMIT:
            complaint = Complaint.LIMIT
        elif not self.calls.is_greeted and data.startswith(_TLS_RECORD):
            complaint = Complaint.TLS
        else:
            complaint = Complaint.BROKEN
        self.service.complain(complaint, self._address, self._reason)

    def _fail(self, handler: Handler) -> None:
        """A stream can't go on, by a fault of ours; called while its exception is handled."""
        _log.exception("a stream failed", peer=self._address)
        try:
            handler.fail()
        except Exception:
            _log.exception("a stream failed while it was ended", peer=self._address)

    def _let_go(self, handler: Handler | None) -> None:
        if handler is not None:
            try:
                handler.reset()
            except Exception:
                _log.exception("a stream failed while it was ended", peer=self._address)

    def _break(self) -> None:
        """The connection can't go on, by a fault of ours; called while its exception is handled."""
        _log.exception("a connection failed", peer=self._address)
        self._ending = Ending.FAILURE
        self._is_closing = True
        self.abort()

    # --------------------------------------------------------------------------------- writing

    def _schedule(self) -> None:
        if not (self._is_busy or self._is_scheduled or self._is_paused):
            self._is_scheduled = True
            self.service.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Let the streams say what they have to say, and write it."""
        self._is_scheduled = False
        if self._transport is None or self._is_closing:
            return
        if self._touched:
            self._ask()
        self._write()
        if self.calls.is_over:
            self._close()

    def _ask(self) -> None:
        """Let the touched streams send, until the transport has enough."""
        self._is_busy = True
        self._is_alone = len(self._touched) == 1
        asked = 0
        # It may grow while it is gone through.
        for handler in self._touched:
            if self._is_paused:
                break
            asked += 1
            handler.touched = False
            try:
                handler.send()
            except Exception:
                self._fail(handler)
        del self._touched[:asked]
        self._is_busy = False

    def _go_after(self) -> None:
        """Do what was put off until everything had been written."""
        assert self._follow_up is not None
        handler, follow_up = self._follow_up
        self._follow_up = None
        # Whoever has something to say again is asked first, and sees to the rest after that.
        if not handler.touched:
            self._is_busy = True
            try:
                follow_up()
            except Exception:
                self._fail(handler)
            self._is_busy = False
        self._flush()

    def _write(self) -> None:
        self.room_bytes = _ROOM_BYTES
        parts = self.calls.take()
        if parts:
            data = b"".join(parts)
            self._written_bytes += len(data)
            self._tally.bytes_out += len(data)
            assert self._transport is not None
            self._transport.write(data)

    def _close(self) -> None:
        """Leave, once all that we said has gone."""
        transport = self._transport
        assert transport is not None
        self._is_closing = True
        if self._ending is None:
            self._ending = Ending.DRAINED
        if self._ending in {Ending.LIMIT, Ending.PROTOCOL} and transport.can_write_eof():
            # Closing while something unread has come would be a reset, which can overtake what we said.
            transport.pause_reading()
            transport.write_eof()
            self._wait_until(self._clock() + _REASON_S)
        else:
            transport.close()
            self._wait_until(self._clock() + _PARTING_S)

    # ------------------------------------------------------------------------------------ time

    def _wait_until(self, when_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = when_s
        self._timer = self.service.loop.call_at(when_s, self._tick)

    def _tick(self) -> None:
        """See whether anything has taken too long."""
        transport = self._transport
        if transport is None:
            return
        if self._is_closing:
            transport.abort()
            return
        now = self._clock()
        calls = self.calls
        self._expire(now)
        self._hear(calls.tick(now))
        offence = self._vigil.overdue(
            calls,
            now,
            written_bytes=self._written_bytes,
            waiting_bytes=transport.get_write_buffer_size(),
        )
        if offence is not None:
            self._tally.offended(offence)
            self._ending = Ending.HANDSHAKE if offence is Offence.HANDSHAKE else Ending.LIMIT
            detail = f"{OVERDUE[offence]}{limit_text(offence, self.service.limits)}"
            self.service.complain(Complaint.LIMIT, self._address, detail)
            self._hear(calls.close(ErrorCode.ENHANCE_YOUR_CALM, detail))
            if offence is not Offence.HANDSHAKE:
                # Nobody would read it.
                transport.abort()
                return
        self._wait_until(min(now + self._vigil.tick_s, self._deadlines.next_s))
        self._flush()

    def _expire(self, now: float) -> None:
        for stream_id in self._deadlines.due(now):
            call = self.calls.streams.get(stream_id)
            handler: Handler | None = None if call is None else call.owner
            if handler is not None:
                try:
                    handler.expire()
                except Exception:
                    self._fail(handler)
