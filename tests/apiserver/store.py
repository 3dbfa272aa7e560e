"""The objects of an API server and every change of them, under one count of versions. Pure: no clock, no I/O.

Rules of this file:

* Stored objects are never changed in place; a change makes a new `Stored` and one `Change` in the history of its kind.
* `revision` grows by one with every change of anything, and is the new object's resourceVersion.
* A page of a list shows the objects as they were at the version its token names, rebuilt from the history.
* What lies before `compacted` is forgotten: pages and watches from there are refused with 410.
* A write that changes nothing makes no version and no event.
"""

from __future__ import annotations

import base64
import random
import uuid
from bisect import bisect_left, bisect_right, insort
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tests.apiserver.admission import Way, admit
from tests.apiserver.kinds import (
    BUILT_IN,
    NAMESPACES,
    PODS,
    Counting,
    Kind,
    Origin,
    Scope,
    StatusPath,
)
from tests.apiserver.refusal import (
    MODIFIED,
    Refusal,
    already_exists,
    bad_request,
    conflict,
    expired,
    invalid,
    not_found,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.apiserver.selectors import Selection

FIRST_REVISION = 100
_KEPT_SNAPSHOTS = 8
_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Part(Enum):
    """Which part of an object a write is about."""

    MAIN = "main"
    STATUS = "status"
    WHOLE = "whole"


class Stored(NamedTuple):
    """One object in one version."""

    key: str
    obj: dict[str, Any]
    raw: bytes
    revision: int


class Change(NamedTuple):
    """What a watch reads. No `new` means deleted, and then `gone` is the last state under the deletion's version."""

    revision: int
    old: Stored | None
    new: Stored | None
    gone: Stored | None = None


class Page(NamedTuple):
    """One page of a list."""

    revision: int
    items: Sequence[Stored]
    continue_token: str
    remaining: int | None


class Store:
    """All objects. `now` gives the text of creation times; `on_change` is told of every change."""

    def __init__(self, *, now: Callable[[], str], kinds: Iterable[Kind] = (), seed: int = 0) -> None:
        self.revision = FIRST_REVISION
        self.compacted = 0
        self.on_change: Callable[[], None] = lambda: None
        self._now = now
        self._random = random.Random(seed)
        self._objects: dict[Kind, dict[str, Stored]] = {}
        self._keys: dict[Kind, list[str]] = {}
        self._changes: dict[Kind, list[Change]] = {}
        self._snapshots: dict[tuple[Kind, int], list[Stored]] = {}
        for kind in (*BUILT_IN, *kinds):
            self.install(kind)
        for name in ("default", "kube-system"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}}, part=Part.MAIN)

    # ------------------------------------------------------------------------------------------ kinds

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is installed."""
        return tuple(self._objects)

    def install(self, kind: Kind) -> None:
        """Serve a kind from now on."""
        if kind in self._objects:
            return
        self._objects[kind], self._keys[kind] = {}, []
        self._changes.setdefault(kind, [])

    def uninstall(self, kind: Kind) -> None:
        """Stop serving a kind; its objects are lost, and its watches are told so before they end."""
        for stored in tuple(self._objects[kind].values()):
            self._drop(kind, stored)
        self.on_change()
        del self._objects[kind], self._keys[kind]

    def kind_at(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind that is served at a path."""
        return next(
            (k for k in self._objects if (k.plural, k.group, k.version) == (plural, group, version)), None
        )

    # ---------------------------------------------------------------------------------------- reading

    def get(self, kind: Kind, namespace: str, name: str) -> Stored:
        """One object."""
        stored = self._objects[kind].get(_key(kind, namespace, name))
        if stored is None:
            raise not_found(kind.resource, name)
        return stored

    def has(self, kind: Kind, namespace: str, name: str) -> bool:
        """Whether there is such an object."""
        return _key(kind, namespace, name) in self._objects[kind]

    def all(self, kind: Kind) -> list[Stored]:
        """Every object, ordered by namespace and name."""
        objects = self._objects[kind]
        return [objects[key] for key in self._keys[kind]]

    def page(
        self,
        kind: Kind,
        selection: Selection,
        *,
        limit: int = 0,
        token: str = "",
        revision: int | None = None,
    ) -> Page:
        """A list as it is now, or as it was at a version or when its first page was read."""
        if revision is not None and revision < self.compacted:
            raise expired("The resourceVersion for the provided list is too old.")
        start = ""
        if token:
            revision, start = _read_token(token)
        revision = self.revision if revision is None else revision
        if revision < 0:
            revision = self.revision
        if revision < self.compacted:
            message = (
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter, or use the continue token in this response to retrieve the "
                "remainder of the results. Continuing with the provided token results in an inconsistent list - "
                "objects that were created, modified, or deleted between the time the first chunk was returned and "
                "now may show up in the list."
            )
            raise expired(message, continue_token=_token(-1, start))
        everything = self._at(kind, revision)
        prefix = f"{selection.namespace}/" if selection.namespace else ""
        first = bisect_left(everything, max(start, prefix), key=lambda stored: stored.key)
        end = (
            bisect_left(everything, prefix[:-1] + "0", key=lambda stored: stored.key)
            if prefix
            else len(everything)
        )
        if not selection.is_partial:
            last = min(end, first + limit) if limit else end
            items = everything[first:last]
        else:
            items, last = [], first
            while last < end and not (limit and len(items) == limit):
                if selection.takes(everything[last].obj):
                    items.append(everything[last])
                last += 1
        if last >= end:
            return Page(revision, items, "", None)
        remaining = None if selection.is_partial else end - last
        return Page(revision, items, _token(revision, everything[last - 1].key + "\0"), remaining)

    def changes(self, kind: Kind, *, after: int) -> list[Change]:
        """What happened to a kind since a version, which must not be forgotten."""
        if after < self.compacted:
            raise expired(f"too old resource version: {after} ({self.compacted})")
        changes = self._changes[kind]
        return changes[bisect_right(changes, after, key=lambda change: change.revision) :]

    def compact(self) -> None:
        """Forget all history up to now."""
        self.compacted = self.revision
        self._snapshots.clear()
        for changes in self._changes.values():
            changes.clear()

    def _at(self, kind: Kind, revision: int) -> list[Stored]:
        """Every object of a kind as it was at a version, ordered."""
        kept = self._snapshots.get((kind, revision))
        if kept is not None:
            return kept
        snapshot = self.all(kind)
        undone = self.changes(kind, after=revision)
        if undone:
            states = {stored.key: stored for stored in snapshot}
            for change in reversed(undone):
                if change.new is not None:
                    del states[change.new.key]
                if change.old is not None:
                    states[change.old.key] = change.old
            snapshot = [states[key] for key in sorted(states)]
        while len(self._snapshots) >= _KEPT_SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        self._snapshots[kind, revision] = snapshot
        return snapshot

    # ---------------------------------------------------------------------------------------- writing

    def create(self, kind: Kind, namespace: str, obj: dict[str, Any], *, part: Part = Part.MAIN) -> Stored:
        """Add an object; with `Part.WHOLE` its status and deletionTimestamp are taken as they are given."""
        obj = self._dressed(kind, namespace, obj)
        metadata = obj["metadata"]
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise invalid(
                    kind.kind, "", "metadata.name: Required value: name or generateName is required"
                )
            metadata["name"] = metadata["generateName"] + "".join(
                self._random.choices("bcdfghjklmnpqrstvwxz2456789", k=5)
            )
        name = metadata["name"]
        if metadata.pop("resourceVersion", ""):
            raise Refusal(500, "", "resourceVersion should not be set on objects to be created")
        if kind.scope is Scope.NAMESPACED and namespace not in self._objects[NAMESPACES]:
            raise not_found("namespaces", namespace)
        key = _key(kind, namespace, name)
        if key in self._objects[kind]:
            raise already_exists(kind.resource, name)
        metadata["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        metadata["creationTimestamp"] = metadata.get("creationTimestamp", "") if part is Part.WHOLE else ""
        metadata["creationTimestamp"] = metadata["creationTimestamp"] or self._now()
        metadata.pop("generation", None)
        if kind.counting is Counting.GENERATION:
            metadata["generation"] = 1
        if part is not Part.WHOLE:
            metadata.pop("deletionTimestamp", None)
            if kind.status is StatusPath.SUBRESOURCE:
                obj.pop("status", None)
        obj = admit(kind, obj, old=None, way=Way.POST)
        stored = self._put(kind, None, obj)
        self.on_change()
        return stored

    def update(
        self, kind: Kind, namespace: str, name: str, obj: dict[str, Any], *, part: Part = Part.MAIN
    ) -> Stored:
        """Replace an object, or the part of it that the write is about."""
        obj = self._dressed(kind, namespace, obj)
        key = _key(kind, namespace, name)
        if obj["metadata"].setdefault("name", name) != name:
            raise bad_request(
                f"the name of the object ({obj['metadata']['name']}) does not match the name on the URL ({name})"
            )
        old = self._objects[kind].get(key)
        if old is None:
            if kind.overwriting.creates and not obj["metadata"].get("resourceVersion"):
                return self.create(kind, namespace, obj, part=part)
            raise not_found(kind.resource, name)
        version = obj["metadata"].get("resourceVersion")
        if not version and kind.overwriting.needs_version and part is not Part.WHOLE:
            why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            raise invalid(f"{kind.plural}.{kind.group}", name, why)
        return self._replace(kind, old, obj, part=part, way=Way.PUT)

    def patch(
        self, kind: Kind, namespace: str, name: str, change: Callable[[Any], Any], *, part: Part = Part.MAIN
    ) -> Stored:
        """Replace an object by what `change` makes of it."""
        old = self.get(kind, namespace, name)
        return self._replace(
            kind, old, self._dressed(kind, namespace, change(old.obj)), part=part, way=Way.PATCH
        )

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        grace_s: int | None = None,
        preconditions: dict[str, str] | None = None,
    ) -> Stored:
        """Remove an object, or mark it as going while finalizers or a node still hold it."""
        old = self.get(kind, namespace, name)
        for field, wanted in (preconditions or {}).items():
            if old.obj["metadata"].get(field) != wanted:
                raise conflict(
                    kind.resource, name, f"the {field} in the precondition ({wanted}) does not match"
                )
        if kind is NAMESPACES:
            for other in self._objects:
                for stored in [s for s in self.all(other) if s.obj["metadata"].get("namespace") == name]:
                    self._drop(other, stored)
        metadata = old.obj["metadata"]
        grace_s = _grace_s(kind, old.obj, grace_s)
        held = bool(metadata.get("finalizers") or grace_s)
        if (
            held
            and metadata.get("deletionTimestamp")
            and grace_s >= metadata.get("deletionGracePeriodSeconds", 0)
        ):
            return old
        if held or kind is PODS:  # the real server tells of a pod's end twice, too
            obj = _copy(old.obj)
            end = datetime.fromisoformat(self._now()) + timedelta(seconds=grace_s)
            if kind.counting is Counting.GENERATION and "deletionTimestamp" not in metadata:
                obj["metadata"]["generation"] += 1
            obj["metadata"]["deletionTimestamp"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
            obj["metadata"]["deletionGracePeriodSeconds"] = grace_s
            old = self._put(kind, old, obj)
        if not held:
            old = self._drop(kind, old)
        self.on_change()
        return old

    def _replace(self, kind: Kind, old: Stored, obj: dict[str, Any], *, part: Part, way: Way) -> Stored:
        name = old.obj["metadata"]["name"]
        version = obj["metadata"].get("resourceVersion")
        if version and version != str(old.revision):
            raise conflict(kind.resource, name, MODIFIED)
        self._check_uid(kind, old, obj, way)
        obj = admit(kind, _only(kind, part, old.obj, obj), old=old.obj, way=way)
        if kind.counting is Counting.GENERATION and _spec(obj) != _spec(old.obj):
            obj["metadata"]["generation"] += 1
        if obj == old.obj:
            return old
        metadata, held = obj["metadata"], old.obj["metadata"].get("finalizers")
        if metadata.get("deletionTimestamp") and held and not metadata.get("finalizers"):
            self._drop(kind, old)
            stored = _stored(kind, obj, old.revision)
        else:
            stored = self._put(kind, old, obj)
        self.on_change()
        return stored

    def _check_uid(self, kind: Kind, old: Stored, obj: dict[str, Any], way: Way) -> None:
        uid, name = obj["metadata"].get("uid"), old.obj["metadata"]["name"]
        if not uid or uid == old.obj["metadata"]["uid"]:
            return
        if way is Way.PATCH:
            raise invalid(
                f"{kind.kind}.{kind.group}".rstrip("."),
                name,
                f'metadata.uid: Invalid value: "{uid}": field is immutable',
            )
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.obj['metadata']['uid']}"
        raise conflict(kind.resource, name, why)

    def _dressed(self, kind: Kind, namespace: str, obj: dict[str, Any]) -> dict[str, Any]:
        """A copy that says what it is, first of all."""
        if not isinstance(obj, dict) or not isinstance(obj.get("metadata", {}), dict):
            raise bad_request("the object provided is unrecognized (must be of type Object)")
        said = (obj.get("apiVersion") or kind.api_version, obj.get("kind") or kind.kind)
        if said != (kind.api_version, kind.kind):
            raise bad_request(
                f"the object provided ({said[1]} in {said[0]}) is not {kind.kind} in {kind.api_version}"
            )
        copied = _copy(obj)
        head = {"apiVersion": kind.api_version, "kind": kind.kind}
        metadata = dict(copied.get("metadata") or {})
        if kind.scope is Scope.NAMESPACED and metadata.setdefault("namespace", namespace) != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        return head | {k: v for k, v in copied.items() if k not in head} | {"metadata": metadata}

    def _put(self, kind: Kind, old: Stored | None, obj: dict[str, Any]) -> Stored:
        self.revision += 1
        stored = _stored(kind, obj, self.revision)
        if old is None:
            insort(self._keys[kind], stored.key)
        self._objects[kind][stored.key] = stored
        self._changes[kind].append(Change(self.revision, old, stored))
        return stored

    def _drop(self, kind: Kind, old: Stored) -> Stored:
        self.revision += 1
        gone = _stored(kind, _copy(old.obj), self.revision)
        del self._objects[kind][old.key]
        keys = self._keys[kind]
        del keys[bisect_left(keys, old.key)]
        self._changes[kind].append(Change(self.revision, old, None, gone))
        return gone


