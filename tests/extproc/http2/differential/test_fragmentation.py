"""However a peer's bytes are cut on their way, our server says and sends the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat

from hypothesis import given, settings

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.connection import Connection
from epp.extproc.http2.events import ConnectionEnded, Event
from epp.extproc.http2.guard import Tally
from epp.extproc.http2.stream import Stream
from tests.extproc.http2.differential.programs import PIECES, PROGRAMS
from tests.extproc.http2.differential.steps import (
    RESPONSE,
    STATUS,
    Act,
    Client,
    Deed,
    Settings,
    Step,
    serialized,
)
from tests.extproc.http2.differential.verdicts import LIMITS
from tests.extproc.http2.frames_by_hand import PREFACE

Transcript = tuple[list[tuple[object, ...]], bytes]


def _segments(program: Iterable[Step | Act]) -> Iterator[bytes | Act]:
    """What the client sends, interrupted by what the server does."""
    client = Client()
    sent = PREFACE + serialized(client.frames(Settings()))
    for step in program:
        if isinstance(step, Act):
            yield sent
            yield step
            sent = b""
        elif client.can_take(step):
            sent += serialized(client.frames(step))
    yield sent


def _said(event: Event) -> tuple[object, ...]:
    """The event, with the number instead of the stream."""
    parts = event[:-1] if isinstance(event, ConnectionEnded) else event
    return type(event).__name__, *[part.id if isinstance(part, Stream) else part for part in parts]


def _act(connection: Connection[Stream], act: Act) -> None:
    streams = [stream for _, stream in sorted(connection.streams.items()) if not stream.local_closed]
    if not streams:
        return
    stream = streams[act.pick % len(streams)]
    if act.deed is Deed.RESET:
        connection.reset(stream, ErrorCode.CANCEL)
    elif act.deed is Deed.WITHHOLD:
        connection.withhold(stream)
    else:
        if not stream.answered:
            connection.send_headers(stream, RESPONSE, end=act.deed is Deed.ANSWER_AT_ONCE)
        if act.deed is Deed.SEND and stream.pending_end is None:
            connection.send_data(stream, bytes(act.size))
        if act.deed is Deed.FINISH and stream.pending_end is None:
            connection.send_trailers(stream, STATUS)


def _transcript(segments: Iterable[bytes | Act], pieces: Iterable[int]) -> Transcript:
    """All that our server says and sends, if it reads in these pieces."""
    connection: Connection[Stream] = Connection(LIMITS, tally=Tally(), new_stream=Stream, now=0.0)
    sizes = iter(pieces)
    said, sent = [], b""
    for segment in segments:
        if isinstance(segment, Act):
            _act(connection, segment)
        else:
            while segment:
                size = next(sizes)
                said += [_said(event) for event in connection.receive(segment[:size], 0.0)]
                segment = segment[size:]  # noqa: PLW2901 - what is left of it
                sent += b"".join(connection.take())
                connection.note_written()
        sent += b"".join(connection.take())
    return said, sent


@settings(max_examples=60)
@given(program=PROGRAMS, pieces=PIECES)
def test_cuts_make_no_difference(program: list[Step | Act], pieces: list[int]) -> None:
    """The events, one by one, and the bytes sent are the same for whole reads, for any pieces, and for single bytes."""
    segments = list(_segments(program))
    whole = _transcript(segments, repeat(1 << 30))
    assert _transcript(segments, chain(pieces, repeat(1 << 30))) == whole
    if sum(len(segment) for segment in segments if isinstance(segment, bytes)) < 5_000:
        assert _transcript(segments, repeat(1)) == whole
