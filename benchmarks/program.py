"""What the harness's own programs have in common: they say what they know as JSON, one line each, and use one loop.

A benchmark is several processes, so that each one's CPU and memory are its own. A program that serves says
`serving` once it can be reached; one that measures says `result` and ends.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

SERVING = "serving"
RESULT = "result"


def say(event: str, **facts: object) -> None:
    """Tell the harness."""
    print(json.dumps({"event": event, **facts}), flush=True)


def heard(event: str, line: str, *, key: str = "event") -> dict[str, Any] | None:
    """The facts of a line that tells of `event`; None for any other line. A log may have another `key` for it."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.get(key) == event else None


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a program on the loop that the picker uses."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(main)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
