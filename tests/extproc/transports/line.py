"""A native connection without a network: what is written when, the loop's turns and the time in the test's hand.

The other end is the `h2` library, and the messages are written and read by `envoy-data-plane`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest, ProcessingResponse

from epp.extproc.health import HealthService
from epp.extproc.http2.guard import Ending, Tally
from epp.extproc.http2.limits import Limits
from epp.extproc.request import ConversationSettings
from epp.extproc.transports.peer import Peer
from epp.extproc.transports.service import Service
from tests.extproc.fakes import FakePicker
from tests.extproc.frames import PATH

HIGH_WATER = 64 * 1024


class Turns:
    """An event loop of which only the parts exist that a connection uses; nothing happens by itself."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.soon: list[Callable[[], None]] = []
        self.timers: list[Timer] = []

    def time(self) -> float:
        """As it is said to be."""
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        """In the next turn."""
        self.soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """When the test lets the time pass."""
        timer = Timer(when, callback)
        self.timers.append(timer)
        return timer

    def turn(self) -> int:
        """Let happen what is due; how much that was."""
        due, self.soon = self.soon, []
        for callback in due:
            callback()
        return len(due)

    def settle(self) -> None:
        """Turn until nothing more happens."""
        while self.turn():
            pass

    def pass_s(self, seconds: float) -> None:
        """Let so much time pass, with everything that is due in between."""
        end = self.now + seconds
        while True:
            self.timers = [each for each in self.timers if not each.cancelled]
            due = min(self.timers, key=lambda each: each.when, default=None)
            if due is None or due.when > end:
                break
            self.now = max(self.now, due.when)
            self.timers.remove(due)
            due.callback()
            self.settle()
        self.now = end


class Timer:
    """One of its timers."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Forget it."""
        self.cancelled = True


class Pipe(asyncio.Transport):
    """A transport whose reader is the test: it reads at once, or when it is told to."""

    def __init__(self, protocol: asyncio.Protocol, turns: Turns) -> None:
        super().__init__({"peername": ("10.0.0.1", 4711)})
        self.writes: list[bytes] = []
        """Those that have not been read."""
        self.is_read = True
        self.is_aborted = False
        self.is_reading_paused = False
        self.eof_written = False
        self._protocol = protocol
        self._turns = turns
        self._waiting = 0
        self._is_paused = False
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Into the buffer, or to the reader."""
        assert not self.eof_written
        self.writes.append(bytes(data))
        if self.is_read:
            return
        self._waiting += len(data)
        if self._waiting > HIGH_WATER and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_writing()

    def read(self) -> bytes:
        """All that was written; the buffer is empty afterwards."""
        data = b"".join(self.writes)
        self.writes.clear()
        self._waiting = 0
        if self._is_paused:
            self._is_paused = False
            self._protocol.resume_writing()
        return data

    def get_write_buffer_size(self) -> int:
        """What waits."""
        return self._waiting

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def write_eof(self) -> None:
        """The last that is said."""
        self.eof_written = True

    def pause_reading(self) -> None:
        """Nothing more is wanted."""
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        """Now it is."""
        self.is_reading_paused = False

    def is_closing(self) -> bool:
        """Whether its end has begun."""
        return self._is_closing

    def close(self) -> None:
        """In the next turn it is gone; what was written is still read."""
        self._lose()

    def abort(self) -> None:
        """The same, whatever was written."""
        self.is_aborted = True
        self._lose()

    def _lose(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._turns.call_soon(lambda: self._protocol.connection_lost(None))


class World:
    """A picker's service, with any number of connections."""

    def __init__(
        self,
        picker: FakePicker,
        limits: Limits | None = None,
        *,
        conversation: ConversationSettings | None = None,
    ) -> None:
        self.turns = Turns()
        self.tally = Tally()
        self.health = HealthService()
        self.service = Service(
            picker,
            conversation=conversation or ConversationSettings(),
            health=self.health,
            limits=limits or Limits(),
            tally=self.tally,
            loop=self.turns,  # type: ignore[arg-type]
        )
        self.lines: list[Line] = []

    def line(self, **settings: int) -> Line:
        """One more connection, after its greetings."""
        line = Line(self, settings)
        self.lines.append(line)
        line.exchange()
        return line

    @property
    def endings(self) -> list[Ending]:
        """Of the connections that are gone."""
        return [ending for ending, count in self.tally.connections_ended.items() for _ in range(count)]


