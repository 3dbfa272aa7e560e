"""A few objects in memory with the methods of an API server, and a view of them that lags as a cache does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from epp.api.objects import ObjectRef
from epp.api.wire import read_written
from epp.api.written import Written
from epp.kube.connection import Reply, Unreachable

NAMESPACE = "team"
PLURALS = {"InferenceObjective": "inferenceobjectives", "InferenceModelRewrite": "inferencemodelrewrites"}


def path_of(ref: ObjectRef) -> str:
    """Where an object is in the API."""
    return f"/apis/{ref.group}/v1alpha2/namespaces/{ref.namespace}/{PLURALS[ref.kind]}/{ref.name}"


def condition(**fields: object) -> dict[str, object]:
    """A condition as JSON has it."""
    usual = {"type": "Seen", "status": "True", "reason": "Looked", "message": "", "observedGeneration": 1}
    return {**usual, "lastTransitionTime": "2026-01-01T00:00:00Z", **fields}


class StubServer:
    """Keeps resource versions, refuses what is stale, and fails when a test says so."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.events: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.faults: list[Reply | Unreachable] = []
        """What the next requests get instead of an answer."""
        self.forbidden: set[str] = set()
        """Requests whose path contains one of these are not allowed."""
        self.before_patch: list = []
        """Called before the next patches are looked at, one for each: somebody else was faster."""
        self.latency = None
        """What is awaited before a request is answered."""
        self._version = 100
        self._cache: dict[ObjectRef, Written] = {}

    def put(
        self, ref: ObjectRef, *, uid: str = "u1", conditions: list[dict[str, object]] | None = None
    ) -> None:
        """Create an object, or replace it by another one of that name; seen at once."""
        metadata = {"name": ref.name, "uid": uid, "generation": 1}
        self.objects[path_of(ref)] = {"metadata": metadata, "status": {"conditions": conditions or []}}
        self.change(ref)
        self.see(ref)

    def change(self, ref: ObjectRef, **metadata: object) -> None:
        """Somebody else changes an object; not seen yet."""
        stored = self.objects[path_of(ref)]
        stored["metadata"] |= metadata
        self._stamp(stored)

    def set_conditions(self, ref: ObjectRef, conditions: list[dict[str, object]]) -> None:
        """Somebody else writes the status; not seen yet."""
        self.objects[path_of(ref)]["status"] = {"conditions": conditions}
        self.change(ref)

    def delete(self, ref: ObjectRef) -> None:
        """Somebody deletes an object; not seen yet."""
        del self.objects[path_of(ref)]

    def see(self, ref: ObjectRef) -> None:
        """The watch brings an object as it is."""
        stored = self.objects.get(path_of(ref))
        if stored is None:
            self._cache.pop(ref, None)
        else:
            self._cache[ref] = read_written(json.dumps(stored).encode())

    def written(self, ref: ObjectRef) -> Written | None:
        """What the cache has."""
        return self._cache.get(ref)

    def conditions(self, ref: ObjectRef) -> list[dict[str, Any]]:
        """What is really there."""
        return self.objects[path_of(ref)]["status"]["conditions"]

    def accepted(self, ref: ObjectRef) -> dict[str, Any] | None:
        """The condition that is ours."""
        return next((each for each in self.conditions(ref) if each["type"] == "Accepted"), None)

    def count(self, method: str) -> int:
        """How many requests of that method came."""
        return sum(each[0] == method for each in self.asked)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = {},
        body: Any = None,
        content_type: str = "application/json",
        timeout_s: float = 15.0,
    ) -> Reply:
        """What an API server would answer."""
        del query, timeout_s
        self.asked.append((method, path, deepcopy(body)))
        if self.latency is not None:
            await self.latency()
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        if any(part in path for part in self.forbidden):
            return failure(403, f"service account may not {method.lower()} {path}")
        if "/events" in path:
            return self._event(method, path, body)
        if method == "PATCH":
            assert content_type == "application/merge-patch+json"
            if self.before_patch:
                self.before_patch.pop(0)()
        stored = self.objects.get(path.removesuffix("/status"))
        if stored is None:
            return failure(404, "not found")
        if method == "PATCH":
            assert path.endswith("/status")
            if body["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"]:
                return failure(409, "the object has been modified")
            stored["status"] |= body["status"]
            self._stamp(stored)
        return Reply(200, json.dumps(stored).encode(), None)

    def _event(self, method: str, path: str, body: Any) -> Reply:
        name = path.rpartition("/")[2]
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self.events:
                return failure(409, "already exists")
            self.events[name] = deepcopy(body)
            return Reply(201, json.dumps(body).encode(), None)
        if name not in self.events:
            return failure(404, "not found")
        self.events[name] |= body
        return Reply(200, json.dumps(self.events[name]).encode(), None)

    def _stamp(self, stored: dict[str, Any]) -> None:
        self._version += 1
        stored["metadata"]["resourceVersion"] = str(self._version)


def failure(status: int, message: str, *, retry_after_s: float | None = None) -> Reply:
    """A refusal as API servers make them."""
    body = {"kind": "Status", "status": "Failure", "message": message, "code": status}
    return Reply(status, json.dumps(body).encode(), retry_after_s)
