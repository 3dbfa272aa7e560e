"""Running requests that give way, through real Envoy: opt-in, lowest priority first, and only where it helps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from epp.quickstart.envoy import BodyMode
from tests.e2e.asking import ask, ask_in_turn, configured
from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.world import World

BOTH_MODES = pytest.mark.parametrize("mode", list(BodyMode), ids=lambda mode: mode.value)


@BOTH_MODES
async def test_a_running_request_gives_way(
    world: Callable[[Setting], World], mode: BodyMode, tmp_path: Path
) -> None:
    """Batch is ended for premium, is told so and when to come back, and the model server never serves both at once."""
    flags = configured(tmp_path, "  enableEviction: true")
    async with world(Setting(flags=flags, body_mode=mode)) as it:
        batch = ask(it, "batch", "batch")
        await it.server.until_held(1)
        premium = ask(it, "premium", "premium")
        evicted = await batch
        assert (evicted.status, evicted.reason) == (429, "evicted")
        assert 1 <= int(evicted.headers["Retry-After"]) <= 60
        assert json.loads(evicted.text)["error"]["code"] == "evicted"
        it.server.let_go(1)
        assert (await premium).status == 200
        assert it.server.order == ["premium"]
        await it.until_metric("epp_responses_total", 1, outcome="evicted")
        await it.until_metric("llm_d_epp_request_running", 0)


async def test_nobody_gives_way_to_their_equals(world: Callable[[Setting], World], tmp_path: Path) -> None:
    """Neither batch to batch nor, above the threshold, standard to premium: those wait as ever."""
    flags = configured(tmp_path, "  enableEviction: true")
    async with world(Setting(flags=flags)) as it:
        for running, waiting in (("batch", "batch"), ("", "premium")):
            first = ask(it, "first", running)
            await it.server.until_held(1)
            (second,) = await ask_in_turn(it, {"name": "second", "objective": waiting})
            it.server.let_go(2)
            assert [(await each).status for each in (first, second)] == [200, 200]
        assert it.server.order == ["first", "second"] * 2
        assert await it.metric("epp_responses_total", outcome="evicted") == 0
