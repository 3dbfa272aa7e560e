"""How calls end, in gRPC's words, and the header blocks with which we answer them.

- A call that was answered ends with trailers: `grpc-status`, and `grpc-message` unless that is empty.
- One that ends before any answer gets all of it in one block, *trailers-only*: status 200, content type, `grpc-status`.
- A request that is no gRPC call at all gets an HTTP status and nothing else.
- `grpc-message` is UTF-8, percent-encoded wherever it isn't visible ASCII, and for `%`. Spaces stay, except
  where HTTP/2 forbids them: at either end (RFC 9113, section 8.2.1).

Blocks without a message are the same object each time, so that whoever encodes them can know them again.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from epp.extproc.http2.events import Headers


class Status(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


RESPONSE_HEADERS: Final[Headers] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
"""Before the first message."""
ACCEPTED_ENCODINGS: Final[Headers] = ((b"grpc-accept-encoding", b"identity"),)
"""For a peer that compresses its messages."""

METHOD_NOT_ALLOWED: Final[Headers] = ((b":status", b"405"), (b"allow", b"POST"))
UNSUPPORTED_MEDIA_TYPE: Final[Headers] = ((b":status", b"415"),)

_AS_THEY_ARE: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What stays in a message, besides letters and digits."""

_TRAILERS: Final[dict[Status, Headers]] = {
    status: ((b"grpc-status", str(status.value).encode()),) for status in Status
}
_TRAILERS_ONLY: Final[dict[Status, Headers]] = {
    status: RESPONSE_HEADERS + trailers for status, trailers in _TRAILERS.items()
}


def trailers(status: Status, message: str = "") -> Headers:
    """The end of a call that was answered."""
    block = _TRAILERS[status]
    return (*block, _message_header(message)) if message else block


def trailers_only(status: Status, message: str = "") -> Headers:
    """All that is said on a call that ends before any answer."""
    block = _TRAILERS_ONLY[status]
    return (*block, _message_header(message)) if message else block


_LONGEST_MESSAGE: Final = 1024
"""Characters. Header compression takes time that grows with the square of a header's length."""


def encode_message(message: str) -> bytes:
    """A message for people, as `grpc-message` carries it."""
    encoded = quote(message[:_LONGEST_MESSAGE], safe=_AS_THEY_ARE, errors="replace")
    if encoded != encoded.strip():
        encoded = encoded.replace(" ", "%20")
    return encoded.encode()


def _message_header(message: str) -> tuple[bytes, bytes]:
    return b"grpc-message", encode_message(message)
