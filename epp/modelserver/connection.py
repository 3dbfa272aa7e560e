"""A kept HTTP/1.1 connection to one model server, with or without TLS, one request at a time.

Callbacks instead of awaiting, and this instead of a general HTTP client, for one reason: at 100 endpoints and 5 Hz a
scrape may cost 100 us (5 % of a core), and a general client costs more than that alone. Whoever asks sets the
time limit and calls `drop` when it is over.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, NamedTuple, cast

from epp.modelserver.failures import FailureKind, ScrapeFailure
from epp.modelserver.response import Connection, Response, ResponseReader

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_RESPONSE_BYTES = 1024 * 1024


class PageAddress(NamedTuple):
    """Where a page is."""

    host: str
    """An IP address or a name; IPv6 without brackets."""
    port: int
    path: str
    tls: ssl.SSLContext | None

    def request(self) -> bytes:
        """The one request that is ever sent there."""
        authority = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        head = (
            f"GET {self.path} HTTP/1.1",
            f"Host: {authority}",
            "User-Agent: epp",
            "Accept: text/plain",
            "Accept-Encoding: identity",
        )
        return "\r\n".join((*head, "", "")).encode("ascii")


async def connect(address: PageAddress) -> ServerConnection:
    """A new connection. Raises `ScrapeFailure`."""
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(
            lambda: ServerConnection(loop), address.host, address.port, ssl=address.tls
        )
    except ssl.SSLError as error:
        raise ScrapeFailure(FailureKind.TLS, f"the TLS handshake failed: {error}") from error
    except ConnectionRefusedError as error:
        raise ScrapeFailure(FailureKind.REFUSED, f"no connection: {error}") from error
    except OSError as error:
        raise ScrapeFailure(FailureKind.CONNECT, f"no connection: {error}") from error
    return connection


class ServerConnection(asyncio.Protocol):
    """One connection. Made by `connect`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader: ResponseReader | None = None
        self._hear: Callable[[Response | ScrapeFailure], None] | None = None
        self._lost: asyncio.Future[None] = loop.create_future()
        self.silent = True
        """Whether nothing came back since the last `ask`."""

    @property
    def is_open(self) -> bool:
        """Whether something can be asked, as far as we have heard."""
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes, hear: Callable[[Response | ScrapeFailure], None]) -> None:
        """Sends `request`; `hear` gets the outcome, once, later, unless `drop` comes before. Must be open."""
        assert self._transport is not None
        assert self._hear is None, "one request at a time"
        self.silent = True
        self._hear = hear
        self._reader = ResponseReader(max_bytes=MAX_RESPONSE_BYTES)
        self._transport.write(request)

    def drop(self) -> None:
        """Closes the connection; whoever waits hears no more."""
        self._hear = self._reader = None
        if self._transport is not None:
            self._transport.abort()

    async def lost(self) -> None:
        """Returns when the socket is closed."""
        await asyncio.shield(self._lost)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._reader is None:  # nobody asked
            self.drop()
            return
        self.silent = False
        try:
            response = self._reader.feed(data)
        except ScrapeFailure as failure:
            self._tell(failure)
        else:
            if response is not None:
                self._tell(response)

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        if self._reader is not None:
            try:
                self._tell(self._reader.end())
            except ScrapeFailure as failure:
                self._tell(failure)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._hear is not None:
            why = f"the connection broke: {exc}" if exc else "the server hung up"
            self._tell(ScrapeFailure(FailureKind.CLOSED, why))
        self._lost.set_result(None)

    def _tell(self, outcome: Response | ScrapeFailure) -> None:
        hear, self._hear, self._reader = self._hear, None, None
        if isinstance(outcome, ScrapeFailure) or outcome.connection is Connection.CLOSED:
            self.drop()
        if hear is not None:
            hear(outcome)
