"""What clients are told of the queue where the operator wants that, through real Envoy."""

from __future__ import annotations

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
async def test_responses_and_refusals_explain_themselves(
    world: Callable[[Setting], World], mode: BodyMode, tmp_path: Path
) -> None:
    """Priority, place in the queue and what stood in the way, of those who waited, were refused, or went at once."""
    flags = configured(tmp_path, "  explainHeaders: on")
    async with world(Setting(flags=flags, body_mode=mode)) as it:
        first = ask(it, "first", "premium")
        await it.server.until_held(1)
        standard, batch = await ask_in_turn(it, {"name": "standard"}, {"name": "batch", "objective": "batch"})
        expired = await ask(it, "hurried", "batch", x_llm_d_inference_ttl="100ms")
        it.server.let_go(3)
        assert (await first).account == {"priority": "10", "position": "0", "request-id": "1"}
        waited = [(await each).account for each in (standard, batch)]
        assert [account.pop("request-id") for account in waited] == ["2", "3"]
        assert all(int(account.pop("queue-duration-ms")) > 0 for account in waited)
        assert waited == [
            {"priority": "0", "position": "0", "blocked-by": "no_room"},
            {"priority": "-10", "position": "1", "blocked-by": "higher_priority"},
        ]
        assert (expired.status, expired.reason) == (429, "rejected-ttl-expired")
        assert int(expired.account["queue-duration-ms"]) >= 100
        assert (expired.account["priority"], expired.account["position"]) == ("-10", "2")
