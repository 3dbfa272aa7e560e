"""A request as a test sees it: what was asked of which object, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Asked:
    """One request. `verb` is the API's: get, list, watch, create, update, patch, delete, deletecollection."""

    method: str
    path: str
    query: Mapping[str, str]
    at_s: float
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    verb: str = ""
    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def resource(self) -> str:
        """As in messages and in the fault hooks: `pods`, `inferenceobjectives.llm-d.ai`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


Where = Callable[[Asked], bool]


def anywhere(asked: Asked) -> bool:
    """Every request."""
    del asked
    return True


def where(
    *, verb: str = "", resource: str = "", namespace: str = "", name: str = "", subresource: str = ""
) -> Where:
    """The requests that have all that is named; a resource without its group means those of every group."""

    def matches(asked: Asked) -> bool:
        return (
            verb in {"", asked.verb}
            and resource in {"", asked.resource, asked.plural}
            and namespace in {"", asked.namespace}
            and name in {"", asked.name}
            and subresource in {"", asked.subresource}
        )

    return matches


def read_request(
    *, method: str, path: str, query: Mapping[str, str], at_s: float, body: bytes, headers: Mapping[str, str]
) -> Asked:
    """Find out what a path means; `verb` stays empty where it is none of a resource's."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    group = version = plural = namespace = name = subresource = verb = ""
    rest: list[str] = []
    if parts[0] == "api" and len(parts) > 2:
        version, rest = parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    if 0 < len(rest) <= 3:
        plural, name, subresource = (*rest, "", "")[:3]
        watching = query.get("watch") in {"1", "true", "True"}
        verb = {
            "GET": "get" if name else "watch" if watching else "list",
            "HEAD": "get" if name else "list",
            "POST": "create",
            "PUT": "update",
            "PATCH": "patch",
            "DELETE": "delete" if name else "deletecollection",
        }.get(method, "")
    return Asked(
        method=method,
        path=path,
        query=query,
        at_s=at_s,
        body=body,
        headers=headers,
        verb=verb,
        group=group,
        version=version,
        plural=plural,
        namespace=namespace,
        name=name,
        subresource=subresource,
    )
