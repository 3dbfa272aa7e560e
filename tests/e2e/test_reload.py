"""A configuration that changes while requests wait, through real Envoy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.e2e.asking import ask, ask_in_turn, configured
from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.world import World

EDF = "edf-ordering-policy"


async def test_a_new_order_holds_for_those_who_wait_already(
    world: Callable[[Setting], World], tmp_path: Path
) -> None:
    """Nobody is lost: an invalid file changes nothing, a valid one reorders the queue, and caps follow as well."""
    flags = configured(tmp_path, "  maxRequestTTL: 30m")
    config = tmp_path / "own.yaml"
    async with world(Setting(flags=flags)) as it:
        first = ask(it, "first")
        await it.server.until_held(1)
        queued = await ask_in_turn(
            it,
            {"name": "patient", "x_llm_d_inference_ttl": "25m"},
            {"name": "usual", "x_llm_d_inference_ttl": "20m"},
            {"name": "urgent", "x_llm_d_inference_ttl": "10m"},
        )
        before = config.read_text(encoding="utf-8")
        config.write_text(before.replace("maxRequestTTL: 30m", "maxRequestTTL: soon"), encoding="utf-8")
        await it.until_metric("epp_config_reloads_total", 1, outcome="refused")
        assert await it.metric("epp_config_last_reload_successful") == 0
        wanted = "maxRequestTTL: 30m\n  defaultPriorityBand: {maxRequests: 1, orderingPolicyRef: " + EDF + "}"
        changed = before.replace("maxRequestTTL: 30m", wanted)
        changed = changed.replace("- type: queue-scorer\n", f"- type: queue-scorer\n- type: {EDF}\n", 1)
        config.write_text(changed, encoding="utf-8")
        await it.until_metric("epp_config_reloads_total", 1, outcome="applied")
        # Three wait where one may: they are served, and whoever comes now is refused.
        late = await ask(it, "late")
        assert (late.status, late.reason) == (429, "rejected-saturated")
        it.server.let_go(4)
        assert {each.status for each in await asyncio.gather(first, *queued)} == {200}
        assert it.server.order == ["first", "urgent", "usual", "patient"]
