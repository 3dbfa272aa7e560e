"""The objects of one collection as the API server last showed them, and what is different from before. Pure.

Rules of this file:

- A list is the truth, whatever was held: what is not in it is gone.
- A watch tells changes in order. What is older than what is held, or than where the cache stands, is not news and is
  passed over; so nothing that happened twice on the way happens twice here.
- Another uid is another object: the old one is gone before the new one comes, though both have the same name.
- A broken object keeps its last good version, and each of its problems is told once.
- Nothing is told that makes no difference: two versions that the picker would treat alike are one.
- The place from which a watch can go on moves only past what has been taken in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from epp.api.changes import Batch, Note
from epp.api.objects import ObjectRef
from epp.api.problem import Severity
from epp.api.wire import WireError, decode_json, read_meta, read_written
from epp.kube.connection import Reply
from epp.kube.errors import UNREADABLE
from epp.kube.standing import Relist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epp.api.objects import ApiObject
    from epp.api.problem import Problem
    from epp.api.wire import Meta
    from epp.api.written import Written
    from epp.kube.resource import Resource

_WITH_STATUS = frozenset({"InferenceObjective", "InferenceModelRewrite"})
"""The kinds whose owners are told by their status what became of them."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """One object in one version. Ten thousand of them are not the garbage collector's business."""

    uid: str
    version: int | None
    """None if the API server's versions are no numbers; then nothing is known to be older than anything."""
    found: ApiObject | None
    """The last good version; None if there never was one."""
    problems: tuple[Problem, ...]
    written: Written | None
    """Only for kinds whose status is ours to write."""


class Heard(NamedTuple):
    """What came of a few lines of a watch."""

    batch: Batch
    is_news: bool
    """Whether any object came, changed or went."""
    end: Reply | Relist | None
    """Why the watch must not be heard any further: what the API server refused with, or what is wrong with it."""


class Cache:
    """What is held of one collection."""

    def __init__(self, resource: Resource) -> None:
        self._group, self._kind, self._api_version = resource.group, resource.kind, resource.api_version
        self._held: dict[ObjectRef, Held] = {}
        self._position: int | None = None
        self.resume_at = ""
        """The version from which a watch goes on."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def usable(self) -> int:
        """How many objects are fit for use."""
        return sum(held.found is not None for held in self._held.values())

    def written(self, ref: ObjectRef) -> Written | None:
        """What the API server holds of an object's status, as far as we know."""
        held = self._held.get(ref)
        return None if held is None else held.written

    def broken(self, ref: ObjectRef) -> tuple[Problem, ...]:
        """Why an object as it is now can't be read; empty if it can be."""
        held = self._held.get(ref)
        if held is None:
            return ()
        return tuple(each for each in held.problems if each.severity is Severity.ERROR)

    def begin(self) -> Listing:
        """A list is coming, page by page. Until it is complete, nothing is heard."""
        return Listing(self)

    def replace(self, listing: Listing, *, resume_at: str) -> Batch:
        """Take in a complete list."""
        draft = listing.draft
        for ref, held in self._held.items():
            if ref not in listing.held and held.found is not None:
                draft.delete(ref)
        self._held = listing.held
        self.resume_at, self._position = resume_at, _number(resume_at)
        return draft.batch()

    def read(self, meta: Meta, raw: bytes | msgspec.Raw) -> tuple[ObjectRef, Held]:
        """An object that the API server shows, next to what is held of it."""
        ref = self._ref(meta)
        version = _number(meta.resource_version)
        before = self._held.get(ref)
        if before is not None and before.uid != meta.uid:
            before = None
        if before is not None and version is not None and before.version == version:
            return ref, before
        decoded = decode_json(raw, api_version=self._api_version, kind=self._kind)
        found = decoded.found
        if before is not None and (found is None or found == before.found):
            found = before.found
        written = read_written(raw) if self._kind in _WITH_STATUS else None
        return ref, Held(meta.uid, version, found, decoded.problems, written)

    def tell(self, ref: ObjectRef, held: Held, draft: _Draft) -> None:
        """Put down what is different in an object from what is held of it."""
        before = self._held.get(ref)
        if before is held:
            return
        if before is not None and before.uid != held.uid:
            if before.found is not None:
                draft.delete(ref)
            before = None
        if held.found is not None:
            if before is None or before.found is None:
                draft.add(ref, held.found)
            elif before.found is not held.found:
                draft.change(ref, held.found)
        if held.problems:
            known = () if before is None else before.problems
            draft.notes += [Note(ref, problem) for problem in held.problems if problem not in known]
        if held.written is not None:
            draft.seen[ref] = None

    def hear(self, lines: Sequence[bytes]) -> Heard:
        """Take in lines of a watch that began where the cache stood, up to one that ends it."""
        draft = _Draft()
        is_news = False
        for line in lines:
            try:
                event = _EVENT.decode(line)
                match event.type:
                    case "ADDED" | "MODIFIED":
                        is_news |= self._changed(event.object, draft)
                    case "DELETED":
                        is_news |= self._deleted(event.object, draft)
                    case "BOOKMARK":
                        if not self._move_to(read_meta(event.object).resource_version):
                            return Heard(draft.batch(), is_news, Relist.REWOUND)
                    case "ERROR":
                        return Heard(draft.batch(), is_news, _refusal(event.object))
                    case _:
                        return Heard(draft.batch(), is_news, Relist.UNREADABLE)
            except (*UNREADABLE, WireError):
                return Heard(draft.batch(), is_news, Relist.UNREADABLE)
        return Heard(draft.batch(), is_news, None)

    def _changed(self, raw: msgspec.Raw, draft: _Draft) -> bool:
        """Whether that is news."""
        meta = _read_named(raw)
        if _is_older(_number(meta.resource_version), self._position):
            return False
        ref, held = self.read(meta, raw)
        if held is self._held.get(ref):
            return False
        self.tell(ref, held, draft)
        self._held[ref] = held
        self._move_to(meta.resource_version)
        return True

    def _deleted(self, raw: msgspec.Raw, draft: _Draft) -> bool:
        """Whether that is news."""
        meta = _read_named(raw)
        ref, version = self._ref(meta), _number(meta.resource_version)
        before = self._held.get(ref)
        if before is None:
            self._move_to(meta.resource_version)
            return False
        # Some servers show the last state with its own version instead of the deletion's.
        if _is_older(version, before.version) or (version is None and before.uid != meta.uid):
            return False
        if self._held.pop(ref).found is not None:
            draft.delete(ref)
        draft.seen.pop(ref, None)
        self._move_to(meta.resource_version)
        return True

    def _move_to(self, resource_version: str) -> bool:
        """Whether that is not a step back, which is not taken."""
        version = _number(resource_version)
        if _is_older(version, self._position):
            return False
        if resource_version:
            self.resume_at, self._position = resource_version, version
        return True

    def _ref(self, meta: Meta) -> ObjectRef:
        return ObjectRef(self._group, self._kind, meta.namespace, meta.name)


