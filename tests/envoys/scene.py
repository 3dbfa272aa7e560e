"""One Envoy of any version, `epp serve` with either transport, and a backend: what a test of theirs plays on."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import aiohttp

from epp.quickstart.address import Address, Server
from epp.quickstart.children import Children
from epp.quickstart.envoy import BodyMode, EnvoySettings, Picked, PickerTransport, render
from epp.quickstart.manifests import Concurrency, render_config, render_objects
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import envoy_command, until_answering
from tests.envoys.backend import HOST, Backend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from epp.quickstart.children import Child

PATIENCE_S = 60.0
_FLAGS = ("--drain-timeout=0s", "--stream-drain-timeout=20s", "--zap-encoder=json")
_TRAILERS = (
    (
        "stat_prefix: gateway\n",
        "stat_prefix: gateway\n          http_protocol_options: { enable_trailers: true }\n",
    ),
    ("http_protocol_options: {}", "http_protocol_options: { enable_trailers: true }"),
)


@dataclass(frozen=True)
class Cast:
    """Who plays."""

    envoy: Path
    transport: str
    mode: BodyMode = BodyMode.DUPLEX
    security: PickerTransport = PickerTransport.PLAINTEXT
    max_concurrency: int = 100
    keepalive_s: float | None = 30.0
    replicas: int = 1
    flags: tuple[str, ...] = ()
    edits: tuple[tuple[str, str], ...] = field(default=())
    """What is replaced in Envoy's configuration; each must be there."""


def http2(**options: object) -> tuple[str, str]:
    """The edit that sets options of Envoy's HTTP/2 towards the picker."""
    lines = "".join(f"\n            {name}: {value}" for name, value in options.items())
    return "http2_protocol_options:\n", f"http2_protocol_options:{lines}\n"


class Scene:
    """Everything up and running, between entering and leaving."""

    def __init__(self, cast: Cast, directory: Path) -> None:
        self.cast = cast
        self.backend = Backend()
        self.url = ""
        self._directory = directory
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._set()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _set(self) -> None:
        await self._stack.enter_async_context(self.backend.serving())
        address = Address(HOST, self.backend.port)
        self._write("objects.yaml", render_objects("pool", [Server(address, address)]))
        self._write("config.yaml", render_config(Concurrency(self.cast.max_concurrency)))
        self._children = await self._stack.enter_async_context(Children(logs=self._directory / "logs"))
        self._metrics_urls: list[str] = []
        self._addresses: list[Address] = []
        self.pickers = [await self._start_picker(number) for number in range(self.cast.replicas)]
        self.http = await self._stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        listen, admin = free_ports(2)
        settings = EnvoySettings(
            routing=Picked(
                picker=self._addresses[0],
                replicas=tuple(self._addresses[1:]),
                body_mode=self.cast.mode,
                transport=self.cast.security,
                keepalive_s=self.cast.keepalive_s,
            ),
            listen=Address(HOST, listen),
            admin=Address(HOST, admin),
        )
        text = render(settings)
        for old, new in (*_TRAILERS, *self.cast.edits):
            assert old in text, old
            text = text.replace(old, new)
        self._config = self._write("envoy.yaml", text)
        self.url, self._admin_url = f"http://{HOST}:{listen}", f"http://{HOST}:{admin}"
        await self.start_envoy()

    def _write(self, name: str, text: str) -> Path:
        path = self._directory / name
        path.write_text(text, encoding="utf-8")
        return path

    async def _start_picker(self, number: int) -> Child:
        grpc, health, metrics = free_ports(3)
        secure = self.cast.security is not PickerTransport.PLAINTEXT
        files = (self._directory / "objects.yaml", self._directory / "config.yaml")
        child = await self._children.start(
            f"picker-{number}",
            [
                *(sys.executable, "-m", "epp.cli", "serve", f"--transport={self.cast.transport}"),
                *(
                    "--objects",
                    files[0],
                    "--config-file",
                    files[1],
                    f"--secure-serving={str(secure).lower()}",
                ),
                *(f"--grpc-port={grpc}", f"--grpc-health-port={health}", f"--metrics-port={metrics}"),
                *_FLAGS,
                *self.cast.flags,
            ],
        )
        url = f"http://{HOST}:{metrics}"
        await until_answering(child, f"{url}/readyz", within_s=PATIENCE_S)
        self._metrics_urls.append(url)
        self._addresses.append(Address(HOST, grpc))
        return child

    async def start_envoy(self) -> None:
        """Start it, or start it again."""
        self.envoy = await self._children.start(
            "envoy", envoy_command(self.cast.envoy, self._config, workers=1)
        )
        await until_answering(self.envoy, f"{self._admin_url}/ready", within_s=PATIENCE_S)

    async def stop_envoy(self) -> None:
        """All of its connections end."""
        await self._children.stop(self.envoy)

    async def stat(self, name: str) -> int:
        """One of Envoy's counters or gauges; 0 if it has never counted that."""
        async with self.http.get(f"{self._admin_url}/stats", params={"filter": f"^{name}$"}) as response:
            line = await response.text()
        return int(line.rpartition(": ")[2] or 0)

    async def metric(self, name: str) -> float:
        """The sum of a metric's series, over all pickers that can be asked."""
        total = 0.0
        for url in self._metrics_urls:
            try:
                async with self.http.get(f"{url}/metrics") as response:
                    page = await response.text()
            except aiohttp.ClientConnectionError:
                continue
            lines = (line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
            total += sum(float(line.rpartition(" ")[2]) for line in lines)
        return total

    async def until_queued(self, count: int) -> None:
        """Wait until so many requests are queued."""
        await self._until(lambda: self.metric("llm_d_epp_flow_control_queue_size"), count)

    async def until_stat(self, name: str, value: int) -> None:
        """Wait until one of Envoy's gauges is there."""
        await self._until(lambda: self.stat(name), value)

    async def until_idle(self) -> None:
        """Wait until nothing is queued, running, or open, on any side."""
        await self.until_queued(0)
        await self._until(lambda: self.metric("llm_d_epp_request_running"), 0)
        await self._until(lambda: self.stat("cluster[.]picker[.]upstream_rq_active"), 0)
        async with asyncio.timeout(PATIENCE_S):
            while self.backend.open:  # noqa: ASYNC110 - connections end by themselves
                await asyncio.sleep(0.02)

    async def _until(self, ask: Callable[[], Awaitable[float]], wanted: float) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await ask() != wanted:  # noqa: ASYNC110 - another process has no event for us
                await asyncio.sleep(0.02)
