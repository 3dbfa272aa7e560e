"""Starts the processes of a benchmark, and reads what they say.

Every server runs in a process of its own, so that what it uses is its own; load comes from yet another one. All of
them end with the block that started them, whatever happens. Rows that only put requests through a bare server and
pickers share those, which are started once: the standing servers.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.costs import envoy
from benchmarks.costs.variant import BOTH
from benchmarks.program import RESULT, SERVING, heard
from epp.extproc.polling import let_listeners_poll
from epp.quickstart.address import Server as PoolServer
from epp.quickstart.address import parse_address
from epp.quickstart.manifests import render_objects
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import envoy_command, until_answering

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from benchmarks.costs.variant import Variant
    from epp.quickstart.children import Child, Children

_READY_WITHIN_S = 60.0
_RESULT_WITHIN_S = 900.0
_ROOT = Path(__file__).parents[2]
_NOBODY = ("127.0.0.1:9", "127.0.0.1:10", "127.0.0.1:11", "127.0.0.1:12")
"""Endpoints that the picker names and nobody connects to: the gateway is ours."""

_LOG_MESSAGE = "msg"
"""Where the picker's log lines have what a program says as its event."""

_CONFIG = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- type: concurrency-detector
  parameters:
    maxConcurrency: {max_concurrency}
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: running-requests-size-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
  - pluginRef: kv-cache-utilization-scorer
  - pluginRef: running-requests-size-scorer
  - pluginRef: max-score-picker
flowControl:
  defaultRequestTTL: 0s
  defaultPriorityBand:
    maxRequests: "100000"
  saturationDetector:
    pluginRef: concurrency-detector
dataLayer:
  injectDefaults: {scraped}
"""


class Serving(NamedTuple):
    """A server that can be reached."""

    child: Child
    port: int

    @property
    def pid(self) -> int:
        """The process to be watched."""
        return self.child.pid


class PickerPool(NamedTuple):
    """The pool that a picker is started with."""

    addresses: Sequence[str] = _NOBODY
    max_concurrency: int = 1000
    """Of each endpoint."""
    scraped: bool = False
    """Whether somebody answers at those addresses."""


class Measured(NamedTuple):
    """A picker that runs."""

    variant: Variant
    serving: Serving


class Standing(NamedTuple):
    """Servers that every row may put requests through, and none may stop."""

    bare: Serving
    """On grpc.aio, with grpc as it comes."""
    alike: Serving
    """The same, but grpc polls as it does for a picker on it."""
    engine: Serving
    """A bare server on the picker's own engine."""
    pickers: tuple[Measured, ...]

    @property
    def all(self) -> tuple[Serving, ...]:
        """The bare servers first."""
        return (self.bare, self.alike, self.engine, *(picker.serving for picker in self.pickers))


