"""Objects as an API server takes them."""

from __future__ import annotations

from typing import Any

NAMESPACE = "team"
POOL_GROUP = "inference.networking.k8s.io"
GROUP = "llm-d.ai"
LEGACY_GROUP = "inference.networking.x-k8s.io"


def pool(name: str = "pool", *, app: str = "vllm", **spec: Any) -> dict[str, Any]:
    """An InferencePool of the pods labelled app=vllm."""
    return {
        "apiVersion": f"{POOL_GROUP}/v1",
        "kind": "InferencePool",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
            **spec,
        },
    }


def objective(name: str = "premium", priority: Any = 10, *, group: str = GROUP) -> dict[str, Any]:
    """An InferenceObjective for the pool called `pool`."""
    return {
        "apiVersion": f"{group}/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"priority": priority, "poolRef": {"name": "pool", "group": POOL_GROUP}},
    }


def pod(name: str = "a", *, app: str = "vllm", ip: str = "10.0.0.1", **labels: str) -> dict[str, Any]:
    """A Ready pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": app, **labels}},
        "spec": {"containers": [{"name": "server", "image": "vllm"}]},
        "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    }
