"""`epp demo` as a command: its options and its exit status."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from epp.demo import command
from epp.demo.course import Course
from epp.quickstart.envoy import BodyMode


def demo(*arguments: str) -> int:
    """Run the command as the command line does."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


@pytest.fixture
def envoy(tmp_path: Path) -> str:
    """A file that looks like an Envoy; nothing here runs it."""
    path = tmp_path / "envoy"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("kept", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_is_the_verdict(
    envoy: str, monkeypatch: pytest.MonkeyPatch, kept: bool, status: int
) -> None:
    """0 if the promise was kept, 1 if not."""

    async def run(self: Course) -> bool:
        return kept

    monkeypatch.setattr(Course, "run", run)
    assert demo("--envoy", envoy) == status


def test_the_options_arrive(envoy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is typed is what is run."""
    seen = []

    async def run(self: Course) -> bool:
        seen.append(self._options)
        return True

    monkeypatch.setattr(Course, "run", run)
    arguments = ["--duration", "3", "--overload", "4", "--seed", "7", "--out", str(tmp_path / "out")]
    assert demo("--envoy", envoy, "--envoy-profile", "lean", "--hold", *arguments) == 0
    (options,) = seen
    assert (options.duration_s, options.overload, options.seed, options.hold) == (3.0, 4.0, 7, True)
    assert (options.binary, options.directory) == (Path(envoy), tmp_path / "out")
    assert options.body_mode is BodyMode.LEAN


def test_a_missing_envoy_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The path is named, and the status is that of a failure."""
    assert demo("--envoy", str(tmp_path / "absent")) == 1
    said = capsys.readouterr().err
    assert said.startswith("epp demo: --envoy")
    assert said.count("\n") == 1


def test_a_bad_option_is_one_line(envoy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started for a demo that can't be run."""
    assert demo("--envoy", envoy, "--duration", "0") == 1
    assert "--duration 0" in capsys.readouterr().err


def test_without_its_packages_the_demo_says_which(
    envoy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picker that was installed without the demo's extra names what is missing and how to get it."""
    monkeypatch.delitem(sys.modules, "epp.demo.course")
    monkeypatch.delitem(sys.modules, "epp.demo.screen")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert demo("--envoy", envoy) == 1
    said = capsys.readouterr().err
    assert "rich.console is missing" in said or "rich is missing" in said
    assert "epp[demo]" in said


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_demo_in_order(
    envoy: str, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    """Ctrl-C and SIGTERM let the clean-up run, and show in the exit status."""
    cleaned = []

    async def run(self: Course) -> bool:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)
        return True

    monkeypatch.setattr(Course, "run", run)
    assert demo("--envoy", envoy) == status
    assert cleaned == [True]
