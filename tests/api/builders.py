"""Objects for tests: right ones, of which a test changes what it is about."""

from epp.api import (
    POOL_GROUP,
    AppProtocol,
    InferenceObjective,
    InferencePool,
    Pod,
    PoolReconciler,
)
from epp.api.manifest import PoolRef

LEGACY_GROUP = "inference.networking.x-k8s.io"


def a_pool(name="pool", namespace="team", **changed):
    """A pool of the pods labelled app=vllm, with one port."""
    fields = {
        "group": POOL_GROUP,
        "namespace": namespace,
        "name": name,
        "terminating": False,
        "selector": (("app", "vllm"),),
        "target_ports": (8000,),
        "app_protocol": AppProtocol.HTTP,
        "endpoint_picker": None,
    }
    return InferencePool(**(fields | changed))


def an_objective(name="premium", priority=10, namespace="team", **changed):
    """An objective for the pool called `pool`."""
    fields = {
        "group": "llm-d.ai",
        "namespace": namespace,
        "name": name,
        "terminating": False,
        "pool": PoolRef(name="pool"),
        "priority": priority,
        "queue_ttl_s": None,
        "weight": 1.0,
    }
    return InferenceObjective(**(fields | changed))


def a_pod(name="a", ip="10.0.0.1", namespace="team", **changed):
    """A Ready pod of the pool."""
    fields = {
        "namespace": namespace,
        "name": name,
        "uid": f"uid-{name}",
        "terminating": False,
        "labels": (("app", "vllm"),),
        "ip": ip,
        "ready": True,
        "active_ports": None,
        "max_concurrency": None,
    }
    return Pod(**(fields | changed))


def reconciler(*objects, pool_name="pool", pool_namespace="team"):
    """A reconciler that has taken in some objects."""
    made = PoolReconciler(pool_name=pool_name, pool_namespace=pool_namespace)
    made.apply(upserts=objects)
    return made


def addresses(pool):
    """The addresses of a reconciler's endpoints."""
    return [endpoint.address for endpoint in pool.endpoints]
