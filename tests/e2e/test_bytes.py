"""Nothing is lost or changed on the way: bodies, statuses, headers, in both body modes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
from typing import TYPE_CHECKING

import pytest

from epp.quickstart.envoy import BodyMode
from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.e2e.world import World

BOTH_MODES = pytest.mark.parametrize("mode", list(BodyMode), ids=lambda mode: mode.value)
SIZES = [1, 1000, 62_000, 62_001, 65_536, 300_000, 5_000_000]


async def _chunked(body: bytes, rng: random.Random) -> AsyncIterator[bytes]:
    at = 0
    while at < len(body):
        size = rng.randrange(1, 100_000)
        yield body[at : at + size]
        at += size


@BOTH_MODES
async def test_bodies_of_any_size_come_back_unchanged(
    world: Callable[[Setting], World], mode: BodyMode
) -> None:
    """With a length or chunked, from one byte to five million, the server gets and the client gets the same bytes."""
    rng = random.Random(7)
    async with world(Setting(body_mode=mode, max_concurrency=10)) as it:
        for size in SIZES:
            body = rng.randbytes(size)
            for data in (io.BytesIO(body), _chunked(body, rng)):
                async with it.client.post(f"{it.url}/anything", data=data) as response:
                    back = await response.read()
                assert response.status == 200
                assert hashlib.sha256(back).digest() == hashlib.sha256(body).digest()
                assert it.server.seen[-1].body == body


@BOTH_MODES
async def test_methods_and_statuses_without_bodies(world: Callable[[Setting], World], mode: BodyMode) -> None:
    """GET, HEAD, an empty POST, 204, 404 and 503 of the server itself pass through, and free their slots."""
    async with world(Setting(body_mode=mode)) as it:
        for method, path, status in [
            ("GET", "/v1/models?limit=1", 200),
            ("HEAD", "/v1/models", 200),
            ("DELETE", "/x", 200),
            ("POST", "/v1/status/204", 204),
            ("POST", "/v1/status/404", 404),
            ("GET", "/v1/status/503", 503),
        ]:
            async with it.client.request(method, f"{it.url}{path}") as response:
                assert (method, path, response.status) == (method, path, status)
            assert it.server.seen[-1].path == path
        await it.until_metric("llm_d_epp_request_running", 0)


@BOTH_MODES
async def test_events_arrive_complete_and_in_order(world: Callable[[Setting], World], mode: BodyMode) -> None:
    """A stream of server-sent events is the server's, event by event."""
    async with world(Setting(body_mode=mode)) as it:
        async with it.client.post(f"{it.url}/v1/sse", data=b"{}") as response:
            events = [line async for line in response.content if line.strip()]
        assert events == [f"data: {json.dumps({'n': n})}\n".encode() for n in range(50)] + [b"data: [DONE]\n"]


async def test_control_headers_stop_here(world: Callable[[Setting], World]) -> None:
    """What decides about priority never reaches the model server; whatever else the client sent does."""
    control = {
        "x-llm-d-inference-objective": "premium",
        "x-gateway-inference-objective": "batch",
        "x-llm-d-inference-fairness-id": "tenant",
        "x-gateway-inference-fairness-id": "tenant",
        "x-llm-d-inference-ttl": "30s",
    }
    async with world(Setting()) as it:
        headers = control | {"x-other": "stays", "x-gateway-destination-endpoint": "10.9.9.9:1"}
        async with it.client.post(f"{it.url}/anything", data=b"x", headers=headers) as response:
            assert response.status == 200
        seen = it.server.seen[-1]
        assert [name for name in control if seen.header(name) is not None] == []
        assert seen.header("x-other") == b"stays"
        assert seen.header("x-gateway-destination-endpoint") in {None, f"127.0.0.1:{it.ports[0]}".encode()}


async def test_control_headers_are_kept_on_request(world: Callable[[Setting], World]) -> None:
    """--keep-control-headers lets the model server see them."""
    async with world(Setting(flags=["--keep-control-headers"])) as it:
        headers = {"x-llm-d-inference-objective": "premium"}
        async with it.client.post(f"{it.url}/anything", data=b"x", headers=headers) as response:
            assert response.status == 200
        assert it.server.seen[-1].header("x-llm-d-inference-objective") == b"premium"


async def test_odd_headers_harm_nobody(world: Callable[[Setting], World]) -> None:
    """A header of 50 KB and one that is not UTF-8 reach the server as they are; such an objective is ignored."""
    async with world(Setting()) as it:
        host, _, port = it.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        large = b"a" * 50_000
        odd = b"caf\xe9"
        writer.write(
            b"POST /anything HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\nconnection: close\r\n"
            b"x-large: " + large + b"\r\nx-odd: " + odd + b"\r\n"
            b"x-llm-d-inference-objective: " + odd + b"\r\n\r\ny"
        )
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200")
        assert it.server.seen[-1].header("x-large") == large
        assert it.server.seen[-1].header("x-odd") == odd
        assert await it.metric("epp_ignored_headers_total") == 1
