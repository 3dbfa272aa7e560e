"""Attack a running picker by hand: `python -m tests.abuse.siege [--seconds 10] [ATTACK...]`.

Starts `epp serve --transport native`, attacks it from another process, and asks it innocent questions meanwhile. Prints
for each attack its memory before, at most and after, its share of a core, how often the attacker had to connect again,
and the innocent's latency as a multiple of what it was just before.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from tests.abuse.attacks import ATTACKS, MIB, Attack
    from tests.abuse.raw import CHAT, Raw, Reading, message_frames
    from tests.extproc import gateway
from tests.extproc.http2.frames_by_hand import (
    INITIAL_WINDOW_SIZE,
    PREFACE,
    data,
    ping,
    settings,
    settings_ack,
)

CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: concurrency-detector
  parameters:
    maxConcurrency: 1000000
flowControl:
  saturationDetector:
    pluginRef: concurrency-detector
"""
"""Room for everybody: what is measured is the transport."""


async def never_reading(port: int) -> None:
    """A long response, and nobody reads it."""
    async with await Raw.connect(port, Reading.NOTHING) as client:
        await client.greet()
        opened = [client.open(*CHAT, bytes(gateway.response_headers())) for _ in range(20)]
        await client.send(*(each for _, each in opened))
        chunk = bytes(gateway.response_body(b"x" * 16_000))
        for _ in range(60):
            for number, _ in opened:
                if not await client.send(message_frames(number, chunk)):
                    return
        await asyncio.sleep(3600)


async def pinging_unread(port: int) -> None:
    """Pings within their limit, whose answers nobody reads."""
    async with await Raw.connect(port, Reading.NOTHING) as client:
        await client.greet()
        while await client.send(ping() * 15):  # noqa: ASYNC110 - a pace, not a wait for something
            await asyncio.sleep(0.1)


async def without_windows(port: int) -> None:
    """900 streams with answers, and no window for any."""
    async with await Raw.connect(port) as client:
        await client.greet((INITIAL_WINDOW_SIZE, 0))
        opened = [client.open(*CHAT, bytes(gateway.response_headers())) for _ in range(900)]
        await client.send(*(each for _, each in opened))
        chunk = message_frames(1, bytes(gateway.response_body(b"x" * 16_000)))
        for number, _ in opened:
            await client.send(chunk.replace(data(1)[5:9], data(number)[5:9]))
        await client.farewell()


async def byte_by_byte(port: int) -> None:
    """Requests in segments of one byte."""
    async with await Raw.connect(port) as client:
        reading = asyncio.create_task(client.farewell())
        await client.send(PREFACE + settings() + settings_ack())
        while True:
            _, opening = client.open(*CHAT, end=True)
            for at in range(len(opening)):
                if not await client.send(opening[at : at + 1]):
                    await reading
                    return
                await asyncio.sleep(0)


async def half_open(port: int) -> None:
    """A connection that never says anything."""
    async with await Raw.connect(port) as client:
        await client.farewell()


async def knocking(port: int) -> None:
    """Connections that are closed at once."""
    for _ in range(200):
        async with await Raw.connect(port):
            pass


async def gateway_at_work(port: int) -> None:
    """No attack: requests one after the other on one connection, each reset after its answer."""
    async with await Raw.connect(port) as client:
        await client.greet()
        while True:
            number, opening = client.open(*CHAT)
            await client.send(opening)
            await client.first_data(number)
            await client.send(data(number, end=True))


async def spinning(port: int) -> None:
    """No attack: what a busy process beside it costs the innocent on this machine."""
    del port
    until = time.monotonic() + 0.01
    while time.monotonic() < until:
        pass
    await asyncio.sleep(0)


SPECIAL: dict[str, tuple[Callable[[int], Awaitable[None]], int]] = {
    "no attack": (half_open, 0),
    "a gateway at work": (gateway_at_work, 2),
    "a busy neighbour": (spinning, 1),
    "responses never read": (never_reading, 4),
    "pings never read": (pinging_unread, 20),
    "no windows": (without_windows, 2),
    "one byte a segment": (byte_by_byte, 4),
    "half-open": (half_open, 1_000),
    "over max-connections": (half_open, 6_000),
    "connect and close": (knocking, 4),
}
"""What is done on each of so many connections, again and again."""


async def _send(client: Raw, attack: Attack) -> None:
    for piece in attack.pieces():
        if not await client.send(piece):
            return
        await asyncio.sleep(0)


