"""The course of the demo, with a stack that is not one."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from rich.console import Console

from epp.demo import course
from epp.demo.course import Course, CourseError, Options
from epp.demo.rehearsal import CalibrationError, Capacity, Plan
from epp.demo.screen import Screen
from epp.demo.stack import PickerPorts
from epp.demo.tally import Outcome, Result
from epp.quickstart.address import Address
from epp.quickstart.children import Children
from epp.quickstart.envoy import BodyMode

DEADLINE_S = 60.0
SERVERS = (Address("127.0.0.1", 1), Address("127.0.0.1", 2))


@dataclass
class Theatre:
    """Stands in for the stack and for the traffic, and remembers what was asked for."""

    directory: Path
    out: io.StringIO = field(default_factory=io.StringIO)
    started: list[str] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    batch_with_picker: Result = Result.REFUSED

    def options(self, **changes: object) -> Options:
        """What a user asked for."""
        usual = Options(
            binary=Path("envoy"),
            directory=self.directory,
            duration_s=10.0,
            overload=2.5,
            seed=1,
            body_mode=BodyMode.DUPLEX,
            hold=False,
        )
        return replace(usual, **changes)

    def course(self, **changes: object) -> Course:
        """A run on this stage."""
        return Course(self.options(**changes), Screen(Console(file=self.out, width=120)))

    def stack(self, children: Children, *, binary: Path, directory: Path) -> FakeStack:
        """In place of the real one."""
        return FakeStack(self, directory.name)

    async def calibrate(self, base_urls: list[str], prompt: object, *, places: int) -> Capacity:
        """Twenty requests per second."""
        assert base_urls == [f"http://{server}" for server in SERVERS]
        return Capacity(service_time_s=1.0, per_s=20.0)

    async def rehearse(self, base_url: str, plan: Plan, view: object, *, queue: object) -> list[Outcome]:
        """With the picker all but batch is served at once, without it nobody."""
        self.plans.append(plan)
        with_picker = base_url == "http://with-picker"
        assert with_picker is (queue is not None)
        outcomes = []
        for due_s, traffic_class in plan.arrivals:
            if with_picker and traffic_class.name != "batch":
                outcomes.append(
                    Outcome(traffic_class.name, due_s, due_s + 0.1, due_s + 0.5, Result.COMPLETED)
                )
            else:
                result = self.batch_with_picker if with_picker else Result.GAVE_UP
                first_s = due_s + 5.0 if result is Result.COMPLETED else None
                outcomes.append(Outcome(traffic_class.name, due_s, first_s, due_s + 9.0, result))
        outcomes.append(Outcome("standard", 0.0, 0.1, 0.5, Result.COMPLETED))
        return outcomes


@dataclass
class FakeStack:
    """Starts nothing."""

    theatre: Theatre
    name: str

    async def start_servers(self, *, seed: int) -> tuple[Address, ...]:
        """Two of them."""
        self.theatre.started.append(f"{self.name}: servers")
        return SERVERS

    async def start_picker(self, servers: tuple[Address, ...]) -> PickerPorts:
        """On ports that nobody will use."""
        assert servers == SERVERS
        self.theatre.started.append(f"{self.name}: picker")
        return PickerPorts(1, 2, 3)

    async def start_gateway(self, picker: PickerPorts, body_mode: BodyMode) -> str:
        """A base URL by which the half can be told."""
        self.theatre.started.append(f"{self.name}: envoy {body_mode.value}")
        return f"http://{self.name}"

    async def start_baseline(self, servers: tuple[Address, ...]) -> str:
        """The same."""
        self.theatre.started.append(f"{self.name}: baseline")
        return f"http://{self.name}"


@pytest.fixture
def theatre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Theatre:
    """A stage on which the demo is played without processes."""
    stage = Theatre(tmp_path / "report")
    monkeypatch.setattr(course, "Stack", stage.stack)
    monkeypatch.setattr(course, "calibrate", stage.calibrate)
    monkeypatch.setattr(course, "rehearse", stage.rehearse)
    return stage


async def test_both_halves_get_the_same_traffic_on_fresh_servers(theatre: Theatre) -> None:
    """First through the picker, then through Envoy alone, each on a stack of its own, with one plan."""
    assert await theatre.course(body_mode=BodyMode.LEAN).run()
    assert theatre.started == [
        "with-picker: servers",
        "with-picker: picker",
        "with-picker: envoy lean",
        "envoy-alone: servers",
        "envoy-alone: baseline",
    ]
    first, second = theatre.plans
    assert first is second
    assert len(first.arrivals) == pytest.approx(2.5 * 20.0 * 10.0, rel=0.25)


async def test_a_kept_promise_and_its_report(theatre: Theatre) -> None:
    """The result is true, and both files are there and named."""
    assert await theatre.course().run()
    said = theatre.out.getvalue().replace("\n", "")
    for name in ("report.html", "report.png"):
        assert (theatre.directory / name).exists()
        assert str(theatre.directory / name) in said
    assert "BROKEN" not in said


async def test_a_broken_promise_is_the_result(theatre: Theatre) -> None:
    """Nobody had to bear the overload, so the demo has shown nothing."""
    theatre.batch_with_picker = Result.COMPLETED
    assert not await theatre.course().run()
    assert "BROKEN" in theatre.out.getvalue()


async def held(theatre: Theatre, **changes: object) -> None:
    """Run until the invitation is on the screen, then interrupt."""
    invited = asyncio.Event()
    write = theatre.out.write

    def notice(text: str) -> int:
        if "Everything is up" in text:
            invited.set()
        return write(text)

    theatre.out.write = notice  # type: ignore[method-assign]  # to see when it is said
    task = asyncio.ensure_future(theatre.course(hold=True, **changes).run())
    await asyncio.wait_for(invited.wait(), DEADLINE_S)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_hold_keeps_a_stack_up_and_says_how_to_use_it(theatre: Theatre) -> None:
    """After both halves a third stack stays, with a line for curl and one for the openai package."""
    await held(theatre)
    assert theatre.started[-3:] == ["hold: servers", "hold: picker", "hold: envoy duplex"]
    said = theatre.out.getvalue()
    assert "curl -N http://hold/v1/chat/completions" in said
    assert 'base_url="http://hold/v1"' in said
    assert "http://127.0.0.1:3/metrics" in said


async def test_hold_without_traffic_measures_nothing(theatre: Theatre) -> None:
    """With a duration of zero the stack is up at once."""
    await held(theatre, duration_s=0.0)
    assert theatre.started[0] == "hold: servers"
    assert theatre.plans == []
    assert not (theatre.directory / "report.html").exists()


async def test_servers_that_cannot_be_measured_end_the_demo(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, before any traffic."""

    async def fail(*_: object, **__: object) -> Capacity:
        raise CalibrationError("4 of 4 failed")

    monkeypatch.setattr(course, "calibrate", fail)
    with pytest.raises(CourseError, match="4 of 4 failed"):
        await theatre.course().run()
    assert theatre.plans == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"duration_s": 0.0}, "--duration 0"),
        ({"duration_s": -1.0, "hold": True}, "--duration -1"),
        ({"duration_s": float("nan")}, "--duration nan"),
        ({"duration_s": 601.0}, "--duration 601: .* at most 600"),
        ({"overload": 0.5}, "--overload"),
        ({"overload": float("nan")}, "--overload"),
    ],
)
def test_what_cannot_be_played_is_refused(
    theatre: Theatre, changes: dict[str, object], complaint: str
) -> None:
    """The message names the option, before anything is started."""
    make: Callable[..., Course] = theatre.course
    with pytest.raises(CourseError, match=complaint):
        make(**changes)
    assert theatre.started == []
