"""What an API server sends, read as bytes: lists, single objects, and the metadata and status that we write to.

Ten thousand pods are read at start, so objects are decoded straight into the classes of `manifest`, and only what
these declare becomes a Python object. Whatever breaks a rule there is read once more as a plain document, which tells
everything that is wrong and decides: both readers agree on every object, and the fast one is only faster.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from epp.api.build import KINDS_READ, Kind, at, group_of, read_tuning
from epp.api.decode import Decoded, decode
from epp.api.problem import Problem, Severity
from epp.api.schema import has_errors
from epp.api.written import Condition, Written

if TYPE_CHECKING:
    from collections.abc import Iterator


class WireError(ValueError):
    """The bytes are not what an API server answers; the message says what they should have been."""


class Meta(NamedTuple):
    """Which object, and which version of it."""

    name: str
    namespace: str
    uid: str
    resource_version: str


class ListPage(NamedTuple):
    """One page of a list."""

    resource_version: str
    """Where a watch goes on after the last page."""
    continue_token: str
    """What to ask for the next page with; empty on the last."""
    remaining: int
    """How many objects are left after this page, as far as the server says."""
    items: list[Raw]


class _Metadata(Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Object(Struct, frozen=True):
    metadata: _Metadata


class _ListMetadata(Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_token: str | None = msgspec.field(name="continue", default=None)
    remaining_item_count: int | None = None


class _List(Struct, frozen=True):
    metadata: _ListMetadata
    items: list[Raw] | None = None


_MANIFESTS = {name: msgspec.json.Decoder(kind.manifest) for name, kind in KINDS_READ.items()}
_OBJECT = msgspec.json.Decoder(_Object)
_LIST = msgspec.json.Decoder(_List)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_json(raw: bytes | Raw, *, api_version: str, kind: str) -> Decoded:
    """The object in `raw`, which is one of this version and kind whatever it says of itself. Raises nothing."""
    known = KINDS_READ.get(kind)
    if known is None or api_version not in known.versions:
        return _decode_document(raw, api_version, kind)
    try:
        manifest = _MANIFESTS[kind].decode(raw)
    except _UNREADABLE:
        return _decode_document(raw, api_version, kind)
    return _made(manifest, known, group_of(api_version)) or _decode_document(raw, api_version, kind)


def _made(manifest: Any, kind: Kind, group: str) -> Decoded | None:
    """What a manifest comes to; None if it breaks a rule that ties fields together."""
    tuning, problems = read_tuning(kind, manifest.metadata.annotations)
    if kind.ties is not None:
        problems = [*kind.ties(msgspec.to_builtins(manifest)), *problems]
    found = kind.make(manifest, group, tuning, problems)
    return None if has_errors(problems) else Decoded(found, found.ref, tuple(problems))


def _decode_document(raw: bytes | Raw, api_version: str, kind: str) -> Decoded:
    """The same the slow way, for objects with mistakes: everything that is wrong."""
    try:
        document = json.loads(bytes(raw))
        # JSON can spell half of a surrogate pair, which no encoding has: nobody could log it.
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        unreadable = Problem(Severity.ERROR, (), "", "is not JSON that can be read")
        return Decoded(None, None, (unreadable,))
    if not isinstance(document, dict):
        return decode(document)
    return decode({**document, "apiVersion": api_version, "kind": kind})


def read_meta(raw: bytes | Raw) -> Meta:
    """Which object `raw` is, whatever else it says; WireError if that can't be read."""
    try:
        metadata = _OBJECT.decode(raw).metadata
    except _UNREADABLE as error:
        raise WireError(f"is not an object with metadata: {error}") from error
    return Meta(metadata.name, metadata.namespace, metadata.uid, metadata.resource_version)


def read_list(raw: bytes | Raw) -> ListPage:
    """A page of a list, its objects not yet decoded; WireError if it is none."""
    try:
        page = _LIST.decode(raw)
    except _UNREADABLE as error:
        raise WireError(f"is not a list of objects: {error}") from error
    metadata = page.metadata
    return ListPage(
        metadata.resource_version,
        metadata.continue_token or "",
        metadata.remaining_item_count or 0,
        page.items or [],
    )


def read_written(raw: bytes | Raw) -> Written:
    """What stands in an object's status and metadata; what can't be read counts as not there. Raises nothing."""
    try:
        document = msgspec.json.decode(raw)
    except _UNREADABLE:
        document = None
    conditions = at(document, "status", "conditions")
    return Written(
        uid=_text(at(document, "metadata", "uid")),
        resource_version=_text(at(document, "metadata", "resourceVersion")),
        generation=_number(at(document, "metadata", "generation")),
        conditions=tuple(_conditions(conditions if isinstance(conditions, list) else [])),
    )


def _conditions(given: list[object]) -> Iterator[Condition]:
    for one in given:
        if _text(at(one, "type")):
            yield Condition(
                type=_text(at(one, "type")),
                status=_text(at(one, "status")),
                reason=_text(at(one, "reason")),
                message=_text(at(one, "message")),
                observed_generation=_number(at(one, "observedGeneration")),
                last_transition_time=_text(at(one, "lastTransitionTime")),
            )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
