"""Where our engine and the `h2` library differ, and why: the whole list.

Wherever RFC 9113 names the answer, ours is the RFC's. What it leaves open is decided in `epp.extproc.http2.connection`.
Each difference says what either side does, is recognised by the step that brings it about and by how the reference
sees the stream, and has an example, which is a test. Everything that isn't in this list must be the same.

`python -m tests.extproc.http2.differential.differences` prints the list as a table.
"""

from __future__ import annotations

from typing import Final

from epp.extproc.http2.codes import ErrorCode
from tests.extproc.http2.differential.recognition import (
    breaks_length,
    flawed,
    headers_break_length,
    headers_on_reset,
    is_all_padding,
    is_one_too_many,
    is_too_often,
    overflows_stream,
)
from tests.extproc.http2.differential.reference import Situation
from tests.extproc.http2.differential.steps import (
    FIRST,
    FRAME_BYTES,
    REQUEST,
    Act,
    Block,
    Continuation,
    Data,
    Deed,
    Flaw,
    Goaway,
    Headers,
    Ping,
    Priority,
    Raw,
    Reset,
    Settings,
    Target,
    Where,
    WindowUpdate,
)
from tests.extproc.http2.differential.verdicts import (
    IGNORES,
    LIMITS,
    MOST_STREAMS,
    TAKES,
    Difference,
    Seen,
    ends_connection,
    ends_stream,
)
from tests.extproc.http2.frames_by_hand import PRIORITY as PRIORITY_FRAME

_PROTOCOL: Final = ErrorCode.PROTOCOL_ERROR
_CLOSED: Final = ErrorCode.STREAM_CLOSED
_TOO_MUCH: Final = ends_connection(ErrorCode.ENHANCE_YOUR_CALM)
_CONNECT: Final = (
    (b":method", b"CONNECT"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"epp"),
    (b":protocol", b"websocket"),
)
_OPEN: Final = Headers()
_WHOLE: Final = Headers(ends=True)
_ANSWERED: Final = Act(Deed.ANSWER_AT_ONCE)

