"""What one scrape of the metrics looks at: the core's snapshot, taken once, and what doesn't change during it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from epp.observe.labels import OTHER, PriorityNames, label_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.core.statistics import BandStatistics, Statistics


class Scrape(NamedTuple):
    """The moment that a page describes."""

    pool: str
    """The pool's name."""
    detector: str
    """The type name of the capacity policy in force."""
    statistics: Statistics
    priorities: PriorityNames

    @property
    def by_pool(self) -> str:
        """The label text of what is told of the whole pool."""
        return label_text(("inference_pool", self.pool))

    def bands(self) -> Iterator[tuple[str, BandStatistics]]:
        """The bands that are shown by themselves, with their priority's label value."""
        for band in self.statistics.bands:
            priority = self.priorities.name(band.priority)
            if priority != OTHER:
                yield priority, band

    def by_band(self, priority: str) -> str:
        """The label text of what is told of one band."""
        return f'{self.by_pool},priority="{priority}"'