class _Draft:
    """Changes that become one batch, in which only what is left of them counts."""

    __slots__ = ("_added", "_deletes", "_upserts", "notes", "seen")

    def __init__(self) -> None:
        self._upserts: dict[ObjectRef, ApiObject] = {}
        self._deletes: dict[ObjectRef, None] = {}
        self._added: set[ObjectRef] = set()
        """What nobody knew of, before this batch or since it was deleted in it."""
        self.notes: list[Note] = []
        self.seen: dict[ObjectRef, None] = {}

    def add(self, ref: ObjectRef, found: ApiObject) -> None:
        self._added.add(ref)
        self._upserts[ref] = found

    def change(self, ref: ObjectRef, found: ApiObject) -> None:
        self._upserts[ref] = found

    def delete(self, ref: ObjectRef) -> None:
        self._upserts.pop(ref, None)
        if ref in self._added:
            self._added.remove(ref)
        else:
            self._deletes[ref] = None

    def batch(self) -> Batch:
        return Batch(tuple(self._upserts.values()), tuple(self._deletes), tuple(self.notes), tuple(self.seen))


class Listing:
    """A list as far as it has come, and what is different in it from what is held."""

    __slots__ = ("_cache", "draft", "held")

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.held: dict[ObjectRef, Held] = {}
        self.draft = _Draft()

    def add(self, raw: bytes | msgspec.Raw) -> None:
        """The next object. Raises `WireError` if nobody can say which it is."""
        ref, held = self._cache.read(_read_named(raw), raw)
        self._cache.tell(ref, held, self.draft)
        self.held[ref] = held


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _StatusDetails(msgspec.Struct, rename="camel"):
    retry_after_seconds: int = 0


class _Status(msgspec.Struct):
    code: int = 500
    details: _StatusDetails | None = None


_EVENT = msgspec.json.Decoder(_Event)
_STATUS = msgspec.json.Decoder(_Status)


def _refusal(raw: msgspec.Raw) -> Reply:
    """An ERROR event, as if the request had been answered with it."""
    status = _STATUS.decode(raw)
    wait_s = status.details.retry_after_seconds if status.details is not None else 0
    return Reply(status.code, bytes(raw), float(wait_s) if wait_s > 0 else None)


def _is_older(version: int | None, other: int | None) -> bool:
    """Whether it is certain to be."""
    return version is not None and other is not None and version < other


def _read_named(raw: bytes | msgspec.Raw) -> Meta:
    meta = read_meta(raw)
    if not meta.name:
        raise WireError("has no name")
    return meta


def _number(resource_version: str) -> int | None:
    is_number = resource_version.isascii() and resource_version.isdigit() and len(resource_version) < 20
    return int(resource_version) if is_number else None
