"""The simulated model servers of a stage: where they are, how they are made, what they say of themselves.

Promises:
- Servers that share their engine's fields share a process; a different one has its own, so that a slow or a busy engine
  takes no time from the others.
- Addresses are known before anything is started. Up to eight servers differ in their port only, as an InferencePool
  allows; the ninth is at the next loopback address, on the first port again.
- An account is the engine's own: nobody's guess is in it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from benchmarks.scenarios.checks import engine_model
from benchmarks.stage.errors import StageError
from epp.quickstart.address import Address
from epp.quickstart.manifests import MAX_TARGET_PORTS
from epp.quickstart.ports import free_ports
from epp.sim.model import ServiceModel
from epp.sim.server import DEFAULT_MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import aiohttp

    from benchmarks.scenarios.scenario import Fault, Servers
    from epp.quickstart.children import Child, Children

MODEL = DEFAULT_MODEL_NAME
"""What the scenario's requests ask for."""
WARM_UP_MODEL = "warm-up"
"""What requests ask for that don't count, so that a picker learns nothing from them about the others."""

_READY_WITHIN_S = 60.0
_LAST_PORT = 65_535
_MOST = MAX_TARGET_PORTS * 254


class Group(NamedTuple):
    """Servers that share a process."""

    numbers: tuple[int, ...]
    """From 0."""
    model: ServiceModel


class Account(msgspec.Struct, frozen=True):
    """What an engine says of itself at `/sim/truth`, as far as it is evidence."""

    now_s: float
    idle_slot_s: float
    max_waiting: int
    max_running: int
    max_kv_utilization: float
    submitted: int


class Reading(msgspec.Struct, frozen=True):
    """All servers' accounts at one moment."""

    accounts: tuple[Account, ...]


def places(count: int, *, first_port: int | None) -> tuple[Address, ...]:
    """Where so many servers are: from that port on, or on free ports."""
    if not 1 <= count <= _MOST:
        raise StageError(f"servers.count is {count}: it must be from 1 to {_MOST}")
    ports: Sequence[int]
    if first_port is None:
        ports = sorted(free_ports(min(count, MAX_TARGET_PORTS)))
    else:
        ports = range(first_port, first_port + min(count, MAX_TARGET_PORTS))
        if not 1 <= ports[0] <= ports[-1] <= _LAST_PORT:
            raise StageError(
                f"server port {first_port}: ports {ports[0]} to {ports[-1]} are not all from 1 to {_LAST_PORT}"
            )
    hosts = (f"127.0.0.{1 + number // len(ports)}" for number in range(count))
    return tuple(Address(host, ports[number % len(ports)]) for number, host in enumerate(hosts))


def groups(servers: Servers) -> tuple[Group, ...]:
    """Who shares a process with whom."""
    members: dict[ServiceModel, list[int]] = {}
    for number in range(servers.count):
        model = engine_model({**servers.engine, **servers.different.get(number, {})})
        members.setdefault(model, []).append(number)
    return tuple(Group(tuple(numbers), model) for model, numbers in members.items())


@dataclass(frozen=True, slots=True)
class SimulatedServers:
    """All of them, running."""

    addresses: tuple[Address, ...]
    models: tuple[ServiceModel, ...]
    children: tuple[Child, ...]
    http: aiohttp.ClientSession

    @property
    def urls(self) -> tuple[str, ...]:
        """Where each one is asked."""
        return tuple(f"http://{address}" for address in self.addresses)

    async def fault(self, event: Fault) -> None:
        """From now on, some do something wrong, or do right again."""
        told = {
            "metrics": event.metrics,
            "metrics_delay_s": event.metrics_delay_s,
            "requests": event.requests,
        }
        await asyncio.gather(*(self._post_fault(self.urls[number], told) for number in event.servers))

    async def read(self) -> Reading:
        """What the engines say of themselves."""
        return Reading(
            tuple(await asyncio.gather(*(self._account("GET", f"{url}/sim/truth") for url in self.urls)))
        )

    async def begin(self) -> Reading:
        """The same, where peaks begin anew."""
        return Reading(
            tuple(await asyncio.gather(*(self._account("POST", f"{url}/sim/peaks") for url in self.urls)))
        )

    async def _account(self, method: str, url: str) -> Account:
        async with self.http.request(method, url) as response:
            response.raise_for_status()
            return msgspec.json.decode(await response.read(), type=Account)

    async def _post_fault(self, url: str, told: Mapping[str, object]) -> None:
        async with self.http.post(f"{url}/sim/faults", json=told) as response:
            response.raise_for_status()


async def start_servers(
    children: Children,
    *,
    wanted: Iterable[Group],
    addresses: tuple[Address, ...],
    http: aiohttp.ClientSession,
    env: Mapping[str, str],
) -> SimulatedServers:
    """Returns once all of them listen."""
    wanted = tuple(wanted)
    started = await asyncio.gather(
        *(_start(children, group, number, addresses, env) for number, group in enumerate(wanted))
    )
    model_of = {number: group.model for group in wanted for number in group.numbers}
    return SimulatedServers(
        addresses=addresses,
        models=tuple(model_of[number] for number in range(len(addresses))),
        children=tuple(started),
        http=http,
    )


async def _start(
    children: Children, group: Group, number: int, addresses: tuple[Address, ...], env: Mapping[str, str]
) -> Child:
    command = [sys.executable, "-m", "epp.cli", "sim", "--seed", str(group.numbers[0])]
    command += [word for name in (MODEL, WARM_UP_MODEL) for word in ("--model", name)]
    command += [word for each in group.numbers for word in ("--listen", str(addresses[each]))]
    for field in fields(ServiceModel):
        command += [f"--{field.name.replace('_', '-')}", str(getattr(group.model, field.name))]
    child = await children.start(f"servers-{number}", command, env=env)
    await child.announcement(_listening, within_s=_READY_WITHIN_S)
    return child


def _listening(line: str) -> bool | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return True if isinstance(said, dict) and "servers" in said else None
