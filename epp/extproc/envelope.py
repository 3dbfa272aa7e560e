"""Body answers on the wire, made around the bytes that they carry.

What is around a body is a few tags and lengths, the same for every body of one size, while making it of message
objects costs several times as much as handing the bytes on. Exactly what the generated classes write.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

REQUEST_BODY: Final = b"\x1a"
RESPONSE_BODY: Final = b"\x22"
"""The tags that answers begin with."""

_END: Final = b"\x10\x01"
"""`end_of_stream`, true."""
_SIZES_REMEMBERED: Final = 4096


def body_answer(tag: bytes, body: bytes, *, end_of_stream: bool) -> bytes:
    """A `ProcessingResponse` that passes a piece of a body on, in full duplex."""
    if end_of_stream:
        return b"".join((_opening(tag, len(body), len(_END)), body, _END))
    return _opening(tag, len(body), 0) + body


@lru_cache(_SIZES_REMEMBERED)
def _opening(tag: bytes, size: int, size_after: int) -> bytes:
    """Everything before the body."""
    opening = b"\x0a" + _varint(size) if size else b""
    # A StreamedBodyResponse in a BodyMutation, in a CommonResponse, in a BodyResponse, in a ProcessingResponse.
    for outer in (b"\x1a", b"\x1a", b"\x0a", tag):
        opening = outer + _varint(len(opening) + size + size_after) + opening
    return opening


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
