"""A model server of few words, and a clock that moves when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web


@dataclass
class ManualClock:
    """Time stands still until somebody moves it."""

    now_s: float = 5000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class FakeServer:
    """Answers chat completions as it is told to."""

    tokens: int = 3
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """Of every answer."""
    tells_usage: bool = True
    error: bool = False
    """Whether an error comes after the tokens."""
    done: bool = True
    """Whether the answer ends as it should."""
    drops_before: bool = False
    """Whether the connection breaks before the answer."""
    drops_within: bool = False
    """Whether it breaks in the middle of the answer."""
    raw: bytes | None = None
    """The whole answer to who doesn't stream, instead of a good one."""
    on_request: Callable[[int], None] = lambda number: None
    """Is told of each request, by number from 1."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody gets a token before it is set."""
    second_gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody gets a second token before it is set."""
    requests: list[tuple[dict[str, str], dict[str, object]]] = field(default_factory=list)
    hung_up: int = 0
    """Clients that went away before their answer's end."""
    base_url: str = ""
    server: web.Server | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when it holds; it is looked at whenever a request comes or a client goes."""
        async with self.changed:
            await self.changed.wait_for(condition)

    async def until_alone(self) -> None:
        """Return when no connection is open."""
        assert self.server is not None
        while self.server.connections:  # noqa: ASYNC110 - aiohttp's server tells nobody
            await asyncio.sleep(0)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One chat completion."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.json()
        self.requests.append((headers, body))
        self.on_request(len(self.requests))
        await self._tell()
        try:
            return await self._answer(request, body)
        except asyncio.CancelledError:
            self.hung_up += 1
            await self._tell()
            raise

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _answer(self, request: web.Request, body: dict[str, object]) -> web.StreamResponse:
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status, headers=self.headers)
        await self.gate.wait()
        assert request.transport is not None
        if self.drops_before:
            request.transport.abort()
        usage = {"prompt_tokens": 1, "completion_tokens": body["max_tokens"], "total_tokens": 9}
        if not body.get("stream"):
            whole = {"choices": [{"message": {"content": "a" * self.tokens}}], "usage": usage}
            if self.raw is not None:
                return web.Response(body=self.raw, headers=self.headers)
            return web.json_response(whole, headers=self.headers)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **self.headers})
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n')
        for number in range(self.tokens):
            if number == 1:
                await self.second_gate.wait()
            await response.write(b'data: {"choices":[{"delta":{"content":" word"}}]}\n\n')
        if self.drops_within:
            request.transport.abort()
            return response
        if self.error:
            await response.write(b'data: {"error": {"message": "out of memory"}}\n\n')
        if self.tells_usage:
            await response.write(
                b'data: {"choices":[],"usage":{"completion_tokens":%d}}\n\n' % usage["completion_tokens"]
            )
        if self.done:
            await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
def clock() -> ManualClock:
    """It stands still."""
    return ManualClock()


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """A running one; its gates are open."""
    fake = FakeServer()
    fake.gate.set()
    fake.second_gate.set()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", fake.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    fake.server = runner.server
    fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    fake.gate.set()
    fake.second_gate.set()
    await runner.cleanup()
