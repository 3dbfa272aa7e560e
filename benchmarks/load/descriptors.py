"""File descriptors: every request under way holds one, and the usual limit of 1,024 is soon reached."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.load.plan import Plan

SPARE = 128
"""For everything else that the process has open."""
AT_ONCE_S = 0.1
"""What is due within so long is under way together, however fast the target is."""


class DescriptorError(Exception):
    """The plan needs more than there are; the message says how many, and the remedy."""


def raise_limit() -> int:
    """Use as many as this process may; returns how many. Processes that are started later inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def check(plan: Plan, *, limit: int) -> None:
    """Raise `DescriptorError` if the plan certainly needs more than `limit`.

    What a slow target makes it need can't be known before: the client ends the play when it runs out.
    """
    needed = most_at_once(plan) + SPARE
    if needed > limit:
        raise DescriptorError(
            f"{needed - SPARE} requests are due within {AT_ONCE_S:g} s, and each needs a connection, but this process "
            f"may have {limit} open files: raise the hard limit to at least {needed}, with `ulimit -Hn {needed}` as "
            "root, LimitNOFILE= of a service or --ulimit nofile= of a container, or send fewer requests at once"
        )


def most_at_once(plan: Plan) -> int:
    """The most requests that are due within `AT_ONCE_S`."""
    most = first = 0
    for last, due in enumerate(plan.requests):
        while plan.requests[first].due_s < due.due_s - AT_ONCE_S:
            first += 1
        most = max(most, last - first + 1)
    return most
