"""`python -m benchmarks`: what is played, shown, written and returned. Nothing is started: plays are made up.

The page for people is not drawn here: it takes a second, and has tests of its own.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks import session
from benchmarks.costs.__main__ import ROWS
from benchmarks.costs.table import Bound, Failure, Line, Unit
from benchmarks.load import trace
from benchmarks.plays.runner import Failed, Run
from benchmarks.reports import page, report
from benchmarks.reports.figures import RATIOS, WAITS
from benchmarks.scenarios.loading import shipped
from benchmarks.scenarios.scenario import Scenario
from benchmarks.stage.target import Target
from tests.benchmarks.reports import sample

ROOT = Path(__file__).parents[2]


class Played:
    """Stands in for the runner: remembers what it was asked for, and makes up plays."""

    def __init__(self) -> None:
        self.asked: list[tuple[Scenario, tuple[str, ...], dict[str, Any]]] = []
        self.breaks: dict[str, str] = {}
        """Scenarios that can't be played, and why."""
        self.fails: dict[str, str] = {}
        """Targets whose plays break, and why."""
        self.signal_after: int | None = None
        """After so many plays the process gets this session's signal."""
        self.signal = signal.SIGINT
        self.once = False
        """Whether one play of each scenario is enough."""

    async def run(
        self, scenario: Scenario, targets: Sequence[Target], *, into: Run, watcher: Any, **more: Any
    ) -> Run:
        """As `runner.run`."""
        self.asked.append((scenario, tuple(target.name for target in targets), more))
        if scenario.name in self.breaks:
            raise RuntimeError(self.breaks[scenario.name])
        made = 0
        for number in range(1, more["rounds"] + 1):
            for target in targets:
                watcher.play_begins(scenario, target=target.name, round_number=number, rounds=more["rounds"])
                if target.name in self.fails:
                    into.failed.append(Failed(target.name, number, self.fails[target.name]))
                    watcher.play_failed(into.failed[-1])
                    continue
                into.plays.append(sample.one(target.name, number))
                watcher.play_ended(into.plays[-1])
                made += 1
                if self.once:
                    return into
                if made == self.signal_after:
                    os.kill(os.getpid(), self.signal)
                    await asyncio.sleep(60)
        return into


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    """Nothing is started."""
    stand_in = Played()
    monkeypatch.setattr(session.runner, "run", stand_in.run)
    monkeypatch.setattr(session.webpage, "write", lambda _, directory: directory / "report.html")
    monkeypatch.setattr(command, "find_envoy", lambda path: path or Path("/envoy"))
    return stand_in


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A scenario that is missed, since its batch isn't quick."""
    sample.scenario(tmp_path)
    return str(tmp_path / "sample.yaml")


@pytest.fixture
def kept_file(tmp_path: Path) -> str:
    """The same without that line."""
    path = tmp_path / "kept.yaml"
    path.write_text("\n".join(line for line in sample.YAML.splitlines() if "batch is quick" not in line))
    return str(path)


def main(*words: str) -> tuple[int, str]:
    """Status, and what was shown."""
    file = io.StringIO()
    status = command.main(words, console=Console(file=file, width=150, highlight=False))
    return status, file.getvalue()


def test_a_run_that_keeps_everything_gives_status_0(played: Played, kept_file: str, tmp_path: Path) -> None:
    """Tables on the screen; everything in the report's directory, single requests and percentile files too."""
    out = tmp_path / "out"
    status, shown = main("run", kept_file, "--out", str(out))
    assert status == 0, shown
    assert "chat waits at most half as long" in shown
    written = report.read(out / "report.json")
    assert written.kept
    assert [each.name for each in written.situations] == ["sample"]
    assert {"cpu", "cores", "load", "python"} <= written.machine.keys()
    assert "run" in written.command
    assert f"{out}/report.html" in shown
    outcomes = (out / "sample" / "picker" / "round-2" / "outcomes.jsonl").read_text().splitlines()
    assert len(outcomes) == 60
    assert json.loads(outcomes[0])["class_name"] == "chat"
    assert (out / "sample" / "envoy-least-request" / "chat-gap.hgrm").is_file()


def test_a_missed_line_gives_status_1(played: Played, file: str, tmp_path: Path) -> None:
    """And is seen."""
    status, shown = main("run", file, "--out", str(tmp_path / "out"))
    assert status == 1
    assert "MISSED" in shown


def test_behaviour_only_judges_no_time(played: Played, file: str, tmp_path: Path) -> None:
    """What is about time is neither kept nor missed, and the screen says so."""
    status, shown = main("run", file, "--behaviour-only", "--out", str(tmp_path / "out"))
    assert status == 0
    assert "not judged: --behaviour-only" in shown
    assert "chat waits at most half" not in shown


