"""What docs/replay.md says to type works as it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")


def _blocks(kind: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(rf"^```{kind} ?(\S*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def _unnumbered(text: str) -> str:
    return re.sub(r"\d+ events", "N events", text)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Everything on the page, typed in its order in one folder; what each line printed."""
    folder = tmp_path_factory.mktemp("docs")
    for name, text in _blocks("yaml"):
        (folder / name).write_text(text, encoding="utf-8")
    program = folder / "epp"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m epp.cli "$@"\n')
    program.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    printed = {}
    for _, text in _blocks("sh"):
        for line in text.splitlines():
            done = subprocess.run(
                ["sh", "-c", line],
                cwd=folder,
                env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, ""), line
            printed[line] = done.stdout
    printed["files"] = " ".join(sorted(path.name for path in (folder / "report").iterdir()))
    return printed


def test_every_command_works(outputs: dict[str, str]) -> None:
    """Each ends with status 0 and complains of nothing."""
    assert len(outputs) == 7


def test_the_replay_says_what_the_page_says(outputs: dict[str, str]) -> None:
    """It is identical, and in those words; how often the core wanted to be woken may change."""
    assert _unnumbered(outputs["epp replay trace.jsonl"]) in _unnumbered(PAGE)


def test_the_report_holds_what_the_page_says(outputs: dict[str, str]) -> None:
    """Three figures and the numbers."""
    assert outputs["files"] == "comparison.json course.png fairness.png waits.png"
    assert (
        "Jain" in outputs["epp replay trace.jsonl --config one-queue.yaml --config patient.yaml --out report"]
    )


def test_the_story_is_of_that_request(outputs: dict[str, str]) -> None:
    """Its arrival, its wait, its end."""
    assert "request 400, priority 0" in outputs["epp replay trace.jsonl --story 400"]
