"""What the harness's programs say, and how they are set up."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from benchmarks.program import RESULT, SERVING, heard, say, settle_garbage_collector
from epp.serve import run as picker


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector, put back afterwards."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_the_collector_is_set_up_as_in_the_picker() -> None:
    """Costs measured under another collector would be those of another program."""
    gc.set_threshold(1, 1, 1)
    settle_garbage_collector()
    ours = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    picker._settle_garbage_collector()
    assert gc.get_threshold() == ours != (1, 1, 1)


def test_what_is_said_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON with the event and its facts."""
    say(RESULT, seconds=1.5)
    line = capsys.readouterr().out
    assert line.endswith("\n")
    assert heard(RESULT, line) == {"event": RESULT, "seconds": 1.5}
    assert heard(SERVING, line) is None


@pytest.mark.parametrize("line", ["", "Traceback (most recent call last):", "[1]", '"serving"', "{}"])
def test_other_lines_are_no_news(line: str) -> None:
    """Warnings and tracebacks share the same output."""
    assert heard(SERVING, line) is None


def test_a_log_has_its_message_under_its_own_key() -> None:
    """The picker speaks as its log does."""
    line = '{"level": "info", "msg": "serving", "grpc_port": 9002}'
    assert heard(SERVING, line, key="msg") == {"level": "info", "msg": "serving", "grpc_port": 9002}
    assert heard(SERVING, line) is None
