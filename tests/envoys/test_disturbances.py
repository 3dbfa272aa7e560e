"""What must not hurt anybody else: hang-ups, pings, restarts, drains, and how streams are spread over connections."""

from __future__ import annotations

import asyncio
import io
import signal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

from epp.extproc.transports.transport import TransportName
from epp.quickstart.envoy import BodyMode, PickerTransport
from tests.envoys.scene import PATIENCE_S, http2

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.envoys.scene import Scene

BOTH_MODES = pytest.mark.parametrize("mode", list(BodyMode), ids=lambda mode: mode.value)
TOTAL = "cluster[.]picker[.]upstream_cx_total"
RESETS = "cluster[.]picker[.]upstream_rq_tx_reset"
HANG_UPS = 8_000
"""Of one client."""


def _hold(it: Scene, objective: str = "batch") -> asyncio.Task[int]:
    async def send() -> int:
        headers = {"x-llm-d-inference-objective": objective}
        async with it.http.post(f"{it.url}/v1/hold", data=b"x" * 1000, headers=headers) as response:
            await response.read()
            return response.status

    return asyncio.create_task(send())


async def _until_held(it: Scene, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while it.backend.open != count:  # noqa: ASYNC110 - they come through other processes
            await asyncio.sleep(0.02)


@BOTH_MODES
async def test_clients_hang_up(scene: Callable[..., Scene], mode: BodyMode) -> None:
    """In the queue, on the server and in the middle of a stream: each frees its place, and the others are served."""
    async with scene(mode=mode, max_concurrency=4) as it, asyncio.timeout(PATIENCE_S):
        streams = [await it.http.post(f"{it.url}/v1/endless", data=b"x") for _ in range(2)]
        running = [_hold(it) for _ in range(2)]
        await _until_held(it, 4)
        queued = [_hold(it) for _ in range(20)]
        await it.until_queued(20)
        for each in queued[::2]:
            each.cancel()
        await it.until_queued(10)
        assert await streams[0].content.readline() == b"data: x\n"
        for stream in streams:
            stream.close()
        running[0].cancel()
        # One more than there are, should the server not have noticed yet that a client has gone.
        it.backend.let_go(12)
        assert await asyncio.gather(running[1], *queued[1::2]) == [200] * 11
        await it.until_idle()


async def test_pings_in_a_row(scene: Callable[..., Scene]) -> None:
    """A gateway that pings twenty times a second keeps its one connection, held streams and all."""
    async with scene(keepalive_s=0.05, max_concurrency=1) as it, asyncio.timeout(PATIENCE_S):
        held = [_hold(it) for _ in range(10)]
        await it.until_queued(9)
        await asyncio.sleep(1.5)
        it.backend.let_go(10)
        assert await asyncio.gather(*held) == [200] * 10
        assert await it.stat(TOTAL) == 1


@pytest.mark.parametrize("offers", ["alpn", "no-alpn"])
async def test_encrypted(scene: Callable[..., Scene], offers: str) -> None:
    """Over TLS, whether Envoy says h2 in the handshake or nothing at all."""
    edits = () if offers == "alpn" else (("      alpn_protocols: [h2]\n", "      {}\n"),)
    async with scene(security=PickerTransport.TLS_UNVERIFIED, edits=edits) as it, asyncio.timeout(PATIENCE_S):
        for size in (1, 3_000_000):
            async with it.http.post(f"{it.url}/echo", data=io.BytesIO(b"y" * size)) as response:
                assert (response.status, len(await response.read())) == (200, size)
        await it.until_idle()


async def test_envoy_restarts(scene: Callable[..., Scene]) -> None:
    """When all of a gateway's connections break, its streams are forgotten, and it is served again when it is back."""
    async with scene(max_concurrency=1) as it, asyncio.timeout(PATIENCE_S):
        held = [_hold(it) for _ in range(5)]
        await it.until_queued(4)
        await it.stop_envoy()
        ended = await asyncio.gather(*held, return_exceptions=True)
        assert all(isinstance(each, aiohttp.ClientError) or each == 503 for each in ended), ended
        await it.start_envoy()
        await it.until_idle()
        again = _hold(it)
        await _until_held(it, 1)
        it.backend.let_go(1)
        assert await again == 200


async def test_a_replica_drains_and_nothing_fails(scene: Callable[..., Scene]) -> None:
    """While requests come, one of two pickers is told to stop: none of them fails, and it ends by itself."""
    patient = (("timeout: 1s\n", "timeout: 30s\n"),)
    async with (
        scene(replicas=2, max_concurrency=1000, flags=("--drain-timeout=60s",), edits=patient) as it,
        asyncio.timeout(PATIENCE_S),
    ):
        done = asyncio.Event()
        statuses: list[int] = []

        async def client() -> None:
            while not done.is_set():
                async with it.http.post(f"{it.url}/echo", data=b"x" * 5000) as response:
                    await response.read()
                    statuses.append(response.status)
                await asyncio.sleep(0.01)

        clients = [asyncio.create_task(client()) for _ in range(8)]
        held = [_hold(it) for _ in range(10)]
        await _until_held(it, 10)
        it.pickers[0].send(signal.SIGTERM)
        await it.until_stat("cluster[.]picker[.]membership_healthy", 1)
        it.pickers[0].send(signal.SIGTERM)  # no need to wait any longer: Envoy has noticed
        served = len(statuses)
        while len(statuses) < served + 100:  # noqa: ASYNC110 - clients have no event for us
            await asyncio.sleep(0.02)
        it.backend.let_go(10)
        assert await asyncio.gather(*held) == [200] * 10
        assert await it.pickers[0].ended == 0
        done.set()
        await asyncio.gather(*clients)
        assert set(statuses) == {200}


@pytest.mark.parametrize("streams", [1, 100_000], ids=["one", "many"])
async def test_streams_on_a_connection(scene: Callable[..., Scene], streams: int) -> None:
    """Whether a gateway opens a connection for every stream or as few as it may, all of them are held and served."""
    count = 30 if streams == 1 else 1200
    edits = (http2(max_concurrent_streams=streams),)
    async with scene(edits=edits, max_concurrency=1) as it, asyncio.timeout(PATIENCE_S):
        first = _hold(it)
        await _until_held(it, 1)
        held = [_hold(it) for _ in range(count)]
        await it.until_queued(count)
        premium = _hold(it, "premium")
        await it.until_queued(count + 1)
        it.backend.let_go(2)
        assert await asyncio.gather(first, premium) == [200, 200]
        for each in held[1:]:
            each.cancel()
        it.backend.let_go(1)
        await asyncio.gather(*held, return_exceptions=True)
        await it.until_idle()


@pytest.mark.parametrize("transport", [TransportName.NATIVE], ids=["native"], indirect=True)
async def test_a_crowd_hangs_up_at_once(scene: Callable[..., Scene]) -> None:
    """A gateway that ends a connection with too many resets unsent never gets so far: it is told of fewer streams."""
    limit = (("max_outbound_control_frames: 100000", "max_outbound_control_frames: 50"),)
    flags = ("--http2-announced-streams=40",)
    async with scene(edits=limit, flags=flags, max_concurrency=1) as it, asyncio.timeout(PATIENCE_S):
        stay = [_hold(it, "premium") for _ in range(5)]
        await it.until_queued(4)
        leave: list[asyncio.Task[int]] = []
        while (
            len(leave) < 250
        ):  # few at a time: before a gateway has read what it is told, it opens what it likes
            leave += [_hold(it) for _ in range(25)]
            await it.until_queued(4 + len(leave))
        it.envoy.send(signal.SIGSTOP)
        for each in leave:
            each.cancel()
        await asyncio.gather(*leave, return_exceptions=True)
        it.envoy.send(signal.SIGCONT)
        await it.until_queued(4)
        it.backend.let_go(5)
        assert await asyncio.gather(*stay) == [200] * 5
        assert await it.stat("cluster[.]picker[.]http2[.]outbound_control_flood") == 0
        await it.until_idle()


async def test_one_bad_client_does_not_cost_the_others(scene: Callable[..., Scene]) -> None:
    """Who opens requests through a gateway and hangs up at once, thousands of times, hurts nobody held beside it."""
    # However slow this machine is, each of them is to count as rapid.
    async with scene(max_concurrency=1, flags=("--http2-rapid-time=60s",)) as it, asyncio.timeout(PATIENCE_S):
        stay = [_hold(it, "premium") for _ in range(20)]
        await it.until_queued(19)
        gateway = urlsplit(it.url)
        request = b"POST /v1/hold HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n" + b"x" * 1000
        is_enough = False

        async def hang_up_again_and_again() -> None:
            while not is_enough:
                _, writer = await asyncio.open_connection(gateway.hostname, gateway.port)
                writer.write(request)
                await asyncio.sleep(0.004)  # else the gateway may not have begun with it
                writer.transport.abort()

        async with asyncio.TaskGroup() as bad:
            for _ in range(20):
                bad.create_task(hang_up_again_and_again())
            while await it.stat(RESETS) < HANG_UPS:  # noqa: ASYNC110 - another process has no event for us
                await asyncio.sleep(0.1)
            is_enough = True
        assert not any(each.done() for each in stay)
        await it.until_queued(19)
        it.backend.let_go(20)
        assert await asyncio.gather(*stay) == [200] * 20
        assert await it.metric("epp_extproc_offences_total") == 0
        await it.until_idle()
