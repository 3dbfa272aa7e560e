"""Watches: what one open watch sends, in which order, and how it ends.

A watch reads the history of its kind from where it stands. What a test orders (a bookmark, an ERROR, a broken line, an
end) is carried out after the changes that came before the order and ahead of those that came after it, however late
the watch's turn comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from tests.apiserver.kinds import PODS
from tests.apiserver.refusal import Refusal
from tests.apiserver.store import under

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.apiserver.asked import Asked
    from tests.apiserver.kinds import Kind
    from tests.apiserver.selectors import Selection
    from tests.apiserver.store import Change, Store

HALF_A_LINE = b'{"type":"MODIFIED","object":{"apiVersion":'


class Ending(Enum):
    """How a watch's connection goes."""

    CLEAN = "as after its time: the last chunk, and the connection lives"
    RESET = "a TCP reset"
    MID_LINE = "half a line, then a clean end"
    MID_LINE_RESET = "half a line, then a TCP reset"


@dataclass(frozen=True)
class Order:
    """What a test wants a watch to do once it has sent everything up to `revision`."""

    revision: int
    line: bytes = b""
    ending: Ending | None = None
    bookmark: bool = False


def frame(kind: str, raw: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"' + kind.encode() + b'","object":' + raw + b"}\n"


def error_line(refusal: Refusal) -> bytes:
    """An ERROR event."""
    return frame("ERROR", msgspec.json.encode(refusal.status()))


def bookmark_line(kind: Kind, revision: int, annotations: Mapping[str, str] | None = None) -> bytes:
    """A BOOKMARK event."""
    metadata = {"resourceVersion": str(revision)} | (
        {"annotations": dict(annotations)} if annotations else {}
    )
    obj = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
    if kind is PODS:
        obj |= {"spec": {"containers": None}, "status": {}}
    return frame("BOOKMARK", msgspec.json.encode(obj))


def change_line(kind: Kind, change: Change, selection: Selection) -> bytes:
    """What a watch tells of a change; nothing if the object was and is outside its selection."""
    was = change.old is not None and selection.takes(change.old.obj)
    is_now = change.new is not None and selection.takes(change.new.obj)
    if is_now:
        assert change.new is not None
        return frame("MODIFIED" if was else "ADDED", change.new.raw)
    if not was:
        return b""
    assert change.old is not None
    gone = change.gone if change.gone is not None else under(kind, change.old, change.revision)
    return frame("DELETED", gone.raw)


@dataclass(eq=False)
class Watch:
    """One open watch."""

    asked: Asked
    kind: Kind
    selection: Selection
    cursor: int
    wants_bookmarks: bool
    store: Store
    frozen: Callable[[], bool]
    initial: list[bytes] = field(default_factory=list)
    timeout_s: float | None = None
    bookmark_interval_s: float | None = None
    orders: deque[Order] = field(default_factory=deque)
    backlog: deque[Change] = field(default_factory=deque)
    told: int = 0
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def take_up(self) -> None:
        """Read the history as far as it goes, so that it may be forgotten."""
        self.backlog += self.store.changes(self.kind, after=self.cursor)
        self.cursor = max(self.cursor, self.store.revision)

    def order(self, order: Order) -> None:
        """Do this in its turn."""
        self.orders.append(order)
        self.woken.set()

    async def serve(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Send until the end."""
        loop = asyncio.get_running_loop()
        end_s = None if self.timeout_s is None else loop.time() + self.timeout_s
        bookmark_s = self._next_bookmark_s(loop.time())
        lines = list(self.initial)
        while True:
            self.woken.clear()
            if not self.frozen():
                order = self.orders.popleft() if self.orders else None
                try:
                    lines += self._news(None if order is None else order.revision)
                except Refusal as refusal:
                    await response.write(b"".join(lines) + error_line(refusal))
                    return
                if lines:
                    await response.write(b"".join(lines))
                    lines = []
                if order is not None:
                    if await self._carry_out(order, request, response):
                        return
                    continue
                if bookmark_s is not None and loop.time() >= bookmark_s:
                    await response.write(bookmark_line(self.kind, self.told))
                    bookmark_s = self._next_bookmark_s(loop.time())
                if end_s is not None and loop.time() >= end_s:
                    return
            due_s = [at_s for at_s in (end_s, bookmark_s) if at_s is not None and not self.frozen()]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(due_s) if due_s else None):
                    await self.woken.wait()

    def _next_bookmark_s(self, now_s: float) -> float | None:
        if not self.wants_bookmarks or self.bookmark_interval_s is None:
            return None
        return now_s + self.bookmark_interval_s

    def _news(self, upto: int | None) -> list[bytes]:
        """The lines that are due, up to a version."""
        self.take_up()
        lines = []
        while self.backlog and (upto is None or self.backlog[0].revision <= upto):
            if line := change_line(self.kind, self.backlog.popleft(), self.selection):
                lines.append(line)
        self.told = self.cursor if upto is None else max(upto, self.told)
        return lines

    async def _carry_out(self, order: Order, request: web.BaseRequest, response: web.StreamResponse) -> bool:
        """Do as a test said, and say whether that was the end."""
        line = order.line
        if order.bookmark and self.wants_bookmarks:
            line += bookmark_line(self.kind, self.told)
        if order.ending in {Ending.MID_LINE, Ending.MID_LINE_RESET}:
            line += HALF_A_LINE
        if line:
            await response.write(line)
        if order.ending in {Ending.RESET, Ending.MID_LINE_RESET}:
            if line:
                await asyncio.sleep(0.02)  # lets the half line leave: a reset discards what is not sent yet
            reset(request.transport)
        return order.ending is not None


def reset(transport: Any) -> None:
    """End a connection with a TCP reset instead of a polite close."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