async def _attack(name: str, port: int, seconds: float) -> int:
    """How many connections it took."""
    connections = 0
    until = time.monotonic() + seconds

    async def plain(port: int) -> None:
        attack = next(each for each in ATTACKS if each.name == name)
        async with await Raw.connect(port) as client:
            tasks = [asyncio.create_task(client.farewell()), asyncio.create_task(_send(client, attack))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()

    async def again(act: Callable[[int], Awaitable[None]]) -> None:
        nonlocal connections
        while time.monotonic() < until:
            connections += 1
            try:
                await act(port)
            except OSError:
                await asyncio.sleep(0.05)

    act, count = SPECIAL.get(name, (plain, 1))
    tasks = [asyncio.create_task(again(act)) for _ in range(count)]
    await asyncio.sleep(max(0.0, until - time.monotonic()))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return connections


def _attacker(name: str, port: int, seconds: float, told: multiprocessing.Queue[int]) -> None:
    told.put(asyncio.run(_attack(name, port, seconds)))


async def _latencies_ms(port: int, until: float, each: Callable[[], None] = lambda: None) -> list[float]:
    """On one connection, as gateways have it."""
    found = []
    async with await Raw.connect(port) as client, asyncio.timeout(300):
        await client.greet()
        while time.monotonic() < until:
            begun = time.perf_counter()
            number, opening = client.open(*CHAT, end=True)
            await client.send(opening)
            await client.first_data(number)
            found.append((time.perf_counter() - begun) * 1e3)
            each()
            await asyncio.sleep(0.01)
    return found


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _offences(metrics_port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics") as page:
        lines = page.read().decode().splitlines()
    marker = 'epp_extproc_offences_total{offence="'
    return {
        line.removeprefix(marker).partition('"')[0]: int(float(line.rpartition(" ")[2]))
        for line in lines
        if line.startswith(marker) and not line.endswith(" 0") and not line.endswith(" 0.0")
    }


def _besiege(process: psutil.Process, port: int, metrics_port: int, name: str, seconds: float) -> None:
    before = asyncio.run(_latencies_ms(port, time.monotonic() + 1.5))
    counted = _offences(metrics_port)
    rss_before = most = process.memory_info().rss
    told: multiprocessing.Queue[int] = multiprocessing.get_context("spawn").Queue()
    attacker = multiprocessing.get_context("spawn").Process(
        target=_attacker, args=(name, port, seconds, told)
    )
    attacker.start()
    # Until it has been imported.
    time.sleep(2.5)
    cpu, begun = sum(process.cpu_times()[:2]), time.monotonic()

    def look() -> None:
        nonlocal most
        most = max(most, process.memory_info().rss)

    during = asyncio.run(_latencies_ms(port, time.monotonic() + seconds - 1, look))
    cpu, wall = sum(process.cpu_times()[:2]) - cpu, time.monotonic() - begun
    connections = told.get()
    attacker.join()
    time.sleep(1)
    rss_after = process.memory_info().rss
    offences = {
        offence: count - counted.get(offence, 0)
        for offence, count in _offences(metrics_port).items()
        if count != counted.get(offence, 0)
    }
    p50, p99 = (statistics.median(during), sorted(during)[int(len(during) * 0.99)])
    base = statistics.median(before)
    print(  # noqa: T201 - for the person who runs it
        f"{name:30} | {rss_before / MIB:6.1f} {most / MIB:6.1f} {rss_after / MIB:6.1f} MiB | cpu {cpu / wall:4.0%} | "
        f"conns {connections:6} | innocent {base:5.1f} ms, x{p50 / base:5.2f} p50, x{p99 / base:6.2f} p99, "
        f"n {len(during):4} | {offences}",
        flush=True,
    )


def main() -> None:
    """Run them one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--flags", default="")
    parser.add_argument("--transport", default="native")
    parser.add_argument("attacks", nargs="*")
    arguments = parser.parse_args()
    names = arguments.attacks or [*SPECIAL, *(attack.name for attack in ATTACKS)]
    with tempfile.TemporaryDirectory() as folder:
        epp = [sys.executable, "-m", "epp.cli"]
        subprocess.run(
            [*epp, "init", "127.0.0.1:9", "--out", f"{folder}/objects"], check=True, capture_output=True
        )
        port, health, metrics = _free_port(), _free_port(), _free_port()
        with Path(folder, "log").open("w") as log:
            picker = subprocess.Popen(
                [
                    *(*epp, "serve", "--transport", arguments.transport, "--secure-serving=false"),
                    *("--config-text", CONFIG),
                    *("--objects", f"{folder}/objects/objects.yaml", "--drain-timeout=0s"),
                    *(f"--grpc-port={port}", f"--grpc-health-port={health}", f"--metrics-port={metrics}"),
                    *arguments.flags.split(),
                ],
                stdout=log,
                stderr=log,
            )
            try:
                for _ in range(100):
                    time.sleep(0.2)
                    with socket.socket() as sock:
                        if not sock.connect_ex(("127.0.0.1", port)):
                            break
                time.sleep(1)
                process = psutil.Process(picker.pid)
                asyncio.run(_latencies_ms(port, time.monotonic() + 2))
                for name in names:
                    _besiege(process, port, metrics, name, arguments.seconds)
            finally:
                picker.terminate()
                picker.wait()
                sys.stderr.write(Path(folder, "log").read_text()[-3000:])


if __name__ == "__main__":
    main()
