"""A Kubernetes API server for tests: `FakeApiServer`, plain HTTP on 127.0.0.1, all state in memory.

It behaves like the real one in what a client can see; `test_contract_*.py` hold both to the same tests. In short:

    async with FakeApiServer() as server:
        server.create({"apiVersion": "v1", "kind": "Pod", "metadata": {...}, "spec": {...}, "status": {...}})
        config = server.kubeconfig(tmp_path)              # or talk to server.url directly
        await server.until_watched("pods")                # a client has opened its watch
        server.patch("pods", "default", "a", {"metadata": {"labels": {"app": "b"}}})
        server.drop_watches(Ending.RESET)
        server.fail(503, where(verb="list", resource="pods"), times=2, retry_after_s=1)
        await server.until(lambda: server.count(verb="list", resource="pods") == 3)

**Objects** (synchronous): `create`, `replace`, `patch` (merge patch), `patch_status`, `delete`, `get`, `list`. Each
call is one version and one event; only the end of a pod is two, as in the real server: deletionTimestamp, then gone.
They need no resourceVersion, may write spec and status at once, and make missing namespaces. A resource is named by its
plural where only one group has it (`pods`), else in full (`inferenceobjectives.llm-d.ai`). `install`/`uninstall` a
custom kind; `FakeApiServer(crds=())` starts without any. The schemas of `deploy/crds` default, prune and refuse; an
objective has no status until somebody writes one, and the default condition appears when that has no conditions.

**History**: `compact()` forgets it: old continue tokens and exact lists get HTTP 410, watches from old versions get 200
and an ERROR event of code 410. `bookmark()` sends one on every watch that asked for them; `bookmark_interval_s` sends
them regularly (the real server: each minute). Watches that are open survive a `compact()`.

**Faults**: `fail`, `html`, `forbid`, `hang`, `slow`, `reset` return a `Fault` to be taken back with `heal(fault)`;
`heal()` takes all back. On watches: `drop_watches`, `send_error`, `send_line`, `freeze_watches`/`thaw_watches` (open
but silent). The whole server: `await refuse()` (nothing listens any more, connections are reset), `await resume()`
(the same port, the same objects). `where(verb=, resource=, namespace=, name=, subresource=)` picks requests.

**Log**: `server.log` holds every request as `Asked` (verb, resource, path, query, body, headers, at_s on `clock`),
`asked(...)` and `count(...)` select from it; `watches` are the open ones. `until(predicate)` waits for a predicate that
is looked at again after each request, change, and watch that opens or ends; it never sleeps.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from aiohttp import web

from tests.apiserver.answers import Answer, answer, refused, selection, served
from tests.apiserver.asked import Asked, Where, anywhere, read_request, where
from tests.apiserver.crds import definitions, kind_of
from tests.apiserver.faults import HTML, Effect, Fault, Faults
from tests.apiserver.kubeconfig import write_kubeconfig
from tests.apiserver.objects import Objects
from tests.apiserver.refusal import Refusal, expired, failure, forbidden
from tests.apiserver.reviews import Reviews
from tests.apiserver.store import Store
from tests.apiserver.watches import Ending, Order, Watch, bookmark_line, error_line, frame, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.apiserver.kinds import Kind

__all__ = ["TOKEN", "Asked", "Ending", "FakeApiServer", "Fault", "where"]

HOST = "127.0.0.1"
TOKEN = "token-of-the-tests"


def _utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeApiServer(Objects):
    """See the module. Made and used in one event loop."""

    def __init__(
        self,
        *,
        crds: Iterable[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], str] = _utc_now,
        bookmark_interval_s: float | None = None,
        seed: int = 0,
    ) -> None:
        names = definitions() if crds is None else crds
        super().__init__(Store(now=now, kinds=[kind_of(name) for name in names], seed=seed))
        self.store.on_change = self._changed
        self.reviews = Reviews()
        self.log: list[Asked] = []
        self.watches: list[Watch] = []
        self.port = 0
        self._clock = clock
        self._bookmark_interval_s = bookmark_interval_s
        self._faults = Faults()
        self._frozen = False
        self._pulse = asyncio.Event()
        self._released = asyncio.Event()
        self._web: web.Server[web.BaseRequest] | None = None
        self._listening: asyncio.Server | None = None

    # ------------------------------------------------------------------------------------- being there

    async def __aenter__(self) -> Self:
        await self.resume()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.refuse()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    def kubeconfig(self, folder: Path, *, namespace: str = "default") -> Path:
        """Write a configuration that leads here, and say where it is."""
        return write_kubeconfig(folder, server=self.url, token=TOKEN, namespace=namespace)

    async def refuse(self) -> None:
        """Stop listening and reset every connection; objects and history stay."""
        if self._listening is None or self._web is None:
            return
        for socket in self._listening.sockets:
            asyncio.get_running_loop().remove_reader(socket.fileno())
        for _ in range(5):
            await asyncio.sleep(0)  # asyncio loses connections that it is accepting when a server closes
        self._listening.close()
        for connection in self._web.connections:
            reset(connection.transport)
        await self._web.shutdown(0)
        await self._listening.wait_closed()
        await asyncio.sleep(0)  # transports close their sockets in the loop's next turn
        self._listening = self._web = None

    async def resume(self) -> None:
        """Listen, on the same port as before."""
        if self._listening is not None:
            return
        self._web = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._listening = await asyncio.get_running_loop().create_server(self._web, HOST, self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    # ----------------------------------------------------------------------------- history and watches

    def uninstall(self, group: str, plural: str) -> None:
        """Take a custom kind away, with its objects; its watches tell of that and end."""
        super().uninstall(group, plural)
        self._order(where(resource=f"{plural}.{group}"), ending=Ending.CLEAN)

    def compact(self) -> None:
        """Forget all history; open watches that are up to date live on."""
        for watch in self.watches:
            watch.take_up()
        self.store.compact()

    def bookmark(self) -> None:
        """Send a bookmark on every watch that asked for them."""
        self._order(anywhere, bookmark=True)

    def drop_watches(self, ending: Ending = Ending.CLEAN, where: Where = anywhere) -> None:
        """End the open watches."""
        self._order(where, ending=ending)

    def send_error(
        self, code: int = 410, where: Where = anywhere, *, ending: Ending | None = Ending.CLEAN
    ) -> None:
        """Send an ERROR event; the real server ends the watch after it."""
        refusal = expired("too old resource version: 1 (2)") if code == 410 else failure(code)
        self._order(where, line=error_line(refusal), ending=ending)

    def send_line(self, line: bytes, where: Where = anywhere) -> None:
        """Send anything at all, which should end with a newline if the watch goes on."""
        self._order(where, line=line)

    def freeze_watches(self) -> None:
        """Send nothing on watches, and do not end them either, as when a middlebox forgot the connection."""
        self._frozen = True

    def thaw_watches(self) -> None:
        """Send what was held back."""
        self._frozen = False
        self._wake()

    def _order(
        self, where: Where, *, line: bytes = b"", ending: Ending | None = None, bookmark: bool = False
    ) -> None:
        for watch in self.watches:
            if where(watch.asked):
                watch.order(Order(self.store.revision, line=line, ending=ending, bookmark=bookmark))

    # ------------------------------------------------------------------------------------------ faults

    def fail(
        self,
        status: int,
        where: Where = anywhere,
        *,
        times: int | None = 1,
        retry_after_s: int | None = None,
        reason: str = "",
        message: str = "",
    ) -> Fault:
        """Refuse requests with a Status of this code."""
        fault = Fault(
            Effect.ANSWER, where, times, status, retry_after_s=retry_after_s, reason=reason, message=message
        )
        return self._faults.add(fault)

    def html(
        self, status: int = 502, where: Where = anywhere, *, times: int | None = 1, body: bytes = HTML
    ) -> Fault:
        """Answer with a page, as proxies do, or with any other body."""
        return self._faults.add(
            Fault(Effect.ANSWER, where, times, status, body=body, content_type="text/html")
        )

    def forbid(self, verb: str, resource: str, *, subresource: str = "") -> Fault:
        """Refuse a verb (`""`: any) on a resource with 403, until healed, as for want of a role."""
        at = where(verb=verb, resource=resource, subresource=subresource)
        return self._faults.add(Fault(Effect.ANSWER, at, None, 403))

    def hang(self, where: Where = anywhere, *, times: int | None = 1) -> Fault:
        """Accept requests and never answer them, until healed: then they get a 503."""
        self._released.clear()
        return self._faults.add(Fault(Effect.HANG, where, times))

    def slow(self, delay_s: float, where: Where = anywhere, *, times: int | None = 1) -> Fault:
        """Answer late, in real time."""
        return self._faults.add(Fault(Effect.SLOW, where, times, delay_s=delay_s))

    def reset(self, where: Where = anywhere, *, times: int | None = 1, done: bool = False) -> Fault:
        """Reset connections instead of answering: before the request is carried out, or, if `done`, after it."""
        return self._faults.add(Fault(Effect.LATE_RESET if done else Effect.RESET, where, times))

    def heal(self, fault: Fault | None = None) -> None:
        """Take a fault back, or all of them; requests that hang are let go."""
        if fault is None:
            self._faults.clear()
        else:
            self._faults.remove(fault)
        if fault is None or fault.effect is Effect.HANG:
            self._released.set()

    # --------------------------------------------------------------------------------------------- log

    def asked(
        self, *, verb: str = "", resource: str = "", name: str = "", subresource: str = ""
    ) -> list[Asked]:
        """The requests so far that have all that is named."""
        wanted = where(verb=verb, resource=resource, name=name, subresource=subresource)
        return [asked for asked in self.log if wanted(asked)]

    def count(self, *, verb: str = "", resource: str = "", name: str = "", subresource: str = "") -> int:
        """How many those are."""
        return len(self.asked(verb=verb, resource=resource, name=name, subresource=subresource))

    async def until(self, predicate: Callable[[], object]) -> None:
        """Wait until the predicate holds."""
        while not predicate():
            await self._pulse.wait()

    async def until_watched(self, *resources: str) -> None:
        """Wait until each of these resources has an open watch."""
        await self.until(lambda: {kind.resource for kind in map(self.kind, resources)} <= self.watched)

    @property
    def watched(self) -> set[str]:
        """The resources that have an open watch."""
        return {watch.kind.resource for watch in self.watches}

    def _changed(self) -> None:
        self._wake()
        self._tell()

    def _wake(self) -> None:
        for watch in self.watches:
            watch.woken.set()

    def _tell(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()

    # ---------------------------------------------------------------------------------------- requests

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = read_request(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            at_s=self._clock(),
            body=await request.read(),
            headers=dict(request.headers),
        )
        self.log.append(asked)
        self._tell()
        fault = self._faults.hitting(asked)
        try:
            instead = None if fault is None else await self._suffer(fault, asked, request)
            if instead is not None:
                return _response(instead)
            kind = served(self.store, asked)
            if asked.verb == "watch" and kind is not None:
                return await self._watch(kind, asked, request)
            done = answer(self.store, self.reviews, asked)
        except Refusal as refusal:
            done = refused(refusal)
        if fault is not None and fault.effect is Effect.LATE_RESET:
            reset(request.transport)
        return _response(done)

    async def _suffer(self, fault: Fault, asked: Asked, request: web.BaseRequest) -> Answer | None:
        """What a request gets instead of what it asked for; None if it is carried out all the same."""
        match fault.effect:
            case Effect.SLOW:
                await asyncio.sleep(fault.delay_s)
                return None
            case Effect.LATE_RESET:
                return None
            case Effect.HANG:
                await self._released.wait()
                raise failure(503)
            case Effect.RESET:
                reset(request.transport)
                return Answer(b"", 500)
            case Effect.ANSWER:
                if fault.body is not None:
                    return Answer(fault.body, fault.status, fault.content_type)
                if fault.status == 403 and not fault.message:
                    raise forbidden(asked.verb, asked.resource, asked.namespace)
                raise failure(
                    fault.status,
                    reason=fault.reason,
                    message=fault.message,
                    retry_after_s=fault.retry_after_s,
                )

    async def _watch(self, kind: Kind, asked: Asked, request: web.BaseRequest) -> web.StreamResponse:
        chosen = selection(kind, asked)
        start = asked.query.get("resourceVersion", "")
        if start and not start.isdigit():
            raise Refusal(
                500, "", f'resourceVersion: Invalid value: "{start}": strconv.ParseUint: invalid syntax'
            )
        bookmarks = asked.query.get("allowWatchBookmarks") in {"1", "true", "True"}
        initial: list[bytes] = []
        cursor = int(start or 0)
        if cursor == 0:
            cursor = self.store.revision
            initial = [
                frame("ADDED", stored.raw) for stored in self.store.all(kind) if chosen.takes(stored.obj)
            ]
            if bookmarks:
                initial.append(bookmark_line(kind, cursor, {"k8s.io/initial-events-end": "true"}))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        timeout = asked.query.get("timeoutSeconds")
        watch = Watch(
            asked,
            kind,
            chosen,
            cursor,
            bookmarks,
            self.store,
            lambda: self._frozen,
            initial=initial,
            timeout_s=float(timeout) if timeout else None,
            bookmark_interval_s=self._bookmark_interval_s,
        )
        await response.prepare(request)
        self.watches.append(watch)
        self._tell()
        try:
            await watch.serve(request, response)
            if request.transport is not None:
                await response.write_eof()
        except ConnectionError:
            pass
        finally:
            self.watches.remove(watch)
            self._tell()
        return response


def _response(answer: Answer) -> web.Response:
    return web.Response(
        body=answer.body, status=answer.status, content_type=answer.content_type, headers=dict(answer.headers)
    )
