"""Our server beside `h2`'s: whatever a client does, the same happens on both, but for the intended differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, note, settings

from tests.extproc.http2.differential.pair import Pair
from tests.extproc.http2.differential.programs import PIECES, PROGRAMS
from tests.extproc.http2.differential.steps import (
    FIRST,
    FRAME_BYTES,
    NEW,
    REQUEST,
    TRAILERS,
    Act,
    Block,
    Data,
    Deed,
    Headers,
    Interrupted,
    Ping,
    Priority,
    PushPromise,
    Raw,
    Reset,
    Settings,
    Step,
    Target,
    Where,
    WindowUpdate,
)
from tests.extproc.http2.differential.verdicts import LIMITS
from tests.extproc.http2.frames_by_hand import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

_ALL = Target(Where.CONNECTION)
_EVEN = Target(Where.EVEN)
_IDLE = Target(Where.IDLE)
_SKIPPED = Target(Where.SKIPPED)
_SECOND = Target(Where.NEW, 1)
"""Passes one over."""
_OPEN, _WHOLE = Headers(), Headers(ends=True)
_ANSWERED = Act(Deed.ANSWER_AT_ONCE)
_FULL = Data(size=FRAME_BYTES)
_TOO_LONG = bytes(FRAME_BYTES + 1)
_HELD = Act(Deed.WITHHOLD)

SITUATIONS: dict[str, tuple[Step | Act, ...]] = {
    "DATA before any stream": (Data(_IDLE),),
    "DATA on a stream to come": (_OPEN, Data(_IDLE)),
    "DATA on an even stream": (_OPEN, Data(_EVEN)),
    "DATA on a stream passed over": (Headers(_SECOND), Data(_SKIPPED), _OPEN),
    "DATA after the end": (_WHOLE, Data(), _OPEN),
    "DATA after both ends": (_WHOLE, _ANSWERED, Data(), _OPEN),
    "DATA after a reset": (_OPEN, Reset(), Data(), _OPEN),
    "DATA after our end": (_OPEN, _ANSWERED, Data(size=100), Data(ends=True), Data()),
    "HEADERS on an even stream": (_OPEN, Headers(_EVEN)),
    "HEADERS on a stream passed over": (Headers(_SECOND), Headers(_SKIPPED)),
    "HEADERS after the end": (_WHOLE, Headers(FIRST, ends=True), _OPEN),
    "HEADERS after both ends": (_WHOLE, _ANSWERED, Headers(FIRST, ends=True)),
    "RST_STREAM twice": (_OPEN, Reset(), Reset(), _OPEN),
    "RST_STREAM after both ends": (_WHOLE, _ANSWERED, Reset(), _OPEN),
    "WINDOW_UPDATE of a stream to come": (_OPEN, WindowUpdate(_IDLE)),
    "WINDOW_UPDATE after both ends": (_WHOLE, _ANSWERED, WindowUpdate(), _OPEN),
    "WINDOW_UPDATE by nothing, of the connection": (_OPEN, WindowUpdate(_ALL, 0)),
    "a stream's window just not too large": (_OPEN, WindowUpdate(FIRST, LARGEST_WINDOW - 65_535)),
    "a stream's window too large": (_OPEN, WindowUpdate(FIRST, LARGEST_WINDOW - 65_534), _OPEN),
    "the window just not too large": (_OPEN, WindowUpdate(_ALL, LARGEST_WINDOW - 65_535)),
    "the window too large": (_OPEN, WindowUpdate(_ALL, LARGEST_WINDOW - 65_534)),
    "a stream's window made too large": (_OPEN, WindowUpdate(), Settings(((4, LARGEST_WINDOW),))),
    "a stream's window made as large as can be": (_OPEN, Settings(((4, LARGEST_WINDOW),))),
    "a window lowered below nothing": (
        *(_OPEN, Act(Deed.SEND, size=17_000), Settings(((4, 1_000),)), Act(Deed.SEND, size=3_000)),
        *(
            WindowUpdate(FIRST, 16_000),
            WindowUpdate(FIRST, 1),
            Settings(((4, 1_001),)),
            WindowUpdate(FIRST, 9_000),
        ),
    ),
    "all of a stream's window": (_OPEN, _HELD, *[_FULL] * 3, Data(size=FRAME_BYTES - 1)),
    "padding counts": (_OPEN, _HELD, *[_FULL] * 3, Data(size=FRAME_BYTES - 7, padding=5)),
    "the window given back": (_OPEN, *[_FULL] * 20),
    "withheld streams leave the connection its window": (
        *[step for _ in range(8) for step in (_OPEN, Act(Deed.WITHHOLD, 7))],
        *[Data(Target(Where.KNOWN, pick), FRAME_BYTES) for pick in range(8)] * 3,
    ),
    "an unknown setting": (Settings(((9, 1), (0xFFFF, 5))),),
    "ENABLE_PUSH 2": (Settings(((2, 2),)),),
    "INITIAL_WINDOW_SIZE 2^31": (Settings(((4, LARGEST_WINDOW + 1),)),),
    "MAX_FRAME_SIZE 16383": (Settings(((5, 16_383),)),),
    "MAX_FRAME_SIZE 2^24": (Settings(((5, 2**24),)),),
    "MAX_FRAME_SIZE in use": (_OPEN, Settings(((5, 16_400),)), Act(Deed.SEND, size=17_000)),
    "PUSH_PROMISE": (_OPEN, PushPromise()),
    "PING": (Ping(b"abcdefgh"), Ping(b"abcdefgh", ack=True)),
    "priorities": (
        Priority(_IDLE),
        Priority(_EVEN, 7),
        _OPEN,
        Priority(),
        Headers(NEW, depends_on=2**32 - 1),
    ),
    "an unknown frame": (_OPEN, Raw(0x20, FIRST, b"x", 0xFF), Raw(0x20, _ALL, b""), Raw(0x20, _IDLE, b"y")),
    "a block in pieces": (Headers(cuts=(0, 10, 10, 90)), Headers(FIRST, Block(TRAILERS), True, (50,), 9)),
    "a table that is used": (*[Headers(block=_OPEN.block._replace(fields=(*REQUEST, (b"x", b"y"))))] * 3,),
    "a block interrupted by PING": (Interrupted(Ping()),),
    "a block interrupted by DATA": (_OPEN, Interrupted(Data())),
    "a block interrupted by HEADERS": (Interrupted(Headers()),),
    "a block interrupted by an unknown frame": (Interrupted(Raw(0x20, _ALL, b"")),),
    "a block continued elsewhere": (Interrupted(Raw(CONTINUATION, _IDLE, b"", END_HEADERS)),),
    "CONTINUATION of nothing": (_OPEN, Raw(CONTINUATION, FIRST, b"", END_HEADERS)),
    "PING of 7 bytes": (Raw(PING, _ALL, bytes(7)),),
    "SETTINGS of 5 bytes": (Raw(SETTINGS, _ALL, bytes(5)),),
    "GOAWAY of 7 bytes": (Raw(GOAWAY, _ALL, bytes(7)),),
    "RST_STREAM of 5 bytes": (_OPEN, Raw(RST_STREAM, FIRST, bytes(5))),
    "WINDOW_UPDATE of 3 bytes": (_OPEN, Raw(WINDOW_UPDATE, FIRST, bytes(3))),
    "HEADERS without their priority": (Raw(HEADERS, NEW, bytes(4), PRIORITIZED | END_HEADERS),),
    "DATA without its padding": (_OPEN, Raw(DATA, FIRST, b"", PADDED)),
    "DATA with too much padding": (_OPEN, Raw(DATA, FIRST, b"\x05abcd", PADDED)),
    "HEADERS with too much padding": (Raw(HEADERS, NEW, b"\x05abcd", PADDED | END_HEADERS),),
    "the longest frame": (_OPEN, _FULL),
    "DATA that is too long": (_OPEN, Raw(DATA, FIRST, _TOO_LONG)),
    "an unknown frame that is too long": (Raw(0x20, _ALL, _TOO_LONG),),
    "SETTINGS on a stream": (_OPEN, Raw(SETTINGS, FIRST, b"")),
    "PING on a stream": (_OPEN, Raw(PING, FIRST, bytes(8))),
    "GOAWAY on a stream": (_OPEN, Raw(GOAWAY, FIRST, bytes(8))),
    "DATA on the connection": (Raw(DATA, _ALL, b"x"),),
    "HEADERS on the connection": (Raw(HEADERS, _ALL, b"", END_HEADERS),),
    "PRIORITY on the connection": (Raw(PRIORITY, _ALL, bytes(5)),),
    "RST_STREAM on the connection": (_OPEN, Raw(RST_STREAM, _ALL, bytes(4))),
}
"""What is rare at random, and must be the same as well: no intended difference is in it."""


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("pieces", [(), (1,) * 400], ids=["whole", "bytes"])
def test_a_situation_is_seen_as_h2_sees_it(situation: str, pieces: tuple[int, ...]) -> None:
    """The same events, windows and answers, or the same error, without an intended difference."""
    pair = Pair(pieces)
    pair.run(SITUATIONS[situation])
    assert pair.met == []


@pytest.mark.parametrize(("size", "is_over"), [(65_535, False), (65_536, True)])
def test_the_window_of_the_connection_holds(size: int, is_over: bool) -> None:
    """It may be used up to the last byte, and not beyond. No smaller frame gets there: it is given back at half."""
    limits = replace(
        LIMITS, max_frame_bytes=70_000, stream_window_bytes=70_000, connection_window_bytes=65_535
    )
    pair = Pair(limits=limits)
    pair.run((_OPEN, Raw(DATA, FIRST, bytes(size))))
    assert pair.subject.connection.is_over is is_over
    assert pair.met == []


@settings(max_examples=150)
@given(program=PROGRAMS, pieces=PIECES)
def test_clients_find_no_difference_to_h2(program: list[Step | Act], pieces: list[int]) -> None:
    """Legal and illegal frames give the same events, windows and answers, or end in the same error."""
    note(f"{program} in pieces of {pieces}")
    Pair(pieces).run(program)
