"""What a hostile peer may send, endlessly, and what is to come of it. The frames are built by hand.

Each attack gives the bytes of one connection in pieces, from the preface on. The same attacks are fed to the engine, to
a server in the tests, and by `siege` to a running picker.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import count
from typing import NamedTuple

from hpack import Encoder

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.guard import Offence
from epp.extproc.listen import METHOD
from tests.extproc.http2.frames_by_hand import (
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    PREFACE,
    PRIORITY,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    rst_stream,
    settings,
    settings_ack,
    window_update,
)

REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", METHOD.encode()),
    (b":authority", b"epp"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)
PIECE_BYTES = 16_384


class End(Enum):
    """What comes of an attack."""

    CALM = "the connection ends with ENHANCE_YOUR_CALM"
    FLOW = "the connection ends with FLOW_CONTROL_ERROR"
    COMPRESSION = "the connection ends with COMPRESSION_ERROR"
    SERVED = "the connection goes on, and what is wrong with it is answered"

    @property
    def code(self) -> ErrorCode | None:
        """Which GOAWAY is sent."""
        return _CODES.get(self)


_CODES = {
    End.CALM: ErrorCode.ENHANCE_YOUR_CALM,
    End.FLOW: ErrorCode.FLOW_CONTROL_ERROR,
    End.COMPRESSION: ErrorCode.COMPRESSION_ERROR,
}


class Attack(NamedTuple):
    """One of them."""

    name: str
    pieces: Callable[[], Iterator[bytes]]
    """Endless."""
    end: End
    offence: Offence | None
    """What is counted."""
    within_bytes: int
    """By when it has ended."""


class Client:
    """Keeps stream ids and the header table of one connection."""

    def __init__(self) -> None:
        self.encoder = Encoder()
        self._ids = count(1, 2)
        self._block = b""

    def greet(self, *pairs: tuple[int, int]) -> bytes:
        """What every client says first."""
        return PREFACE + settings(*pairs) + settings_ack()

    def open(self, *extra: tuple[bytes, bytes], end: bool = False) -> tuple[int, bytes]:
        """The next stream: its id and its HEADERS."""
        number = next(self._ids)
        if extra:
            return number, headers(number, self.encoder.encode([*REQUEST, *extra]), end=end)
        if number <= 3:
            # From the second time on it is indexes, always the same as long as nothing else goes into the table.
            self._block = self.encoder.encode([*REQUEST])
        return number, headers(number, self._block, end=end)


def _in_pieces(parts: Iterator[bytes]) -> Iterator[bytes]:
    gathered = bytearray()
    for part in parts:
        gathered += part
        if len(gathered) >= PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()


def _repeated(part: bytes) -> Callable[[], Iterator[bytes]]:
    """The same frame again and again, after a greeting."""
    many = part * max(1, PIECE_BYTES // len(part))

    def pieces() -> Iterator[bytes]:
        yield Client().greet()
        while True:
            yield many

    return pieces


def _on_a_stream(part: Callable[[int], bytes], *, first: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """The same frame again and again, on one open stream."""

    def pieces() -> Iterator[bytes]:
        client = Client()
        number, opening = client.open()
        yield client.greet() + opening + (data(number, first) if first else b"")
        many = part(number) * max(1, PIECE_BYTES // len(part(number)))
        while True:
            yield many

    return pieces


def _streams(part: Callable[[int], bytes]) -> Callable[[], Iterator[bytes]]:
    """Streams that are opened, each followed by the same frames."""

    def pieces() -> Iterator[bytes]:
        client = Client()
        yield client.greet()

        def parts() -> Iterator[bytes]:
            while True:
                number, opening = client.open()
                yield opening + part(number)

        yield from _in_pieces(parts())

    return pieces


def _after_a_reset(part: Callable[[int], bytes]) -> Callable[[], Iterator[bytes]]:
    """The same frame again and again, on a stream that the engine has reset."""

    def pieces() -> Iterator[bytes]:
        client = Client()
        number, opening = client.open()
        yield client.greet() + opening + window_update(number, 0)
        many = part(number) * max(1, PIECE_BYTES // len(part(number)))
        while True:
            yield many

    return pieces


def _endless_headers(piece: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        client = Client()
        yield client.greet() + headers(1, client.encoder.encode(list(REQUEST)), whole=False)
        many = continuation(1, piece, whole=False)
        while True:
            yield many

    return pieces


def _large_lists(value_bytes: int) -> Callable[[], Iterator[bytes]]:
    """Requests with one large header, none of it in the table."""
    block = Encoder().encode([*REQUEST]) + _literal(b"x-large", bytes(b"a" * value_bytes))

    def pieces() -> Iterator[bytes]:
        yield Client().greet()
        for number in count(1, 2):
            parts = [block[at : at + PIECE_BYTES] for at in range(0, len(block), PIECE_BYTES)]
            out = headers(number, parts[0], whole=len(parts) == 1)
            for index, part in enumerate(parts[1:], 2):
                out += continuation(number, part, whole=index == len(parts))
            yield out

    return pieces


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that stays out of the table, without Huffman's code (RFC 7541, section 6.2.2)."""
    return b"\x00" + _number(len(name), 7) + name + _number(len(value), 7) + value


