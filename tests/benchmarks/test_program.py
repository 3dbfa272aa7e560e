"""What the harness's programs say, and how they are set up."""

from __future__ import annotations

import pytest

from benchmarks.program import RESULT, SERVING, heard, say


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
