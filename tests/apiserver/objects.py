"""The objects of a server as a test handles them: directly, synchronously, and with powers that no client has."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.apiserver import patches
from tests.apiserver.crds import kind_of
from tests.apiserver.kinds import NAMESPACES, Kind, Scope
from tests.apiserver.refusal import Refusal
from tests.apiserver.store import Part

if TYPE_CHECKING:
    from tests.apiserver.store import Store


class Objects:
    """See `tests.apiserver.server`. What the store refuses is raised as `Refusal`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def create(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Add an object as it is given, status and all."""
        kind = self._kind_of(obj)
        namespace = obj["metadata"].get("namespace", "default") if kind.scope is Scope.NAMESPACED else ""
        with contextlib.suppress(Refusal):
            if namespace:
                self.store.create(NAMESPACES, "", {"metadata": {"name": namespace}})
        return self.store.create(kind, namespace, obj, part=Part.WHOLE).obj

    def replace(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Put an object in place of the one of its name, status and all."""
        kind = self._kind_of(obj)
        metadata = {k: v for k, v in obj["metadata"].items() if k not in {"resourceVersion", "uid"}}
        namespace = metadata.get("namespace", "default") if kind.scope is Scope.NAMESPACED else ""
        obj = obj | {"metadata": metadata}
        return self.store.update(kind, namespace, metadata["name"], obj, part=Part.WHOLE).obj

    def patch(self, resource: str, namespace: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Merge into an object, whatever part it is."""
        kind = self.kind(resource)
        return self.store.patch(
            kind, namespace, name, lambda old: patches.merged(old, patch), part=Part.WHOLE
        ).obj

    def patch_status(
        self, resource: str, namespace: str, name: str, status: dict[str, Any]
    ) -> dict[str, Any]:
        """Merge into an object's status, as another controller would."""
        kind, patch = self.kind(resource), {"status": status}
        return self.store.patch(
            kind, namespace, name, lambda old: patches.merged(old, patch), part=Part.STATUS
        ).obj

    def delete(self, resource: str, namespace: str, name: str, *, grace_s: int = 0) -> None:
        """Delete an object: at once, unless it has finalizers, or is a pod on a node and `grace_s` says to wait."""
        self.store.delete(self.kind(resource), namespace, name, grace_s=grace_s)

    def get(self, resource: str, namespace: str, name: str) -> dict[str, Any]:
        """One object, not to be changed; raises `Refusal` when there is none."""
        return self.store.get(self.kind(resource), namespace, name).obj

    def list(self, resource: str, namespace: str = "") -> list[dict[str, Any]]:
        """All objects of a namespace, or of all; not to be changed."""
        everything = (stored.obj for stored in self.store.all(self.kind(resource)))
        return [obj for obj in everything if not namespace or obj["metadata"].get("namespace") == namespace]

    def kind(self, resource: str) -> Kind:
        """The kind that a plural, alone or with its group, names."""
        found = [kind for kind in self.store.kinds if resource in {kind.resource, kind.plural}]
        if len(found) != 1:
            names = ", ".join(kind.resource for kind in found) or "none; is it installed?"
            raise ValueError(f"{resource!r} must name one kind: {names}")
        return found[0]

    def install(self, group: str, plural: str) -> None:
        """Serve a custom kind from now on."""
        self.store.install(kind_of(f"{plural}.{group}"))

    def uninstall(self, group: str, plural: str) -> None:
        """Take a custom kind away, with its objects."""
        self.store.uninstall(kind_of(f"{plural}.{group}"))

    def _kind_of(self, obj: dict[str, Any]) -> Kind:
        for kind in self.store.kinds:
            if (kind.api_version, kind.kind) == (obj["apiVersion"], obj["kind"]):
                return kind
        raise ValueError(f"{obj['kind']} of {obj['apiVersion']} is not served; is it installed?")
