"""Which share of every endpoint's limit each band may fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class StaticCeiling:
    """One ceiling for all bands; 1.0, the default, holds nothing back."""

    threshold: float = 1.0
    name: str = "static-usage-limit-policy"

    def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
        """The threshold, once for each priority."""
        return [self.threshold] * len(priorities)