class Line:
    """One connection: a peer of ours, and a gateway's end of it."""

    def __init__(self, world: World, settings: dict[str, int]) -> None:
        self.world = world
        self.turns = world.turns
        world.service.accepted()
        self.peer = Peer(world.service)
        self.pipe = Pipe(self.peer, world.turns)
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        if settings:
            self.h2.local_settings = h2.settings.Settings(
                client=True,
                initial_values={
                    getattr(h2.settings.SettingCodes, name): value for name, value in settings.items()
                },
            )
        self.h2.initiate_connection()
        self.calls: dict[int, Heard] = {}
        self.goodbyes: list[h2.events.ConnectionTerminated] = []
        self._unread = b""
        self.gives_back = True
        """Whether the windows are widened by what was read."""
        self.peer.connection_made(self.pipe)

    # ------------------------------------------------------------------------------- moving bytes

    def exchange(self) -> None:
        """Everything that either has to say, until both are silent."""
        while True:
            said = self.h2.data_to_send()
            if said:
                self.deliver(said)
            self.turns.settle()
            if not self.listen() and not said:
                return

    def deliver(self, *pieces: bytes) -> None:
        """Each in a read of its own."""
        for piece in pieces:
            if not self.pipe.is_closing():
                self.peer.data_received(piece)

    def listen(self) -> bool:
        """Read what was written, if it is read at all. Whether there was anything."""
        data = self.pipe.read() if self.pipe.is_read else b""
        self._unread += data
        while len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3], "big")):
            frame, self._unread = self._unread[:size], self._unread[size:]
            for event in self.h2.receive_data(frame):
                self._hear(event)
        return bool(data)

    def _hear(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.calls[event.stream_id].headers = dict(event.headers)
            case h2.events.DataReceived():
                self.calls[event.stream_id].buffer += event.data
                if self.gives_back and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.calls[event.stream_id].trailers = dict(event.headers)
            case h2.events.StreamReset():
                self.calls[event.stream_id].reset = event.error_code
            case h2.events.ConnectionTerminated():
                self.goodbyes.append(event)
                if not event.error_code:
                    # h2 takes the announcement for the end.
                    self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN

    # ------------------------------------------------------------------------------------- calls

    def open(self, *messages: ProcessingRequest, path: str = PATH, **headers: str) -> Heard:
        """A new call, with messages on it; nothing of it is delivered yet."""
        stream = self.h2.get_next_available_stream_id()
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "epp",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        self.h2.send_headers(
            stream, [*fields.items(), *((name.replace("_", "-"), value) for name, value in headers.items())]
        )
        heard = self.calls[stream] = Heard(self, stream)
        heard.say(*messages)
        return heard


class Heard:
    """One call, and what came back on it."""

    def __init__(self, line: Line, stream: int) -> None:
        self._line = line
        self.stream = stream
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.reset: int | None = None
        self.buffer = b""

    def say(self, *messages: Any) -> None:
        """Send these, as far as the windows go; nothing is delivered yet."""
        for message in messages:
            data = bytes(message)
            body = b"\0" + len(data).to_bytes(4, "big") + data
            most = self._line.h2.max_outbound_frame_size
            for start in range(0, len(body), most):
                self._line.h2.send_data(self.stream, body[start : start + most])

    def leave(self) -> None:
        """Half-close."""
        self._line.h2.end_stream(self.stream)

    def break_off(self) -> None:
        """Reset."""
        self._line.h2.reset_stream(self.stream, 8)

    @property
    def raw(self) -> list[bytes]:
        """The whole messages that came."""
        found, rest = [], self.buffer
        while len(rest) >= 5 and len(rest) >= 5 + (size := int.from_bytes(rest[1:5], "big")):
            found.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return found

    @property
    def answers(self) -> list[ProcessingResponse]:
        """The same, read."""
        return [ProcessingResponse.parse(each) for each in self.raw]

    @property
    def status(self) -> str | None:
        """How it ended; None while it hasn't."""
        return (self.trailers or self.headers).get("grpc-status")


@contextmanager
def world(
    picker: FakePicker, *, conversation: ConversationSettings | None = None, **limits: Any
) -> Iterator[World]:
    """A service; afterwards every connection is cut off, and nothing is left of any."""
    made = World(picker, replace(Limits(), **limits), conversation=conversation)
    yield made
    for line in made.lines:
        line.pipe.close()
    made.turns.settle()
    assert not made.service.exchanges
    assert not made.service.peers
    assert not made.service.connections
    assert not made.health.watchers
    assert sum(made.tally.connections_ended.values()) == len(made.lines)
