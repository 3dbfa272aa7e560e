"""A small world to test in: real Envoy, `epp serve` as a child, and a model server that the test directs."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp import web

from epp.quickstart.address import Address
from epp.quickstart.children import Children
from epp.quickstart.envoy import BodyMode, EnvoySettings, FailureMode, Picked
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import find_envoy, start_envoy, until_answering
from tests.e2e.transport import transport_flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from epp.quickstart.children import Child

HOST = "127.0.0.1"
PATIENCE_S = 60.0
METRICS_PAGE = "vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n"


@dataclass(frozen=True)
class Seen:
    """A request as the model server saw it."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    port: int

    def header(self, name: str) -> bytes | None:
        return next((value for key, value in self.headers if key.decode().lower() == name), None)


class ModelServer:
    """Answers as the test says: `/echo` gives the body back, `/hold` when told to, `/sse` in events."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.holding = 0
        self.most_held = 0
        self.changed = asyncio.Condition()
        self.release = asyncio.Semaphore(0)
        self.order: list[str] = []

    async def start(self, stack: AsyncExitStack, count: int) -> list[int]:
        """Listen on `count` ports."""
        app = web.Application(client_max_size=2**30)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_route("*", "/v1/hold", self._hold)
        app.router.add_route("*", "/v1/sse", self._sse)
        app.router.add_route("*", "/v1/status/{code}", self._status)
        app.router.add_route("*", "/{tail:.*}", self._echo)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1, max_field_size=2**17
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        ports = list(free_ports(count, host=HOST))
        for port in ports:
            await web.TCPSite(runner, HOST, port).start()
        return ports

    async def until_held(self, count: int) -> None:
        """Wait until so many requests are held here."""
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: self.holding == count)

    def let_go(self, count: int) -> None:
        """Answer so many of the held requests."""
        for _ in range(count):
            self.release.release()

    async def _note(self, request: web.Request) -> Seen:
        port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
        body = await request.read()
        seen = Seen(request.method, request.path_qs, list(request.raw_headers), body, port)
        self.seen.append(seen)
        return seen

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=METRICS_PAGE)

    async def _echo(self, request: web.Request) -> web.Response:
        seen = await self._note(request)
        return web.Response(body=seen.body, content_type="application/octet-stream")

    async def _status(self, request: web.Request) -> web.Response:
        await self._note(request)
        return web.Response(status=int(request.match_info["code"]))

    async def _sse(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in range(50):
            await response.write(f"data: {json.dumps({'n': number})}\n\n".encode())
            await asyncio.sleep(0)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _hold(self, request: web.Request) -> web.Response:
        seen = await self._note(request)
        name = (seen.header("x-name") or b"").decode()
        await self._count(1)
        try:
            await self.release.acquire()
            self.order.append(name)
        finally:
            await self._count(-1)
        return web.Response(text=name)

    async def _count(self, by: int) -> None:
        async with self.changed:
            self.holding += by
            self.most_held = max(self.most_held, self.holding)
            self.changed.notify_all()


@dataclass(kw_only=True)
class Setting:
    """What a test wants of its world."""

    body_mode: BodyMode = BodyMode.DUPLEX
    failure_mode: FailureMode = FailureMode.CLOSE
    endpoints: int = 1
    max_concurrency: int = 1
    ttl: str = "30s"
    hold: str = "30s"
    keepalive_s: float | None = 30.0
    extra_config: str = ""
    flags: Sequence[str] = field(default_factory=tuple)
    replicas: int = 1


@dataclass(frozen=True)
class Replica:
    """One picker."""

    child: Child
    grpc: Address
    metrics_url: str


class World:
    """Envoy, the picker and a model server, up and running."""

    def __init__(self, setting: Setting, directory: Path) -> None:
        self.setting = setting
        self.directory = directory
        self.objects = directory / "objects.yaml"
        self.server = ModelServer()
        self.url = ""
        self.metrics_url = ""
        self.ports: list[int] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        setting = self.setting
        try:
            self.ports = await self.server.start(self._stack, setting.endpoints)
            self.children = await self._stack.enter_async_context(Children(logs=self.directory / "logs"))
            self.write_objects(self.ports)
            config = self.directory / "config.yaml"
            config.write_text(_config(setting), encoding="utf-8")
            self.replicas = [await self.start_replica(number) for number in range(setting.replicas)]
            self.picker = self.replicas[0].child
            self.metrics_url = self.replicas[0].metrics_url
            listen, admin = free_ports(2)
            self.client = await self._stack.enter_async_context(aiohttp.ClientSession())
            await start_envoy(
                self.children,
                binary=find_envoy(),
                settings=EnvoySettings(
                    routing=Picked(
                        picker=self.replicas[0].grpc,
                        replicas=tuple(each.grpc for each in self.replicas[1:]),
                        body_mode=setting.body_mode,
                        failure_mode=setting.failure_mode,
                        keepalive_s=setting.keepalive_s,
                    ),
                    listen=Address(HOST, listen),
                    admin=Address(HOST, admin),
                ),
                directory=self.directory,
            )
            self.url = f"http://{HOST}:{listen}"
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.let_go(10_000)
        await self._stack.aclose()

    async def start_replica(self, number: int) -> Replica:
        """Start a picker, and wait until it may be asked: the first until it is ready, the others until they live."""
        grpc, health, metrics = free_ports(3)
        url = f"http://{HOST}:{metrics}"
        command = [sys.executable, "-m", "epp.cli", "serve", *self.source_flags()]
        command += ["--config-file", str(self.directory / "config.yaml"), "--zap-encoder", "json"]
        command += [f"--grpc-port={grpc}", f"--grpc-health-port={health}", f"--metrics-port={metrics}"]
        command += ["--drain-timeout=0s", "--stream-drain-timeout=20s", transport_flag()]
        command += self.setting.flags
        child = await self.children.start(f"picker-{number}", command)
        await until_answering(child, f"{url}/{'healthz' if number else 'readyz'}", within_s=PATIENCE_S)
        return Replica(child, Address(HOST, grpc), url)

    def source_flags(self) -> list[str]:
        """Where the picker finds its objects."""
        return ["--objects", str(self.objects)]

    def write_objects(self, ports: Sequence[int], **priorities: int) -> None:
        """The pool with these endpoints, and objectives `premium`, `batch` and whatever else is named."""
        wanted = {"premium": 10, "batch": -10} | priorities
        documents: list[object] = [
            {
                "apiVersion": "inference.networking.k8s.io/v1",
                "kind": "InferencePool",
                "metadata": {"name": "pool"},
                "spec": {
                    "selector": {"matchLabels": {"app": "m"}},
                    "targetPorts": [{"number": port} for port in self.ports or ports],
                },
            },
            *(
                {
                    "apiVersion": "llm-d.ai/v1alpha2",
                    "kind": "InferenceObjective",
                    "metadata": {"name": name},
                    "spec": {"priority": priority, "poolRef": {"name": "pool"}},
                }
                for name, priority in wanted.items()
            ),
        ]
        if ports:
            documents.append(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "m", "labels": {"app": "m"}},
                    "status": {"podIP": HOST},
                }
            )
        text = "\n---\n".join(json.dumps(document) for document in documents)
        fresh = self.objects.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.rename(self.objects)

    async def metric(self, name: str, *, of: Replica | None = None, **labels: str) -> float:
        """The sum of a metric's series with these labels."""
        url = self.metrics_url if of is None else of.metrics_url
        async with self.client.get(f"{url}/metrics") as response:
            page = await response.text()
        total = 0.0
        for line in page.splitlines():
            named = line.startswith((f"{name}{{", f"{name} "))
            if named and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    async def until_metric(self, name: str, value: float, **labels: str) -> None:
        """Wait until a metric has this value."""

        async def reached() -> bool:
            return await self.metric(name, **labels) == value

        await self.until(reached)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Ask again and again until it holds: another process has no event that we could wait for."""
        async with asyncio.timeout(PATIENCE_S):
            while not await holds():  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.02)

    async def until_queued(self, count: int) -> None:
        """Wait until so many requests are queued in the picker."""
        await self.until_metric("llm_d_epp_flow_control_queue_size", count)

    def hold(self, name: str, objective: str = "") -> asyncio.Task[tuple[int, str]]:
        """A request that the model server holds until it is let go."""

        async def send() -> tuple[int, str]:
            headers = {"x-name": name} | ({"x-llm-d-inference-objective": objective} if objective else {})
            async with self.client.post(f"{self.url}/v1/hold", data=b"x", headers=headers) as response:
                return response.status, await response.text()

        return asyncio.create_task(send())


def _config(setting: Setting) -> str:
    return f"""
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- type: concurrency-detector
  parameters: {{maxConcurrency: {setting.max_concurrency}}}
- type: queue-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
  - pluginRef: max-score-picker
flowControl:
  defaultRequestTTL: {setting.ttl}
  noEndpointRequestTTL: {setting.hold}
  saturationDetector: {{pluginRef: concurrency-detector}}
{setting.extra_config}
"""
