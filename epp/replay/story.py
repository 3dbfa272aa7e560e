"""The story of one request: when it came, what it met, who went before it, and how it ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from epp.replay.table import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.replay.course import Course, Fate

_TOLD = 8


def tell(name: str, course: Course, request_id: int) -> str:
    """A few lines."""
    fate = course.fates.get(request_id)
    if fate is None:
        return f"{name}: no request {request_id} arrived in this log"
    begun_s = course.begun_s or 0.0
    arrived = fate.arrived
    title = (
        f"{name}: request {request_id}, priority {arrived.priority}, tenant {arrived.fairness_id or '(none)'}, "
        f"weight {arrived.weight:g}, {arrived.body_bytes} bytes"
    )
    lines = [title, f"  {fate.arrived_s - begun_s:10.3f} s  arrived"]
    if fate.entry is not None:
        lines.append(
            f"{'':14}queued behind {fate.entry.position} requests, blocked by {fate.entry.blocked_by.value}"
        )
    if fate.left_s is not None and fate.left_s > fate.arrived_s:
        lines += [f"{'':14}{line}" for line in _overtaken(course, fate)]
    lines += [f"  {at_s - begun_s:10.3f} s  {what}" for at_s, what in _end(fate)]
    return "\n".join(lines)


def _overtaken(course: Course, fate: Fate) -> Iterator[str]:
    """Who was sent while it waited."""
    left_s = fate.left_s or 0.0
    sent = Counter(
        (each.arrived.priority, each.arrived.fairness_id)
        for each in course.fates.values()
        if each.dispatched_s is not None and fate.arrived_s < each.dispatched_s <= left_s and each is not fate
    )
    yield f"while it waited, {sent.total()} others were sent:"
    for (priority, fairness_id), count in sorted(sent.items(), key=lambda entry: -entry[1])[:_TOLD]:
        yield f"  {count} of priority {priority}, tenant {fairness_id or '(none)'}"


def _end(fate: Fate) -> Iterator[tuple[float, str]]:
    if fate.refused is not None:
        yield fate.arrived_s + fate.waited_s, f"refused after {seconds(fate.waited_s)}: {fate.refused.value}"
    elif fate.gave_up_s is not None:
        yield fate.gave_up_s, "its client gave up"
    if fate.dispatched_s is not None:
        yield fate.dispatched_s, f"sent to {fate.key[0]} after {seconds(fate.waited_s)}"
        if fate.ended_s is not None:
            how = "the answer could not be delivered" if fate.undelivered else "ended"
            yield fate.ended_s, f"{how}; {fate.input_tokens} + {fate.output_tokens} tokens"
