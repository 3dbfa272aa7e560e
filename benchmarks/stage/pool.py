"""What our picker is told: the pool's objects and its configuration, as files that people can look at.

Promises:
- Every server is a pod of its own, so that a pool that shrinks loses single servers.
- The objects are replaced in one step: the picker sees the old ones or the new ones, never half of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.stage.errors import StageError
from epp.quickstart.manifests import ACTIVE_PORTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from epp.quickstart.address import Address

_NAME = "bench"


class PoolFiles:
    """The files of one picker; its pool has all servers at first."""

    def __init__(
        self, directory: Path, *, servers: Sequence[Address], objectives: Mapping[str, int | None]
    ) -> None:
        self.objects = directory / "objects.yaml"
        self.config = directory / "config.yaml"
        self._servers = tuple(servers)
        self._present = len(self._servers)
        self._objectives = dict(objectives)

    def write(self, config: Mapping[str, Any]) -> None:
        """All of them, with this EndpointPickerConfig."""
        self.config.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        self._write_objects()

    def scale(self, to: int) -> None:
        """From now on, the pool has the first so many servers."""
        if not 0 <= to <= len(self._servers):
            raise StageError(f"events: scale to {to}: there are {len(self._servers)} servers")
        self._present = to
        self._write_objects()

    def set_objective(self, name: str, priority: int | None) -> None:
        """From now on, an objective has this priority; None: it states none."""
        self._objectives[name] = priority
        self._write_objects()

    def _write_objects(self) -> None:
        documents = [
            _pool(sorted({server.port for server in self._servers})),
            *(_pod(number, server) for number, server in enumerate(self._servers[: self._present])),
            *(_objective(name, priority) for name, priority in self._objectives.items()),
        ]
        fresh = self.objects.with_suffix(".new")
        fresh.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
        fresh.replace(self.objects)


def _pool(ports: Sequence[int]) -> dict[str, Any]:
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": _NAME},
        "spec": {
            "selector": {"matchLabels": {"app": _NAME}},
            "targetPorts": [{"number": port} for port in ports],
        },
    }


def _pod(number: int, server: Address) -> dict[str, Any]:
    metadata = {
        "name": f"server-{number:04}",
        "labels": {"app": _NAME},
        "annotations": {ACTIVE_PORTS: str(server.port)},
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"podIP": server.host}}


def _objective(name: str, priority: int | None) -> dict[str, Any]:
    spec: dict[str, Any] = {"poolRef": {"name": _NAME}}
    if priority is not None:
        spec["priority"] = priority
    return {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": name},
        "spec": spec,
    }
