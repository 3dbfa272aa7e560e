"""What goes through unharmed: every Envoy, either transport, every body mode."""

from __future__ import annotations

import asyncio
import io
import random
import shutil
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import openai
import pytest

from epp.quickstart.envoy import BodyMode
from tests.envoys.backend import MODEL
from tests.envoys.scene import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.envoys.scene import Scene

MIB = 2**20
REQUEST = "request_body_mode: FULL_DUPLEX_STREAMED"
RESPONSE = "response_body_mode: FULL_DUPLEX_STREAMED"

OURS = [pytest.param({"mode": mode}, id=mode.value) for mode in BodyMode]
OTHERS = [
    pytest.param({"edits": ((REQUEST, "request_body_mode: STREAMED"), *response)}, id=name)
    for name, response in [
        ("streamed", ((RESPONSE, "response_body_mode: STREAMED"),)),
        ("streamed-buffered", ((RESPONSE, "response_body_mode: BUFFERED"),)),
    ]
]
EVERY_MODE = pytest.mark.parametrize("mode", [*OURS, *OTHERS])


async def _pieces(body: bytes, most: int) -> AsyncIterator[bytes]:
    rng = random.Random(3)
    at = 0
    while at < len(body):
        size = rng.randrange(1, most)
        yield body[at : at + size]
        at += size


async def _chats(it: Scene) -> None:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    async with openai.AsyncOpenAI(base_url=f"{it.url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id async for model in await client.models.list()] == [MODEL]
        whole = await client.chat.completions.create(**asked, max_tokens=7)
        assert whole.usage.completion_tokens == 7
        stream = await client.chat.completions.create(**asked, max_tokens=20, stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices) == "x" * 20
        assert chunks[-1].usage.completion_tokens == 20


async def _curl(it: Scene) -> None:
    curl = shutil.which("curl")
    if curl is None:
        return
    events = '{"model": "m", "max_tokens": 3, "stream": true, "messages": [{"role": "user", "content": "x"}]}'
    process = await asyncio.create_subprocess_exec(
        *(curl, "-sS", "-N", "--fail", "--max-time", "30", "-H", "content-type: application/json"),
        *("-d", events, f"{it.url}/v1/chat/completions"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert (process.returncode, out.count(b"data: "), out[-14:]) == (0, 5, b"data: [DONE]\n\n")


async def _without_bodies(it: Scene) -> None:
    for method, path in [("GET", "/v1/models"), ("HEAD", "/v1/models"), ("DELETE", "/x"), ("POST", "/x")]:
        async with it.http.request(method, f"{it.url}{path}") as response:
            assert (response.status, bool(await response.read())) == (
                200,
                (method, path) == ("GET", "/v1/models"),
            )


async def _bodies(it: Scene, sizes: list[int]) -> None:
    rng = random.Random(1)
    for size in sizes:
        body = rng.randbytes(size)
        for data in (io.BytesIO(body), _pieces(body, max(2, size // 16))):
            async with it.http.post(f"{it.url}/echo", data=data) as response:
                assert response.status == 200
                assert await response.read() == body
        async with it.http.get(f"{it.url}/v1/big?bytes={size}") as response:
            assert len(await response.read()) == size


async def _trailers(it: Scene) -> None:
    address = urlsplit(it.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head + b"3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"3\r\nabc\r\n" in answer
    assert answer.endswith(b"x-sum: 9\r\n\r\n")


async def _refused(it: Scene) -> None:
    """With all places taken."""
    async with it.http.post(f"{it.url}/echo", data=b"x", headers={"x-llm-d-inference-ttl": "20"}) as response:
        assert response.status == 429
        assert response.headers["x-llm-d-request-dropped-reason"]
        assert (await response.json(content_type=None))["error"]


@EVERY_MODE
async def test_traffic_of_all_kinds(scene: Callable[..., Scene], mode: dict[str, object]) -> None:
    """Chats, uploads, downloads, trailers, bare requests and a refusal end as they should, and leave nothing behind."""
    async with scene(**mode, max_concurrency=1) as it, asyncio.timeout(PATIENCE_S):
        await _chats(it)
        await _curl(it)
        await _without_bodies(it)
        # What Envoy buffers is bounded by its own limit of 1 MiB, and the response would be refused.
        await _bodies(it, [1, 70_000, MIB // 2])
        await _trailers(it)
        holding = asyncio.create_task(it.http.post(f"{it.url}/v1/hold", data=b"x").__aenter__())
        while not it.backend.open:  # noqa: ASYNC110 - it comes through other processes
            await asyncio.sleep(0.02)
        await _refused(it)
        it.backend.let_go(1)
        assert (await holding).status == 200
        await it.until_idle()


@pytest.mark.parametrize("mode", OURS)
async def test_large_bodies(scene: Callable[..., Scene], mode: dict[str, object]) -> None:
    """One and twenty MiB, with a length and in chunks, come back unchanged, two at a time."""
    async with scene(**mode) as it, asyncio.timeout(PATIENCE_S):
        await asyncio.gather(_bodies(it, [MIB, 20 * MIB]), _bodies(it, [MIB, 7 * MIB]))
        await it.until_idle()
