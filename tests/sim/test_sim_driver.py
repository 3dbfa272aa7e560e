"""The engine on a running loop."""

from __future__ import annotations

import asyncio

from epp.sim.driver import EngineDriver
from epp.sim.engine import Ending, Engine, FinishReason
from epp.sim.model import ServiceModel
from epp.sim.page import ServerPage
from epp.sim.protocol import Api, Ask, Delivery

MODEL = ServiceModel(step_s=0.001, sequence_s=0.0, prefill_token_s=0.0)


def ask(tokens: int) -> Ask:
    """A request for so many tokens."""
    return Ask(Api.CHAT, "m", 5, tokens, Ending.AT_LIMIT, Delivery.STREAM)


def driver(*, clock_s: float) -> EngineDriver:
    """An engine whose clock stands still."""
    page = ServerPage(MODEL, model_name="m")
    return EngineDriver(Engine(MODEL, seed=0, now=clock_s), page=page, clock=lambda: clock_s)


async def test_a_timer_that_is_early_by_the_clock_still_ends_its_step() -> None:
    """A loop's coarse timer may fire before the clock shows its time: the step is taken as over, without a spin."""
    running = driver(clock_s=asyncio.get_running_loop().time())
    stream = running.submit(ask(5))
    async with asyncio.timeout(10):
        assert await stream.end() is FinishReason.LENGTH
    assert stream.tokens == 5
    running.close()


async def test_a_stream_wakes_for_tokens_it_has_not_seen() -> None:
    """`more` returns at once for what is there, and later for what comes; after the end always at once."""
    running = driver(clock_s=asyncio.get_running_loop().time())
    stream = running.submit(ask(3))
    seen = []
    async with asyncio.timeout(10):
        while stream.finish is None:
            await stream.more(stream.tokens)
            seen.append(stream.tokens)
        await stream.more(99)
        await stream.more(0)
    assert seen == [1, 2, 3]
    running.close()


async def test_a_closed_driver_has_no_timer() -> None:
    """After `close` time stands still, and nothing is left on the loop."""
    running = driver(clock_s=asyncio.get_running_loop().time())
    stream = running.submit(ask(2))
    running.close()
    await asyncio.sleep(0.02)  # twenty steps of a driver that runs
    assert stream.tokens == 0
    running.abort(stream)
    assert running.truth().aborted == 1
    running.close()
