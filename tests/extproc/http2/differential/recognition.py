"""By what the intended differences are recognised: a step, and how the reference sees its stream."""

from __future__ import annotations

from collections.abc import Callable

from epp.extproc.http2.limits import Allowance
from tests.extproc.http2.differential.reference import Situation
from tests.extproc.http2.differential.steps import (
    Data,
    Flaw,
    Headers,
    Step,
)
from tests.extproc.http2.differential.verdicts import MOST_STREAMS, Seen
from tests.extproc.http2.frames_by_hand import HEADERS as HEADERS_FRAME
from tests.extproc.http2.frames_by_hand import PADDED, Frame


def flawed(*flaws: Flaw) -> Callable[[Seen], bool]:
    """A header block with such a flaw, on a stream that may have headers."""

    def is_met(seen: Seen) -> bool:
        return (
            isinstance(seen.step, Headers)
            and seen.step.block.flaw in flaws
            and (seen.situation is Situation.IDLE or seen.situation.takes_data)
        )

    return is_met


def headers_on_reset(ours: Situation) -> Callable[[Seen], bool]:
    """HEADERS on a stream that both see as reset, and ours so."""
    return lambda seen: (
        isinstance(seen.step, Headers)
        and seen.our_situation is ours
        and seen.situation in (Situation.RESET_BY_US, Situation.RESET_BY_PEER)
    )


def breaks_length(seen: Seen) -> bool:
    """DATA after which the body is longer than its content-length, or has ended too early."""
    if not seen.situation.takes_data or not isinstance(seen.step, Data):
        return False
    announced, come = seen.reference.announced_length(seen.frame.stream)
    if announced is None:
        return False
    come += seen.step.size
    return come > announced or (come != announced and seen.step.ends)


def headers_break_length(seen: Seen) -> bool:
    """HEADERS that end a body of which less has come than was announced."""
    step = seen.step
    if not isinstance(step, Headers) or not step.ends:
        return False
    if seen.situation.takes_data:
        announced, come = seen.reference.announced_length(seen.frame.stream)
        return announced is not None and announced != come
    lengths = [value for name, value in step.block.fields if name == b"content-length"]
    return seen.situation is Situation.IDLE and bool(lengths) and lengths[0] != b"0"


def is_all_padding(frame: Frame) -> bool:
    """HEADERS whose padding leaves nothing for the block, which is allowed."""
    if frame.kind != HEADERS_FRAME or not frame.flags & PADDED or len(frame.payload) < 2:
        return False
    return frame.payload[0] == len(frame.payload) - 1


def overflows_stream(seen: Seen) -> bool:
    """DATA that the connection's window has room for, and the stream's hasn't."""
    if not isinstance(seen.step, Data) or not seen.situation.takes_data:
        return False
    stream_room, connection_room = seen.reference.room(seen.frame.stream)
    return stream_room < len(seen.frame.payload) <= connection_room


def is_one_too_many(seen: Seen) -> bool:
    """A request beyond the streams that are allowed at once."""
    return (
        isinstance(seen.step, Headers)
        and seen.situation is Situation.IDLE
        and seen.reference.open_streams() >= MOST_STREAMS
    )


def is_too_often(kind: type[Step], allowance: Allowance) -> Callable[[Seen], bool]:
    """One more than is allowed at once."""
    return lambda seen: isinstance(seen.step, kind) and seen.earlier >= allowance.burst
