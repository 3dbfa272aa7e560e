"""What a client may do to a server, legal or not, and what the server may do meanwhile: as values, and as bytes.

A `Step` names its stream by where it stands (`Target`), because the numbers come from the client that takes the step:
`Client.frames` makes the frames, with the client's own header compression. Everything else about a step is in the
step, `Flaw` included, so that a failing program reads as what it does.
"""

from __future__ import annotations

import struct
from enum import Enum, auto
from itertools import pairwise
from typing import NamedTuple

from hpack import Encoder, NeverIndexedHeaderTuple

from tests.extproc.http2.frames_by_hand import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
    frame,
)

Fields = tuple[tuple[bytes, bytes], ...]

REQUEST: Fields = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.Service/Method"),
    (b":authority", b"epp"),
    (b"te", b"trailers"),
)
TRAILERS: Fields = ((b"x-checksum", b"123"),)
RESPONSE: Fields = ((b":status", b"200"), (b"content-type", b"application/grpc"))
STATUS: Fields = ((b"grpc-status", b"0"),)

FRAME_BYTES = 16_384
"""The largest frame that both servers take."""
_BODY = bytes(number % 251 for number in range(FRAME_BYTES))


class Where(Enum):
    """Which stream a frame names."""

    NEW = auto()
    """The next one, or the next but one or two: those between are closed without having been open."""
    KNOWN = auto()
    """One that has been open, and may still be."""
    SKIPPED = auto()
    """One that was passed over."""
    IDLE = auto()
    """One whose time has not come."""
    EVEN = auto()
    """One that only a server might open."""
    CONNECTION = auto()
    """Stream 0."""


class Target(NamedTuple):
    """A stream."""

    where: Where
    pick: int = 0


NEW = Target(Where.NEW)
FIRST = Target(Where.KNOWN)


class Flaw(Enum):
    """What is wrong with a header block."""

    NONE = auto()
    MALFORMED = auto()
    """No request, or no trailers, may have these fields (RFC 9113, sections 8.1 to 8.3)."""
    UNDECODABLE = auto()
    """HPACK can't read it (RFC 7541)."""
    NO_AUTHORITY = auto()
    """Neither `:authority` nor `host`."""
    OTHER_HOST = auto()
    """`host` is not what `:authority` is, or there are two."""
    LENGTH = auto()
    """`content-length` is no number."""
    TOO_LARGE = auto()
    """More than our limit allows, and less than h2's."""
    EXTENDED_CONNECT = auto()
    """`:protocol`, which nobody has offered to understand (RFC 8441)."""


class Block(NamedTuple):
    """A header block."""

    fields: Fields = REQUEST
    flaw: Flaw = Flaw.NONE
    raw: bytes = b""
    """What is appended to the encoded fields as it is."""


class Headers(NamedTuple):
    """HEADERS, and as many CONTINUATIONs as there are cuts."""

    target: Target = NEW
    block: Block = Block()
    ends: bool = False
    cuts: tuple[int, ...] = ()
    """Where the block is cut, in per cent."""
    padding: int | None = None
    depends_on: int | None = None
    """The priority fields; 0 stands for the stream itself."""


class Data(NamedTuple):
    """DATA."""

    target: Target = FIRST
    size: int = 1
    ends: bool = False
    padding: int | None = None


class Reset(NamedTuple):
    """RST_STREAM."""

    target: Target = FIRST
    code: int = 8


class Settings(NamedTuple):
    """SETTINGS."""

    values: tuple[tuple[int, int], ...] = ()
    ack: bool = False


class Ping(NamedTuple):
    """PING."""

    payload: bytes = b"12345678"
    ack: bool = False


class WindowUpdate(NamedTuple):
    """WINDOW_UPDATE."""

    target: Target = FIRST
    increment: int = 1


class Priority(NamedTuple):
    """PRIORITY."""

    target: Target = FIRST
    depends_on: int = 2
    """0 stands for the stream itself."""


class Goaway(NamedTuple):
    """GOAWAY."""

    code: int = 0


class Continuation(NamedTuple):
    """CONTINUATION of nothing."""

    target: Target = FIRST


class PushPromise(NamedTuple):
    """PUSH_PROMISE, which no client may send."""

    target: Target = FIRST


class Raw(NamedTuple):
    """Any frame: a wrong length, a wrong stream, an unknown type."""

    kind: int
    target: Target
    payload: bytes
    flags: int = 0


class Interrupted(NamedTuple):
    """A header block that is interrupted by another frame."""

    by: Headers | Data | Reset | Settings | Ping | WindowUpdate | Raw


Step = (
    Headers
    | Data
    | Reset
    | Settings
    | Ping
    | WindowUpdate
    | Priority
    | Goaway
    | Continuation
    | PushPromise
    | Raw
    | Interrupted
)


