"""Our picker on a stage: `epp serve` in file mode, and what it says of itself.

Its state is read from `/debug/state`, which has the same figures as `/metrics` and costs it a fraction of that page's
work: who looks several times a second must not be what is measured.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from benchmarks.stage.errors import StageError
from epp.quickstart.address import Address
from epp.quickstart.proxy import until_answering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiohttp

    from benchmarks.stage.pool import PoolFiles
    from epp.quickstart.children import Child, Children

_HOST = "127.0.0.1"
_READY_WITHIN_S = 60.0
_OWN_FLAGS = frozenset(
    {
        "--objects",
        "--config-file",
        "--config-text",
        "--grpc-port",
        "--grpc-health-port",
        "--metrics-port",
        "--secure-serving",
        "--cert-path",
        "--zap-encoder",
        "--drain-timeout",
        "--stream-drain-timeout",
    }
)


class PickerState(msgspec.Struct, frozen=True):
    """What the picker says of itself, as far as it is evidence."""

    queued_requests: int
    running_requests: int
    idle_eligible_slot_s: float


@dataclass(frozen=True, slots=True)
class PickerPorts:
    """Where it listens."""

    grpc: int
    health: int
    metrics: int

    @property
    def address(self) -> Address:
        """Where Envoy asks it."""
        return Address(_HOST, self.grpc)


@dataclass(frozen=True, slots=True)
class Picker:
    """It runs."""

    child: Child
    ports: PickerPorts
    http: aiohttp.ClientSession

    async def state(self) -> PickerState:
        """As it is now."""
        async with self.http.get(f"http://{_HOST}:{self.ports.metrics}/debug/state") as response:
            response.raise_for_status()
            return msgspec.json.decode(await response.read(), type=PickerState)


def check_flags(flags: Sequence[str]) -> None:
    """Raises `StageError` for those that the stage decides about."""
    for flag in flags:
        name = flag.partition("=")[0]
        if name in _OWN_FLAGS:
            raise StageError(f"picker.flags: {name} is given by the harness itself; leave it out")


async def start_picker(
    children: Children,
    *,
    files: PoolFiles,
    flags: Sequence[str],
    ports: PickerPorts,
    http: aiohttp.ClientSession,
    env: Mapping[str, str],
) -> Picker:
    """Returns once it is ready."""
    command = [
        *(sys.executable, "-m", "epp.cli", "serve"),
        *("--objects", str(files.objects), "--config-file", str(files.config)),
        *(
            f"--grpc-port={ports.grpc}",
            f"--grpc-health-port={ports.health}",
            f"--metrics-port={ports.metrics}",
        ),
        # Nobody is waiting any more when a play is over, so nothing needs to be drained.
        *("--secure-serving=false", "--drain-timeout=0s", "--stream-drain-timeout=0s"),
        *("--zap-encoder", "json", *flags),
    ]
    child = await children.start("picker", command, env=env)
    await until_answering(child, f"http://{_HOST}:{ports.metrics}/readyz", within_s=_READY_WITHIN_S)
    return Picker(child, ports, http)
