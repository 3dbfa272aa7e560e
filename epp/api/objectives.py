"""The pool's objectives by name, and the priorities that they give. Which objectives count is in `claims`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from epp.api.changes import Objective
from epp.api.claims import Claims, Flushed

if TYPE_CHECKING:
    from epp.api.objects import InferenceObjective


class ObjectiveTable:
    """Objectives in, priorities by name out."""

    def __init__(self) -> None:
        self.claims: Claims[InferenceObjective] = Claims(_gives)
        self._counted: dict[str, Objective] = {}
        self._priorities: Counter[int] = Counter()
        """How many of the counted objectives have each priority."""

    def objective(self, name: str) -> Objective | None:
        """The pool's objective of that name."""
        return self._counted.get(name)

    @property
    def priorities(self) -> frozenset[int]:
        """The priorities that objectives of the pool give, besides 0, which is always there."""
        return frozenset(self._priorities) - {0}

    def flush(self) -> Flushed:
        """Bring everything up to date."""
        flushed = self.claims.flush()
        for name in flushed.changed:
            self._count(name, self.claims.counted.get(name))
        return flushed

    def _count(self, name: str, objective: InferenceObjective | None) -> None:
        old = self._counted.pop(name, None)
        if old is not None:
            self._priorities[old.priority] -= 1
            if not self._priorities[old.priority]:
                del self._priorities[old.priority]
        if objective is not None:
            priority = objective.priority or 0
            self._counted[name] = Objective(name, priority, objective.queue_ttl_s, objective.weight)
            self._priorities[priority] += 1


def _gives(objective: InferenceObjective) -> str:
    return "priority 0 by default" if objective.priority is None else f"priority {objective.priority}"