DIFFERENCES: Final = (
    # ------------------------------------------------------------------ judged before the stream is
    Difference(
        name="no SETTINGS first",
        section="3.4",
        reason="SETTINGS are the second half of a client's preface; without them the preface is invalid",
        theirs=TAKES,
        ours=ends_connection(_PROTOCOL),
        is_met=lambda seen: isinstance(seen.step, Ping) and not seen.reference.is_greeted,
        example=(Ping(),),
        greets=False,
    ),
    Difference(
        name="acknowledgement with settings",
        section="6.5",
        reason="the RFC names FRAME_SIZE_ERROR",
        theirs=ends_connection(_PROTOCOL),
        ours=ends_connection(ErrorCode.FRAME_SIZE_ERROR),
        is_met=lambda seen: isinstance(seen.step, Settings) and seen.step.ack and bool(seen.step.values),
        example=(Settings(((4, 100),), ack=True),),
    ),
    Difference(
        name="several values of one setting",
        section="6.5.3",
        reason="settings are taken in order, so each must be valid; h2 sees the last alone",
        theirs=TAKES,
        ours=ends_connection(ErrorCode.FLOW_CONTROL_ERROR),
        is_met=lambda seen: (
            isinstance(seen.step, Settings)
            and not seen.step.ack
            and len({setting for setting, _ in seen.step.values}) < len(seen.step.values)
            and (4, 2**31) in seen.step.values
        ),
        example=(Settings(((4, 2**31), (4, 100))),),
    ),
    Difference(
        name="extended CONNECT offered by a client",
        section="5.5",
        reason="a setting that we don't know is ignored; this one (RFC 8441) is for servers to send",
        theirs=ends_connection(_PROTOCOL),
        ours=TAKES,
        is_met=lambda seen: isinstance(seen.step, Settings) and (8, 7) in seen.step.values,
        example=(Settings(((8, 7),)),),
    ),
    Difference(
        name="farewell of a client",
        section="6.8",
        reason="a client that opens no more streams still wants the answers to those it has; h2 takes nothing any more",
        theirs=TAKES,
        ours=IGNORES,
        is_met=lambda seen: isinstance(seen.step, Goaway),
        example=(_OPEN, Goaway()),
    ),
    Difference(
        name="CONTINUATION of nothing, on a stream that was reset",
        section="6.10",
        reason="the RFC names a connection error, whatever the stream is; h2 does so until it forgets the stream",
        theirs=ends_stream(_CLOSED),
        ours=ends_connection(_PROTOCOL),
        is_met=lambda seen: (
            isinstance(seen.step, Continuation)
            and seen.situation in (Situation.RESET_BY_US, Situation.RESET_BY_PEER)
            and seen.reference.has_forgotten(seen.frame.stream)
        ),
        example=(_OPEN, Reset(), _OPEN, Continuation(Target(Where.KNOWN, 1))),
    ),
    Difference(
        name="CONTINUATION of nothing, on a stream that has ended",
        section="6.10",
        reason="the RFC names PROTOCOL_ERROR; h2 does so until it forgets the stream",
        theirs=ends_connection(_CLOSED),
        ours=ends_connection(_PROTOCOL),
        is_met=lambda seen: (
            isinstance(seen.step, Continuation)
            and seen.situation in (Situation.ENDED, Situation.PASSED_OVER)
            and seen.reference.has_forgotten(seen.frame.stream)
        ),
        example=(_WHOLE, _ANSWERED, _OPEN, Continuation(Target(Where.KNOWN, 1))),
    ),
    Difference(
        name="header block that HPACK can't read",
        section="4.3",
        reason="the RFC names COMPRESSION_ERROR",
        theirs=ends_connection(_PROTOCOL),
        ours=ends_connection(ErrorCode.COMPRESSION_ERROR),
        is_met=lambda seen: isinstance(seen.step, Headers) and seen.step.block.flaw is Flaw.UNDECODABLE,
        example=(Headers(block=Block(REQUEST, Flaw.UNDECODABLE, b"\x80")),),
    ),
    Difference(
        name="PRIORITY of a wrong length",
        section="6.3",
        reason="the RFC names a stream error",
        theirs=ends_connection(ErrorCode.FRAME_SIZE_ERROR),
        ours=ends_stream(ErrorCode.FRAME_SIZE_ERROR),
        is_met=lambda seen: (
            seen.frame.kind == PRIORITY_FRAME
            and len(seen.frame.payload) != 5
            and (seen.situation.is_live or seen.situation.is_gone)
        ),
        example=(_OPEN, Raw(PRIORITY_FRAME, FIRST, b"1234")),
    ),
    Difference(
        name="HEADERS that are all padding",
        section="6.2",
        reason="padding may be as long as what it is taken from; h2 wants it to be shorter",
        theirs=ends_connection(_PROTOCOL),
        ours=TAKES,
        is_met=lambda seen: (
            is_all_padding(seen.frame) and (seen.situation is Situation.IDLE or seen.situation.takes_data)
        ),
        example=(Headers(cuts=(0,), padding=5),),
    ),
    # ---------------------------------------------------------------------------- priorities
    Difference(
        name="PRIORITY on itself",
        section="5.3.2",
        reason="priorities are ignored, and it is no error any more (it was one in RFC 7540)",
        theirs=ends_connection(_PROTOCOL),
        ours=IGNORES,
        is_met=lambda seen: (
            isinstance(seen.step, Priority)
            and not seen.step.depends_on
            and seen.situation is not Situation.CONNECTION
        ),
        example=(_OPEN, Priority(FIRST, 0)),
    ),
    Difference(
        name="HEADERS that depend on themselves",
        section="5.3.2",
        reason="as above",
        theirs=ends_connection(_PROTOCOL),
        ours=TAKES,
        is_met=lambda seen: (
            isinstance(seen.step, Headers)
            and seen.step.depends_on == 0
            and (seen.situation is Situation.IDLE or seen.situation.takes_data)
        ),
        example=(Headers(depends_on=0),),
    ),
    # ---------------------------------------------------------------------- streams that are closed
    Difference(
        name="DATA on a stream that we have reset",
        section="5.1",
        reason="it may have been on its way, and is discarded; h2 resets the stream again for each frame",
        theirs=ends_stream(_CLOSED),
        ours=IGNORES,
        is_met=lambda seen: isinstance(seen.step, Data) and seen.our_situation is Situation.RESET_BY_US,
        example=(_OPEN, Act(Deed.RESET), Data()),
    ),
    Difference(
        name="HEADERS on a stream that we have reset",
        section="5.1",
        reason="they may have been on their way: they are decoded and discarded",
        theirs=ends_stream(_CLOSED),
        ours=IGNORES,
        is_met=headers_on_reset(Situation.RESET_BY_US),
        example=(_OPEN, Act(Deed.RESET), Headers(FIRST, ends=True)),
    ),
    Difference(
        name="HEADERS on a stream that the peer has reset",
        section="5.1",
        reason="nothing of ours can have crossed them",
        theirs=ends_stream(_CLOSED),
        ours=ends_connection(_CLOSED),
        is_met=headers_on_reset(Situation.RESET_BY_PEER),
        example=(_OPEN, Reset(), Headers(FIRST, ends=True)),
    ),
    Difference(
        name="RST_STREAM on a stream that was never opened",
        section="6.4",
        reason="the RFC names a connection error; h2 does so until there has been a stream",
        theirs=IGNORES,
        ours=ends_connection(_PROTOCOL),
        is_met=lambda seen: (
            isinstance(seen.step, Reset)
            and seen.situation in (Situation.IDLE, Situation.EVEN)
            and seen.reference.has_opened
        ),
        example=(_OPEN, Reset(Target(Where.IDLE))),
    ),
    # ------------------------------------------------------------------------------ new streams
    Difference(
        name="stream over the limit",
        section="5.1.2",
        reason="the RFC names a stream error, and with REFUSED_STREAM a gateway may safely try elsewhere",
        theirs=ends_connection(_PROTOCOL),
        ours=ends_stream(ErrorCode.REFUSED_STREAM),
        is_met=is_one_too_many,
        example=(*[_OPEN] * MOST_STREAMS, _OPEN),
    ),
    Difference(
        name="malformed headers",
        section="8.1.1",
        reason="the RFC names a stream error",
        theirs=ends_connection(_PROTOCOL),
        ours=ends_stream(_PROTOCOL),
        is_met=flawed(Flaw.MALFORMED),
        example=(Headers(block=Block((*REQUEST, (b"Upper", b"1")), Flaw.MALFORMED)),),
    ),
    Difference(
        name="no authority",
        section="8.3.1",
        reason="`:authority` is not required, and a picker has but one",
        theirs=ends_connection(_PROTOCOL),
        ours=TAKES,
        is_met=flawed(Flaw.NO_AUTHORITY),
        example=(Headers(block=Block((*REQUEST[:3], *REQUEST[4:]), Flaw.NO_AUTHORITY)),),
    ),
    Difference(
        name="another host",
        section="8.3.1",
        reason="`host` is never looked at, so it can't mislead; refusing it is a SHOULD",
        theirs=ends_connection(_PROTOCOL),
        ours=TAKES,
        is_met=flawed(Flaw.OTHER_HOST),
        example=(Headers(block=Block((*REQUEST, (b"host", b"other")), Flaw.OTHER_HOST)),),
    ),
    Difference(
        name="extended CONNECT",
        section="8.5",
        reason="we have never said that we understand it (RFC 8441), so `:protocol` is an unknown pseudo-header",
        theirs=TAKES,
        ours=ends_stream(_PROTOCOL),
        is_met=flawed(Flaw.EXTENDED_CONNECT),
        example=(Headers(block=Block(_CONNECT, Flaw.EXTENDED_CONNECT)),),
    ),
    Difference(
        name="trailers that end nothing",
        section="8.1",
        reason="they make a request malformed, for which the RFC names a stream error",
        theirs=ends_connection(_PROTOCOL),
        ours=ends_stream(_PROTOCOL),
        is_met=lambda seen: (
            isinstance(seen.step, Headers) and seen.situation.takes_data and not seen.step.ends
        ),
        example=(_OPEN, Headers(FIRST, Block(((b"a", b"b"),)))),
    ),
    Difference(
        name="content-length that is no number",
        section="8.1.1",
        reason="a malformed request is a stream error",
        theirs=ends_connection(_PROTOCOL),
        ours=ends_stream(_PROTOCOL),
        is_met=flawed(Flaw.LENGTH),
        example=(Headers(block=Block((*REQUEST, (b"content-length", b"ten")), Flaw.LENGTH)),),
    ),
    Difference(
        name="body that isn't as long as announced",
        section="8.1.1",
        reason="a malformed request is a stream error",
        theirs=ends_connection(_PROTOCOL),
        ours=ends_stream(_PROTOCOL),
        is_met=breaks_length,
        example=(Headers(block=Block((*REQUEST, (b"content-length", b"2")))), Data(size=1, ends=True)),
    ),
    Difference(
        name="body that HEADERS end too early",
        section="8.1.1",
        reason="it isn't as long as announced, and so malformed; h2 looks at DATA alone",
        theirs=TAKES,
        ours=ends_stream(_PROTOCOL),
        is_met=headers_break_length,
        example=(Headers(block=Block((*REQUEST, (b"content-length", b"2"))), ends=True),),
    ),
    # ---------------------------------------------------------------------------------- windows
    Difference(
        name="WINDOW_UPDATE by nothing, of a stream",
        section="6.9",
        reason="the RFC names a stream error",
        theirs=ends_connection(_PROTOCOL),
        ours=ends_stream(_PROTOCOL),
        is_met=lambda seen: (
            isinstance(seen.step, WindowUpdate) and not seen.step.increment and seen.situation.is_live
        ),
        example=(_OPEN, WindowUpdate(FIRST, 0)),
    ),
    Difference(
        name="WINDOW_UPDATE by nothing, of a closed stream",
        section="6.9",
        reason="the stream error is of a stream that has ended already",
        theirs=ends_connection(_PROTOCOL),
        ours=IGNORES,
        is_met=lambda seen: (
            isinstance(seen.step, WindowUpdate) and not seen.step.increment and seen.situation.is_gone
        ),
        example=(_OPEN, Reset(), WindowUpdate(FIRST, 0)),
    ),
    Difference(
        name="more DATA than the stream's window",
        section="6.9.1",
        reason="both are allowed, and the other streams have done nothing",
        theirs=ends_connection(ErrorCode.FLOW_CONTROL_ERROR),
        ours=ends_stream(ErrorCode.FLOW_CONTROL_ERROR),
        is_met=overflows_stream,
        # By one byte, which is of the padding.
        example=(
            _OPEN,
            Act(Deed.WITHHOLD),
            *[Data(size=FRAME_BYTES)] * 3,
            Data(size=FRAME_BYTES - 7, padding=6),
        ),
    ),
    # ----------------------------------------------------------------------------------- limits
    Difference(
        name="too many PINGs",
        section="10.5",
        reason="they cost and ask for nothing; h2 leaves limits to its users",
        theirs=TAKES,
        ours=_TOO_MUCH,
        is_met=is_too_often(Ping, LIMITS.pings),
        example=(Ping(),) * (LIMITS.pings.burst + 1),
    ),
    Difference(
        name="too many SETTINGS",
        section="10.5",
        reason="as above",
        theirs=TAKES,
        ours=_TOO_MUCH,
        is_met=is_too_often(Settings, LIMITS.settings),
        example=(Settings(),) * LIMITS.settings.burst,
    ),
    Difference(
        name="too many frames that bring nothing",
        section="10.5",
        reason="as above",
        theirs=IGNORES,
        ours=_TOO_MUCH,
        # The acknowledgement of our SETTINGS was the first of them.
        is_met=lambda seen: is_too_often(Priority, LIMITS.empty_frames)(
            seen._replace(earlier=seen.earlier + 1)
        ),
        example=(Priority(Target(Where.IDLE)),) * LIMITS.empty_frames.burst,
    ),
    Difference(
        name="too many WINDOW_UPDATEs",
        section="10.5",
        reason="as above; those that go with DATA of ours aren't counted",
        theirs=IGNORES,
        ours=_TOO_MUCH,
        is_met=is_too_often(WindowUpdate, LIMITS.window_updates),
        example=(WindowUpdate(Target(Where.CONNECTION)),) * (LIMITS.window_updates.burst + 1),
    ),
    Difference(
        name="too many streams reset at once",
        section="10.5",
        reason="as above: each has been opened and given up before it could be answered",
        theirs=TAKES,
        ours=_TOO_MUCH,
        is_met=is_too_often(Reset, LIMITS.rapid_resets),
        example=(_OPEN, Reset()) * (LIMITS.rapid_resets.burst + 1),
    ),
    Difference(
        name="too many CONTINUATIONs",
        section="10.5",
        reason="as above; h2 has a limit of 64 and calls it PROTOCOL_ERROR",
        theirs=TAKES,
        ours=_TOO_MUCH,
        is_met=lambda seen: isinstance(seen.step, Headers) and len(seen.step.cuts) > LIMITS.max_continuations,
        example=(Headers(cuts=(50,) * (LIMITS.max_continuations + 1)),),
    ),
    Difference(
        name="header list over the limit",
        section="10.5.1",
        reason="as above; the connection lives on, because the block has been decoded",
        theirs=TAKES,
        ours=ends_stream(ErrorCode.ENHANCE_YOUR_CALM),
        is_met=flawed(Flaw.TOO_LARGE),
        example=(
            Headers(block=Block((*REQUEST, (b"x", b"a" * LIMITS.max_header_list_bytes)), Flaw.TOO_LARGE)),
        ),
    ),
)


def found(seen: Seen) -> list[Difference]:
    """Those of the differences that the step brings about."""
    return [difference for difference in DIFFERENCES if difference.is_met(seen)]


def table() -> str:
    """The list for people, in Markdown."""
    rows = [
        f"| {row.name} | {row.section} | {row.theirs} | {row.ours} | {row.reason} |" for row in DIFFERENCES
    ]
    return "\n".join(("| what | RFC 9113 | h2 | ours | why |", "|---|---|---|---|---|", *rows))


if __name__ == "__main__":
    print(table())  # noqa: T201 - for people
