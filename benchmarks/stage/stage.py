"""Puts up everything for one play: simulated servers, and in front of them what the target says.

Promises:
- Every play has servers, picker and Envoy of its own, on ports of 127.0.0.0/8 that nobody else uses. When the block is
  left, by whatever way, nothing of them runs any more; logs and files stay in the stage's directory.
- Once the block is entered, a request goes all the way. What stands in its way is a `StageError` that says what to do,
  or a `ChildError` with a process's last words.
- Warming up leaves nothing in the evidence, and teaches a picker nothing about the requests that count.
- A process that ends during a round ends the round, with an error.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self, assert_never

import aiohttp

from benchmarks.scenarios.scenario import Fault, Scale, SetObjective
from benchmarks.stage.errors import StageError
from benchmarks.stage.foreign import check_answers, check_reachable
from benchmarks.stage.gateway import routing_of, start_gateway
from benchmarks.stage.picker import PickerPorts, check_flags, start_picker
from benchmarks.stage.pool import PoolFiles
from benchmarks.stage.servers import MODEL, groups, places, start_servers
from benchmarks.stage.target import Direct, EnvoyAlone, ForeignPicker, OurPicker
from benchmarks.stage.warmup import warm_up
from benchmarks.stage.watch import Observer, Watch, Watched
from epp.quickstart.children import ChildError, Children
from epp.quickstart.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.scenarios.scenario import Scenario
    from benchmarks.stage.gateway import Gateway
    from benchmarks.stage.picker import Picker
    from benchmarks.stage.servers import Group, SimulatedServers
    from benchmarks.stage.target import Target
    from epp.quickstart.address import Address
    from epp.quickstart.envoy import Baseline, Picked

_ROOT = Path(__file__).parents[2]
_ASK_TIMEOUT_S = 30.0


def unsupported(scenario: Scenario, target: Target) -> str | None:
    """Why this scenario can't be run against that target; None if it can."""
    events = {type(event) for event in scenario.events}
    match target:
        case OurPicker():
            return None
        case ForeignPicker():
            if Scale in events:
                return "it changes the pool's size, which the harness can do to its own picker only"
            if SetObjective in events:
                return "it changes objectives, which the harness can do to its own picker only"
            return None
        case EnvoyAlone() | Direct():
            if Scale in events:
                return "it changes the pool's size, and without a picker there is no pool"
            return None
        case _:
            assert_never(target)


