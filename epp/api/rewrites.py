"""Which model a request gets in place of the one that it asks for. Which rewrites count is in `claims`.

Of several rules that fit a model one counts: a rule that names the model before one for all models, then the rule of
the oldest rewrite, then that of the first rewrite by name, then the first in its rewrite. A rewrite without a time of
its own, as people write them in files, comes after those that have one. All of this is settled when rewrites change,
so that a request costs one look-up. A match that never counts is noted, for its owner would wait for its effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from epp.api.changes import Note
from epp.api.claims import Claims, Flushed
from epp.api.problem import FieldPath, Problem, Severity, describe
from epp.api.schema import MAX_PROBLEMS

if TYPE_CHECKING:
    from epp.api.manifest import RewriteRule
    from epp.api.objects import InferenceModelRewrite


class Rewriting(NamedTuple):
    """What becomes of the requests for one model."""

    name: str
    """The rewrite's."""
    targets: tuple[tuple[str, float], ...]
    """The models that the requests get, each with its share; the shares add up to 1."""

    def target(self, point: float) -> str:
        """The model at `point`, from 0 to below 1: evenly spread points meet every model by its share."""
        for model, share in self.targets:
            point -= share
            if point < 0:
                return model
        return self.targets[-1][0]


class RewriteTable:
    """Rewrites in, models out."""

    def __init__(self) -> None:
        self.claims: Claims[InferenceModelRewrite] = Claims(_gives)
        self._by_model: dict[str, Rewriting] = {}
        self._for_all: Rewriting | None = None
        self._told: frozenset[Note] = frozenset()

    def rewriting(self, model: str) -> Rewriting | None:
        """What becomes of requests for `model`; None if they keep it."""
        return self._by_model.get(model, self._for_all)

    def flush(self) -> Flushed:
        """Bring everything up to date."""
        flushed = self.claims.flush()
        if not flushed.changed:
            return flushed
        idle = self._rebuild()
        fresh = [note for note in idle if note not in self._told]
        self._told = frozenset(idle)
        return flushed._replace(notes=(*flushed.notes, *fresh))

    def _rebuild(self) -> list[Note]:
        """Settle which rule counts for each model, and say which matches never count."""
        self._by_model, self._for_all = {}, None
        idle: list[Note] = []
        for rewrite in sorted(self.claims.counted.values(), key=_precedence):
            problems: list[Problem] = []
            for index, rule in enumerate(rewrite.rules):
                if not rule.targets:
                    continue
                rewriting = _rewriting(rewrite.name, rule)
                for place, match in enumerate(rule.matches):
                    model = match.model.value
                    used = self._by_model.setdefault(model, rewriting)
                    if used is not rewriting:
                        path = ("spec", "rules", index, "matches", place, "model", "value")
                        problems.append(_idle(path, describe(model), used))
                if not rule.matches:
                    self._for_all = self._for_all or rewriting
                    if self._for_all is not rewriting:
                        problems.append(_idle(("spec", "rules", index), "", self._for_all))
            idle += [Note(rewrite.ref, problem) for problem in problems[:MAX_PROBLEMS]]
        return idle


def _idle(path: FieldPath, model: str, used: Rewriting) -> Problem:
    what = "this model" if model else "all models"
    message = (
        f"has no effect: rewrite {used.name} has a rule for {what} that comes first; remove one of the two"
    )
    return Problem(Severity.WARNING, path, model, message)


def _precedence(rewrite: InferenceModelRewrite) -> tuple[bool, str, str]:
    return not rewrite.created, rewrite.created, rewrite.name


def _rewriting(name: str, rule: RewriteRule) -> Rewriting:
    weights = [target.weight or 1 for target in rule.targets]
    total = sum(weights)
    shares = zip(rule.targets, weights, strict=True)
    return Rewriting(name, tuple((target.model_rewrite, weight / total) for target, weight in shares))


def _gives(rewrite: InferenceModelRewrite) -> str:
    return "1 rule" if len(rewrite.rules) == 1 else f"{len(rewrite.rules)} rules"