def _number(value: int, bits: int, flags: int = 0) -> bytes:
    """RFC 7541, section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([flags | value])
    out = bytearray([flags | most])
    value -= most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def _bomb() -> Iterator[bytes]:
    """One large entry of the table, and a block that names it thousands of times."""
    yield Client().greet()
    entry = b"\x40" + _number(6, 7) + b"x-bomb" + _number(4000, 7) + b"b" * 4000
    yield headers(1, Encoder().encode(list(REQUEST)) + entry)
    block = b"\xbe" * PIECE_BYTES
    for number in count(3, 2):
        yield headers(number, block)


def _small_bombs() -> Iterator[bytes]:
    """The same, each block just small enough to be decoded and too large to be served."""
    yield Client().greet()
    entry = b"\x40" + _number(6, 7) + b"x-bomb" + _number(3900, 7) + b"b" * 3900
    yield headers(1, entry)
    plain = b"\x00\x01x\x01y"
    yield from _in_pieces(headers(number, b"\xbe" * 15 + plain) for number in count(3, 2))


def _table_games() -> Iterator[bytes]:
    """Each block shrinks the table to nothing and lets it grow again, which drops all of it."""
    client = Client()
    yield client.greet()
    block = _number(0, 5, 0x20) + _number(4096, 5, 0x20)
    for name, value in REQUEST:
        block += b"\x40" + _number(len(name), 7) + name + _number(len(value), 7) + value
    yield from _in_pieces(headers(number, block) + rst_stream(number) for number in count(1, 2))


def _table_growth() -> Iterator[bytes]:
    """A block asks for a larger table than was allowed (RFC 7541, section 6.3)."""
    client = Client()
    yield client.greet((HEADER_TABLE_SIZE, 2**31 - 1))
    while True:
        yield headers(1, _number(2**20, 5, 0x20) + client.encoder.encode(list(REQUEST)))


def _window_games() -> Iterator[bytes]:
    """Thousands of streams with something to send, whose windows are moved up and down all the time."""
    client = Client()
    yield client.greet((INITIAL_WINDOW_SIZE, 0))
    yield b"".join(client.open()[1] for _ in range(5_000))
    flips = [(INITIAL_WINDOW_SIZE, each % 2 * LARGEST_WINDOW) for each in range(2_000)]
    while True:
        yield settings(*flips)


def _tiny(number: int) -> bytes:
    return data(number, b"\x00")


KIB = 1024
MIB = 1024 * KIB

ATTACKS: tuple[Attack, ...] = (
    Attack("rapid reset", _streams(rst_stream), End.CALM, Offence.RAPID_RESETS, 256 * KIB),
    Attack(
        "made to reset",
        _streams(lambda number: window_update(number, 0)),
        End.CALM,
        Offence.RAPID_RESETS,
        256 * KIB,
    ),
    Attack("pings", _repeated(ping()), End.CALM, Offence.PINGS, 64 * KIB),
    Attack("answers to no ping", _repeated(ping(ack=True)), End.CALM, Offence.EMPTY_FRAMES, 64 * KIB),
    Attack("settings", _repeated(settings()), End.CALM, Offence.SETTINGS, 32 * KIB),
    Attack("acknowledged settings", _repeated(settings_ack()), End.CALM, Offence.EMPTY_FRAMES, 64 * KIB),
    Attack("window games", _window_games, End.CALM, Offence.SETTINGS, 3 * MIB),
    Attack("empty data", _on_a_stream(data), End.CALM, Offence.EMPTY_FRAMES, 64 * KIB),
    Attack(
        "padding",
        _on_a_stream(lambda number: data(number, padding=255)),
        End.CALM,
        Offence.EMPTY_FRAMES,
        512 * KIB,
    ),
    Attack(
        "priorities",
        _repeated(frame(PRIORITY, struct.pack(">IB", 0, 7), stream=1)),
        End.CALM,
        Offence.EMPTY_FRAMES,
        64 * KIB,
    ),
    Attack("unknown frames", _repeated(frame(0xBE, b"hello")), End.CALM, Offence.EMPTY_FRAMES, 64 * KIB),
    Attack("goaways", _repeated(goaway()), End.CALM, Offence.EMPTY_FRAMES, 64 * KIB),
    Attack("empty continuations", _endless_headers(b""), End.CALM, Offence.CONTINUATIONS, 4 * KIB),
    Attack("long continuations", _endless_headers(b"\x82" * 8_000), End.CALM, Offence.HEADER_LIST, 128 * KIB),
    Attack("huge headers", _large_lists(70_000), End.CALM, Offence.HEADER_LIST, 128 * KIB),
    Attack("large headers", _large_lists(20_000), End.SERVED, Offence.HEADER_LIST, 0),
    Attack("header bomb", _bomb, End.CALM, Offence.HEADER_LIST, 64 * KIB),
    Attack("small header bombs", _small_bombs, End.SERVED, Offence.HEADER_LIST, 0),
    Attack("table games", _table_games, End.CALM, Offence.RAPID_RESETS, 2 * MIB),
    Attack("table growth", _table_growth, End.COMPRESSION, None, 4 * KIB),
    Attack("streams over the limit", _streams(lambda _: b""), End.SERVED, Offence.STREAMS, 0),
    Attack(
        "unknown methods",
        lambda: _in_pieces(_unknown_methods()),
        End.SERVED,
        None,
        0,
    ),
    Attack(
        "window updates",
        _repeated(window_update(0, 1)),
        End.CALM,
        Offence.WINDOW_UPDATES,
        256 * KIB,
    ),
    Attack(
        "window updates of a stream",
        _on_a_stream(lambda number: window_update(number, 1)),
        End.CALM,
        Offence.WINDOW_UPDATES,
        256 * KIB,
    ),
    Attack("window without end", _repeated(window_update(0, LARGEST_WINDOW)), End.FLOW, None, 32 * KIB),
    Attack(
        "one byte a frame",
        _on_a_stream(_tiny, first=b"\x00\x00\x10\x00\x00"),
        End.CALM,
        Offence.FRAGMENTS,
        256 * KIB,
    ),
    Attack("data after a reset", _after_a_reset(_tiny), End.CALM, Offence.FRAGMENTS, 256 * KIB),
    Attack(
        "window updates after a reset",
        _after_a_reset(lambda number: window_update(number, 1)),
        End.CALM,
        Offence.WINDOW_UPDATES,
        256 * KIB,
    ),
    Attack("resets after a reset", _after_a_reset(rst_stream), End.CALM, Offence.RAPID_RESETS, 96 * KIB),
)


def _unknown_methods() -> Iterator[bytes]:
    client = Client()
    yield client.greet()
    for number in count(1, 2):
        fields = [(name, b"/no.Such/Method" if name == b":path" else value) for name, value in REQUEST]
        yield headers(number, client.encoder.encode(fields), end=True)
