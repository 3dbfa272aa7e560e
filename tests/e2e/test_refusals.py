"""Every refusal as a client sees it: status, reason, body, when to come back."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from epp.quickstart.envoy import BodyMode
from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from tests.e2e.world import World

BOTH_MODES = pytest.mark.parametrize("mode", list(BodyMode), ids=lambda mode: mode.value)
CHAT = "/v1/chat/completions"
REASON = "x-llm-d-request-dropped-reason"


async def _refusal(response: aiohttp.ClientResponse) -> tuple[int, str, dict[str, Any]]:
    assert response.headers["content-type"].startswith("application/json")
    body = json.loads(await response.read())
    assert set(body) == {"error"}
    assert {"message", "type", "code"} <= set(body["error"])
    return response.status, response.headers[REASON], body["error"]


@BOTH_MODES
async def test_a_wait_that_ends_is_a_429_with_a_time_to_come_back(
    world: Callable[[Setting], World], mode: BodyMode
) -> None:
    """A request whose own budget runs out is told so, with Retry-After from 1 to 60 s."""
    async with world(Setting(body_mode=mode)) as it:
        first = it.hold("first")
        await it.server.until_held(1)
        headers = {"x-llm-d-inference-ttl": "300ms"}
        async with it.client.post(f"{it.url}/v1/hold", data=b"x", headers=headers) as response:
            status, reason, _ = await _refusal(response)
            assert (status, reason) == (429, "rejected-ttl-expired")
            assert 1 <= int(response.headers["retry-after"]) <= 60
        it.server.let_go(1)
        assert (await first)[0] == 200


async def test_a_full_band_refuses_and_an_empty_pool_is_a_503(world: Callable[[Setting], World]) -> None:
    """At a band's cap: 429 while the pool has endpoints, 503 while it has none."""
    config = "  priorityBands: [{priority: 0, maxRequests: 1}]"
    async with world(Setting(extra_config=config, hold="1s")) as it:
        first = it.hold("first")
        await it.server.until_held(1)
        second = it.hold("second")
        await it.until_queued(1)
        async with it.client.post(f"{it.url}/v1/hold", data=b"x") as response:
            assert (await _refusal(response))[:2] == (429, "rejected-saturated")
        it.server.let_go(2)
        assert [(await each)[0] for each in (first, second)] == [200, 200]
        it.write_objects([])
        await it.until_metric("llm_d_epp_ready_endpoints", 0)
        async with it.client.get(f"{it.url}/v1/models") as response:
            assert (await _refusal(response))[:2] == (503, "rejected-no-endpoints")


@BOTH_MODES
async def test_too_large_a_body_is_a_413_in_mid_upload(
    world: Callable[[Setting], World], mode: BodyMode
) -> None:
    """50 MB against a limit of 1 MiB: refused as soon as it is known, with and without a declared length."""
    async with world(Setting(body_mode=mode, flags=["--max-request-body-bytes=1Mi"])) as it:

        async def endless() -> Any:
            for _ in range(800):
                yield b"x" * 65_536

        answers = []
        for data in (io.BytesIO(b"x" * 50_000_000), endless()):
            try:
                async with it.client.post(f"{it.url}{CHAT}", data=data) as response:
                    answers.append((*(await _refusal(response))[:2], response.headers["x-should-retry"]))
            except ConnectionError:
                pass  # Envoy has answered and closed while this client was still sending
        assert answers
        assert set(answers) == {(413, "rejected-too-large", "false")}
        async with it.client.post(f"{it.url}/anything", data=b"y") as response:
            assert await response.read() == b"y"


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[1, 2]",
        b'"text"',
        b'{"model": "m"}',
        b'{"messages": [{"role": "user"}]}',
        b"\xff\xfe",
    ],
)
async def test_malformed_chats_are_400s_that_say_why(world: Callable[[Setting], World], body: bytes) -> None:
    """What is no chat request never reaches a server, and its sender learns why."""
    async with world(Setting()) as it:
        headers = {"content-type": "application/json"}
        async with it.client.post(f"{it.url}{CHAT}", data=body, headers=headers) as response:
            status, reason, error = await _refusal(response)
            assert (status, reason) == (400, "rejected-malformed")
            assert error["message"]
            assert response.headers["x-should-retry"] == "false"
        assert it.server.seen == []


async def test_a_response_that_waited_says_how_long(world: Callable[[Setting], World]) -> None:
    """The time in the queue is a response header in milliseconds, and only on responses that waited."""
    header = "x-llm-d-flow-queue-duration-ms"
    async with world(Setting()) as it:

        async def send() -> str | None:
            async with it.client.post(f"{it.url}/anything", data=b"x") as response:
                assert response.status == 200
                return response.headers.get(header)

        assert await send() is None
        first = it.hold("first")
        await it.server.until_held(1)
        waiting = asyncio.create_task(send())
        await it.until_queued(1)
        it.server.let_go(1)
        assert (await first)[0] == 200
        waited_ms = await waiting
        assert waited_ms is not None
        assert int(waited_ms) >= 1
