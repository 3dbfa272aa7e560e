"""An API server without a network: the store of the fake one behind the methods of `ApiServer`, for virtual time.

What a test can make go wrong: `trouble` answers instead of the server for as long as it is set, `mishaps` once each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import msgspec

from epp.kube.connection import LineTooLong, Reply, Unreachable
from tests.apiserver.answers import answer, refused, selection, served
from tests.apiserver.asked import Asked, read_request
from tests.apiserver.crds import definitions, kind_of
from tests.apiserver.kinds import Kind
from tests.apiserver.objects import Objects
from tests.apiserver.refusal import Refusal, expired, failure
from tests.apiserver.reviews import Reviews
from tests.apiserver.selectors import Selection
from tests.apiserver.store import Change, Store
from tests.apiserver.watches import bookmark_line, change_line, error_line

BOOKMARK_INTERVAL_S = 60.0
REFUSED = Unreachable("connection refused")
BROKEN = Unreachable("the connection broke off")
HTML = Reply(502, b"<html><body>bad gateway</body></html>", None)
Trouble = Reply | Unreachable | None


def status(code: int, message: str = "", *, retry_after_s: int | None = None) -> Reply:
    """A refusal as API servers make them."""
    done = refused(failure(code, message=message, retry_after_s=retry_after_s))
    return Reply(done.status, done.body, None if retry_after_s is None else float(retry_after_s))


class MemoryServer(Objects):
    """See the module. Made in the loop that uses it."""

    host = "memory"
    namespace = "team"

    def __init__(self, *, crds: list[str] | None = None) -> None:
        names = definitions() if crds is None else crds
        super().__init__(Store(now=lambda: "2026-01-01T00:00:00Z", kinds=[kind_of(name) for name in names]))
        self.store.on_change = self._wake
        self.trouble: Callable[[Asked], Trouble] = lambda asked: None
        self.mishaps: deque[Trouble] = deque()
        self.before_page: Callable[[Asked], None] = lambda asked: None
        """Called before a list is answered, such as to change what it shows."""
        self.hanging = False
        """Nothing is answered, and open watches are silent."""
        self.silent = False
        """Watches are opened, and silent."""
        self.close_at_once = False
        """Watches end as soon as they have begun."""
        self.log: list[Asked] = []
        self.streams: list[MemoryStream] = []
        self.opened = 0
        self._reviews = Reviews()

    def asked(self, verb: str = "", plural: str = "") -> list[Asked]:
        """The requests so far."""
        return [each for each in self.log if verb in {"", each.verb} and plural in {"", each.plural}]

    def compact(self) -> None:
        """Forget all history; watches that are up to date live on."""
        for stream in self.streams:
            with suppress(Refusal):  # it was forgotten before
                stream.take_up()
        self.store.compact()

    def uninstall(self, group: str, plural: str) -> None:
        """Take a kind away; its watches tell of that and end."""
        kind = self.kind(f"{plural}.{group}")
        super().uninstall(group, plural)
        for stream in self.streams:
            if stream.kind is kind:
                stream.end(None)

    def break_watches(self, error: Unreachable | None = BROKEN) -> None:
        """End all open watches, abruptly or (None) politely."""
        for stream in self.streams:
            stream.end(error)

    def say(self, *lines: bytes) -> None:
        """Send lines on all open watches."""
        for stream in self.streams:
            stream.say(lines)

    def _wake(self) -> None:
        for stream in self.streams:
            stream.woken.set()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = {},
        body: object | None = None,
        content_type: str = "application/json",
        timeout_s: float = 15.0,
    ) -> Reply:
        """See `ApiServer`."""
        asked = self._asked(method, path, query, body, content_type)
        self.before_page(asked)
        await self._suffer(asked, timeout_s)
        if instead := self._instead(asked):
            return instead
        try:
            done = answer(self.store, self._reviews, asked)
        except Refusal as refusal:
            done = refused(refusal)
        wait = done.headers.get("Retry-After")
        return Reply(done.status, done.body, None if wait is None else float(wait))

    @asynccontextmanager
    async def watch(
        self, path: str, *, query: Mapping[str, str], connect_timeout_s: float
    ) -> AsyncIterator[MemoryStream]:
        """See `ApiServer`."""
        asked = self._asked("GET", path, query)
        await self._suffer(asked, connect_timeout_s)
        instead = self._instead(asked)
        kind = served(self.store, asked)
        if instead is None and kind is None:
            instead = status(404, "the server could not find the requested resource")
        if instead is not None:
            yield MemoryStream(self, PLACEHOLDER, asked, instead=instead)
            return
        assert kind is not None
        stream = MemoryStream(self, kind, asked)
        self.streams.append(stream)
        self.opened += 1
        try:
            yield stream
        finally:
            self.streams.remove(stream)

    def _asked(
        self, method: str, path: str, query: Mapping[str, str], body: object = None, content_type: str = ""
    ) -> Asked:
        asked = read_request(
            method=method,
            path=path,
            query=dict(query),
            at_s=asyncio.get_running_loop().time(),
            body=b"" if body is None else msgspec.json.encode(body),
            headers={"Content-Type": content_type},
        )
        self.log.append(asked)
        return asked

    async def _suffer(self, asked: Asked, timeout_s: float) -> None:
        await asyncio.sleep(0)
        if self.hanging:
            await asyncio.sleep(timeout_s)
            raise Unreachable(f"no answer within {timeout_s:g}s")

    def _instead(self, asked: Asked) -> Reply | None:
        trouble = self.mishaps.popleft() if self.mishaps else self.trouble(asked)
        if isinstance(trouble, Unreachable):
            raise Unreachable(*trouble.args)
        return trouble


PLACEHOLDER = Kind("", "", "", "")


class MemoryStream:
    """An open watch."""

    def __init__(
        self, server: MemoryServer, kind: Kind, asked: Asked, *, instead: Reply | None = None
    ) -> None:
        self.kind = kind
        self.asked = asked
        self.woken = asyncio.Event()
        self.status = 200 if instead is None else instead.status
        self._server = server
        self._instead = instead
        self._selection = Selection() if instead else selection(kind, asked)
        self._cursor = int(asked.query.get("resourceVersion") or 0)
        self._backlog: deque[Change] = deque()
        self._lines: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self._end_s = self._loop.time() + float(asked.query.get("timeoutSeconds", 3600))
        self._bookmark_s = self._loop.time() + BOOKMARK_INTERVAL_S
        self._is_over = server.close_at_once
        self._error: Unreachable | None = None

    async def reply(self) -> Reply:
        """See `Stream`."""
        assert self._instead is not None
        return self._instead

    async def line(self, *, timeout_s: float) -> bytes | None:
        """See `Stream`."""
        due_s = self._loop.time() + timeout_s
        while True:
            self.woken.clear()
            self._read()
            if self._lines:
                return self._lines.popleft()
            now_s = self._loop.time()
            if self._is_over or now_s >= self._end_s:
                if self._error is not None:
                    raise self._error
                return None
            if now_s >= due_s:
                raise Unreachable(f"nothing came for {timeout_s:g}s") from TimeoutError()
            try:
                async with asyncio.timeout_at(min(due_s, self._bookmark_s, self._end_s)):
                    await self.woken.wait()
            except TimeoutError:
                pass

    def lines_here(self, most: int) -> list[bytes]:
        """See `Stream`."""
        return [self._lines.popleft() for _ in range(min(most, len(self._lines)))]

    def take_up(self) -> None:
        """Read the history as far as it goes."""
        self._backlog += self._server.store.changes(self.kind, after=self._cursor)
        self._cursor = self._server.store.revision

    def say(self, lines: tuple[bytes, ...]) -> None:
        """Send these after what is due."""
        self._read()
        self._lines += lines
        self.woken.set()

    def end(self, error: Unreachable | None) -> None:
        """End it after what is due."""
        if not self._is_over:
            self._is_over, self._error = True, error
            self.woken.set()

    def _read(self) -> None:
        if self._server.hanging or self._server.silent:
            self._bookmark_s = self._loop.time() + BOOKMARK_INTERVAL_S
            return
        if self.kind in self._server.store.kinds:
            try:
                self.take_up()
            except Refusal as refusal:
                self._lines.append(error_line(refusal))
                self._is_over = True
        while self._backlog:
            if line := change_line(self.kind, self._backlog.popleft(), self._selection):
                self._lines.append(line[:-1])
        if self._loop.time() >= self._bookmark_s:
            self._bookmark_s += BOOKMARK_INTERVAL_S
            self._lines.append(bookmark_line(self.kind, self._cursor)[:-1])


TOO_LONG = LineTooLong("a line is longer than 8 bytes")
EXPIRED_LINE = error_line(expired("too old resource version: 1 (2)"))[:-1]
