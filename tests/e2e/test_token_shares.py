"""Tokens by weight, through real Envoy: real streams of simulated model servers whose usage nobody could have guessed.

All that the tenants send is queued before the first request is served, and is more than will be: whoever is slow here,
the picker always has requests of each to choose from. What is compared are the tokens that model servers said they
took, between one moment and another; how fast the machine is only decides how long that takes.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import pytest

from epp.quickstart.address import Address, Server, parse_address
from epp.quickstart.children import Child, Children
from epp.quickstart.envoy import BodyMode, EnvoySettings, Picked
from epp.quickstart.manifests import render_objects
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import find_envoy, start_envoy, until_answering
from tests.e2e.transport import transport_flag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MODEL = "m"
SLOTS = 2
MEAN_OUTPUT = 20
QUEUE_SIZE = "llm_d_epp_flow_control_queue_size"


@dataclass(frozen=True)
class Tenant:
    """Who sends prompts of about so many tokens."""

    name: str
    tokens: int
    requests: int
    """How many it sends, all at once."""
    weight: float = 1.0
    letter: str = "x"
    """What prompts are made of: the more bytes it has, the more tokens the picker takes them for."""

    def body(self) -> bytes:
        """Its next request; how long the answer gets, the model decides."""
        prompt = self.letter * (4 * (self.tokens - MEAN_OUTPUT))
        options = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 400}
        return json.dumps({"model": MODEL, "prompt": prompt, **options}).encode()


def _addresses(line: str) -> tuple[Address, ...] | None:
    try:
        return tuple(parse_address(text) for text in json.loads(line)["servers"])
    except (ValueError, KeyError, TypeError):
        return None


def _config(tenants: tuple[Tenant, ...]) -> str:
    weights = json.dumps([{"fairnessID": each.name, "weight": each.weight} for each in tenants])
    return f"""
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- type: concurrency-detector
  parameters: {{maxConcurrency: {SLOTS}}}
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: max-score-picker
flowControl:
  defaultRequestTTL: 10m
  saturationDetector: {{pluginRef: concurrency-detector}}
  weights: {weights}
"""


@dataclass(frozen=True)
class Gateway:
    """What a test talks to."""

    url: str
    metrics_url: str
    server: Child

    async def until_queued(self, client: aiohttp.ClientSession, count: int) -> None:
        """Wait until so many requests wait for a slot."""
        waiting = 0.0
        while waiting < count:
            await asyncio.sleep(0.02)
            async with client.get(f"{self.metrics_url}/metrics") as response:
                page = await response.text()
            lines = [line for line in page.splitlines() if line.startswith(f"{QUEUE_SIZE}{{")]
            waiting = sum(float(line.rpartition(" ")[2]) for line in lines)


@asynccontextmanager
async def _gateway(directory: Path, tenants: tuple[Tenant, ...]) -> AsyncIterator[Gateway]:
    """A fast simulated server, a picker that knows the weights, and Envoy before them."""
    epp = [sys.executable, "-m", "epp.cli"]
    async with Children(logs=directory / "logs") as children:
        speed = [
            "--step-s=0.0005",
            "--sequence-s=0",
            "--prefill-token-s=0",
            f"--output-mean-tokens={MEAN_OUTPUT}",
        ]
        sim = await children.start("sim", [*epp, "sim", "--port=0", f"--model={MODEL}", *speed])
        servers = await sim.announcement(_addresses, within_s=60)
        (directory / "objects.yaml").write_text(render_objects("p", [Server(each, each) for each in servers]))
        (directory / "config.yaml").write_text(_config(tenants))
        grpc, health, metrics, listen, admin = free_ports(5)
        files = ["--objects", directory / "objects.yaml", "--config-file", directory / "config.yaml"]
        ports = [f"--grpc-port={grpc}", f"--grpc-health-port={health}", f"--metrics-port={metrics}"]
        stop = ["--drain-timeout=0s", "--stream-drain-timeout=0s", transport_flag()]
        picker = await children.start("picker", [*epp, "serve", *files, *ports, *stop])
        await until_answering(picker, f"http://127.0.0.1:{metrics}/readyz", within_s=60)
        settings = EnvoySettings(
            routing=Picked(picker=Address("127.0.0.1", grpc), body_mode=BodyMode.DUPLEX),
            listen=Address("127.0.0.1", listen),
            admin=Address("127.0.0.1", admin),
        )
        await start_envoy(children, binary=find_envoy(), settings=settings, directory=directory)
        yield Gateway(f"http://127.0.0.1:{listen}", f"http://127.0.0.1:{metrics}", sim)


class Tally:
    """Tokens that model servers took for every tenant."""

    def __init__(self) -> None:
        self.tokens: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    async def add(self, name: str, tokens: int) -> None:
        async with self._changed:
            self.tokens[name] += tokens
            self.requests[name] += 1
            self._changed.notify_all()

    async def until(self, total: int) -> Counter[str]:
        """Wait until so many tokens were taken altogether; gives whose they were."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.tokens.total() >= total)
            return self.tokens.copy()


