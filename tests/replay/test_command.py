"""`epp replay`, as a person types it."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from epp.cli import main
from tests.eventlog.tape import CONFIGS, storm
from tests.replay.traces import SPEC, STRICT, trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PNG = b"\x89PNG"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a trace, a specification and two configurations."""
    (tmp_path / "trace.jsonl").write_bytes(trace())
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "a.yaml").write_text(STRICT)
    (tmp_path / "b.yaml").write_text(STRICT.replace("15s", "5s"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_recording_that_is_decided_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and exit status 0."""
    assert main(["replay", "trace.jsonl"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("identical: ")
    assert " decisions, 1 segment\n" in said.out
    assert said.err == ""


def test_a_recording_that_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first stretch that differs is named, and the exit status is 1."""
    lines = (folder / "trace.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "trace.jsonl").write_bytes(b"".join(lines[:10] + lines[12:]))
    assert main(["replay", "trace.jsonl"]) == 1
    assert capsys.readouterr().out.startswith("different: trace.jsonl: decisions differ between event 1 and ")


def test_configurations_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with a row for each run and band and tenant, figures, and the same as JSON."""
    status = main(["replay", "trace.jsonl", "--config", "a.yaml", "--config", "b.yaml", "--out", "out"])
    said = capsys.readouterr().out
    assert status == 0
    assert [line.split()[0] for line in said.splitlines() if line.startswith("  ")][1:4] == [
        "recorded",
        "a.yaml",
        "b.yaml",
    ]
    assert "band 0, tenant long" in said
    assert "rejected-ttl-expired" in said
    data = json.loads((folder / "out" / "comparison.json").read_text())
    assert [run["name"] for run in data] == ["recorded", "a.yaml", "b.yaml"]
    assert {band["priority"] for band in data[0]["bands"]} == {0, 5}
    for name in ("waits.png", "course.png", "fairness.png"):
        assert (folder / "out" / name).read_bytes().startswith(PNG)


def test_without_matplotlib_there_is_everything_else(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a line that says how to get the figures."""
    monkeypatch.setitem(sys.modules, "epp.replay.figures", None)
    assert main(["replay", "trace.jsonl", "--config", "a.yaml", "--out", "out"]) == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["comparison.json"]
    assert "matplotlib is missing: pip install 'epp[demo]'" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_a_story_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one request, in every run."""
    assert main(["replay", "trace.jsonl", "--story", "150"]) == 0
    assert "request 150, priority" in capsys.readouterr().out
    assert main(["replay", "trace.jsonl", "--story", "150", "--config", "b.yaml"]) == 0
    said = capsys.readouterr().out
    assert said.count("request 150, priority") == 2
    assert main(["replay", "trace.jsonl", "--story", "99999"]) == 1
    assert "no request of that number" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_a_trace_is_made_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a file that can be replayed; the same seed makes the same file."""
    for name, seed in (("one", "5"), ("two", "5"), ("three", "6")):
        assert main(["replay", "--generate", "spec.yaml", "--seed", seed, "--out", f"{name}.jsonl"]) == 0
    one, two, three = ((folder / f"{name}.jsonl").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three
    assert main(["replay", "one.jsonl"]) == 0
    assert "one.jsonl: " in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_a_made_up_trace_is_compared_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a folder for everything, the trace included."""
    assert main(["replay", "--generate", "spec.yaml", "--config", "a.yaml", "--out", "out"]) == 0
    assert (folder / "out" / "trace.jsonl").exists()
    assert (folder / "out" / "waits.png").exists()
    assert "  a.yaml " in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_a_trace_goes_through_a_pipe(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of one command and into the next."""
    assert main(["replay", "--generate", "spec.yaml"]) == 0
    made = capsysbinary.readouterr().out

    class Input:
        buffer = io.BytesIO(made)

    monkeypatch.setattr(sys, "stdin", Input())
    assert main(["replay", "-"]) == 0
    assert capsysbinary.readouterr().out.startswith(b"identical: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "LOG is missing"),
        (["none.jsonl"], "none.jsonl: there is no such file"),
        (["spec.yaml"], "spec.yaml:1: is not the beginning of an event log"),
        (["trace.jsonl", "--generate", "bursts"], "with --generate there is no LOG"),
        (["--generate", "burst"], "no such preset; presets are bursts, diurnal, heavy-tail"),
        (["trace.jsonl", "--config", "none.yaml"], "none.yaml:1: can't be read"),
        (["trace.jsonl", "--config", "spec.yaml"], "spec.yaml:"),
        (["--generate", "a.yaml"], "a.yaml:1: endpoints: is required"),
        (["trace.jsonl", "--config", "a.yaml", "--out", "a.yaml"], "a.yaml: File exists"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_wrong_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, without a traceback, and with exit status 1."""
    assert main(["replay", *words]) == 1
    assert message in capsys.readouterr().err


def test_a_long_recording_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several segments of a rough history, with names in disguise."""
    storm(tmp_path / "log", CONFIGS[1], steps=400, segment_bytes=20_000)
    (tmp_path / "a.yaml").write_text(STRICT)
    assert main(["replay", str(tmp_path / "log"), "--config", str(tmp_path / "a.yaml")]) == 0
    assert "tenant-" not in capsys.readouterr().out


def _arrival_twice(line: list[object]) -> list[object]:
    return line


def _endless(line: list[object]) -> list[object]:
    return [line[0], "a", *line[2:5], 10**400, *line[6:]]


def _no_number(line: list[object]) -> list[object]:
    return [*line[:8], "soon", *line[9:]]


def _no_name(line: list[object]) -> list[object]:
    return [*line[:2], 10_000_000, line[3], True, *line[5:]]


def _no_list(line: list[object]) -> list[object]:
    return [line[0], "p", 7]


@pytest.mark.parametrize("change", [_arrival_twice, _endless, _no_number, _no_name, _no_list])
def test_an_odd_log_is_told_with_file_and_line(
    change: Callable[[list[object]], list[object]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What no picker ever wrote is an error of the log, not of ours."""
    lines = (folder / "trace.jsonl").read_bytes().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines[2:], 2) if json.loads(line)[1] == "a")
    odd = json.dumps(change(json.loads(lines[at]))).encode() + b"\n"
    (folder / "trace.jsonl").write_bytes(b"".join([*lines[: at + 1], odd, *lines[at + 1 :]]))
    assert main(["replay", "trace.jsonl", "--config", "a.yaml"]) == 1
    assert f"trace.jsonl:{at + 2}: " in capsys.readouterr().err
