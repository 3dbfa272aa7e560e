"""What a server says of itself: health, version, groups and resources, as far as clients look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.apiserver.kinds import Scope, StatusPath

if TYPE_CHECKING:
    from tests.apiserver.kinds import Kind

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def discovery(path: str, kinds: tuple[Kind, ...]) -> dict[str, Any] | str | None:
    """The document at a path, or its text; None where there is nothing."""
    if path in {"/healthz", "/livez", "/readyz"}:
        return "ok"
    if path == "/version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups = sorted({(kind.group, kind.version) for kind in kinds if kind.group})
    if path == "/apis":
        listed = [_group(group, version) for group, version in groups]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    for group, version in groups:
        if path == f"/apis/{group}":
            return {"kind": "APIGroup", "apiVersion": "v1"} | _group(group, version)
    served = [kind for kind in kinds if kind.prefix == path]
    if not served:
        return None
    resources = []
    for kind in served:
        entry = {"name": kind.plural, "singularName": kind.kind.lower(), "kind": kind.kind}
        entry |= {"namespaced": kind.scope is Scope.NAMESPACED, "verbs": _VERBS}
        resources.append(entry)
        if kind.status is StatusPath.SUBRESOURCE:
            resources.append(entry | {"name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"]})
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": resources,
    }


def _group(group: str, version: str) -> dict[str, Any]:
    entry = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [entry], "preferredVersion": entry}
