"""Who takes batches, believes them, and notices when they can't be true."""

from __future__ import annotations

from epp.api.changes import Batch, Note
from epp.api.objects import ApiObject, ObjectRef


class Observer:
    """Holds what the batches add up to; illegal ones fail the test."""

    def __init__(self) -> None:
        self.held: dict[ObjectRef, ApiObject] = {}
        self.history: dict[ObjectRef, list[ApiObject | None]] = {}
        """Every state that an object was shown in, None for gone."""
        self.notes: list[Note] = []
        self.seen: list[ObjectRef] = []
        self.batches: list[Batch] = []

    def take(self, batch: Batch) -> None:
        """From the source."""
        self.batches.append(batch)
        assert len(set(batch.deletes)) == len(batch.deletes)
        for ref in batch.deletes:
            assert ref in self.held, f"{ref} is deleted, but nobody knows it"
            del self.held[ref]
            self.history[ref].append(None)
        refs = [found.ref for found in batch.upserts]
        assert len(set(refs)) == len(refs)
        for found in batch.upserts:
            assert self.held.get(found.ref) != found, f"{found.ref} is told again, without being different"
            self.held[found.ref] = found
            self.history.setdefault(found.ref, []).append(found)
        self.notes += batch.notes
        self.seen += batch.seen

    def names(self, kind: str = "") -> list[str]:
        """The objects that are held, by name."""
        return sorted(ref.name for ref in self.held if kind in {"", ref.kind})
