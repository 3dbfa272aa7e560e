"""Tenants' shares within a band, as the operator wrote them down: by fairness id, or by a pattern of it.

An exact id wins over every pattern, of several patterns that match the first one counts, and where none does, the
objective's own weight holds. Patterns are compiled once and there are only so many of them, so what one lookup costs
is bounded whatever ids clients make up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import translate
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from epp.api.annotations import MAX_WEIGHT, MIN_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PATTERNS = 100
MAX_PATTERN_CHARACTERS = 256


class PatternWeight(NamedTuple):
    """Ids that match this pattern have this weight."""

    pattern: str
    """As in a shell: `*` any characters, `?` one, `[ab]` one of these; case counts."""
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Which weight which tenant has."""

    by_id: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    by_pattern: tuple[PatternWeight, ...] = ()
    """The first that matches counts."""
    _compiled: tuple[tuple[re.Pattern[str], float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for weight in (*self.by_id.values(), *(each.weight for each in self.by_pattern)):
            if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
                raise ValueError(f"weight {weight} is out of range: {MIN_WEIGHT} to {MAX_WEIGHT:.0f}")
        if len(self.by_pattern) > MAX_PATTERNS:
            raise ValueError(f"{len(self.by_pattern)} patterns are too many: at most {MAX_PATTERNS}")
        compiled = tuple((re.compile(translate(each.pattern)), each.weight) for each in self.by_pattern)
        object.__setattr__(self, "_compiled", compiled)

    def of(self, fairness_id: str, otherwise: float) -> float:
        """The weight of the tenant `fairness_id`; `otherwise` if nothing is said of it."""
        exact = self.by_id.get(fairness_id)
        if exact is not None:
            return exact
        for pattern, weight in self._compiled:
            if pattern.match(fairness_id):
                return weight
        return otherwise


UNWEIGHTED = Weights()
"""Nothing is said of anybody."""
