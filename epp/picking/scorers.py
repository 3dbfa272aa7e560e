"""How good each candidate is, by one signal: 1 is best, 0 is worst, as upstream's scorers of the same names.

Counts are compared within the candidates, (worst - x) / (worst - best), and equal counts are all 1. A scorer
answers for all candidates at once and applies its weight itself: a call per candidate would cost more than
the rest of the choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epp.picking.board import Board


class Scorer(Protocol):
    """One signal and its weight."""

    @property
    def name(self) -> str:
        """The type name that configurations use."""

    @property
    def weight(self) -> float:
        """What a full score counts; a negative weight prefers what the scorer thinks worst."""

    def scores(self, board: Board, facts: object, /) -> list[float]:
        """One number for each candidate: its score, 0 to 1, times the weight."""


@dataclass(frozen=True, slots=True)
class QueueScorer:
    """Prefers the engine with the shortest queue."""

    weight: float = 1.0
    name: str = "queue-scorer"

    def scores(self, board: Board, facts: object, /) -> list[float]:
        """Weighted scores by requests waiting."""
        del facts
        return _fewest(board.queues, self.weight)


@dataclass(frozen=True, slots=True)
class RunningRequestsScorer:
    """Prefers the engine that works on the fewest requests."""

    weight: float = 1.0
    name: str = "running-requests-size-scorer"

    def scores(self, board: Board, facts: object, /) -> list[float]:
        """Weighted scores by requests running."""
        del facts
        return _fewest(board.runnings, self.weight)


@dataclass(frozen=True, slots=True)
class KvCacheUtilizationScorer:
    """Prefers the engine with the most KV cache free.

    Where one candidate's use is unknown, the requests of each stand in for it, as a share of the busiest one's load:
    neither full nor free, and the same measure for all.
    """

    weight: float = 1.0
    name: str = "kv-cache-utilization-scorer"

    def scores(self, board: Board, facts: object, /) -> list[float]:
        """Weighted scores by the share of the cache that is free."""
        del facts
        weight = self.weight
        kv = board.kv
        if min(kv) >= 0:
            return [weight * (1.0 - used) for used in kv]
        busiest = max(board.loads) or 1.0
        return [weight * (1.0 - load / busiest) for load in board.loads]


def _fewest(counts: Sequence[float], weight: float) -> list[float]:
    """`weight` for the smallest count, 0 for the largest, and evenly between."""
    most = max(counts)
    span = most - min(counts)
    if span == 0:
        return [weight] * len(counts)
    scale = weight / span
    return [(most - count) * scale for count in counts]
