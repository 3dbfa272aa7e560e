"""Who goes first inside one band, and who waits how long, through real Envoy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.e2e.asking import ask, ask_in_turn, configured
from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.world import World


async def test_slo_deadlines_order_a_flow(world: Callable[[Setting], World], tmp_path: Path) -> None:
    """The earliest deadline for a first token goes first; without one, or with one that is no number, the last."""
    flags = configured(
        tmp_path,
        "  priorityBands: [{priority: 0, orderingPolicyRef: slo-deadline-ordering-policy}]",
        plugins=("slo-deadline-ordering-policy",),
    )
    async with world(Setting(flags=flags)) as it:
        first = ask(it, "first")
        await it.server.until_held(1)
        queued = await ask_in_turn(
            it,
            {"name": "never said"},
            {"name": "no number", "x_slo_ttft_ms": "soon"},
            {"name": "relaxed", "x_slo_ttft_ms": "900000"},
            {"name": "hurried", "x_llm_d_slo_ttft_ms": "60000"},
            {"name": "urgent", "x_llm_d_slo_ttft_ms": "0"},
        )
        it.server.let_go(6)
        assert {each.status for each in await asyncio.gather(first, *queued)} == {200}
        assert it.server.order == ["first", "urgent", "hurried", "relaxed", "never said", "no number"]
        assert await it.metric("epp_ignored_headers_total") == 1
        assert [seen for seen in it.server.seen if seen.header("x-slo-ttft-ms")] == []
        assert [seen for seen in it.server.seen if seen.header("x-llm-d-slo-ttft-ms")] == []


async def test_time_to_live_orders_a_flow(world: Callable[[Setting], World], tmp_path: Path) -> None:
    """Each request's own budget is its deadline, beyond the usual one as far as the operator allows."""
    flags = configured(
        tmp_path,
        "  maxRequestTTL: 30m\n  priorityBands: [{priority: 0, orderingPolicyRef: edf-ordering-policy}]",
        plugins=("edf-ordering-policy",),
    )
    async with world(Setting(flags=flags)) as it:
        first = ask(it, "first")
        await it.server.until_held(1)
        queued = await ask_in_turn(
            it,
            {"name": "patient", "x_llm_d_inference_ttl": "20m"},
            {"name": "usual"},
            {"name": "hurried", "x_llm_d_inference_ttl": "240s"},
            {"name": "urgent", "x_llm_d_inference_ttl": "120000"},
        )
        it.server.let_go(5)
        assert {each.status for each in await asyncio.gather(first, *queued)} == {200}
        assert it.server.order == ["first", "urgent", "hurried", "usual", "patient"]


async def test_a_band_has_a_budget_of_its_own(world: Callable[[Setting], World], tmp_path: Path) -> None:
    """Its requests are refused when it has passed, also those that ask for more, while others wait on."""
    flags = configured(tmp_path, "  priorityBands: [{priority: -10, ttl: 300ms}]")
    async with world(Setting(flags=flags)) as it:
        first = ask(it, "first")
        await it.server.until_held(1)
        (standard,) = await ask_in_turn(it, {"name": "standard"})
        for greedy in ({}, {"x_llm_d_inference_ttl": "60s"}):
            refused = await ask(it, "batch", "batch", **greedy)
            assert (refused.status, refused.reason) == (429, "rejected-ttl-expired")
        it.server.let_go(2)
        assert [(await each).status for each in (first, standard)] == [200, 200]


async def test_hopeless_waits_are_refused_at_once(world: Callable[[Setting], World], tmp_path: Path) -> None:
    """Opted in, and once estimates have proven good: who will not get its turn in time needn't wait to hear so."""
    flags = configured(tmp_path, "  earlyRefusal: when-sure")
    async with world(Setting(flags=flags)) as it:
        for _ in range(10):
            running = ask(it, "running")
            await it.server.until_held(1)
            waits = await ask_in_turn(it, {"name": "waits"})
            it.server.let_go(2)
            assert {each.status for each in await asyncio.gather(running, *waits)} == {200}
        running = ask(it, "running")
        await it.server.until_held(1)
        waits = await ask_in_turn(it, *[{"name": "waits"}] * 4)
        hopeless = await ask(it, "hopeless", x_llm_d_inference_ttl="1ms")
        assert (hopeless.status, hopeless.reason) == (429, "rejected-would-expire")
        assert 1 <= int(hopeless.headers["Retry-After"]) <= 60
        assert "x-llm-d-flow-queue-duration-ms" not in hopeless.headers
        it.server.let_go(5)
        assert {each.status for each in await asyncio.gather(running, *waits)} == {200}
