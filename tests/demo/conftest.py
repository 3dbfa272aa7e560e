"""A model server of few words, for the demo's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web


@dataclass
class FakeServer:
    """Answers chat completions as it is told to."""

    tokens: int = 3
    status: int = 200
    reason: str | None = None
    """Of a refusal."""
    done: bool = True
    """Whether the answer ends as it should."""
    drops: bool = False
    """Whether the connection breaks in the middle of the answer."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody gets a token before it is set."""
    requests: list[tuple[dict[str, str], dict[str, object]]] = field(default_factory=list)
    base_url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One chat completion."""
        self.requests.append(
            ({name.lower(): value for name, value in request.headers.items()}, await request.json())
        )
        if self.status != 200:
            headers = {} if self.reason is None else {"x-llm-d-request-dropped-reason": self.reason}
            return web.json_response({"error": {"message": "no"}}, status=self.status, headers=headers)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await self.gate.wait()
        for number in range(self.tokens):
            await response.write(f'data: {{"token": {number}}}\n\n'.encode())
        if self.drops:
            assert request.transport is not None
            request.transport.abort()
        elif self.done:
            await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """A running one; its gate is open."""
    fake = FakeServer()
    fake.gate.set()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", fake.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    fake.gate.set()
    await runner.cleanup()
