"""What the status writer remembers of an object that is ours to judge, or was and awaits its last word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from epp.kube.pace import Backoff

if TYPE_CHECKING:
    from epp.api.verdict import Verdict
    from epp.api.written import Written

MOST_CONFLICT_PAUSE_S: Final = 60.0
MOST_CONTEST_PAUSE_S: Final = 600.0


class Saying(NamedTuple):
    """What is said, of which generation of which object."""

    uid: str
    generation: int
    verdict: Verdict | None


class _Fresh(NamedTuple):
    """What the API server holds of an object, while the picker's own view is known to be older."""

    written: Written
    behind: frozenset[str]
    """The older resource versions."""


class Judged:
    """One object. Forgotten with it: another of the same name is not the same."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.conflicts = Backoff(first_s=0.05, most_s=MOST_CONFLICT_PAUSE_S)
        self._fresh: _Fresh | None = None
        self._said: Saying | None = None
        self._contests = 0
        """How often in a row the same was said again, because somebody had undone it."""
        self._again_s = 0.0
        """When it may be said again."""
        self._refused: tuple[Saying, str] | None = None
        self._told: dict[str, int] = {}

    def newest(self, cached: Written) -> Written:
        """What the API server is known to hold: `cached`, unless that is known to be older."""
        if self._fresh is not None and cached.resource_version in self._fresh.behind:
            return self._fresh.written
        self._fresh = None
        return cached

    def learn(self, newer: Written, *, than: str) -> None:
        """The API server said what it holds; the resource version `than` is older, as is what was older than that."""
        behind = self._fresh.behind if self._fresh is not None else frozenset[str]()
        self._fresh = _Fresh(newer, (behind | {than}) - {newer.resource_version})

    def say(self, saying: Saying, *, now_s: float) -> int:
        """It is said. Returns how often it had been said before and was undone by somebody."""
        self._contests = self._contests + 1 if saying == self._said else 0
        self._said = saying
        pause_s = min(2.0 ** min(self._contests, 32), MOST_CONTEST_PAUSE_S)
        self._again_s = now_s + pause_s if self._contests else now_s
        return self._contests

    def may_say_s(self, saying: Saying) -> float:
        """From when on it may be said: pauses grow from one repetition to the next."""
        return self._again_s if saying == self._said else 0.0

    def refuse(self, saying: Saying, resource_version: str) -> None:
        """The API server did not take it."""
        self._refused = saying, resource_version

    def refused(self, saying: Saying, resource_version: str) -> bool:
        """Whether it would be refused again, since nothing has changed."""
        return self._refused == (saying, resource_version)

    def first_time(self, what: str, *, generation: int) -> bool:
        """Whether the log has not been told of `what` since the object's last change."""
        known = self._told.get(what) == generation
        self._told[what] = generation
        return not known
