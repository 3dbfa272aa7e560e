"""A model server of few words on plain sockets, so that trailers and broken endings are in a test's hands.

Chats are answered by their number of tokens, whole or in events; `/v1/hold` waits until it is let go; `/v1/endless`
sends events until its client has gone; `/v1/big` sends as many bytes as asked for; everything else is an echo, trailers
included.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from epp.quickstart.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
MODEL = "m"
EVENT_S = 0.005
METRICS_PAGE = b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n"


class Request(NamedTuple):
    """As it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str]


class Backend:
    """Counts who is on it, and holds those who ask for it."""

    def __init__(self) -> None:
        self.port = 0
        self.open = 0
        """Requests that are being answered."""
        self._places = asyncio.Semaphore(0)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Backend]:
        """Listen until the block is left."""
        self.port = free_ports(1, host=HOST)[0]
        server = await asyncio.start_server(self._serve, HOST, self.port, limit=2**20, backlog=2048)
        try:
            yield self
        finally:
            server.close()
            self.let_go(100_000)

    def let_go(self, count: int) -> None:
        """Answer so many of the held requests."""
        for _ in range(count):
            self._places.release()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = await _read(reader)
                path = urlsplit(request.target).path
                counts = path.startswith("/v1/")
                self.open += counts
                try:
                    await self._answer(path, request, reader, writer)
                finally:
                    self.open -= counts
        writer.transport.abort()

    async def _answer(
        self, path: str, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        match path:
            case "/metrics":
                await _whole(writer, METRICS_PAGE, kind="text/plain")
            case "/v1/models":
                page = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
                await _whole(writer, page, bare=request.method == "HEAD")
            case "/v1/chat/completions":
                await _chat(writer, json.loads(request.body))
            case "/v1/hold":
                await self._hold(reader, writer)
            case "/v1/endless":
                await _endless(writer)
            case "/v1/big":
                await _whole(writer, b"\xa5" * int(parse_qs(urlsplit(request.target).query)["bytes"][0]))
            case _:
                await _chunked(writer, [request.body], request.trailers)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.create_task(reader.read(1))
        free = asyncio.create_task(self._places.acquire())
        await asyncio.wait({gone, free}, return_when=asyncio.FIRST_COMPLETED)
        if not free.done():
            free.cancel()
            raise ConnectionResetError
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await _whole(writer, b"{}")


async def _read(reader: asyncio.StreamReader) -> Request:
    first, headers = _fields(await reader.readuntil(b"\r\n\r\n"))
    method, target, _ = first.split(" ")
    trailers: dict[str, str] = {}
    if headers.get("transfer-encoding") != "chunked":
        return Request(
            method,
            target,
            headers,
            await reader.readexactly(int(headers.get("content-length", "0"))),
            trailers,
        )
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    while (line := await reader.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        trailers[name.lower()] = value.strip()
    return Request(method, target, headers, b"".join(pieces), trailers)


def _fields(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode().rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.lower(): value.strip() for name, _, value in pairs}


async def _whole(
    writer: asyncio.StreamWriter, body: bytes, *, kind: str = "application/json", bare: bool = False
) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() if bare else head.encode() + body)
    await writer.drain()


async def _begin_chunks(writer: asyncio.StreamWriter, kind: str) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    await writer.drain()


async def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


async def _end_chunks(writer: asyncio.StreamWriter, trailers: dict[str, str]) -> None:
    writer.write("".join(["0\r\n", *(f"{k}: {v}\r\n" for k, v in trailers.items()), "\r\n"]).encode())
    await writer.drain()


async def _chunked(writer: asyncio.StreamWriter, pieces: list[bytes], trailers: dict[str, str]) -> None:
    await _begin_chunks(writer, "application/octet-stream")
    for piece in filter(None, pieces):
        await _chunk(writer, piece)
    await _end_chunks(writer, trailers)


async def _chat(writer: asyncio.StreamWriter, asked: dict[str, object]) -> None:
    tokens = int(str(asked["max_tokens"]))
    common = {"id": "c", "created": 1, "model": MODEL}
    usage = {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": tokens + 3}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "x" * tokens}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        answer = common | {"object": "chat.completion", "choices": [choice], "usage": usage}
        await _whole(writer, json.dumps(answer).encode())
        return
    kind = {"object": "chat.completion.chunk"}
    await _begin_chunks(writer, "text/event-stream")
    for _ in range(tokens):
        choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": None}
        await _chunk(writer, _event(common | kind | {"choices": [choice]}))
        await asyncio.sleep(EVENT_S)
    await _chunk(writer, _event(common | kind | {"choices": [], "usage": usage}))
    await _chunk(writer, b"data: [DONE]\n\n")
    await _end_chunks(writer, {})


def _event(content: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


async def _endless(writer: asyncio.StreamWriter) -> None:
    await _begin_chunks(writer, "text/event-stream")
    while True:
        await _chunk(writer, b"data: x\n\n")
        await asyncio.sleep(EVENT_S)
