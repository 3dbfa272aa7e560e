"""The Envoy of a stage, and what it counts.

Its statistics are asked for by name, so that an answer costs it next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import msgspec

from benchmarks.stage.target import Direct, EnvoyAlone, ForeignPicker, OurPicker, Security
from epp.quickstart.address import Address
from epp.quickstart.envoy import Baseline, EnvoySettings, Picked, PickerTransport
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import start_envoy

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from benchmarks.stage.target import Target
    from epp.quickstart.children import Child, Children

_HOST = "127.0.0.1"
_SENT = "http.gateway.ext_proc.stream_msgs_sent"
_RECEIVED = "http.gateway.ext_proc.stream_msgs_received"
_FAILED = "http.gateway.ext_proc.streams_failed"
_OPEN = "cluster.picker.upstream_rq_active"
_FILTER = "|".join(f"^{name.replace('.', '[.]')}$" for name in (_SENT, _RECEIVED, _FAILED, _OPEN))


class _Stat(msgspec.Struct, frozen=True):
    name: str
    value: int


class _Stats(msgspec.Struct, frozen=True):
    stats: list[_Stat]


@dataclass(frozen=True, slots=True)
class ExtProcCounts:
    """Envoy's conversation with the picker, since it started."""

    sent: int
    received: int
    failed_streams: int
    open_streams: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """It runs."""

    child: Child
    settings: EnvoySettings
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        """Where clients send their requests."""
        return f"http://{self.settings.listen}"

    async def counts(self) -> ExtProcCounts:
        """As they are now; all zero without a picker."""
        url = f"http://{self.settings.admin}/stats"
        async with self.http.get(url, params={"format": "json", "filter": _FILTER}) as response:
            response.raise_for_status()
            return read_counts(await response.read())


def read_counts(page: bytes) -> ExtProcCounts:
    """What a page of statistics says. Envoy leaves out what it has no reason to count."""
    values = {stat.name: stat.value for stat in msgspec.json.decode(page, type=_Stats).stats}
    return ExtProcCounts(
        sent=values.get(_SENT, 0),
        received=values.get(_RECEIVED, 0),
        failed_streams=values.get(_FAILED, 0),
        open_streams=values.get(_OPEN, 0),
    )


def routing_of(target: Target, *, servers: tuple[Address, ...], picker: Address) -> Picked | Baseline | None:
    """Where the target's Envoy gets its destinations from; None if it has no Envoy. Ours would be at `picker`."""
    match target:
        case OurPicker():
            return Picked(picker=picker, body_mode=target.body_mode, transport=PickerTransport.PLAINTEXT)
        case ForeignPicker():
            transport = {
                Security.PLAINTEXT: PickerTransport.PLAINTEXT,
                Security.TLS: PickerTransport.TLS_UNVERIFIED,
            }[target.security]
            return Picked(picker=target.address, body_mode=target.body_mode, transport=transport)
        case EnvoyAlone():
            return Baseline(endpoints=servers, balancing=target.balancing)
        case Direct():
            return None
        case _:
            assert_never(target)


async def start_gateway(
    children: Children,
    *,
    binary: Path,
    routing: Picked | Baseline,
    directory: Path,
    http: aiohttp.ClientSession,
) -> Gateway:
    """Returns once it serves."""
    listen, admin = free_ports(2)
    settings = EnvoySettings(routing=routing, listen=Address(_HOST, listen), admin=Address(_HOST, admin))
    child = await start_envoy(children, binary=binary, settings=settings, directory=directory)
    return Gateway(child, settings, http)
