"""What a server answers to everything but a watch: from a request and a store, without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tests.apiserver import patches
from tests.apiserver.discovery import discovery
from tests.apiserver.kinds import BUILT_IN_GROUPS, PODS, Kind, Origin, StatusPath
from tests.apiserver.refusal import Refusal, bad_request, invalid, no_such_path, not_allowed, too_large
from tests.apiserver.selectors import Selection, read_fields, read_labels
from tests.apiserver.store import Part, Store, Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.apiserver.asked import Asked
    from tests.apiserver.reviews import Reviews

JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def refused(refusal: Refusal) -> Answer:
    """A refusal as an answer."""
    headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    return Answer(msgspec.json.encode(refusal.status()), refusal.code, headers=headers)


def served(store: Store, asked: Asked) -> Kind | None:
    """The kind that the request is about."""
    return store.kind_at(asked.group, asked.version, asked.plural)


def answer(store: Store, reviews: Reviews, asked: Asked) -> Answer:
    """Carry out a request; raises what it is refused with."""
    if asked.method == "POST" and (review := reviews.answer(asked)):
        return Answer(msgspec.json.encode(review), 201)
    kind = served(store, asked)
    if kind is None or not asked.verb:
        return _discovered(store, asked)
    match asked.verb:
        case "list":
            return _list(store, kind, asked)
        case "get":
            _part(kind, asked)
            return Answer(store.get(kind, asked.namespace, asked.name).raw)
        case "create":
            if asked.name and kind.origin is Origin.BUILT_IN:
                raise not_allowed()
            return Answer(store.create(kind, asked.namespace, _object(kind, asked)).raw, 201)
        case "delete" | "deletecollection":
            return _delete(store, kind, asked)
        case _:
            if not asked.name:
                raise not_allowed()
            is_there = store.has(kind, asked.namespace, asked.name)
            return Answer(_write(store, kind, asked).raw, 200 if is_there else 201)


def selection(kind: Kind, asked: Asked) -> Selection:
    """What a list or watch wants to see."""
    labels = read_labels(asked.query.get("labelSelector", ""))
    return Selection(asked.namespace, labels, read_fields(asked.query.get("fieldSelector", ""), kind))


def _part(kind: Kind, asked: Asked) -> Part:
    if not asked.subresource:
        return Part.MAIN
    if asked.subresource != "status" or kind.status is not StatusPath.SUBRESOURCE:
        raise no_such_path()
    return Part.STATUS


def _write(store: Store, kind: Kind, asked: Asked) -> Stored:
    part = _part(kind, asked)
    if asked.verb == "update":
        return store.update(kind, asked.namespace, asked.name, _object(kind, asked), part=part)
    sort = asked.headers.get("Content-Type", "").partition(";")[0].strip()
    known = [patches.JSON, patches.MERGE] + ([patches.STRATEGIC] if kind.origin is Origin.BUILT_IN else [])
    if sort not in known:
        accepted = ", ".join(known)
        message = (
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
        raise Refusal(415, "UnsupportedMediaType", message)
    patch = _body(asked)
    apply = patches.operated if sort == patches.JSON else patches.merged
    return store.patch(kind, asked.namespace, asked.name, lambda old: apply(old, patch), part=part)


def _delete(store: Store, kind: Kind, asked: Asked) -> Answer:
    options = _body(asked) if asked.body else {}
    grace = asked.query.get("gracePeriodSeconds", options.get("gracePeriodSeconds"))
    grace_s = None if grace is None else _number("gracePeriodSeconds", grace)
    if asked.verb == "deletecollection":
        page = store.page(kind, selection(kind, asked))
        for stored in page.items:
            metadata = stored.obj["metadata"]
            store.delete(kind, metadata.get("namespace", ""), metadata["name"], grace_s=grace_s)
        return Answer(_list_of(kind, page.items, {"resourceVersion": str(store.revision)}))
    preconditions = options.get("preconditions")
    gone = store.delete(kind, asked.namespace, asked.name, grace_s=grace_s, preconditions=preconditions)
    metadata = gone.obj["metadata"]
    if kind is PODS or metadata.get("deletionTimestamp"):
        return Answer(gone.raw)
    details = {"name": asked.name, "group": kind.group, "kind": kind.plural, "uid": metadata["uid"]}
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return Answer(msgspec.json.encode(success))


def _list(store: Store, kind: Kind, asked: Asked) -> Answer:
    token = asked.query.get("continue", "")
    version = asked.query.get("resourceVersion", "")
    limit = _number("limit", asked.query.get("limit") or "0")
    if token and version not in {"", "0"}:
        raise bad_request("specifying resource version is not allowed when using continue")
    if asked.query.get("resourceVersionMatch") and not version:
        why = "resourceVersionMatch: Forbidden: it is forbidden unless resourceVersion is provided"
        raise invalid("ListOptions.meta.k8s.io", "", why)
    wanted = _number("resourceVersion", version or "0")
    if wanted > store.revision:
        raise too_large(version, store.revision)
    exactly = asked.query.get("resourceVersionMatch", "Exact" if limit else "") == "Exact"
    page = store.page(
        kind,
        selection(kind, asked),
        limit=0 if version == "0" else max(limit, 0),
        token=token,
        revision=wanted if exactly and wanted else None,
    )
    metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if page.continue_token or kind.origin is Origin.CUSTOM:
        metadata["continue"] = page.continue_token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    return Answer(_list_of(kind, page.items, metadata))


def _list_of(kind: Kind, items: Iterable[Stored], metadata: dict[str, Any]) -> bytes:
    """A list's JSON; the items of built-in kinds do not repeat what they are."""
    if kind.origin is Origin.BUILT_IN:
        head = len(kind.head)
        raws = [b"{" + stored.raw[head:] for stored in items]
    else:
        raws = [stored.raw for stored in items]
    start = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata}
    return msgspec.json.encode(start)[:-1] + b',"items":[' + b",".join(raws) + b"]}\n"


def _discovered(store: Store, asked: Asked) -> Answer:
    found = discovery(asked.path.rstrip("/"), store.kinds) if asked.method == "GET" else None
    if isinstance(found, dict):
        return Answer(msgspec.json.encode(found))
    if found is not None:
        return Answer(found.encode(), content_type="text/plain")
    if asked.plural and asked.group in BUILT_IN_GROUPS:
        raise no_such_path()
    return Answer(b"404 page not found\n", 404, content_type="text/plain")


def _body(asked: Asked) -> Any:
    try:
        return msgspec.json.decode(asked.body)
    except msgspec.DecodeError as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from None


def _object(kind: Kind, asked: Asked) -> Any:
    """The body as an object, which custom kinds want to say what it is."""
    body = _body(asked)
    says = isinstance(body, dict) and body.get("kind") and body.get("apiVersion")
    if kind.origin is Origin.CUSTOM and not says:
        missing = f"(must be of type {kind.kind}): Object 'Kind' is missing"
        raise bad_request(f"the object provided is unrecognized {missing}")
    return body


def _number(name: str, text: str | int) -> int:
    try:
        return int(text)
    except ValueError:
        why = f'{name}: Invalid value: "{text}": strconv.ParseInt: parsing "{text}": invalid syntax'
        raise bad_request(why) from None
