"""The demo's processes: simulated model servers, the picker, Envoy; all on free ports of this machine.

Each half of the demo has a stack of its own, so that nothing of the first half is left in the second.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epp.demo.client import Prompt
from epp.quickstart.address import Address, Server, parse_address
from epp.quickstart.envoy import Baseline, BodyMode, EnvoySettings, Picked
from epp.quickstart.manifests import Concurrency, render_config, render_objects
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import start_envoy, until_answering

if TYPE_CHECKING:
    from pathlib import Path

    from epp.quickstart.children import Children

POOL_NAME = "demo"
SERVERS = 4
PLACES = 12
"""Requests that one simulated server works on at once."""
MODEL = "demo-model"
PROMPT = Prompt(model=MODEL, text="Tell me a story about a queue, please.", max_tokens=64)
TTL_S = 8
"""How long the picker lets a request wait. Less than the clients' patience: a refusal is better than silence."""

_HOST = "127.0.0.1"
_ENGINE = (
    *("--model", MODEL, "--max-sequences", PLACES),
    # About 2 s for an answer on a full server. Slow and few tokens: everything shares two cores, and the way from a
    # place that gets free to the next request in it, which takes a while on a busy machine, stays a small part of it.
    *("--step-s", 0.08, "--output-mean-tokens", 24, "--output-sigma", 0.3),
)
_READY_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class PickerPorts:
    """Where the picker listens."""

    grpc: int
    health: int
    metrics: int

    @property
    def metrics_url(self) -> str:
        """Its metrics page."""
        return f"http://{_HOST}:{self.metrics}/metrics"


class Stack:
    """Starts the processes of one half, one kind after the other."""

    def __init__(self, children: Children, *, binary: Path, directory: Path) -> None:
        self._children = children
        self._binary = binary
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    async def start_servers(self, *, seed: int) -> tuple[Address, ...]:
        """The simulated model servers: one machine, several ports."""
        child = await self._children.start(
            "servers",
            _epp("sim", "--host", _HOST, "--port", "0", "--count", SERVERS, "--seed", seed, *_ENGINE),
        )
        return await child.announcement(_announced_addresses, within_s=_READY_WITHIN_S)

    async def start_picker(self, servers: tuple[Address, ...]) -> PickerPorts:
        """`epp serve` in file mode."""
        objects, config = self._directory / "objects.yaml", self._directory / "config.yaml"
        objects.write_text(
            render_objects(POOL_NAME, [Server(address, address) for address in servers]), encoding="utf-8"
        )
        config.write_text(render_config(Concurrency(PLACES), ttl=f"{TTL_S}s"), encoding="utf-8")
        ports = PickerPorts(*free_ports(3))
        child = await self._children.start(
            "picker",
            _epp(
                *("serve", "--objects", objects, "--config-file", config),
                *("--grpc-port", ports.grpc, "--grpc-health-port", ports.health),
                *("--metrics-port", ports.metrics),
                # Nobody is waiting any more when the demo ends, so nothing needs to be drained.
                *("--drain-timeout", "0s", "--stream-drain-timeout", "0s"),
            ),
        )
        await until_answering(child, f"http://{_HOST}:{ports.metrics}/readyz", within_s=_READY_WITHIN_S)
        return ports

    async def start_gateway(self, picker: PickerPorts, body_mode: BodyMode) -> str:
        """Envoy, asking the picker; gives its base URL."""
        return await self._start_envoy(Picked(picker=Address(_HOST, picker.grpc), body_mode=body_mode))

    async def start_baseline(self, servers: tuple[Address, ...]) -> str:
        """Envoy alone; gives its base URL."""
        return await self._start_envoy(Baseline(endpoints=servers))

    async def _start_envoy(self, routing: Picked | Baseline) -> str:
        listen, admin = free_ports(2)
        settings = EnvoySettings(
            routing=routing,
            listen=Address(_HOST, listen),
            admin=Address(_HOST, admin),
            access_log=self._directory / "access.log",
        )
        await start_envoy(self._children, binary=self._binary, settings=settings, directory=self._directory)
        return f"http://{settings.listen}"


def _epp(*arguments: object) -> list[str]:
    """Another `epp`, with the interpreter that runs this one."""
    return [sys.executable, "-m", "epp.cli", *map(str, arguments)]


def _announced_addresses(line: str) -> tuple[Address, ...] | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    if not isinstance(said, dict) or "servers" not in said:
        return None
    return tuple(parse_address(text) for text in said["servers"])
