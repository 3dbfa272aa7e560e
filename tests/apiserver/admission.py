"""What the server makes of an object before it is stored: defaults, and the rules that writers tend to break."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

from tests.apiserver.crds import admitted
from tests.apiserver.kinds import EVENTS, LEASES, NAMESPACES, PODS, Kind, Origin
from tests.apiserver.refusal import bad_request, invalid

_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
MAX_NAME = 253


class Way(Enum):
    """How the object came; the server words and numbers some refusals by it."""

    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"


def admit(kind: Kind, obj: dict[str, Any], *, old: dict[str, Any] | None, way: Way) -> dict[str, Any]:
    """The object as it is to be stored."""
    name = obj["metadata"]["name"]
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise invalid(
            kind.kind,
            name,
            f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain is needed',
        )
    if kind.origin is Origin.CUSTOM:
        return admitted(kind, obj)
    if kind is PODS:
        status = obj.setdefault("status", {})
        status.setdefault("phase", "Pending")
        if status.get("podIP"):
            status.setdefault("podIPs", [{"ip": status["podIP"]}])
    if kind is NAMESPACES and old is None:
        obj["metadata"].setdefault("labels", {}).setdefault("kubernetes.io/metadata.name", name)
        obj["spec"], obj["status"] = {"finalizers": ["kubernetes"]}, {"phase": "Active"}
    if kind is LEASES:
        _check_lease(name, obj.get("spec") or {}, way)
    if kind is EVENTS:
        for field, default in (("eventTime", None), ("reportingComponent", ""), ("reportingInstance", "")):
            obj.setdefault(field, default)
        _check_event(name, obj, way)
    return obj


def _check_lease(name: str, spec: dict[str, Any], way: Way) -> None:
    for field in ("acquireTime", "renewTime"):
        _check_micro_time(spec.get(field), way)
    for field, least, rule in (
        ("leaseDurationSeconds", 1, "must be greater than 0"),
        ("leaseTransitions", 0, "must be greater than or equal to 0"),
    ):
        value = spec.get(field)
        if value is not None and value < least:
            raise invalid("Lease.coordination.k8s.io", name, f"spec.{field}: Invalid value: {value}: {rule}")


def _check_event(name: str, event: dict[str, Any], way: Way) -> None:
    _check_micro_time(event["eventTime"], way)
    about = event.get("involvedObject", {})
    namespace = about.get("namespace") or "default"
    if namespace != event["metadata"]["namespace"]:
        why = f'involvedObject.namespace: Invalid value: "{namespace}": does not match event.namespace'
        raise invalid("Event", name, why)
    if event["eventTime"]:
        missing = [
            field for field in ("reportingComponent", "reportingInstance", "action") if not event.get(field)
        ]
        if missing:
            raise invalid("Event", name, ", ".join(f"{field}: Required value" for field in missing))


def _check_micro_time(value: str | None, way: Way) -> None:
    if value is None or _MICRO_TIME.fullmatch(value):
        return
    why = f'parsing time "{value}" as "2006-01-02T15:04:05.000000Z07:00"'
    raise invalid("", "", f"patch: {why}") if way is Way.PATCH else bad_request(why)