class Programs:
    """The processes of one benchmark."""

    def __init__(
        self,
        children: Children,
        *,
        directory: Path,
        variants: Sequence[Variant] = BOTH,
        base: Programs | None = None,
    ) -> None:
        """With a `base` the standing servers are that one's, and only what is started here ends with `children`."""
        self.variants: Sequence[Variant] = variants if base is None else base.variants
        self._children = children
        self.directory = directory
        self._base = base
        self._standing: Standing | None = None
        self._numbers = itertools.count(1)
        self._env = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONHASHSEED": "0", "GRPC_VERBOSITY": "ERROR"}

    async def standing(self) -> Standing:
        """Bare servers, and a picker of each variant that has room for everybody. One call at a time."""
        if self._base is not None:
            return await self._base.standing()
        if self._standing is None:
            self._standing = Standing(
                *await together(
                    self.bare(), self._bare_alike(), self.bare_native(), self.pickers(PickerPool())
                )
            )
        return self._standing

    async def pickers(self, *pools: PickerPool) -> tuple[Measured, ...]:
        """A picker of each variant: all in one pool, or each in one of its own."""
        each_pool = pools * len(self.variants) if len(pools) == 1 else pools
        servings = await together(*map(self.picker, each_pool, self.variants))
        return tuple(map(Measured, self.variants, servings))

    async def bare(self, *arguments: str) -> Serving:
        """The bare server on grpc.aio."""
        return await self._serving("benchmarks.costs.bare", arguments)

    async def bare_native(self) -> Serving:
        """The bare server on the picker's own engine."""
        return await self._serving("benchmarks.costs.bare_native", ())

    async def _bare_alike(self) -> Serving:
        env = dict(self._env)
        let_listeners_poll(env)
        return await self._serving("benchmarks.costs.bare", (), env=env)

    async def stub(self, servers: int) -> tuple[str, ...]:
        """One process that answers for so many model servers; gives their addresses."""
        child = await self._start("benchmarks.costs.stub", ("--servers", str(servers)))
        said = await child.announcement(partial(heard, SERVING), within_s=_READY_WITHIN_S)
        return tuple(said["addresses"])

    async def apiserver(self, *, pods: int, objectives: int) -> str:
        """An API server with so many objects; gives the path of its kubeconfig."""
        folder = self.directory / f"apiserver-{next(self._numbers)}"
        folder.mkdir(parents=True)
        child = await self._start(
            "benchmarks.costs.apiserver",
            ("--pods", str(pods), "--objectives", str(objectives), "--folder", str(folder)),
        )
        said = await child.announcement(partial(heard, SERVING), within_s=_READY_WITHIN_S)
        return str(said["kubeconfig"])

    async def picker(self, pool: PickerPool, variant: Variant) -> Serving:
        """`epp serve` in file mode."""
        directory = self.directory / f"picker-{next(self._numbers)}"
        directory.mkdir(parents=True)
        objects, config = directory / "objects.yaml", directory / "config.yaml"
        servers = [PoolServer(address, address) for address in map(parse_address, pool.addresses)]
        objects.write_text(render_objects("bench", servers), encoding="utf-8")
        config.write_text(
            _CONFIG.format(max_concurrency=pool.max_concurrency, scraped=str(pool.scraped).lower()),
            encoding="utf-8",
        )
        return await self._serving(
            "epp.cli",
            (
                *("serve", "--objects", str(objects), "--config-file", str(config)),
                *("--grpc-port", "0", "--grpc-health-port", "0", "--metrics-port", "0"),
                *("--secure-serving=false", "--drain-timeout", "0s", "--stream-drain-timeout", "0s"),
                *("--zap-encoder", "json"),
                *variant.arguments,
            ),
            key=_LOG_MESSAGE,
        )

    async def envoy(self, picker: Serving, *, binary: Path, upstream_port: int) -> int:
        """An Envoy that asks this server about every request; gives the port where clients ask."""
        listen, admin = free_ports(2)
        ports = envoy.Ports(listen=listen, admin=admin, picker=picker.port, upstream=upstream_port)
        name = f"envoy-{next(self._numbers)}"
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / f"{name}.yaml"
        config.write_text(envoy.config(ports), encoding="utf-8")
        child = await self._children.start(name, envoy_command(binary, config, workers=1))
        await until_answering(child, f"http://127.0.0.1:{admin}/ready", within_s=_READY_WITHIN_S)
        return listen

    async def result(self, module: str, **options: object) -> dict[str, Any]:
        """Run a measuring program to its end; gives what it found. An option with several values is given often."""
        arguments = [
            word
            for name, value in options.items()
            for each in (value if isinstance(value, list) else [value])
            for word in (f"--{name.replace('_', '-')}", str(each))
        ]
        return await self.result_of(module, *arguments)

    async def result_of(self, module: str, *arguments: str) -> dict[str, Any]:
        """The same with arguments as they are typed."""
        child = await self._start(module, arguments)
        result = await child.announcement(partial(heard, RESULT), within_s=_RESULT_WITHIN_S)
        await child.ended
        return result

    async def stop(self, server: Serving) -> None:
        """End a server before the rest."""
        await self._children.stop(server.child)

    async def _serving(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        key: str = "event",
        env: Mapping[str, str] | None = None,
    ) -> Serving:
        child = await self._start(module, arguments, env=env)
        said = await child.announcement(partial(heard, SERVING, key=key), within_s=_READY_WITHIN_S)
        return Serving(child, int(said["grpc_port"]))

    async def _start(
        self, module: str, arguments: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> Child:
        name = f"{module.rpartition('.')[2]}-{next(self._numbers)}"
        command = [sys.executable, "-m", module, *arguments]
        return await self._children.start(name, command, env=env or self._env)


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of all of these at once; if one fails, its own error, and the others are cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
