"""One round of a scenario at one target, finished: everything that measures, pass lines and reports are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.load.histograms import ClassHistograms
    from benchmarks.load.outcome import Outcome
    from benchmarks.stage.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One round."""

    scenario: str
    target: str
    round: int
    """From 1."""
    duration_s: float
    """While requests arrived."""
    outcomes: tuple[Outcome, ...]
    histograms: Mapping[str, ClassHistograms]
    """By class; the gaps between tokens are nowhere else."""
    evidence: Evidence