def test_what_is_typed_reaches_the_runner(played: Played, file: str, tmp_path: Path) -> None:
    """Targets, rounds, seed, ports, Envoy, and where traces are looked for."""
    main(
        "run", file, "--target", "direct", "--target", "picker:lean", "--rounds", "1", "--seed", "7",
        "--server-port", "21000", "--envoy", "/my/envoy", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    ((scenario, targets, more),) = played.asked
    assert (scenario.seed, targets) == (7, ("direct", "picker:lean"))
    assert (more["rounds"], more["server_port"], more["binary"]) == (1, 21000, Path("/my/envoy"))
    assert more["folder"] == tmp_path


def test_a_scenario_plays_its_own_targets_and_rounds_by_default(
    played: Played, file: str, tmp_path: Path
) -> None:
    """As its file says."""
    main("run", file, "--out", str(tmp_path / "out"))
    ((scenario, targets, more),) = played.asked
    assert (targets, more["rounds"]) == (("picker", "envoy:least-request"), scenario.rounds)


def test_a_scenario_that_breaks_does_not_stop_the_others(
    played: Played, kept_file: str, tmp_path: Path
) -> None:
    """It counts as not kept, and its reason is told."""
    played.breaks["noisy-neighbour"] = "no ports left"
    status, shown = main("run", "noisy-neighbour", kept_file, "--out", str(tmp_path / "out"))
    assert status == 1
    assert "noisy-neighbour: no ports left" in shown
    written = report.read(tmp_path / "out" / "report.json")
    assert written.complaints == {"noisy-neighbour": "no ports left"}
    assert [each.name for each in written.situations] == ["sample"]


def test_a_target_that_breaks_gives_status_1(played: Played, kept_file: str, tmp_path: Path) -> None:
    """Though every line about the others may be kept."""
    played.fails["envoy:least-request"] = "it ended early"
    status, shown = main("run", kept_file, "--out", str(tmp_path / "out"))
    assert status == 1
    assert "it ended early" in shown


def test_rounds_of_an_earlier_run_are_forgotten(played: Played, kept_file: str, tmp_path: Path) -> None:
    """Else its requests would be taken for this run's; nothing else is touched."""
    out = tmp_path / "out"
    main("run", kept_file, "--rounds", "3", "--out", str(out))
    (out / "mine.txt").write_text("mine")
    main("run", kept_file, "--rounds", "1", "--out", str(out))
    assert [path.name for path in (out / "sample" / "picker").glob("round-*")] == ["round-1"]
    assert (out / "mine.txt").is_file()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_what_was_finished(
    played: Played, file: str, tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    """Complete plays are reported, and it is said that there would have been more."""
    played.signal_after, played.signal = 3, number
    status, shown = main("run", file, "noisy-neighbour", "--out", str(tmp_path / "out"))
    assert status == expected
    assert "Interrupted" in shown
    written = report.read(tmp_path / "out" / "report.json")
    assert written.interrupted
    assert [(each.target, each.number) for each in written.situations[0].rounds] == [
        ("picker", 1), ("envoy:least-request", 1), ("picker", 2)
    ]  # fmt: skip
    assert len(played.asked) == 1


# ------------------------------------------------------------------------------------------------ everything


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], object]]:
    """What was measured of the cost table: every row is kept."""
    measured: list[tuple[tuple[str, ...], object]] = []

    async def measure(rows: Iterable[str], scale: object, **_: object) -> tuple[list[Line], list[Failure]]:
        rows = tuple(rows)
        measured.append((rows, scale))
        return [Line(row=row, what=row, bound=Bound(1.0, Unit.RATIO), rounds=(0.5,)) for row in rows], []

    monkeypatch.setattr(command, "measure_costs", measure)
    return measured


def test_without_a_subcommand_everything_is_measured(
    played: Played, costs: list[tuple[tuple[str, ...], object]], tmp_path: Path
) -> None:
    """Every row of the cost table and every shipped scenario."""
    played.once = True
    main("--out", str(tmp_path))
    assert sorted(row for rows, _ in costs for row in rows) == sorted(ROWS)
    assert [scenario.name for scenario, _, _ in played.asked] == list(shipped())
    written = report.read(tmp_path / "report.json")
    assert written.costs is not None
    assert written.costs.kept
    assert not written.left_out


def test_quick_is_a_choice_that_says_what_it_left_out(
    played: Played, costs: list[tuple[tuple[str, ...], object]], tmp_path: Path
) -> None:
    """The headlines, in their quick size, and the quick cost table; they promise to fit into a minute."""
    _, shown = main("--quick", "--out", str(tmp_path))
    assert {scale for _, scale in costs} == {command.QUICK}
    assert [scenario.name for scenario, _, _ in played.asked] == list(command.HEADLINES)
    assert set(command.HEADLINES) < set(shipped())
    for name in set(shipped()) - set(command.HEADLINES):
        assert name in shown
    assert "python -m benchmarks run NAME" in shown
    expected_s = sum(
        more["rounds"] * len(targets) * (scenario.duration_s + session.STAGE_S)
        for scenario, targets, more in played.asked
    )
    assert expected_s <= 65


