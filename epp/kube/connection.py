"""The connection to an API server: bytes there and back, with credentials, TLS and a time limit.

- What the API server answers is data, whatever its status. Only if there is no answer, `Unreachable` is raised, and its
  words say why: no connection, TLS, too slow, broken off, or no credentials.
- Nothing is asked twice on its own: whoever asks decides how often.
- No credentials are in any message.
- Who is left, closes: a cancelled request or watch leaves no connection behind.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from epp import __version__
from epp.kube.errors import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from epp.kube.credentials import Credentials

MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""More than any object: etcd takes 1.5 MiB by default, and JSON may make that longer."""
_SHOWN_CHARACTERS = 200
_NO_QUERY: Final[Mapping[str, str]] = {}


class Unreachable(Exception):  # noqa: N818 - a state of the world, not a mistake of ours
    """No answer, and why."""


class LineTooLong(Unreachable):
    """A watch sends a line without end."""


class Reply(NamedTuple):
    """What the API server answered."""

    status: int
    body: bytes
    retry_after_s: float | None
    """How long it wants to be left alone."""

    @property
    def message(self) -> str:
        """What it says went wrong, in one short line."""
        try:
            said = _STATUS.decode(self.body).message
        except UNREADABLE:
            said = self.body[: 4 * _SHOWN_CHARACTERS].decode(errors="replace")
        line = " ".join(said.split())
        if not line:
            try:
                line = HTTPStatus(self.status).phrase
            except ValueError:
                line = f"status {self.status}"
        return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."


class ApiServer:
    """One API server. Make it with `connect`."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._session = credentials.session()
        self.host: str = credentials.host
        """Where it is, for people."""
        self.namespace: str | None = credentials.namespace
        """That of the pod, or of the kubeconfig's context."""

    @classmethod
    async def connect(cls, kubeconfig: Path | None) -> Self:
        """The API server that is meant; nothing is asked of it yet. Raises `ConnectError`.

        That of a given kubeconfig, else that of $KUBECONFIG, of the cluster we run in, or of ~/.kube/config.
        """
        # Only who needs a cluster pays for the client library: a third of a second, and 20 MiB.
        from epp.kube.credentials import Credentials  # noqa: PLC0415

        return cls(await Credentials.load(kubeconfig))

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = _NO_QUERY,
        body: object | None = None,
        content_type: str = "application/json",
        timeout_s: float = 15.0,
    ) -> Reply:
        """Ask for something; `body` becomes JSON. Raises `Unreachable`, also if the answer takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._ask(method, path, query, body=body, content_type=content_type)
                async with response:
                    return await _read(response)
        except TimeoutError:
            raise Unreachable(f"no answer within {timeout_s:g}s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(_reason(error)) from error

    @asynccontextmanager
    async def watch(
        self, path: str, *, query: Mapping[str, str], connect_timeout_s: float
    ) -> AsyncGenerator[Stream, None]:
        """What comes of a request that is answered line by line for a long time."""
        try:
            async with asyncio.timeout(connect_timeout_s):
                response = await self._ask("GET", path, query)
        except TimeoutError:
            raise Unreachable(f"no answer within {connect_timeout_s:g}s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(_reason(error)) from error
        try:
            yield Stream(response, reply_timeout_s=connect_timeout_s)
        finally:
            response.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._credentials.close()
        await self._session.close()

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: object | None = None,
        content_type: str = "",
    ) -> aiohttp.ClientResponse:
        url = f"{self._credentials.url}{quote(path)}"
        if query:
            url = f"{url}?{urlencode(query)}"
        headers = {
            "User-Agent": f"epp/{__version__}",
            "Accept": "application/json",
            # Packing a list and unpacking it costs both sides more than the network in between.
            "Accept-Encoding": "identity",
        }
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = msgspec.json.encode(body)
        headers.update(await self._credentials.headers())
        response = await self._session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=data,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(),
            **self._credentials.routing(),
        )
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._credentials.doubt()
        return response


class Stream:
    """A watch that was answered."""

    def __init__(self, response: aiohttp.ClientResponse, *, reply_timeout_s: float) -> None:
        self._response = response
        self._reply_timeout_s = reply_timeout_s
        self._lines: list[bytes] = []
        """Complete lines that nobody took yet, the last one first."""
        self._tail: list[bytes] = []
        """The beginning of the next line."""
        self._tail_bytes = 0
        self.status: int = response.status

    async def reply(self) -> Reply:
        """The answer that is there instead of a watch. Raises `Unreachable`."""
        try:
            async with asyncio.timeout(self._reply_timeout_s):
                return await _read(self._response)
        except TimeoutError:
            raise Unreachable(f"no complete answer within {self._reply_timeout_s:g}s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(_reason(error)) from error

    async def line(self, *, timeout_s: float) -> bytes | None:
        """The next complete line; None if the API server ended the watch, half a line before that being none.

        Raises `Unreachable` if the connection breaks, or if no complete line comes in time (`TimeoutError` is its
        cause then), and `LineTooLong`.
        """
        try:
            async with asyncio.timeout(None if self._lines else timeout_s):
                while not self._lines:
                    if self._tail_bytes > MAX_LINE_BYTES:
                        raise LineTooLong(f"a line is longer than {MAX_LINE_BYTES} bytes")
                    chunk = await self._response.content.readany()
                    if not chunk:
                        return None
                    self._split(chunk)
        except TimeoutError as error:
            raise Unreachable(f"nothing came for {timeout_s:g}s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(_reason(error)) from error
        return self._lines.pop()

    def lines_here(self, most: int) -> list[bytes]:
        """The next complete lines that have come already."""
        taken = self._lines[: -most - 1 : -1]
        del self._lines[len(self._lines) - len(taken) :]
        return taken

    def _split(self, chunk: bytes) -> None:
        *complete, tail = chunk.split(b"\n")
        if complete:
            complete[0] = b"".join((*self._tail, complete[0]))
            self._tail.clear()
            self._tail_bytes = 0
            self._lines = [line for line in reversed(complete) if line.strip()]
        if tail:
            self._tail.append(tail)
            self._tail_bytes += len(tail)


class _Status(msgspec.Struct):
    message: str = ""


_STATUS = msgspec.json.Decoder(_Status)


async def _read(response: aiohttp.ClientResponse) -> Reply:
    body = await response.read()
    return Reply(response.status, body, _retry_after_s(response.headers.get("Retry-After", "")))


def _retry_after_s(text: str) -> float | None:
    # API servers give seconds; a date would come from a proxy whose clock may be anything.
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _reason(error: Exception) -> str:
    """Why nothing came back, in a few words that hold no secret."""
    words = f"no answer that makes sense ({type(error).__name__})"
    match error:
        case aiohttp.ClientConnectorCertificateError():
            words = f"TLS: {_certificate_problem(error.certificate_error)}"
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            words = f"TLS: the handshake failed: {_os_words(error)}"
        case aiohttp.ClientProxyConnectionError():
            words = f"the proxy: {_os_words(error)}"
        case aiohttp.ClientHttpProxyError():
            words = f"the proxy: it answers {error.status}"
        case aiohttp.ClientConnectorDNSError():
            words = f"its name can't be resolved: {_os_words(error)}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            words = "the connection broke off"
        case OSError():
            words = _os_words(error)
        case _:
            pass
    return words


def _certificate_problem(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return "its certificate is not accepted"


def _os_words(error: BaseException) -> str:
    os_error = getattr(error, "os_error", error)
    words = getattr(os_error, "strerror", None) or type(os_error).__name__
    return str(words)[:_SHOWN_CHARACTERS].lower()
