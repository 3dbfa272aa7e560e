"""The order of plays, what happens in one, what becomes of one that breaks: in virtual time, on a stage of straw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from benchmarks.load.live import Live, Snapshot
from benchmarks.load.plan import Plan
from benchmarks.plays import runner
from benchmarks.plays.play import Play
from benchmarks.plays.runner import Failed, Run, plain
from benchmarks.scenarios.loading import Size, load
from benchmarks.scenarios.scenario import Fault, HangUp, Scale, Scenario
from benchmarks.stage.target import Target, parse
from tests.benchmarks.plays.played import NOTHING, answered
from tests.kube.virtualloop import virtual

SMALL = """
name: small
question: Does it work?
story: Nothing but a few requests.
duration_s: 10
servers: {count: 1}
picker:
  config: {apiVersion: llm-d.ai/v1alpha1, kind: EndpointPickerConfig}
traffic:
  chat: {arrivals: [{kind: poisson, per_s: 2}], patience_s: 5}
pass:
- {says: nothing breaks, kind: behaviour, measure: broken, at_most: 0}
"""
PICKER, ENVOY, DIRECT = (parse(name) for name in ("picker", "envoy:least-request", "direct"))


@pytest.fixture
def small(tmp_path: Path) -> Scenario:
    """A scenario of ten seconds."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return load(path, Size.FULL)


@dataclass
class Straw:
    """What the stand-ins do and what they were told, over all plays."""

    told: list[tuple[float, str]] = field(default_factory=list)
    breaks_at: str = ""
    """The target whose stage can't be put up."""
    takes_s: float = 12.0
    """Until the last answer has come."""
    quiet: bool = False
    """Whether nothing is seen to happen meanwhile."""
    waiting: int = 1
    streaming: int = 2

    def tell(self, what: str) -> None:
        """Note it down with its time."""
        self.told.append((asyncio.get_running_loop().time(), what))

    def words(self) -> list[str]:
        """Without times."""
        return [what for _, what in self.told]


