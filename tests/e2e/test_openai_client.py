"""The `openai` package, as users have it, through real Envoy to simulated model servers."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import openai
import pytest

from epp.quickstart.address import Address, Server, parse_address
from epp.quickstart.children import Children
from epp.quickstart.envoy import BodyMode, EnvoySettings, Picked
from epp.quickstart.manifests import Utilization, render_config, render_objects
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import find_envoy, start_envoy, until_answering
from tests.e2e.transport import transport_flag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MODEL = "m"
BOTH_MODES = pytest.mark.parametrize("mode", list(BodyMode), ids=lambda mode: mode.value)


def _addresses(line: str) -> tuple[Address, ...] | None:
    try:
        return tuple(parse_address(text) for text in json.loads(line)["servers"])
    except (ValueError, KeyError, TypeError):
        return None


@asynccontextmanager
async def _stack(directory: Path, mode: BodyMode) -> AsyncIterator[tuple[openai.AsyncOpenAI, str]]:
    """Two simulated servers, the files that `epp init` would write, the picker, Envoy, and a client."""
    epp = [sys.executable, "-m", "epp.cli"]
    async with Children(logs=directory / "logs") as children:
        sim = await children.start(
            "sim", [*epp, "sim", "--port=0", "--count=2", f"--model={MODEL}", "--step-s=0.001"]
        )
        servers = await sim.announcement(_addresses, within_s=60)
        (directory / "objects.yaml").write_text(render_objects("p", [Server(each, each) for each in servers]))
        (directory / "config.yaml").write_text(render_config(Utilization(5, 0.8)))
        grpc, health, metrics, listen, admin = free_ports(5)
        files = ["--objects", directory / "objects.yaml", "--config-file", directory / "config.yaml"]
        ports = [f"--grpc-port={grpc}", f"--grpc-health-port={health}", f"--metrics-port={metrics}"]
        stop = ["--drain-timeout=0s", "--stream-drain-timeout=0s", transport_flag()]
        picker = await children.start("picker", [*epp, "serve", *files, *ports, *stop])
        await until_answering(picker, f"http://127.0.0.1:{metrics}/readyz", within_s=60)
        settings = EnvoySettings(
            routing=Picked(picker=Address("127.0.0.1", grpc), body_mode=mode),
            listen=Address("127.0.0.1", listen),
            admin=Address("127.0.0.1", admin),
        )
        await start_envoy(children, binary=find_envoy(), settings=settings, directory=directory)
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{listen}/v1", api_key="none", max_retries=0
        ) as client:
            yield client, f"http://127.0.0.1:{metrics}/metrics"


@BOTH_MODES
async def test_the_openai_client_works_streaming_and_not(tmp_path: Path, mode: BodyMode) -> None:
    """Models, a chat, a streamed chat with usage and a completion; in duplex the picker has seen the usage."""
    ask = [{"role": "user", "content": "Hello"}]
    async with _stack(tmp_path, mode) as (client, metrics_url):
        assert [model.id async for model in await client.models.list()] == [MODEL]

        chat = await client.chat.completions.create(
            model=MODEL,
            messages=ask,
            max_tokens=7,
            extra_headers={"x-llm-d-inference-objective": "premium"},
            extra_body={"ignore_eos": True},
        )
        assert chat.choices[0].message.content
        assert chat.usage.completion_tokens == 7

        stream = await client.chat.completions.create(
            model=MODEL,
            messages=ask,
            max_tokens=9,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        chunks = [chunk async for chunk in stream]
        assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) == 9
        assert chunks[-1].usage.completion_tokens == 9

        completion = await client.completions.create(
            model=MODEL, prompt="Once", max_tokens=5, extra_body={"ignore_eos": True}
        )
        assert completion.usage.completion_tokens == 5

        async with aiohttp.ClientSession() as session, session.get(metrics_url) as response:
            page = await response.text()
        seen = [line for line in page.splitlines() if line.startswith("llm_d_epp_request_output_tokens_sum{")]
        total = sum(float(line.rsplit(" ", 1)[1]) for line in seen)
        assert total == (21 if mode is BodyMode.DUPLEX else 0)


async def test_errors_are_the_clients_own(tmp_path: Path) -> None:
    """A refusal of the picker and an error of the server come out as the exceptions that users know."""
    async with _stack(tmp_path, BodyMode.DUPLEX) as (client, _):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=MODEL, messages=[])
        assert refused.value.response.headers["x-llm-d-request-dropped-reason"] == "rejected-malformed"
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="other", messages=[{"role": "user", "content": "x"}])
