"""Plays a scenario: rounds interleaved over the targets, one play after the other, each on a fresh stage.

Promises:
- Every target gets the same requests at the same times: the plan is drawn once.
- A round goes over all targets before the next one begins, every other round in the opposite order, so that a machine
  that gets slower or warmer favours none of them.
- A play ends when all of its requests have ended. One in which nothing happens any more is an error that says who
  waits.
- What can't be played is told with its reason, and the rest goes on. What was finished before an interruption is kept.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from benchmarks.load import descriptors
from benchmarks.load.player import Player
from benchmarks.plays.play import Play
from benchmarks.scenarios.planning import draw
from benchmarks.scenarios.scenario import Fault, HangUp, Scale, SetObjective
from benchmarks.stage.stage import Stage, unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.load.live import Live, Snapshot
    from benchmarks.load.plan import Plan
    from benchmarks.scenarios.scenario import Scenario
    from benchmarks.stage.target import Target

LOOK_EVERY_S = 0.25
"""How often progress is looked at, and shown."""
PATIENCE_MARGIN_S = 20.0
"""How much longer than the most patient client nothing at all may happen."""


class PlayError(Exception):
    """A play that can't be finished; the message says why."""


class Watcher(Protocol):
    """Who is told what happens."""

    def play_begins(self, scenario: Scenario, *, target: str, round_number: int, rounds: int) -> None:
        """A stage is being put up for it."""

    def progress(self, snapshot: Snapshot) -> None:
        """Its requests, several times a second."""

    def play_ended(self, play: Play) -> None:
        """It is complete."""

    def play_failed(self, failure: Failed) -> None:
        """It could not be finished."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A target that this scenario isn't for."""

    target: str
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A play that broke. Its target isn't tried again in this scenario."""

    target: str
    round_number: int
    why: str


@dataclass(slots=True)
class Run:
    """A scenario's plays so far; it grows while they are played."""

    scenario: Scenario
    plays: list[Play] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


async def run(
    scenario: Scenario,
    targets: Sequence[Target],
    *,
    rounds: int,
    directory: Path,
    folder: Path,
    binary: Path,
    watcher: Watcher,
    server_port: int | None = None,
    into: Run | None = None,
) -> Run:
    """Play the scenario at all targets.

    Each play has a directory in `directory`; the scenario's traces are looked for in `folder`. Who wants to have what
    was finished before an interruption gives a run to put it `into`.
    """
    into = Run(scenario) if into is None else into
    plan = draw(scenario, folder=folder)
    descriptors.check(plan, limit=descriptors.raise_limit())
    willing = []
    for target in targets:
        if reason := unsupported(scenario, target):
            into.skipped.append(Skipped(target.name, reason))
        else:
            willing.append(target)
    for number in range(1, rounds + 1):
        for target in willing if number % 2 else willing[::-1]:
            if any(failed.target == target.name for failed in into.failed):
                continue
            watcher.play_begins(scenario, target=target.name, round_number=number, rounds=rounds)
            place = directory / plain(target.name) / f"round-{number}"
            try:
                async with Stage(
                    scenario, target, directory=place, binary=binary, server_port=server_port
                ) as stage:
                    play = await _play(
                        stage, scenario, plan, target=target.name, number=number, watcher=watcher
                    )
            except Exception as error:  # whatever it is: that it can't be played is a result
                into.failed.append(Failed(target.name, number, _words(error)))
                watcher.play_failed(into.failed[-1])
            else:
                into.plays.append(play)
                watcher.play_ended(play)
    return into


async def _play(
    stage: Stage, scenario: Scenario, plan: Plan, *, target: str, number: int, watcher: Watcher
) -> Play:
    await stage.warm_up()
    player = Player(plan, base_urls=stage.base_urls, model=stage.model)
    with _earlier_plays_are_no_garbage():
        async with stage.watched(plan.duration_s) as watch:
            await _perform(stage, scenario, plan, player, watcher)
    return Play(
        scenario=scenario.name,
        target=target,
        round=number,
        duration_s=plan.duration_s,
        outcomes=player.outcomes,
        histograms=player.histograms,
        evidence=watch.evidence,
    )


@contextmanager
def _earlier_plays_are_no_garbage() -> Iterator[None]:
    """What they left behind is kept for the report: looking through it would only take time from the generator."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _perform(stage: Stage, scenario: Scenario, plan: Plan, player: Player, watcher: Watcher) -> None:
    """All requests and events; the first error ends it."""
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(player.run())
        happening = tasks.create_task(_happen(stage, scenario, player))
        looking = tasks.create_task(_look(player, plan, watcher, playing))
        await playing
        await happening
        looking.cancel()
    watcher.progress(player.snapshot())


async def _happen(stage: Stage, scenario: Scenario, player: Player) -> None:
    """The scenario's events, at their times."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for event in sorted(scenario.events, key=lambda event: event.at_s):
        await asyncio.sleep(max(0.0, start_s + event.at_s - loop.time()))
        match event:
            case HangUp():
                player.hang_up(event.traffic, event.share)
            case Fault() | Scale() | SetObjective():
                await stage.apply(event)
            case _:
                assert_never(event)


async def _look(player: Player, plan: Plan, watcher: Watcher, playing: asyncio.Task[None]) -> None:
    """Show progress, and end a play in which there is none any more."""
    loop = asyncio.get_running_loop()
    longest_s = max((manner.patience_s for manner in plan.manners.values()), default=0.0) + PATIENCE_MARGIN_S
    moved_s = loop.time() + plan.duration_s
    counted: list[tuple[int, ...]] = []
    while True:
        snapshot = player.snapshot()
        watcher.progress(snapshot)
        lives = snapshot.classes.values()
        before, counted = counted, [_counts(live) for live in lives]
        if counted != before or any(live.tokens_per_s > 0 for live in lives):
            moved_s = max(moved_s, loop.time())
        if loop.time() > moved_s + longest_s:
            why = _unfinished(snapshot)
            if not why:
                ended = f"{len(player.outcomes)} of {len(plan.requests)} requests have ended"
                why = f"{ended}, and the generator is in {_innermost(playing)}"
            raise PlayError(f"nothing happened for {longest_s:g} s, but {why}")
        await asyncio.sleep(LOOK_EVERY_S)


def _counts(live: Live) -> tuple[int, ...]:
    return (
        live.waiting,
        live.streaming,
        live.completed,
        live.refused,
        live.gave_up,
        live.hung_up,
        live.broken,
    )


def _unfinished(snapshot: Snapshot) -> str:
    """Whose requests have not ended; empty if all that were sent have."""
    told = [
        f"{live.waiting} of {name} wait for a first token and {live.streaming} for the rest of their answers"
        for name, live in snapshot.classes.items()
        if live.waiting or live.streaming
    ]
    return "; ".join(told)


def _innermost(task: asyncio.Task[None]) -> str:
    """Where it waits."""
    coroutine: Any = task.get_coro()
    while inspect.iscoroutine(inner := getattr(coroutine, "cr_await", None)):
        coroutine = inner
    frame = getattr(coroutine, "cr_frame", None)
    return str(coroutine.__qualname__) + (f", line {frame.f_lineno}" if frame is not None else "")


def _words(error: BaseException) -> str:
    """For people; of several errors at once, those that they are made of."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_words(each) for each in error.exceptions))
    return str(error) or type(error).__name__


def plain(name: str) -> str:
    """A target's or a class's name as part of a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"
