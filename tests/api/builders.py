"""Objects for tests: right ones, of which a test changes what it is about."""

from epp.api import (
    POOL_GROUP,
    AppProtocol,
    InferenceModelRewrite,
    InferenceObjective,
    InferencePool,
    Pod,
    PoolReconciler,
)
from epp.api.manifest import ModelMatch, PoolRef, RewriteMatch, RewriteRule, RewriteTarget
from epp.api.selector import Selector

LEGACY_GROUP = "inference.networking.x-k8s.io"


def a_pool(name="pool", namespace="team", **changed):
    """A pool of the pods labelled app=vllm, with one port."""
    fields = {
        "group": POOL_GROUP,
        "namespace": namespace,
        "name": name,
        "terminating": False,
        "selector": Selector.from_labels({"app": "vllm"}),
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


def a_rule(*targets, models=()):
    """A rule for some models, or for all; a target is a name, or a name and its weight."""
    pairs = [target if isinstance(target, tuple) else (target, None) for target in targets]
    return RewriteRule(
        matches=tuple(RewriteMatch(model=ModelMatch(value=model)) for model in models),
        targets=tuple(RewriteTarget(model_rewrite=name, weight=weight) for name, weight in pairs),
    )


def a_rewrite(name="aliases", *rules, namespace="team", **changed):
    """A rewrite for the pool called `pool`."""
    fields = {
        "group": "llm-d.ai",
        "namespace": namespace,
        "name": name,
        "terminating": False,
        "pool": PoolRef(name="pool"),
        "rules": rules or (a_rule("llama"),),
        "created": "",
    }
    return InferenceModelRewrite(**(fields | changed))


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
        "models": frozenset(),
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
