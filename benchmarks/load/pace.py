"""Open loop: requests leave when they are due, whatever became of earlier ones.

Users don't slow down because others are waiting; a generator that does measures its own politeness.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from benchmarks.load.plan import Due

_ROUNDING_S = 0.0005
"""uvloop rounds timers to milliseconds: with this, up. Waking early would mean to wake again, or to spin."""


async def send_when_due(
    requests: Iterable[Due],
    send: Callable[[Due], Coroutine[None, None, None]],
    *,
    clock: Callable[[], float],
    start_s: float,
) -> None:
    """Send each when it is due, counted from `start_s` on `clock`; return when all have ended.

    They come in order of time. What `send` raises ends the play, and everything under way with it.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for due in requests:
                while (early_s := start_s + due.due_s - clock()) > 0:  # noqa: ASYNC110 - it waits for time
                    await asyncio.sleep(early_s + _ROUNDING_S)
                group.create_task(send(due))
    except BaseExceptionGroup as group_of_errors:
        # One reason is enough; the others are its echoes.
        raise group_of_errors.exceptions[0] from None