class Stage:
    """Everything for one play."""

    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        *,
        directory: Path,
        binary: Path,
        server_port: int | None = None,
    ) -> None:
        """Prepare it.

        The scenario has been checked (`benchmarks.scenarios.checks`). `binary` is Envoy's, `server_port` the first one
        of the servers (None: free ones).
        """
        self._scenario = scenario
        self._target = target
        self._directory = directory
        self._binary = binary
        self._server_port = server_port
        self._stack = AsyncExitStack()
        self._env = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONHASHSEED": "0", "GRPC_VERBOSITY": "ERROR"}
        self._picker: Picker | None = None
        self._gateway: Gateway | None = None
        self._files: PoolFiles | None = None
        self._notes: dict[str, str] = {}
        self._children: Children
        self._http: aiohttp.ClientSession
        self._servers: SimulatedServers

    @property
    def model(self) -> str:
        """What requests ask for."""
        return MODEL

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Where clients send their requests, in turn."""
        return self._servers.urls if self._gateway is None else (self._gateway.url,)

    async def __aenter__(self) -> Self:
        scenario = self._scenario
        wanted = groups(scenario.servers)
        addresses = places(scenario.servers.count, first_port=self._server_port)
        check_flags(scenario.picker.flags)
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            # What is entered last is left first: whatever becomes of the connections, the processes are gone by then.
            self._http = await self._stack.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_TIMEOUT_S), trust_env=False)
            )
            self._children = await self._stack.enter_async_context(Children(logs=self._directory / "logs"))
            await self._put_up(wanted, addresses)
        except BaseException as error:
            await self._stack.aclose()
            if isinstance(error, BaseExceptionGroup):
                _raise_the_cause(error)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def warm_up(self) -> None:
        """Make connections and warm code on the whole way."""
        await self._children.guard(
            warm_up(
                self._http, self.base_urls, target=self._target.name, servers=len(self._servers.addresses)
            )
        )

    async def apply(self, event: Fault | Scale | SetObjective) -> None:
        """Make it happen, now."""
        match event:
            case Fault():
                await self._servers.fault(event)
            case Scale():
                if self._files is None:
                    raise StageError(
                        f"events: scale at {event.at_s:g} s: {unsupported(self._scenario, self._target)}"
                    )
                self._files.scale(event.to)
            case SetObjective():
                if self._files is None:
                    self._notes["set-objective"] = "left out: there is nobody who knows objectives"
                else:
                    self._files.set_objective(event.name, event.priority)
            case _:
                assert_never(event)

    @asynccontextmanager
    async def watched(self, duration_s: float) -> AsyncIterator[Watch]:
        """Watch one round, in which requests arrive for so long; the evidence is there when the block is left."""
        watch = Watch()
        observer = Observer(self._watched(), duration_s=duration_s)
        await self._children.guard(observer.begin())
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(self._until_one_ends()), tasks.create_task(observer.look())]
                arriving = tasks.create_task(observer.arrivals_end())
                yield watch
                await arriving
                watch.complete(await observer.end(notes=self._notes))
                for task in beside:
                    task.cancel()
        except BaseExceptionGroup as group:
            _raise_the_cause(group)

    # ----------------------------------------------------------------------------------- putting it up

    async def _put_up(self, wanted: tuple[Group, ...], addresses: tuple[Address, ...]) -> None:
        """All at once: each is told where the others will be."""
        target = self._target
        if isinstance(target, ForeignPicker):
            await check_reachable(target)
        picker_ports = PickerPorts(*free_ports(3))
        routing = routing_of(target, servers=addresses, picker=picker_ports.address)
        async with asyncio.TaskGroup() as tasks:
            servers = tasks.create_task(
                start_servers(
                    self._children, wanted=wanted, addresses=addresses, http=self._http, env=self._env
                )
            )
            if isinstance(target, OurPicker):
                tasks.create_task(self._put_up_picker(target, addresses, picker_ports))
            if routing is not None:
                tasks.create_task(self._put_up_gateway(routing))
        self._servers = servers.result()
        if isinstance(target, ForeignPicker):
            assert self._gateway is not None
            await check_answers(self._http, target, gateway=self._gateway, servers=addresses)

    async def _put_up_picker(
        self, target: OurPicker, addresses: tuple[Address, ...], ports: PickerPorts
    ) -> None:
        wanted = self._scenario.picker
        self._files = PoolFiles(self._directory, servers=addresses, objectives=wanted.objectives)
        self._files.write(wanted.config)
        self._picker = await start_picker(
            self._children,
            files=self._files,
            flags=(*wanted.flags, *target.flags),
            ports=ports,
            http=self._http,
            env=self._env,
        )

    async def _put_up_gateway(self, routing: Picked | Baseline) -> None:
        self._gateway = await start_gateway(
            self._children, binary=self._binary, routing=routing, directory=self._directory, http=self._http
        )

    # ------------------------------------------------------------------------------------- watching it

    def _watched(self) -> Watched:
        return Watched(
            servers=self._servers,
            picker=self._picker,
            asking=self._gateway if isinstance(self._target, OurPicker | ForeignPicker) else None,
            roles=self._roles(),
        )

    def _roles(self) -> dict[str, tuple[int, ...]]:
        roles = {"servers": tuple(child.pid for child in self._servers.children), "generator": (os.getpid(),)}
        if self._gateway is not None:
            roles["envoy"] = (self._gateway.child.pid,)
        if self._picker is not None:
            roles["picker"] = (self._picker.child.pid,)
        elif isinstance(self._target, ForeignPicker) and self._target.pid is not None:
            roles["picker"] = (self._target.pid,)
        return roles

    async def _until_one_ends(self) -> None:
        """Raises `ChildError` as soon as a process does."""
        await self._children.guard(asyncio.Event().wait())


def _raise_the_cause(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Of several errors at once, the one that a person should read: a process that ended explains the others."""
    ended = group.subgroup(ChildError)
    cause: BaseException = group if ended is None else ended
    while isinstance(cause, BaseExceptionGroup) and (cause is not group or len(group.exceptions) == 1):
        cause = cause.exceptions[0]
    raise cause
