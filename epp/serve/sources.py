"""Where objects come from: files, or an API server. Behind this, nothing knows which.

A source hands over batches, in the order in which things happened, and never the same news twice. It never ends by
itself and never raises for what the other side does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from epp.api.changes import Batch
from epp.files import ObjectFiles
from epp.serve.complaints import complain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from epp.api.changes import Note
    from epp.api.selector import Selector
    from epp.files import Delta

log = structlog.get_logger()


class Source(Protocol):
    """Gives the objects of one pool."""

    async def run(self, take: Callable[[Batch], None]) -> None:
        """Hand over what is there, and from then on what changes, until cancelled."""

    def select(self, selector: Selector | None) -> None:
        """These pods are wanted from now on; None: no pool says which."""

    def why_not_synced(self) -> str | None:
        """What the first complete look at everything waits for; None once it is done."""

    def locate(self, note: Note) -> str:
        """What is to be said of an object, for people: with the place where the object stands."""


class FileSource:
    """Manifests in files."""

    def __init__(self, path: Path) -> None:
        self._files = ObjectFiles(path)
        self._synced = False

    async def run(self, take: Callable[[Batch], None]) -> None:
        """Read everything, then follow what changes."""
        delta = self._files.load()
        self._synced = True
        self._hand_over(delta, take)
        async for delta in self._files.changes():
            self._hand_over(delta, take)

    def select(self, selector: Selector | None) -> None:
        """Files hold few pods, so all of them are read."""
        del selector

    def why_not_synced(self) -> str | None:
        """The files are read in one go."""
        return None if self._synced else "the manifests are being read"

    def locate(self, note: Note) -> str:
        """With file and line."""
        return str(self._files.locate(note))

    @staticmethod
    def _hand_over(delta: Delta, take: Callable[[Batch], None]) -> None:
        for found in delta.problems:
            complain(found.problem.severity, str(found))
        take(Batch(delta.upserts, delta.deletes))
