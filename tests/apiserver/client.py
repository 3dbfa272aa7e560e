"""A plain HTTP client for either server, for what a test does itself. It knows no more than paths and JSON."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.apiserver.crds import kind_like, kind_named
from tests.apiserver.kinds import StatusPath
from tests.apiserver.patches import MERGE

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping
    from typing import Self

PATIENCE_S = 30.0
"""How long an answer or an event may take before a test fails; far more than either server needs."""


@dataclass(frozen=True)
class Reply:
    """An answer; the body is parsed where it is JSON."""

    status: int
    body: Any
    headers: Mapping[str, str]


class UnexpectedReplyError(AssertionError):
    """A server refused what a test took for granted."""


class Events:
    """What comes in on one watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    async def line(self) -> bytes:
        """The next line; empty at the end."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._response.content.readline()

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event's type and object; ("", {}) at the end."""
        line = await self.line()
        if not line:
            return "", {}
        event = json.loads(line)
        return event["type"], event["object"]

    async def take(self, count: int) -> list[tuple[str, str]]:
        """The types and names of the next events."""
        events = [await self.next() for _ in range(count)]
        return [(kind, obj["metadata"].get("name", "")) for kind, obj in events]


class Client:
    """Speaks to a server at `url` with a token. Use as an async context manager."""

    def __init__(self, url: str, *, token: str, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._tls: ssl.SSLContext | bool = True if tls is None else tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls))
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._session is not None
        await self._session.close()
        await asyncio.sleep(0)  # transports close their sockets in the loop's next turn

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        **query: str,
    ) -> Reply:
        """One request, whatever comes of it."""
        assert self._session is not None
        headers = self._headers | {"Content-Type": content_type}
        data = None if body is None else json.dumps(body)
        async with (
            asyncio.timeout(PATIENCE_S),
            self._session.request(
                method, self.url + path, params=query, data=data, headers=headers
            ) as response,
        ):
            raw = await response.read()
            is_json = response.content_type == "application/json"
            return Reply(
                response.status, json.loads(raw) if is_json else raw.decode(), dict(response.headers)
            )

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator[Events]:
        """A watch, open while the context lasts."""
        assert self._session is not None
        query = {"watch": "1"} | query
        async with self._session.get(self.url + path, params=query, headers=self._headers) as response:
            transport = None if response.connection is None else response.connection.transport
            try:
                yield Events(response)
            finally:
                if transport is not None:
                    transport.abort()  # a polite end of TLS would outlive the test

    async def create(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Create an object, and then write its status if it has one."""
        kind = kind_like(obj)
        namespace = obj["metadata"].get("namespace", "default")
        made = await self._expect("POST", kind.path(namespace), obj)
        if "status" not in obj or kind.status is not StatusPath.SUBRESOURCE:
            return made
        return await self.patch_status(kind.resource, namespace, made["metadata"]["name"], obj["status"])

    async def replace(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Put an object in place of the version that it names."""
        metadata = obj["metadata"]
        path = kind_like(obj).path(metadata.get("namespace", "default"), metadata["name"])
        return await self._expect("PUT", path, obj)

    async def patch(self, resource: str, namespace: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Merge into an object, status excepted."""
        return await self._expect("PATCH", kind_named(resource).path(namespace, name), patch)

    async def patch_status(
        self, resource: str, namespace: str, name: str, status: dict[str, Any]
    ) -> dict[str, Any]:
        """Merge into an object's status."""
        return await self._expect(
            "PATCH", kind_named(resource).path(namespace, name, "status"), {"status": status}
        )

    async def delete(self, resource: str, namespace: str, name: str) -> None:
        """Delete an object without any grace."""
        await self._expect("DELETE", kind_named(resource).path(namespace, name), {"gracePeriodSeconds": 0})

    async def get(self, resource: str, namespace: str, name: str) -> dict[str, Any]:
        """One object."""
        return await self._expect("GET", kind_named(resource).path(namespace, name))

    async def list(self, resource: str, namespace: str = "", **query: str) -> dict[str, Any]:
        """A list, or a page of one."""
        reply = await self.call("GET", kind_named(resource).path(namespace), **query)
        return _good(reply)

    async def _expect(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        content_type = MERGE if method == "PATCH" else "application/json"
        return _good(await self.call(method, path, body, content_type=content_type))


def _good(reply: Reply) -> dict[str, Any]:
    if reply.status not in {200, 201}:
        raise UnexpectedReplyError(f"{reply.status}: {reply.body}")
    body: dict[str, Any] = reply.body
    return body
