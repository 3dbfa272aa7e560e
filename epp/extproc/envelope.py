"""Messages that carry a piece of a body, read and made around the bytes that they carry.

What is around a body is a few tags and lengths, the same for every body of one size, while going by way of message
objects costs several times as much as handing the bytes on. What is made is exactly what the generated classes write.
What is read is that as well, and nothing else: a message with a field that it needn't have, with its fields in another
order, or with a length that takes more bytes than it must, is left to the classes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

REQUEST_BODY_SENT: Final = b"\x22"
RESPONSE_BODY_SENT: Final = b"\x2a"
"""What gateways' messages with a piece of a body begin with."""
REQUEST_BODY: Final = b"\x1a"
RESPONSE_BODY: Final = b"\x22"
"""The tags that answers begin with."""

_BODY: Final = b"\x0a"
_END: Final = b"\x10\x01"
"""`end_of_stream`, true."""
_SIZES_REMEMBERED: Final = 4096
_MOST_LENGTH_BYTES: Final = 5


def read_body(tag: bytes, message: bytes) -> tuple[bytes, bool] | None:
    """A `ProcessingRequest` that is a piece of a body and nothing more: the piece, and whether it ends the stream.

    None if it isn't one of those that begin with `tag`, written in the one usual way.
    """
    opening, opening_of_last = _openings_sent(tag, len(message))
    if opening is not None and message.startswith(opening):
        return message[len(opening) :], False
    if opening_of_last is not None and message.startswith(opening_of_last) and message.endswith(_END):
        return message[len(opening_of_last) : -len(_END)], True
    return None


def body_answer(tag: bytes, body: bytes, *, end_of_stream: bool) -> bytes:
    """A `ProcessingResponse` that passes a piece of a body on, in full duplex."""
    if end_of_stream:
        return b"".join((_opening(tag, len(body), len(_END)), body, _END))
    return _opening(tag, len(body), 0) + body


@lru_cache(_SIZES_REMEMBERED)
def _openings_sent(tag: bytes, size: int) -> tuple[bytes | None, bytes | None]:
    """What comes before the body in a message of `size` bytes: one that ends nothing, and one that ends the stream."""
    return _opening_sent(tag, size, 0), _opening_sent(tag, size, len(_END))


def _opening_sent(tag: bytes, size: int, size_after: int) -> bytes | None:
    """None if no message of this size has a body: the longer its lengths are written, the less is left for it."""
    for size_before in range(2, 2 * (1 + _MOST_LENGTH_BYTES) + 1):
        body_size = size - size_before - size_after
        if body_size < 0:
            break
        opening = _enclosed((tag,), _field(body_size), body_size + size_after)
        if len(opening) == size_before:
            return opening
    return None


@lru_cache(_SIZES_REMEMBERED)
def _opening(tag: bytes, size: int, size_after: int) -> bytes:
    """Everything before the body."""
    # A StreamedBodyResponse in a BodyMutation, in a CommonResponse, in a BodyResponse, in a ProcessingResponse.
    return _enclosed((b"\x1a", b"\x1a", b"\x0a", tag), _field(size), size + size_after)


def _field(size: int) -> bytes:
    """What comes before a body of this size, just before: nothing where the body is empty, which isn't written."""
    return _BODY + _varint(size) if size else b""


def _enclosed(tags: tuple[bytes, ...], opening: bytes, size_behind: int) -> bytes:
    """An opening, and those of the messages around it, the innermost tag first."""
    for tag in tags:
        opening = tag + _varint(len(opening) + size_behind) + opening
    return opening


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
