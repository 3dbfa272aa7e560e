"""Manifests from a file or a folder, followed as they change.

`load` reads everything at once; after it, `changes` yields whatever changes, within a second: edits in place, renames
over a file, ConfigMap link swaps, files that come later. What becomes of objects whose file is broken or gone is told
in `lastgood`. Nothing is raised for what files hold, and nothing is logged: problems come with each delta.

Files are looked at and read in a worker thread, so that neither a slow disk nor a large file holds up the event loop.
Nor do files that stay as they are: the thread sleeps between its looks by itself, and the loop hears of it when there
is something to read. The thread changes nothing; what it found is taken over by whoever awaits it, so a cancelled wait
loses nothing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from epp.api import FieldPath, Note, ObjectRef, Problem, Severity
from epp.files.lastgood import Delta, LastGood, Place
from epp.files.reading import FileProblem, FileReading, FileState, read_file
from epp.files.survey import AGAIN, Stamp, Survey, survey

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

POLL_INTERVAL_S = 0.25
_PATIENCE_POLLS = 3
"""A file that is being written is read once it keeps still for a poll, but after so many polls at the latest."""


class _Round(NamedTuple):
    """One complete look at everything, and what came of it."""

    survey: Survey
    readings: Mapping[str, FileReading]
    good: LastGood


_NOTHING = _Round(Survey({}, ""), {}, LastGood())


class ObjectFiles:
    """Follows the manifests at one path."""

    def __init__(self, path: Path, *, poll_interval_s: float = POLL_INTERVAL_S) -> None:
        self._path = path
        self._poll_interval_s = poll_interval_s
        self._last = _NOTHING

    def load(self) -> Delta:
        """Read what changed since the last time, which the first time is everything."""
        self._last, delta = _look(self._path, self._last)
        return delta

    async def changes(self) -> AsyncGenerator[Delta, None]:
        """What changes from now on. One consumer at a time; it can be cancelled at any moment, and begun again."""
        given_up = threading.Event()
        try:
            while True:
                await asyncio.to_thread(
                    _until_news, self._path, self._last.survey, self._poll_interval_s, given_up
                )
                self._last, delta = await asyncio.to_thread(_look, self._path, self._last)
                if delta:
                    yield delta
        finally:
            given_up.set()

    @property
    def problems(self) -> tuple[FileProblem, ...]:
        """Everything that is wrong now, file by file."""
        return self._last.good.problems

    def where(self, ref: ObjectRef, path: FieldPath = ()) -> Place | None:
        """Where an object in use stands, or the field of it at `path`; None if no file gives it."""
        return self._last.good.where(ref, path)

    def locate(self, note: Note) -> FileProblem:
        """What the reconciler has to say of an object, with the place where the object stands."""
        place = self.where(note.ref, note.problem.path) if note.ref is not None else None
        if place is None:
            return FileProblem(str(self._path), None, None, note.problem)
        return FileProblem(place.file, place.document, place.line, note.problem)


def _until_news(path: Path, last: Survey, poll_interval_s: float, given_up: threading.Event) -> None:
    """Return when there is something to read, or nobody waits for it any more."""
    unread: Survey | None = None
    polls = 0
    while not given_up.wait(poll_interval_s):
        seen = survey(path)
        if seen == last:
            unread, polls = None, 0
            continue
        polls += 1
        if seen == unread or polls == _PATIENCE_POLLS:
            return
        unread = seen


def _look(path: Path, last: _Round) -> tuple[_Round, Delta]:
    """Survey the path, read the files that are not as they were, and see what that changes. Changes nothing itself."""
    seen = survey(path)
    stamps: dict[str, Stamp | None] = {}
    readings: dict[str, FileReading] = {}
    for name, stamp in seen.files.items():
        if name in last.readings and stamp is not None and stamp == last.survey.files.get(name):
            stamps[name], readings[name] = stamp, last.readings[name]
            continue
        reading = readings[name] = read_file(Path(name), name=name)
        # Written so recently that another write may leave the same stamp, or not read at all: look again.
        again = reading.state is FileState.FAILED or (stamp and not stamp.is_settled(time.time_ns()))
        stamps[name] = AGAIN if again else stamp
    trouble = Problem(Severity.WARNING, (), "", seen.trouble)
    around = [FileProblem(str(path), None, None, trouble)] if seen.trouble else []
    good, delta = last.good.next(readings, around)
    return _Round(Survey(stamps, seen.trouble), readings, good), delta
