"""The choice of endpoint that a scheduling profile describes: scorers, their weights, and one picker.

It implements the core's `EndpointChoice`. The core asks at dispatch, never at arrival, and offers only endpoints
with room that the request may use, so there is nothing to filter here: what a profile excludes by label is no
endpoint of its pool at all (`labels`).
"""

from __future__ import annotations

from operator import add
from random import Random
from typing import TYPE_CHECKING

from epp.picking.board import BoardKeeper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epp.core.endpoint import EndpointView
    from epp.picking.pickers import Picker, Uniform
    from epp.picking.scorers import Scorer


class Profile:
    """Scores every candidate and lets the picker take one; deterministic for a seed of `uniform`."""

    __slots__ = ("_boards", "_uniform", "name", "picker", "scorers")

    name: str
    """The profile's name, under which its faults are counted."""
    scorers: tuple[Scorer, ...]
    picker: Picker

    def __init__(self, *, name: str, scorers: Sequence[Scorer], picker: Picker, uniform: Uniform) -> None:
        self.name = name
        self.scorers = tuple(scorers)
        self.picker = picker
        self._uniform = uniform
        self._boards = BoardKeeper()

    def reseed(self, seed: int, /) -> None:
        """From here on it chooses like a profile that was made with this seed."""
        self._uniform = Random(seed).random  # noqa: S311 - breaks ties, guards nothing

    def choose(self, candidates: Sequence[EndpointView], facts: object, /) -> EndpointView:
        """The picked one of `candidates`, of which there is at least one."""
        if len(candidates) == 1:
            return candidates[0]
        board = self._boards.board(candidates)
        totals: list[float] | None = None
        for scorer in self.scorers:
            scores = scorer.scores(board, facts)
            totals = scores if totals is None else list(map(add, totals, scores))
        if totals is None:
            totals = [0.0] * len(candidates)
        return candidates[self.picker.pick(totals, board.loads, self._uniform)]
