"""A real Prometheus scrapes the picker, and what it then knows is what happened."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING

import aiohttp
import pytest

from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import until_answering
from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.world import World

PROMETHEUS = shutil.which("prometheus")


async def _query(world: World, base: str, expression: str) -> float | None:
    async with world.client.get(f"{base}/api/v1/query", params={"query": expression}) as response:
        answer = json.loads(await response.read())
    result = answer["data"]["result"]
    return float(result[0]["value"][1]) if result else None


@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (Debian package prometheus)")
async def test_prometheus_scrapes_what_happened(world: Callable[[Setting], World]) -> None:
    """Queue length, refusals and reasons of waiting arrive in Prometheus under their names."""
    async with world(Setting()) as it:
        (port,) = free_ports(1)
        config = it.directory / "prometheus.yml"
        target = it.metrics_url.removeprefix("http://")
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            f"scrape_configs: [{{job_name: epp, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        command = [PROMETHEUS or "", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
        command.append(f"--storage.tsdb.path={it.directory / 'tsdb'}")
        child = await it.children.start("prometheus", command)
        base = f"http://127.0.0.1:{port}"
        await until_answering(child, f"{base}/-/ready", within_s=60)

        first = it.hold("first")
        await it.server.until_held(1)
        queued = it.hold("queued", "batch")
        await it.until_queued(1)
        headers = {"x-llm-d-inference-ttl": "50ms"}
        async with it.client.post(f"{it.url}/v1/hold", data=b"x", headers=headers) as response:
            assert response.status == 429

        async def arrived() -> bool:
            return await _query(it, base, 'llm_d_epp_flow_control_queue_size{priority="-10"}') == 1

        await it.until(arrived)
        refused = 'sum(llm_d_epp_flow_control_requests_total{outcome="EvictedTTL"})'
        assert await _query(it, base, refused) == 1
        waited = 'epp_queue_wait_seconds_total{priority="-10",reason="no_room"}'
        async with asyncio.timeout(60):
            while not (await _query(it, base, waited) or 0) > 0:  # noqa: ASYNC110 - Prometheus has no event for it
                await asyncio.sleep(0.1)
        assert await _query(it, base, "epp_idle_eligible_slot_seconds_total") == 0
        assert await _query(it, base, "up") == 1
        it.server.let_go(2)
        assert [(await each)[0] for each in (first, queued)] == [200, 200]


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)"
)
async def test_promtool_has_nothing_to_say(world: Callable[[Setting], World]) -> None:
    """The whole page of a picker with traffic is well-formed by Prometheus's own tool."""
    async with world(Setting()) as it:
        async with it.client.post(f"{it.url}/anything", data=b"x") as response:
            assert response.status == 200
        async with aiohttp.ClientSession() as session, session.get(f"{it.metrics_url}/metrics") as response:
            page = await response.read()
        process = await asyncio.create_subprocess_exec(
            *(str(shutil.which("promtool")), "check", "metrics"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate(page)
        # 1 is an error; 3 only says that upstream's names don't all follow Prometheus's conventions.
        assert process.returncode in {0, 3}, said.decode()[:2000]
