"""The metrics port: `/metrics`, `/healthz`, `/readyz`, `/debug/state` and the pages of `inspection`, over plain HTTP.

A page is written piece by piece, and the event loop goes on between the pieces, so a scrape never holds up a request.
A reader who doesn't read is given up after `WRITE_TIMEOUT_S`. The two probes are open to everybody; the rest asks the
authorizer, if there is one.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import structlog
from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder

from epp.observe.exposition import Format
from epp.observe.inspection import InspectionPages
from epp.observe.state import state_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.core.statistics import Statistics
    from epp.observe.inspection import Ask
    from epp.observe.metrics import Metrics

WRITE_TIMEOUT_S = 30.0
FLAG = "--metrics-port"
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

_log = structlog.get_logger()


class Access(Enum):
    """What an authorizer says."""

    ALLOWED = "allowed"
    UNAUTHENTICATED = "unauthenticated"
    """Nobody we know: try again with credentials."""
    FORBIDDEN = "forbidden"
    """Somebody we know, who may not."""


class Authorizer(Protocol):
    """Who may read what. If it raises, nobody may."""

    async def __call__(self, token: str, path: str, /) -> Access:
        """Whether the bearer of `token` ('' for none) may get `path`."""


class ListenError(OSError):
    """The port can't be listened on. The message names it, its flag, and what to do."""


class ObserveServer:
    """Serves one picker's metrics from `start` to `close`, on the running loop."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        statistics: Callable[[], Statistics],
        why_not_ready: Callable[[], str | None],
        port: int,
        host: str = "",
        authorizer: Authorizer | None = None,
        ask: Ask | None = None,
    ) -> None:
        """Prepare.

        `why_not_ready` says what readiness waits for, None if nothing. `ask` answers what the pages of `inspection`
        show; without it there are none. `host` '' is every address, `port` 0 any
        free port.
        """
        self._metrics = metrics
        self._statistics = statistics
        self._why_not_ready = why_not_ready
        self._host = host
        self._wanted_port = port
        self._authorizer = authorizer
        self._ask = ask
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before `start`."""
        return self._port

    async def start(self) -> None:
        """Listen. Raises `ListenError`."""
        listener = _listen(self._host, self._wanted_port)
        app = web.Application()
        app.router.add_get("/metrics", self._page, allow_head=False)
        app.router.add_get("/debug/state", self._state)
        if self._ask is not None:
            InspectionPages(self._ask, permit=self._authorize).add_to(app.router)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()
        self._port = listener.getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end what is being answered."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # ------------------------------------------------------------------------ the pages

    async def _page(self, request: web.Request) -> web.StreamResponse:
        await self._authorize(request, request.path)
        page_format = negotiated(request.headers.get(hdrs.ACCEPT, ""))
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: page_format.value})
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            response.enable_compression(web.ContentCoding.gzip)
        pieces = self._metrics.pieces(page_format)
        # Before the status is sent: what goes wrong with the snapshot goes wrong here.
        piece: bytes | None = next(pieces)
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await response.prepare(request)
                while piece is not None:
                    await response.write(piece)
                    # Writing to a socket with room doesn't give the loop a turn.
                    await asyncio.sleep(0)
                    piece = next(pieces, None)
                await response.write_eof()
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _state(self, request: web.Request) -> web.Response:
        await self._authorize(request, request.path)
        document = state_document(self._statistics(), pool=self._metrics.pool_name)
        return web.Response(text=json.dumps(document, indent=1) + "\n", content_type="application/json")

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        reason = self._why_not_ready()
        if reason is None:
            return web.Response(text="ok\n")
        return web.Response(text=f"not ready: {reason}\n", status=web.HTTPServiceUnavailable.status_code)

    async def _authorize(self, request: web.Request, path: str) -> None:
        if self._authorizer is None:
            return
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        try:
            access = await self._authorizer(bearer, path)
        except Exception as error:
            _log.warning("who may read the metrics can't be found out", path=path, exc_info=True)
            raise web.HTTPServiceUnavailable(text="authorization can't be checked\n") from error
        if access is Access.UNAUTHENTICATED:
            raise web.HTTPUnauthorized(text="unauthorized\n", headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
        if access is not Access.ALLOWED:
            raise web.HTTPForbidden(text="forbidden\n")


def negotiated(accept: str) -> Format:
    """The format that a scraper asks for."""
    content_type = choose_encoder(accept)[1]
    return Format.OPENMETRICS if content_type.startswith("application/openmetrics-text") else Format.TEXT


def _listen(host: str, port: int) -> socket.socket:
    try:
        if host:
            return socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
        return _listen_everywhere(port)
    except OSError as error:
        where = f"{host}:{port}" if host else f"port {port}"
        remedy = f"free it, or choose another one with {FLAG} (0 takes any free one)"
        if error.errno == errno.EACCES:
            remedy = f"ports below 1024 need privileges: choose a higher one with {FLAG}"
        raise ListenError(f"cannot serve metrics on {where}: {error.strerror or error}; {remedy}") from error


def _listen_everywhere(port: int) -> socket.socket:
    """IPv6 and IPv4 with one socket, or IPv4 alone where there is no IPv6."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return socket.create_server(("", port))