def test_a_missed_cost_gives_status_1(
    played: Played, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept_file: str
) -> None:
    """As a missed pass line does."""

    async def measure(rows: Iterable[str], *_: object, **__: object) -> tuple[list[Line], list[Failure]]:
        return [Line(row=row, what=row, bound=Bound(1.0, Unit.RATIO), rounds=(2.0,)) for row in rows], []

    monkeypatch.setattr(command, "measure_costs", measure)
    monkeypatch.setattr(command, "shipped", lambda: (kept_file,))
    status, _ = main("--out", str(tmp_path / "out"))
    assert status == 1
    written = report.read(tmp_path / "out" / "report.json")
    assert [each.kept for each in written.situations] == [True]


# ------------------------------------------------------------------------------------------- not to measure


def test_list_names_every_scenario() -> None:
    """With its question and its targets."""
    status, shown = main("list")
    assert status == 0
    for name in shipped():
        assert name in shown
    assert "envoy:least-request" in shown


def test_trace_writes_the_plan(tmp_path: Path) -> None:
    """What it writes can be read as a trace; another seed is another plan."""
    first, second = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    status, shown = main("trace", "noisy-neighbour", "--size", "smoke", "--out", str(first))
    assert status == 0
    requests = trace.read(first)
    assert f"{len(requests)} requests" in shown
    main("trace", "noisy-neighbour", "--size", "smoke", "--seed", "99", "--out", str(second))
    assert trace.read(second) != requests


def test_page_takes_a_report_and_fills_the_docs(tmp_path: Path) -> None:
    """Compact report, figures, both pages; doing it again from what is committed changes no page."""
    (tmp_path / "docs" / "images").mkdir(parents=True)
    for name in page.PAGES:
        (tmp_path / name).write_text((ROOT / name).read_text())
    made = sample.report(sample.situation(tmp_path))
    report.write(made, tmp_path / "report.json")
    status, shown = main("page", "--report", str(tmp_path / "report.json"), "--root", str(tmp_path))
    assert status == 0
    assert report.read(tmp_path / page.NUMBERS) == report.compact(made)
    for name in (WAITS, RATIOS):
        assert (tmp_path / "docs" / "images" / name).is_file()
        assert name in shown
    texts = [(tmp_path / name).read_text() for name in page.PAGES]
    assert all("0.274x" in text or "sample" in text for text in texts)
    main("page", "--root", str(tmp_path))
    assert [(tmp_path / name).read_text() for name in page.PAGES] == texts


# ------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["rnu", "x"], "did you mean 'run'?"),
        (["--quik"], "did you mean --quick?"),
        (["run"], "SCENARIO|FILE"),
        (["run", "noisy-neighbour", "--targt", "picker"], "did you mean --target?"),
        (["run", "noisy-neighbour", "--rounds", "0"], "0 rounds"),
        (["run", "noisy-neighbour", "--rounds", "x"], "'x' is no whole number"),
        (["run", "noisy-neighbour", "--size", "huge"], "huge"),
        (["run", "noisy-neighbour", "--server-port", "80"], "1024"),
    ],
)
def test_wrong_words_are_refused_by_name(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, before anything is started."""
    with pytest.raises(SystemExit) as stopped:
        main(*words)
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "noisy-neighbor"], "did you mean 'noisy-neighbour'?"),
        (["run", "nowhere.yaml"], "nowhere.yaml"),
        (["run", "noisy-neighbour", "--target", "pciker"], "--target pciker"),
        (["run", "noisy-neighbour", "--target", "direct", "--target", "direct"], "two are called direct"),
        (["run", "noisy-neighbour", "--envoy", "/no/such/file"], "--envoy /no/such/file"),
        (["run", "noisy-neighbour", "noisy-neighbour"], "noisy-neighbour: comes twice"),
        (["run", "noisy-neighbour", "--out", "/proc/nowhere"], "/proc/nowhere: "),
        (["trace", "noisy-neighbour", "--out", "/proc/nowhere"], "/proc/nowhere: "),
        (["trace", "nowhere.yaml"], "nowhere.yaml"),
        (["page", "--report", "nowhere.json"], "nowhere.json"),
        (["page", "--root", "/nowhere"], "no committed report yet"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, in one line without a traceback."""
    assert main(*words)[0] == 2
    said = capsys.readouterr().err
    assert named in said
    assert "Traceback" not in said