class StrawStage:
    """Puts up nothing."""

    straw: ClassVar[Straw]

    def __init__(
        self, scenario: Scenario, target: Target, *, directory: Path, binary: Path, server_port: int | None
    ) -> None:
        del scenario, binary, server_port
        self.target, self.directory = target, directory
        self.base_urls, self.model = ("http://127.0.0.1:1",), "m"

    async def __aenter__(self) -> StrawStage:
        if self.straw.breaks_at == self.target.name:
            raise RuntimeError("the port is taken")
        self.straw.tell(f"up {self.target.name} {self.directory.parent.name}/{self.directory.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.straw.tell("down")

    async def warm_up(self) -> None:
        self.straw.tell("warm")

    async def apply(self, event: object) -> None:
        self.straw.tell(type(event).__name__)

    @asynccontextmanager
    async def watched(self, duration_s: float) -> AsyncIterator[Any]:
        self.straw.tell(f"watched {duration_s:g}")
        yield SimpleNamespace(evidence=NOTHING)


class StrawPlayer:
    """Sends nothing, and waits."""

    straw: ClassVar[Straw]
    plans: ClassVar[list[Plan]] = []

    def __init__(self, plan: Plan, *, base_urls: tuple[str, ...], model: str) -> None:
        del base_urls, model
        self.plans.append(plan)
        self.outcomes = (answered(),)
        self.histograms: dict[str, object] = {}

    async def run(self) -> None:
        self.straw.tell("run")
        try:
            await asyncio.sleep(self.straw.takes_s)
        except asyncio.CancelledError:
            self.straw.tell("cancelled")
            raise

    def hang_up(self, class_name: str, share: float) -> int:
        self.straw.tell(f"hang up {class_name} {share:g}")
        return 1

    def snapshot(self) -> Snapshot:
        tokens_per_s = 0.0 if self.straw.quiet else 5.0
        live = Live(
            waiting=self.straw.waiting,
            streaming=self.straw.streaming,
            completed=0,
            refused=0,
            gave_up=0,
            hung_up=0,
            broken=0,
            completed_per_s=0.0,
            tokens_per_s=tokens_per_s,
            ttft_s=None,
        )
        return Snapshot(1.0, 0.0, {"chat": live})


@dataclass
class Seen:
    """A watcher that remembers."""

    begun: list[tuple[str, int, int]] = field(default_factory=list)
    ended: list[Play] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    looks: int = 0

    def play_begins(self, scenario: Scenario, *, target: str, round_number: int, rounds: int) -> None:
        del scenario
        self.begun.append((target, round_number, rounds))

    def progress(self, snapshot: Snapshot) -> None:
        del snapshot
        self.looks += 1

    def play_ended(self, play: Play) -> None:
        self.ended.append(play)

    def play_failed(self, failure: Failed) -> None:
        self.failed.append(failure)


@pytest.fixture
def straw(monkeypatch: pytest.MonkeyPatch) -> Straw:
    """Stage and player are stand-ins."""
    straw = Straw()
    StrawStage.straw = StrawPlayer.straw = straw
    StrawPlayer.plans.clear()
    monkeypatch.setattr(runner, "Stage", StrawStage)
    monkeypatch.setattr(runner, "Player", StrawPlayer)
    return straw


async def played(scenario: Scenario, *targets: Target, rounds: int = 1, seen: Seen | None = None) -> Run:
    """Play it."""
    return await runner.run(
        scenario,
        targets,
        rounds=rounds,
        directory=Path("/nowhere"),
        folder=Path("/nowhere"),
        binary=Path("/envoy"),
        watcher=seen or Seen(),
    )


@virtual
async def test_rounds_are_interleaved_in_alternating_order(small: Scenario, straw: Straw) -> None:
    """All targets before the next round, every other round backwards; each play has a directory of its own."""
    seen = Seen()
    run = await played(small, PICKER, ENVOY, rounds=3, seen=seen)
    order = [("picker", 1), ("envoy:least-request", 1), ("envoy:least-request", 2), ("picker", 2),
             ("picker", 3), ("envoy:least-request", 3)]  # fmt: skip
    assert [(play.target, play.round) for play in run.plays] == order
    assert seen.begun == [(*each, 3) for each in order]
    assert seen.ended == run.plays
    places = [word.split()[2] for word in straw.words() if word.startswith("up ")]
    assert places[:2] == ["picker/round-1", "envoy-least-request/round-1"]
    assert len(set(places)) == 6


@virtual
async def test_every_play_gets_the_same_requests(small: Scenario, straw: Straw) -> None:
    """The plan is drawn once."""
    await played(small, PICKER, ENVOY, rounds=2)
    assert len(StrawPlayer.plans) == 4
    assert all(plan is StrawPlayer.plans[0] for plan in StrawPlayer.plans)
    assert len(StrawPlayer.plans[0].requests) > 5


@virtual
async def test_a_play_is_warmed_up_then_watched_then_taken_down(small: Scenario, straw: Straw) -> None:
    """Nothing is measured before the warm-up has ended."""
    seen = Seen()
    run = await played(small, PICKER, seen=seen)
    assert straw.words() == ["up picker picker/round-1", "warm", "watched 10", "run", "down"]
    assert run.plays[0].duration_s == 10.0
    assert seen.looks >= 12 / runner.LOOK_EVERY_S


@virtual
async def test_events_happen_at_their_times(small: Scenario, straw: Straw) -> None:
    """In order of time, whatever their order in the file; hanging up is the clients' business."""
    events = [
        Scale(at_s=7.5, to=1),
        HangUp(at_s=2.0, traffic="chat", share=0.5),
        Fault(at_s=4.0, servers=[0], metrics="stale"),
    ]
    await played(replace(small, events=events), PICKER)
    start_s = next(at_s for at_s, what in straw.told if what == "run")
    happened = [(round(at_s - start_s, 1), what) for at_s, what in straw.told][4:-1]
    assert happened == [(2.0, "hang up chat 0.5"), (4.0, "Fault"), (7.5, "Scale")]


@virtual
async def test_a_play_in_which_nothing_happens_any_more_says_who_waits(small: Scenario, straw: Straw) -> None:
    """Patience and a margin after the last arrival; its clients are cancelled, and its stage is taken down."""
    straw.takes_s, straw.quiet = 10_000.0, True
    seen = Seen()
    run = await played(small, PICKER, seen=seen)
    assert run.plays == []
    (failure,) = run.failed
    assert failure == seen.failed[0]
    assert "nothing happened for 25 s" in failure.why
    assert "1 of chat wait for a first token and 2 for the rest of their answers" in failure.why
    assert straw.words()[-2:] == ["cancelled", "down"]
    ended_s = straw.told[-1][0] - straw.told[0][0]
    assert 10 + 5 + runner.PATIENCE_MARGIN_S <= ended_s < 40


@virtual
async def test_a_generator_that_hangs_says_where(small: Scenario, straw: Straw) -> None:
    """Nobody waits any more, and still it doesn't return."""
    straw.takes_s, straw.quiet, straw.waiting, straw.streaming = 10_000.0, True, 0, 0
    (failure,) = (await played(small, PICKER)).failed
    planned = len(StrawPlayer.plans[0].requests)
    assert f"1 of {planned} requests have ended" in failure.why
    assert "the generator is in sleep, line" in failure.why


@virtual
async def test_long_answers_are_waited_for_while_tokens_come(small: Scenario, straw: Straw) -> None:
    """However long after the last arrival."""
    straw.takes_s = 900.0
    assert len((await played(small, PICKER)).plays) == 1


@virtual
async def test_a_target_that_breaks_is_told_and_the_others_are_played(small: Scenario, straw: Straw) -> None:
    """With its reason, once: it isn't tried again in this scenario."""
    straw.breaks_at = "picker"
    run = await played(small, PICKER, ENVOY, rounds=3)
    assert run.failed == [Failed("picker", 1, "the port is taken")]
    assert [(play.target, play.round) for play in run.plays] == [
        ("envoy:least-request", n) for n in (1, 2, 3)
    ]


@virtual
async def test_a_target_that_the_scenario_is_not_for_is_skipped(small: Scenario, straw: Straw) -> None:
    """With the reason that the stage gives."""
    run = await played(replace(small, events=[Scale(at_s=1.0, to=0)]), PICKER, DIRECT)
    assert [each.target for each in run.skipped] == ["direct"]
    assert "pool" in run.skipped[0].why
    assert [play.target for play in run.plays] == ["picker"]
    assert run.failed == []


@virtual
async def test_what_was_finished_before_an_interruption_is_kept(small: Scenario, straw: Straw) -> None:
    """The play that is under way is cancelled and taken down."""
    kept = Run(small)
    task = asyncio.create_task(
        runner.run(
            small, [PICKER, ENVOY], rounds=1, directory=Path("/nowhere"), folder=Path("/nowhere"),
            binary=Path("/envoy"), watcher=Seen(), into=kept,
        )
    )  # fmt: skip
    await asyncio.sleep(straw.takes_s + 2.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [play.target for play in kept.plays] == ["picker"]
    assert straw.words()[-2:] == ["cancelled", "down"]


@pytest.mark.parametrize(
    ("name", "path"), [("envoy:least-request", "envoy-least-request"), ("../up", "up"), ("..", "unnamed")]
)
def test_names_become_parts_of_paths(name: str, path: str) -> None:
    """And lead nowhere else."""
    assert plain(name) == path
