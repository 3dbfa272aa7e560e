"""From ready to gone: who is told what, and in which order."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

from epp.core.events import Draining
from epp.extproc.health import Serving
from epp.serve.life import Life

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class World:
    """Everything around a picker's life; each thing that happens to it is written down."""

    def __init__(self, *, drain_timeout_s: float = 60.0, streams: int = 0) -> None:
        self.story: list[str] = []
        self.obstacle: str | None = None
        self.streams = streams
        self.gone = asyncio.Event()
        self.successor = asyncio.Event()
        self.life = Life(
            SimpleNamespace(drain_timeout_s=drain_timeout_s, stream_drain_timeout_s=60.0),
            director=self,
            extproc=self,
            health=self,
            statistics=lambda: SimpleNamespace(queued_requests=0),
            obstacles=(lambda: self.obstacle,),
            succession=self,
        )

    def set_ready(self, serving: Serving) -> None:
        self.story.append("ready" if serving is Serving.YES else "not ready")

    def feed(self, event: object) -> None:
        assert isinstance(event, Draining)
        self.story.append("refuses")

    async def drained(self, seconds: float) -> bool:
        del seconds
        if self.streams:
            await self.gone.wait()
        return True

    async def stop(self, grace_s: float) -> None:
        del grace_s
        self.story.append("stopped")

    async def hand_over(self) -> None:
        self.story.append("hands over")

    async def until_succeeded(self) -> None:
        await self.successor.wait()

    async def follow(self) -> None:
        await asyncio.Event().wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        with self.life.signals():
            task = asyncio.create_task(self.life.run_until_stopped(self))
            await turns()
            yield task
            await asyncio.wait_for(task, 30)


async def turns() -> None:
    """Let everything happen that needs no time."""
    for _ in range(20):
        await asyncio.sleep(0)


async def signalled(number: signal.Signals) -> None:
    """Send ourselves a signal, and let the loop take it."""
    os.kill(os.getpid(), number)
    await asyncio.sleep(0.01)
    await turns()


async def test_readiness_follows_its_obstacles() -> None:
    """The probes hear of every change; the first obstacle is what is said."""
    world = World(drain_timeout_s=0.0)
    world.successor.set()
    world.obstacle = "no pool"
    async with world.running():
        assert (world.life.why_not_ready(), world.story) == ("no pool", ["not ready"])
        world.obstacle = None
        world.life.readiness_may_have_changed()
        assert world.story == ["not ready", "ready"]
        await signalled(signal.SIGTERM)


async def test_a_leader_stays_ready_until_somebody_succeeds_it() -> None:
    """On SIGTERM it hands over first; gateways are sent elsewhere only once there is an elsewhere."""
    world = World()
    async with world.running():
        await signalled(signal.SIGTERM)
        assert world.story == ["ready", "hands over"]
        assert world.life.why_not_ready() is None
        world.successor.set()
        await turns()
        assert world.story == ["ready", "hands over", "not ready"]
        assert world.life.why_not_ready() == "stopping"
        await signalled(signal.SIGTERM)
    assert world.story[3:] == ["not ready", "refuses", "stopped"]


async def test_without_a_successor_the_drain_ends_all_the_same() -> None:
    """Nobody comes: after the drain timeout it is not ready, refuses and stops."""
    world = World(drain_timeout_s=0.05)
    async with world.running():
        await signalled(signal.SIGTERM)
    assert world.story == ["ready", "hands over", "not ready", "refuses", "stopped"]


async def test_a_person_at_a_terminal_does_not_wait() -> None:
    """The first SIGINT refuses at once, whatever the drain timeout."""
    world = World()
    async with world.running():
        await signalled(signal.SIGINT)
    assert set(world.story[1:-1]) == {"hands over", "not ready", "refuses"}
    assert world.story[-1] == "stopped"


async def test_running_responses_end_before_the_port_closes() -> None:
    """Streams are waited for; another signal cuts them off."""
    world = World(streams=1)
    async with world.running():
        await signalled(signal.SIGINT)
        assert "refuses" in world.story
        assert "stopped" not in world.story
        world.gone.set()
    assert world.story[-1] == "stopped"
    hurried = World(streams=1)
    async with hurried.running():
        await signalled(signal.SIGINT)
        await signalled(signal.SIGTERM)
    assert hurried.story[-1] == "stopped"


async def test_who_was_never_ready_has_nobody_to_wait_for() -> None:
    """No gateway knows it: it stops at once, whatever the drain timeout."""
    world = World()
    world.obstacle = "no API server"
    async with world.running():
        await signalled(signal.SIGTERM)
    assert world.story[-1] == "stopped"
