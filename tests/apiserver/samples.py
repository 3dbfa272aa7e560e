"""Small valid objects, which either server accepts."""

from __future__ import annotations

from typing import Any

CONDITION = {
    "type": "Accepted",
    "status": "True",
    "reason": "Accepted",
    "message": "taken up",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
    "observedGeneration": 1,
}
SCHEMA_CONDITION = {
    "type": "Ready",
    "status": "Unknown",
    "reason": "Pending",
    "message": "Waiting for controller",
    "lastTransitionTime": "1970-01-01T00:00:00Z",
}
OBJECTIVES = "inferenceobjectives.llm-d.ai"
LEASES = "leases.coordination.k8s.io"
MICRO_TIME = "2026-01-01T00:00:00.000000Z"


def metadata(
    name: str, namespace: str, *, labels: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """Name, namespace and whatever else."""
    return {"name": name, "namespace": namespace} | ({"labels": labels} if labels else {}) | more


def pod(
    name: str,
    namespace: str = "default",
    *,
    labels: dict[str, str] | None = None,
    ip: str = "",
    node: str = "",
) -> dict[str, Any]:
    """A pod, which is Ready if it has an address."""
    ready = {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}
    spec = {"containers": [{"name": "server", "image": "server"}]} | ({"nodeName": node} if node else {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, namespace, labels=labels),
        "spec": spec,
    } | ({"status": ready} if ip else {})


def objective(
    name: str,
    namespace: str = "default",
    *,
    pool: str = "pool",
    priority: int | None = None,
    group: str = "llm-d.ai",
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    """An objective of either group."""
    return {
        "apiVersion": f"{group}/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": metadata(name, namespace, labels=labels),
        "spec": {"poolRef": {"name": pool}} | ({} if priority is None else {"priority": priority}),
    }


def pool(
    name: str, namespace: str = "default", *, labels: dict[str, str] | None = None, port: int = 8000
) -> dict[str, Any]:
    """A pool of the pods with these labels."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": metadata(name, namespace),
        "spec": {"selector": {"matchLabels": labels or {"app": name}}, "targetPorts": [{"number": port}]},
    }


def lease(name: str, namespace: str = "default", *, holder: str = "a") -> dict[str, Any]:
    """A lease that somebody holds."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata(name, namespace),
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 15,
            "acquireTime": MICRO_TIME,
            "renewTime": MICRO_TIME,
            "leaseTransitions": 0,
        },
    }


def event(name: str, namespace: str = "default", *, about: str = "an-objective") -> dict[str, Any]:
    """A core/v1 Event about an objective."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata(name, namespace),
        "involvedObject": {
            "apiVersion": "llm-d.ai/v1alpha2",
            "kind": "InferenceObjective",
            "namespace": namespace,
            "name": about,
        },
        "reason": "Accepted",
        "message": "taken up",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "epp"},
    }
