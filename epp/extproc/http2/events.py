"""What the engine says has happened on a connection: closed unions, one for HTTP/2 and one for the calls above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from epp.extproc.http2.call import Call
    from epp.extproc.http2.codes import ErrorCode
    from epp.extproc.http2.stream import Stream

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case, pseudo-headers first."""


class StreamOpened(NamedTuple):
    """The peer opened a stream."""

    stream: Stream
    headers: Headers
    ended: bool
    """It will send nothing more on it."""


class DataReceived(NamedTuple):
    """A piece of a stream's body, which may be empty where it ends."""

    stream: Stream
    data: bytes
    ended: bool


class TrailersReceived(NamedTuple):
    """The peer ended its side with trailers."""

    stream: Stream
    headers: Headers


class StreamReset(NamedTuple):
    """The stream is gone, and nothing can be sent on it: the peer's doing, or ours because of what the peer did."""

    stream: Stream
    code: ErrorCode | int
    """As the peer sent it, if it is none of the RFC's."""


class PendingSent(NamedTuple):
    """What waited for the peer's windows has gone, all of it."""

    stream: Stream


class ConnectionEnded(NamedTuple):
    """Nothing more will be read, and nothing sent but what `take` still gives. Every stream has been reset before."""

    code: ErrorCode
    detail: str


Event = StreamOpened | DataReceived | TrailersReceived | StreamReset | PendingSent | ConnectionEnded


class CallOpened(NamedTuple):
    """The peer calls a method that is known. Its `owner` is for whoever handles it to set."""

    call: Call
    path: str
    timeout_s: float | None
    """What it gives us, from now."""


class MessageReceived(NamedTuple):
    """A whole message of a call."""

    call: Call
    message: bytes


class HalfClosed(NamedTuple):
    """The peer will send no more messages on the call."""

    call: Call


class CallReset(NamedTuple):
    """The call is gone; nothing can be sent on it."""

    call: Call
    code: ErrorCode | int


class MessageSent(NamedTuple):
    """What waited for the peer's windows has gone: the next message can be sent."""

    call: Call


CallEvent = CallOpened | MessageReceived | HalfClosed | CallReset | MessageSent | ConnectionEnded
