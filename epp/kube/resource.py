"""A collection of objects in the API: what kind they are, in which namespace, and which of them are meant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """Objects of one kind in one namespace."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespace: str
    label_selector: str = ""
    field_selector: str = ""

    @property
    def path(self) -> str:
        """Where they are listed and watched."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{self.namespace}/{self.plural}"

    def object_path(self, name: str) -> str:
        """Where one of them is."""
        return f"{self.path}/{name}"

    @property
    def api_version(self) -> str:
        """As manifests have it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def selectors(self) -> dict[str, str]:
        """The parameters of a request that say which of them are meant."""
        given = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: selector for name, selector in given.items() if selector}

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural
