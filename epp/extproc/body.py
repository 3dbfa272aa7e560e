"""A body on its way through: every byte that came goes out again, once and in order.

Chunks are held by reference, the small ones merged, so that a body in a million pieces costs little more than
its bytes. On the way out neighbours travel together where they fit into one message, because a message costs
far more than its bytes. No piece is larger than 62,000 bytes or the largest message that the gateway itself has
sent here, whichever is more: what it sends it can also take.

Before the first piece has gone, parts of a body that is whole can be replaced. Only the chunks that they lie in are
cut; the others stay the objects that came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

USUAL_PIECE_BYTES: Final = 62_000
"""What every gateway takes: upstream's pieces have this size."""
MOST_OWED: Final = 16
"""Answers without a body that may wait to be written before no more messages are taken."""

_SMALL_BYTES: Final = 4096
"""Below this, copying two chunks into one is cheaper than holding both."""


class Piece(msgspec.Struct, frozen=True):
    """What goes out in one message."""

    body: bytes
    end_of_stream: bool


class Edit(NamedTuple):
    """A part of a body, and what goes out in its place."""

    start: int
    end: int
    """The first byte that stays; equal to `start` where something is only put in."""
    replacement: bytes

    @property
    def growth(self) -> int:
        """By how many bytes the body gets longer."""
        return len(self.replacement) - (self.end - self.start)


class PassingBody:
    """One body, between coming in and going out."""

    __slots__ = ("_chunks", "_end_due", "_largest", "held_bytes")

    def __init__(self) -> None:
        # A list, because an empty deque takes more memory than most bodies: thousands of them are held.
        self._chunks: list[bytes] = []
        self._end_due = False
        self._largest = USUAL_PIECE_BYTES
        self.held_bytes = 0

    @property
    def fills_a_piece(self) -> bool:
        """Whether as much is held as goes out at once: what comes now has to wait for another turn."""
        return self.held_bytes >= self._largest

    def add(self, chunk: bytes) -> None:
        """Take in what one message brought."""
        size = len(chunk)
        self._largest = max(self._largest, size)
        if self._chunks or not size:
            self._hold(chunk)
        else:
            self._chunks.append(chunk)
            self.held_bytes += size

    def end(self) -> None:
        """The last chunk has come, and nothing else will mark the end: the last piece has to."""
        self._end_due = True

    def whole(self) -> bytes:
        """All that is held, in one."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def replace(self, edits: Sequence[Edit]) -> None:
        """Change parts of what is held. They are in order, and don't touch each other."""
        chunks, self._chunks = self._chunks, []
        self.held_bytes = 0
        due = list(reversed(edits))
        chunk_start = kept = 0
        for chunk in chunks:
            chunk_end = chunk_start + len(chunk)
            while due and due[-1].start < chunk_end:
                edit = due.pop()
                self._hold(chunk[kept - chunk_start : edit.start - chunk_start])
                self._hold(edit.replacement)
                kept = edit.end
            if kept < chunk_end:
                self._hold(chunk[kept - chunk_start :])
                kept = chunk_end
            chunk_start = chunk_end

    def next_piece(self) -> Piece | None:
        """Let the next piece go; None if there is none now."""
        chunks = self._chunks
        if not chunks:
            if not self._end_due:
                return None
            self._end_due = False
            return Piece(b"", end_of_stream=True)
        body = chunks.pop() if len(chunks) == 1 else self._together()
        self.held_bytes -= len(body)
        last = self._end_due and not chunks
        if last:
            self._end_due = False
        return Piece(body, last)

    def _together(self) -> bytes:
        """The first chunk, and as many of those behind it as fit in one piece."""
        chunks = self._chunks
        size = len(chunks[0])
        count = 1
        while count < len(chunks) and size + len(chunks[count]) <= self._largest:
            size += len(chunks[count])
            count += 1
        together = chunks[:count]
        del chunks[:count]
        return together[0] if count == 1 else b"".join(together)

    def _hold(self, chunk: bytes) -> None:
        chunks = self._chunks
        size = len(chunk)
        self.held_bytes += size
        if chunks and len(chunks[-1]) + size <= _SMALL_BYTES:
            chunks[-1] += chunk
        elif size:
            chunks.append(chunk)
