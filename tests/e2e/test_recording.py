"""What a picker behind real Envoy records can be repeated, and what is tried out beside it is counted."""

from __future__ import annotations

import asyncio
import gzip
import sys
from typing import TYPE_CHECKING

from tests.e2e.asking import ask, ask_in_turn, configured
from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.world import World


async def test_a_recording_decides_the_same_and_holds_no_names(
    world: Callable[[Setting], World], tmp_path: Path
) -> None:
    """Requests of named tenants are queued, reloaded and served; the log replays identically and names nobody."""
    log, shadow = tmp_path / "events.jsonl", tmp_path / "shadow.yaml"
    flags = configured(tmp_path, "  maxRequestTTL: 30m")
    config = tmp_path / "own.yaml"
    shadow.write_text(config.read_text(encoding="utf-8"), encoding="utf-8")
    more = (f"--event-log={log}", f"--shadow-config={shadow}")
    async with world(Setting(flags=(*flags, *more))) as it:
        first = ask(it, "first")
        await it.server.until_held(1)
        secret = "acme-corporation"
        queued = await ask_in_turn(
            it,
            *({"name": f"n{number}", "x_llm_d_inference_fairness_id": secret} for number in range(3)),
        )
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("maxRequestTTL: 30m", "maxRequestTTL: 20m"), encoding="utf-8")
        await it.until_metric("epp_config_reloads_total", 1, outcome="applied")
        it.server.let_go(4)
        assert {each.status for each in await asyncio.gather(first, *queued)} == {200}
        await it.until_metric(
            "epp_shadow_decisions_total", 4, shadow="shadow", priority="0", decision="sent_by_both"
        )
        assert await it.metric("epp_event_log_lost_events_total") == 0
    written = await asyncio.to_thread(_written, log)
    assert secret.encode() not in written
    replay = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "epp.cli", "replay", str(log), stdout=-1, stderr=-2
    )
    output, _ = await replay.communicate()
    assert replay.returncode == 0, output.decode()
    assert b"identical" in output
    assert b" 4 decisions" in output


def _written(log: Path) -> bytes:
    """Everything that was ever recorded."""
    finished = [gzip.decompress(each.read_bytes()) for each in log.parent.glob("*.gz")]
    return b"".join([*finished, log.read_bytes()])
