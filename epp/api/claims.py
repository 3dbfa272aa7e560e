"""Which of the objects that name a pool count for it, and what becomes of the others.

The rules are the same for objectives and for rewrites. One counts if its poolRef names our pool by group, kind and
name, from the pool's own namespace. Where both groups have one of the same name, `llm-d.ai` wins. The result depends on
the objects and the pool only, never on the order in which they came. Changes are collected; `flush` works off only the
names that were touched, and `settle` some of them beforehand.

Besides counting, objects are told about. A note is for the log: what is noteworthy, once. A verdict is for the object's
status: what became of it, as long as it names our pool and so is ours to judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from epp.api.changes import Note
from epp.api.manifest import OBJECTIVE_GROUPS
from epp.api.problem import FieldPath, Problem, Severity, describe
from epp.api.verdict import Acceptance, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.api.objects import InferenceModelRewrite, InferenceObjective, ObjectRef

T = TypeVar("T", bound="InferenceObjective | InferenceModelRewrite")


class PoolIdentity(NamedTuple):
    """Which pool objects have to name."""

    group: str
    namespace: str
    name: str
    exists: bool
    """Its name may be known before it exists, and after."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Flushed(NamedTuple):
    """What a flush came to."""

    changed: tuple[str, ...] = ()
    """Names of which another object counts now, or the same one with other content, or none."""
    notes: tuple[Note, ...] = ()
    """What is noteworthy now and was not before."""
    judged: tuple[ObjectRef, ...] = ()
    """Objects whose verdict is new, different or gone."""


class Claims(Generic[T]):
    """Objects of one kind in, those that count out."""

    def __init__(self, gives: Callable[[T], str]) -> None:
        self._gives = gives
        """What an object gives to the pool, in a few words."""
        self._pool: PoolIdentity | None = None
        self._given: dict[str, dict[ObjectRef, T]] = {}
        """Every object, by name: at most one of a name can count."""
        self._dirty: set[str] = set()
        """Names that have to be looked at again."""
        self._queue: list[str] = []
        """Some of them, in the order in which they will be, backwards."""
        self._noted: dict[str, dict[ObjectRef, Problem]] = {}
        """What is noteworthy now, by name."""
        self._verdicts: dict[ObjectRef, Verdict] = {}
        self._judged: dict[str, tuple[ObjectRef, ...]] = {}
        """The keys of `_verdicts` by name."""
        self._news = Flushed()
        """What was settled since the last flush."""
        self.counted: dict[str, T] = {}
        """The objects that count, by name, as far as settled."""

    def put(self, obj: T) -> None:
        """An object is new, or different."""
        self._given.setdefault(obj.name, {})[obj.ref] = obj
        self._dirty.add(obj.name)

    def remove(self, ref: ObjectRef) -> None:
        """An object is gone; one that was never there is no error."""
        if self._given.get(ref.name, {}).pop(ref, None) is not None:
            self._dirty.add(ref.name)

    def retarget(self, pool: PoolIdentity | None) -> None:
        """Another pool is served, or none, or it has come into being or gone."""
        if pool != self._pool:
            self._pool = pool
            self._dirty.update(self._given)

    def verdict(self, ref: ObjectRef) -> Verdict | None:
        """What became of an object; None if it does not name our pool, or does not exist."""
        return self._verdicts.get(ref)

    def concerns(self, ref: ObjectRef) -> bool:
        """Whether it names our pool, or can't be read, so that nobody knows what it names."""
        return ref in self._verdicts or ref not in self._given.get(ref.name, {})

    def settle(self, at_most: int) -> bool:
        """Work off so many of the names that were touched; whether there are more."""
        changed: list[str] = []
        notes: list[Note] = []
        judged: list[ObjectRef] = []
        if not self._queue:
            self._queue = sorted(self._dirty, reverse=True)
        names = [self._queue.pop() for _ in range(min(at_most, len(self._queue)))]
        for name in names:
            problems, verdicts, winner = self._judge(name)
            if winner is None:
                before = self.counted.pop(name, None)
            else:
                before = self.counted.get(name)
                self.counted[name] = winner
            if winner != before:
                changed.append(name)
            notes += self._note(name, problems)
            judged += self._pronounce(name, verdicts)
        self._dirty.difference_update(names)
        news = self._news
        self._news = Flushed((*news.changed, *changed), (*news.notes, *notes), (*news.judged, *judged))
        return bool(self._dirty)

    def flush(self) -> Flushed:
        """Bring everything up to date."""
        while self.settle(len(self._dirty)):
            pass
        flushed, self._news = self._news, Flushed()
        return flushed

    def _judge(self, name: str) -> tuple[dict[ObjectRef, Problem], dict[ObjectRef, Verdict], T | None]:
        """What is wrong with the objects of a name, what becomes of them, and the one that counts."""
        problems: dict[ObjectRef, Problem] = {}
        verdicts: dict[ObjectRef, Verdict] = {}
        winner: T | None = None
        given = self._given.get(name, {})
        if not given:
            self._given.pop(name, None)
        pool = self._pool
        if pool is None:
            return problems, verdicts, winner
        for ref in sorted(given, key=_preference) if len(given) > 1 else given:
            obj = given[ref]
            elsewhere = _elsewhere(obj, pool)
            if elsewhere is not None:
                problems[ref] = elsewhere
                continue
            wrong = _wrong_reference(obj, pool)
            if wrong is not None:
                problems[ref] = wrong
                verdicts[ref] = Verdict(Acceptance.INVALID_POOL_REF, str(wrong))
                continue
            verdicts[ref] = self._accepted(obj, pool)
            if winner is None:
                winner = obj
                continue
            problems[ref] = _superseded(ref, by=winner.ref)
            if pool.exists:
                message = f"{winner.ref} is used instead; remove one of the two"
                verdicts[ref] = Verdict(Acceptance.SUPERSEDED, message)
        return problems, verdicts, winner

    def _accepted(self, obj: T, pool: PoolIdentity) -> Verdict:
        gives = self._gives(obj)
        if pool.exists:
            return Verdict(Acceptance.ACCEPTED, f"{gives} in pool {pool}")
        message = (
            f"there is no InferencePool {pool} now; what it says ({gives}) takes effect when the pool exists"
        )
        return Verdict(Acceptance.POOL_NOT_FOUND, message)

    def _note(self, name: str, problems: dict[ObjectRef, Problem]) -> list[Note]:
        before = self._noted.pop(name, {})
        if problems:
            self._noted[name] = problems
        return [Note(ref, problem) for ref, problem in problems.items() if before.get(ref) != problem]

    def _pronounce(self, name: str, verdicts: dict[ObjectRef, Verdict]) -> list[ObjectRef]:
        before = self._judged.pop(name, ())
        if verdicts:
            self._judged[name] = tuple(verdicts)
        judged = [ref for ref in before if ref not in verdicts]
        for ref in judged:
            del self._verdicts[ref]
        judged += [ref for ref, verdict in verdicts.items() if self._verdicts.get(ref) != verdict]
        self._verdicts.update(verdicts)
        return judged


