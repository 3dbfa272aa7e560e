"""Header blocks, read and written by `hpack` (RFC 7541), and what requests' headers must be (RFC 9113, 8.2 and 8.3).

A gateway sends the same headers for every stream, so after the first of them a block is a few indexes into the table
that both sides keep. As long as that table stays as it is, the same indexes mean the same headers: such blocks are
looked up, not decoded. The rule that keeps this right: a block that is anything else than one-byte indexes, and so may
change the table, empties the cache. The same holds for what we write.

A malformed request is the end of its stream only: the table has been kept up to date by then. What can't be decoded
ends the connection.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError

from epp.extproc.http2.codes import ConnectionFault, ErrorCode
from epp.extproc.http2.guard import Offence
from epp.extproc.http2.limits import OVERSIZE

if TYPE_CHECKING:
    from epp.extproc.http2.events import Headers
    from epp.extproc.http2.guard import Guard

_INDEXES: Final = bytes(range(0x81, 0xFF))
"""Bytes that are an indexed header field each. 0x80 would be index 0, which there isn't; 0xff begins a longer one."""
_MOST_BLOCKS: Final = 256
_LONGEST_BLOCK_BYTES: Final = 64
"""Each byte may stand for a header as long as the table is large."""
_ENTRY_OVERHEAD_BYTES: Final = 32
"""What each header counts besides its bytes (RFC 9113, section 6.5.2)."""

_NAME: Final = re.compile(rb":?[!-9;-@\[-~]+")
"""Visible ASCII, no upper case; a colon in front only (section 8.2.1)."""
_BLANKS: Final = frozenset({b" ", b"\t"})
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
_REQUIRED: Final = frozenset({b":method", b":scheme", b":path"})


class Block(NamedTuple):
    """A header block that has been read."""

    headers: Headers
    problem: str
    """Why no request can have these headers; '' if one can, or nobody looked, because they are too large."""
    is_too_large: bool


class HeaderReader:
    """Of one connection: blocks must be given to it in the order in which they came, all of them."""

    __slots__ = ("_blocks", "_decoder", "_guard", "_limit_bytes")

    def __init__(self, guard: Guard, *, max_list_bytes: int, table_bytes: int) -> None:
        self._guard = guard
        self._limit_bytes = max_list_bytes
        self._decoder = Decoder(max_header_list_size=max_list_bytes * OVERSIZE)
        # A smaller table than the RFC's holds once the peer has heard of it.
        self._decoder.max_allowed_table_size = max(table_bytes, self._decoder.max_allowed_table_size)
        self._blocks: dict[bytes, Block] = {}

    def allow_table(self, table_bytes: int) -> None:
        """The peer has acknowledged that our table has so many bytes."""
        if table_bytes != self._decoder.max_allowed_table_size:
            self._decoder.max_allowed_table_size = table_bytes
            self._blocks.clear()

    def read(self, data: bytes) -> Block:
        """Decode a block. Raises ConnectionFault where that can't be done."""
        block = self._blocks.get(data)
        if block is not None:
            return block
        try:
            decoded = self._decoder.decode(data, raw=True)
        except OversizedHeaderListError:
            raise self._guard.offended(
                Offence.HEADER_LIST, f"a header list of over {self._limit_bytes * OVERSIZE} bytes"
            ) from None
        except (HPACKError, ValueError, IndexError) as error:
            raise ConnectionFault(
                ErrorCode.COMPRESSION_ERROR, f"headers that can't be decoded: {type(error).__name__}"
            ) from None
        headers = tuple((name, value) for name, value in decoded)
        size = sum(len(name) + len(value) + _ENTRY_OVERHEAD_BYTES for name, value in headers)
        is_too_large = size > self._limit_bytes
        block = Block(headers, "" if is_too_large else request_problem(headers), is_too_large)
        if _is_indexes(data):
            if len(data) <= _LONGEST_BLOCK_BYTES and len(self._blocks) < _MOST_BLOCKS:
                self._blocks[data] = block
        else:
            self._blocks.clear()
        return block


class HeaderWriter:
    """Of one connection: what it writes must be sent in that order, all of it."""

    __slots__ = ("_blocks", "_encoder", "_most_table_bytes", "_table_sizes")

    def __init__(self, most_table_bytes: int) -> None:
        """However large a table the peer allows, ours has no more than `most_table_bytes`."""
        self._encoder = Encoder()
        self._most_table_bytes = most_table_bytes
        self._blocks: dict[Headers, bytes] = {}
        self._table_sizes: tuple[int, ...] = ()
        """What the table's size has to become before the next block: of several, the smallest and the last are said
        (RFC 7541, section 4.2)."""
        self.resize(self._encoder.header_table_size)

    def resize(self, table_bytes: int) -> None:
        """The peer allows a table of so many bytes, from the next block on."""
        size = min(table_bytes, self._most_table_bytes)
        self._table_sizes = (min((size, *self._table_sizes[:1])), size)
        self._blocks.clear()

    def write(self, headers: Headers) -> bytes:
        """Encode a block. What is unique to it had better be a `NeverIndexedHeaderTuple`, for the table's sake."""
        data = self._blocks.get(headers)
        if data is not None:
            return data
        if self._table_sizes:
            self._resize()
        data = self._encoder.encode(headers)
        if _is_indexes(data):
            if len(self._blocks) < _MOST_BLOCKS:
                self._blocks[headers] = data
        else:
            self._blocks.clear()
        return data

    def _resize(self) -> None:
        for size in self._table_sizes:
            # Told its present size, the encoder would forget the one before.
            if size != self._encoder.header_table_size:
                self._encoder.header_table_size = size
        self._table_sizes = ()


def request_problem(headers: Headers) -> str:  # noqa: PLR0911 - a list of rules, in the order of the sections
    """Why no request can have these headers; '' if one can."""
    pseudo: dict[bytes, bytes] = {}
    is_regular = False
    for name, value in headers:
        if problem := _field_problem(name, value):
            return problem
        if not name.startswith(b":"):
            is_regular = True
        elif is_regular:
            return "a pseudo-header after the others"
        elif name in pseudo:
            return f"{_shown(name)} twice"
        elif name not in _PSEUDO:
            return f"no request has {_shown(name)}"
        else:
            pseudo[name] = value
    if pseudo.get(b":method") == b"CONNECT":
        # Section 8.5.
        return "" if pseudo.keys() == {b":method", b":authority"} else "CONNECT with more than an authority"
    if missing := _REQUIRED - pseudo.keys():
        return f"no {_shown(min(missing))}"
    return "" if pseudo[b":path"] else "an empty :path"


def trailers_problem(headers: Headers) -> str:
    """Why these can't be trailers; '' if they can."""
    for name, value in headers:
        if name.startswith(b":"):
            return "a pseudo-header in trailers"
        if problem := _field_problem(name, value):
            return problem
    return ""


def _field_problem(name: bytes, value: bytes) -> str:
    if not _NAME.fullmatch(name):
        return "a header's name with characters that aren't allowed"
    # A few bytes of a block can name a long value many times: no expression goes through it.
    if b"\0" in value or b"\r" in value or b"\n" in value or not _BLANKS.isdisjoint((value[:1], value[-1:])):
        return f"a value of {_shown(name)} with characters that aren't allowed"
    if name in _OF_CONNECTIONS or (name == b"te" and value.lower() != b"trailers"):
        return f"{_shown(name)}, which is for HTTP/1 connections"
    return ""


def _is_indexes(data: bytes) -> bool:
    return not data.translate(None, _INDEXES)


def _shown(name: bytes) -> str:
    return name[:40].decode("ascii", "replace")