def under(kind: Kind, stored: Stored, revision: int) -> Stored:
    """The same state under another version, as a watch shows an object that leaves its selector."""
    return _stored(kind, _copy(stored.obj), revision)


def _stored(kind: Kind, obj: dict[str, Any], revision: int) -> Stored:
    metadata = obj["metadata"]
    metadata["resourceVersion"] = str(revision)
    raw = _encode(obj)
    assert raw.startswith(kind.head), "lists cut this off"
    return Stored(_key(kind, metadata.get("namespace", ""), metadata["name"]), obj, raw, revision)


def _only(kind: Kind, part: Part, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What a write may change: the rest stays as it was."""
    if kind.status is StatusPath.SUBRESOURCE:
        match part:
            case Part.MAIN:
                new = {k: v for k, v in new.items() if k != "status"}
                new |= {"status": old["status"]} if "status" in old else {}
            case Part.STATUS:
                metadata = new["metadata"] if kind.origin is Origin.BUILT_IN else old["metadata"]
                rest = {k: v for k, v in old.items() if k != "status"}
                new = rest | {"metadata": metadata} | ({"status": new["status"]} if "status" in new else {})
            case Part.WHOLE:
                pass
    kept = ("uid", "creationTimestamp", "generation", "resourceVersion")
    if part is not Part.WHOLE:
        kept += ("deletionTimestamp", "deletionGracePeriodSeconds")
    metadata = {k: v for k, v in new["metadata"].items() if k not in kept and v != {} and v != []}
    metadata |= {k: old["metadata"][k] for k in kept if k in old["metadata"]}
    return _copy(new | {"metadata": metadata})


def _spec(obj: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in obj.items() if k not in {"metadata", "status"}}


def _grace_s(kind: Kind, obj: dict[str, Any], asked_s: int | None) -> int:
    """How long a pod on a node may take to end; nothing else takes any time."""
    if kind is not PODS or not obj.get("spec", {}).get("nodeName"):
        return 0
    if obj.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
        return 0
    default_s: int = obj["spec"].get("terminationGracePeriodSeconds", 30)
    return default_s if asked_s is None else asked_s


def _copy(obj: dict[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = _decode(_encode(obj))
    return copied


def _key(kind: Kind, namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if kind.scope is Scope.NAMESPACED else name


def _token(revision: int, start: str) -> str:
    return (
        base64.urlsafe_b64encode(_encode({"v": "meta.k8s.io/v1", "rv": revision, "start": start}))
        .decode()
        .rstrip("=")
    )


def _read_token(token: str) -> tuple[int, str]:
    try:
        read = _decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(read["rv"]), str(read["start"])
    except (ValueError, KeyError, TypeError, msgspec.DecodeError):
        raise bad_request(f"invalid continue token: continue key is not valid: {token}") from None