class Deed(Enum):
    """What a server does on a stream."""

    RESPOND = auto()
    """Its headers."""
    ANSWER_AT_ONCE = auto()
    """Headers that are all there is."""
    SEND = auto()
    """A piece of the body, after the headers."""
    FINISH = auto()
    """Trailers."""
    RESET = auto()
    WITHHOLD = auto()
    """Nothing more is given back to the stream's window."""


class Act(NamedTuple):
    """The server does something on one of the streams that it may still answer, if there is one."""

    deed: Deed
    pick: int = 0
    size: int = 1


class Client:
    """Numbers the streams and compresses the headers of one connection."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._known: list[int] = []
        self._skipped: list[int] = []
        self._next = 1

    def can_take(self, step: Step) -> bool:
        """It can do nothing on a known stream before there is one."""
        target = getattr(step, "target", NEW)
        return {Where.KNOWN: self._known, Where.SKIPPED: self._skipped}.get(target.where) != []

    def frames(self, step: Step) -> list[Frame]:
        """What the step puts on the wire."""
        match step:
            case Headers():
                return self._headers(step)
            case Data(target, size, ends, padding):
                flags = PADDED * (padding is not None) | END_STREAM * ends
                body = _BODY[:size]
                payload = body if padding is None else bytes((padding,)) + body + bytes(padding)
                return [Frame(DATA, flags, self._stream(target), payload)]
            case Reset(target, code):
                return [Frame(RST_STREAM, 0, self._stream(target), struct.pack(">I", code))]
            case Settings(values, ack):
                payload = b"".join(struct.pack(">HI", *value) for value in values)
                return [Frame(SETTINGS, ACK * ack, 0, payload)]
            case Ping(payload, ack):
                return [Frame(PING, ACK * ack, 0, payload)]
            case WindowUpdate(target, increment):
                return [Frame(WINDOW_UPDATE, 0, self._stream(target), struct.pack(">I", increment))]
            case Priority(target, depends_on):
                stream = self._stream(target)
                return [Frame(PRIORITY, 0, stream, struct.pack(">IB", depends_on or stream, 15))]
            case Goaway(code):
                return [Frame(GOAWAY, 0, 0, struct.pack(">II", 0, code) + b"bye")]
            case Continuation(target):
                return [Frame(CONTINUATION, END_HEADERS, self._stream(target), b"")]
            case PushPromise(target):
                payload = struct.pack(">I", 2) + self._encoder.encode(list(REQUEST))
                return [Frame(PUSH_PROMISE, END_HEADERS, self._stream(target), payload)]
            case Raw(kind, target, payload, flags):
                return [Frame(kind, flags, self._stream(target), payload)]
            case Interrupted(by):
                (begun, *_) = self._headers(Headers(cuts=(50,)))
                return [begun, *self.frames(by)[:1]]

    def _headers(self, step: Headers) -> list[Frame]:
        # Headers on a stream that is still to come are what opens it.
        where = Where.NEW if step.target.where is Where.IDLE else step.target.where
        stream = self._stream(Target(where, step.target.pick))
        block = self._encode(step.block)
        places = [0, *sorted(len(block) * cut // 100 for cut in step.cuts), len(block)]
        first, *rest = [block[start:end] for start, end in pairwise(places)]
        flags = END_STREAM * step.ends
        if step.depends_on is not None:
            flags |= PRIORITIZED
            first = struct.pack(">IB", step.depends_on or stream, 15) + first
        if step.padding is not None:
            flags |= PADDED
            first = bytes((step.padding,)) + first + bytes(step.padding)
        frames = [Frame(HEADERS, flags, stream, first)]
        frames += [Frame(CONTINUATION, 0, stream, part) for part in rest]
        frames[-1] = frames[-1]._replace(flags=frames[-1].flags | END_HEADERS)
        return frames

    def _encode(self, block: Block) -> bytes:
        # What is flawed stays out of the table: the encoder of a peer that is refused must not be ahead of it.
        fields = block.fields
        if block.flaw is not Flaw.NONE:
            return self._encoder.encode([NeverIndexedHeaderTuple(*field) for field in fields]) + block.raw
        return self._encoder.encode(list(fields)) + block.raw

    def _stream(self, target: Target) -> int:
        where, pick = target
        if where is Where.SKIPPED:
            return self._skipped[pick % len(self._skipped)]
        if where is Where.KNOWN:
            # The youngest are the most likely to be open.
            return self._known[-1 - pick % len(self._known)]
        if where is Where.CONNECTION:
            return 0
        if where is Where.EVEN:
            return 2 + 2 * (pick % 3)
        if where is Where.IDLE:
            return self._next + 2 * pick
        self._skipped += range(self._next, self._next + 2 * pick, 2)
        stream = self._next + 2 * pick
        self._known.append(stream)
        self._next = stream + 2
        return stream


def serialized(frames: list[Frame]) -> bytes:
    """As bytes."""
    return b"".join(
        frame(found.kind, found.payload, flags=found.flags, stream=found.stream) for found in frames
    )
