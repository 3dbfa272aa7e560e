"""What runs come to, for each band and tenant: requests, refusals, waits, tokens, and how evenly they were shared."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from epp.replay.course import Course, Fate

_STRETCHES = 30
_SHORTEST_STRETCH_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One group of requests."""

    requests: int
    dispatched: int
    refused: Mapping[str, int]
    """By reason."""
    gave_up: int
    wait_p50_s: float | None
    """Of those that were dispatched; None if none was."""
    wait_p95_s: float | None
    wait_p99_s: float | None
    tokens: int
    """Of those that were dispatched."""
    tokens_per_s: float
    """Over the whole run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run."""

    name: str
    duration_s: float
    total: Summary
    bands: Mapping[int, Summary]
    """Highest priority first."""
    flows: Mapping[tuple[int, str], Summary]
    """The same, within a band by name."""
    weights: Mapping[tuple[int, str], float]
    jain: Mapping[int, float | None]
    """How evenly the tokens per weight were shared by the tenants of a band that had requests waiting all the time:
    1 is perfectly even. None where two never waited at once."""


def summarize(name: str, course: Course) -> RunSummary:
    """What the run comes to."""
    fates = list(course.fates.values())
    begun_s = course.begun_s or 0.0
    duration_s = max([fate.left_s - begun_s for fate in fates if fate.left_s is not None], default=0.0) or 1.0
    flows: dict[tuple[int, str], list[Fate]] = {}
    for fate in fates:
        flows.setdefault((fate.arrived.priority, fate.arrived.fairness_id), []).append(fate)
    flows = {key: flows[key] for key in sorted(flows, key=lambda key: (-key[0], key[1]))}
    bands: dict[int, list[Fate]] = {}
    for (priority, _), each in flows.items():
        bands.setdefault(priority, []).extend(each)
    weights = {key: each[-1].arrived.weight for key, each in flows.items()}
    return RunSummary(
        name=name,
        duration_s=duration_s,
        total=_summary(fates, duration_s),
        bands={priority: _summary(each, duration_s) for priority, each in bands.items()},
        flows={key: _summary(each, duration_s) for key, each in flows.items()},
        weights=weights,
        jain={
            priority: _jain(
                [(weights[key], each) for key, each in flows.items() if key[0] == priority],
                begun_s=begun_s,
                duration_s=duration_s,
            )
            for priority in bands
        },
    )


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share doesn't exceed; None of nothing."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None


def _summary(fates: Iterable[Fate], duration_s: float) -> Summary:
    fates = list(fates)
    sent = [fate for fate in fates if fate.dispatched_s is not None]
    waits = sorted([fate.waited_s for fate in sent])
    tokens = sum(fate.tokens for fate in sent)
    refused = Counter(fate.refused.value for fate in fates if fate.refused is not None)
    return Summary(
        requests=len(fates),
        dispatched=len(sent),
        refused=dict(sorted(refused.items())),
        gave_up=sum(fate.gave_up_s is not None for fate in fates),
        wait_p50_s=quantile(waits, 0.5),
        wait_p95_s=quantile(waits, 0.95),
        wait_p99_s=quantile(waits, 0.99),
        tokens=tokens,
        tokens_per_s=tokens / duration_s,
    )


def jain_index(shares: Sequence[float]) -> float:
    """1 if all are equal, 1/n if one has everything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def _jain(flows: Sequence[tuple[float, list[Fate]]], *, begun_s: float, duration_s: float) -> float | None:
    """The index over the whole of all stretches in which at least two tenants had requests waiting throughout."""
    width_s = max(_SHORTEST_STRETCH_S, duration_s / _STRETCHES)
    waiting = [_Waiting(fates) for _, fates in flows]
    indices: list[float] = []
    start_s = begun_s
    while start_s + width_s <= begun_s + duration_s:
        end_s = start_s + width_s
        shares = [
            each.tokens_sent(start_s, end_s) / weight
            for (weight, _), each in zip(flows, waiting, strict=True)
            if each.throughout(start_s, end_s)
        ]
        if len(shares) > 1:
            indices.append(jain_index(shares))
        start_s = end_s
    return sum(indices) / len(indices) if indices else None


class _Waiting:
    """When a tenant had requests waiting, and what was sent of it."""

    def __init__(self, fates: Iterable[Fate]) -> None:
        self._stretches: list[tuple[float, float]] = []
        sent: list[tuple[float, int]] = []
        for fate in fates:  # in the order of their arrival
            left_s = fate.left_s if fate.left_s is not None else float("inf")
            if self._stretches and fate.arrived_s <= self._stretches[-1][1]:
                begun_s, ended_s = self._stretches[-1]
                self._stretches[-1] = (begun_s, max(ended_s, left_s))
            else:
                self._stretches.append((fate.arrived_s, left_s))
            if fate.dispatched_s is not None:
                insort(sent, (fate.dispatched_s, fate.tokens))
        self._sent_at_s = [at_s for at_s, _ in sent]
        self._sums = [0]
        for _, tokens in sent:
            self._sums.append(self._sums[-1] + tokens)

    def throughout(self, start_s: float, end_s: float) -> bool:
        """Whether at least one waited at every moment of that stretch."""
        return any(begun_s <= start_s and end_s <= ended_s for begun_s, ended_s in self._stretches)

    def tokens_sent(self, start_s: float, end_s: float) -> int:
        """Of the requests that went out in that stretch."""
        return (
            self._sums[bisect_left(self._sent_at_s, end_s)]
            - self._sums[bisect_left(self._sent_at_s, start_s)]
        )