def _preference(ref: ObjectRef) -> tuple[int, bool, ObjectRef]:
    """The order in which objects of one name are considered: the newer group, then a stated namespace."""
    return OBJECTIVE_GROUPS.index(ref.group), not ref.namespace, ref


def _elsewhere(obj: InferenceObjective | InferenceModelRewrite, pool: PoolIdentity) -> Problem | None:
    """Why an object is none of our business; None if it means our pool."""
    if obj.namespace and obj.namespace != pool.namespace:
        message = f"is another namespace than that of pool {pool}: no effect here"
        return _problem(Severity.INFO, ("metadata", "namespace"), obj.namespace, message)
    if obj.pool.name != pool.name:
        message = f"is another pool than {pool}, which is served here: no effect here"
        return _problem(Severity.INFO, ("spec", "poolRef", "name"), obj.pool.name, message)
    return None


def _wrong_reference(obj: InferenceObjective | InferenceModelRewrite, pool: PoolIdentity) -> Problem | None:
    """What keeps an object that means our pool from counting for it; None if nothing does."""
    if obj.pool.kind != "InferencePool":
        message = f"pool {pool.name} is an InferencePool; this has no effect until it says so"
        return _problem(Severity.WARNING, ("spec", "poolRef", "kind"), obj.pool.kind, message)
    if obj.pool.group != pool.group:
        message = f"pool {pool.name} is of group {pool.group}; this has no effect until it says so"
        return _problem(Severity.WARNING, ("spec", "poolRef", "group"), obj.pool.group, message)
    return None


def _superseded(ref: ObjectRef, *, by: ObjectRef) -> Problem:
    message = f"has no effect: {by} is used; remove one of the two"
    return _problem(Severity.WARNING, ("metadata", "name"), ref.name, message)


def _problem(severity: Severity, path: FieldPath, value: str, message: str) -> Problem:
    return Problem(severity, path, describe(value), message)
