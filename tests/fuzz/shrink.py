"""Makes a corpus smaller: of its inputs, the shortest first, those are kept that reach a branch no other one does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

_MEASURED = str(Path("epp") / "extproc")
Branch = tuple[str, int, int]
"""From one line of a file to another."""


def shrink(target: str, corpus: Path) -> int:
    """Delete what adds nothing; gives how many are left."""
    one_input: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.{target}").one_input
    known: set[Branch] = set()
    left = 0
    for path in sorted(corpus.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        reached = branches(one_input, path.read_bytes())
        if reached <= known:
            path.unlink()
        else:
            known |= reached
            left += 1
    return left


def branches(one_input: Callable[[bytes], None], data: bytes) -> set[Branch]:
    """What an input reaches, and how it gets there."""
    reached: set[Branch] = set()
    lines: dict[FrameType, int] = {}

    def trace_lines(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            reached.add((frame.f_code.co_filename, lines.get(frame, 0), frame.f_lineno))
            lines[frame] = frame.f_lineno
        elif event == "return":
            lines.pop(frame, None)
        return trace_lines

    def trace(frame: FrameType, _: str, __: Any) -> Any:
        return trace_lines if _MEASURED in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        one_input(data)
    finally:
        sys.settrace(before)
    return reached