async def _send(client: aiohttp.ClientSession, url: str, tenant: Tenant, tally: Tally) -> None:
    """One request."""
    headers = {"content-type": "application/json", "x-llm-d-inference-fairness-id": tenant.name}
    async with client.post(f"{url}/v1/completions", data=tenant.body(), headers=headers) as response:
        assert response.status == 200, await response.text()
        usage = 0
        async for line in response.content:
            if line.startswith(b"data: {"):
                usage = (json.loads(line[6:]).get("usage") or {}).get("total_tokens", usage)
    assert usage, "a stream without usage"
    await tally.add(tenant.name, usage)


async def _counted(tally: Tally, total: int, sending: set[asyncio.Task[None]]) -> Counter[str]:
    """Whose the tokens were when so many had been taken. Fails where a request does."""
    counting = asyncio.create_task(tally.until(total))
    while not counting.done():
        done, _ = await asyncio.wait({counting, *sending}, return_when=asyncio.FIRST_COMPLETED)
        for task in done & sending:
            task.result()
        sending -= done
    return counting.result()


async def _shares(
    directory: Path, tenants: tuple[Tenant, ...], *, tokens: int
) -> tuple[dict[str, float], Tally]:
    """What every tenant got per weight, of so many tokens after the first tenth of them."""
    tally = Tally()
    async with (
        _gateway(directory, tenants) as gateway,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client,
        asyncio.timeout(110),
    ):
        gateway.server.send(signal.SIGSTOP)
        sending = {
            asyncio.create_task(_send(client, gateway.url, tenant, tally))
            for tenant in tenants
            for _ in range(tenant.requests)
        }
        await gateway.until_queued(client, len(sending) - SLOTS)
        gateway.server.send(signal.SIGCONT)
        before = await _counted(tally, tokens // 10, sending)
        after = await _counted(tally, tokens // 10 + tokens, sending)
        for each in tenants:
            assert tally.requests[each.name] < each.requests - SLOTS, "not all of them had something queued"
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
    return {each.name: (after[each.name] - before[each.name]) / each.weight for each in tenants}, tally


@pytest.mark.parametrize("letter", ["x", "é"], ids=["both-underrated", "one-overrated"])
async def test_two_tenants_of_unlike_sizes_share_tokens_evenly(tmp_path: Path, letter: str) -> None:
    """Requests ten times as large, or taken for six times what they are: half of the tokens each, within 5 %."""
    tenants = (Tenant("large", 1000, 80, letter=letter), Tenant("small", 100, 600))
    shares, tally = await _shares(tmp_path, tenants, tokens=70_000)
    assert tally.requests["small"] > 5 * tally.requests["large"] > 5 * 25
    assert 0.95 <= shares["large"] / shares["small"] <= 1.05


async def test_three_tenants_share_tokens_by_weight(tmp_path: Path) -> None:
    """Weights 1:2:4 give tokens 1:2:4 within 5 %, the largest requests coming from the smallest weight."""
    tenants = (
        Tenant("one", 600, 60, 1.0, letter="é"),
        Tenant("two", 100, 500, 2.0),
        Tenant("four", 250, 400, 4.0),
    )
    shares, _ = await _shares(tmp_path, tenants, tokens=100_000)
    assert max(shares.values()) / min(shares.values()) <= 1.05, shares
