"""The Kubernetes objects that the picker follows: typed values, their validation, and what they come to.

`decode` makes an object of a plain document, or says everything that is wrong with it. `PoolReconciler` turns
objects into the pool's endpoints and objectives, and into events for the core. Everything here is pure, and nothing
knows whether the objects come from files or from an API server.
"""

from epp.api.changes import Changes, Note, Objective, PoolInfo
from epp.api.decode import KINDS, Decoded, decode
from epp.api.manifest import POOL_GROUP, AppProtocol
from epp.api.objects import ApiObject, InferenceObjective, InferencePool, ObjectRef, Pod
from epp.api.pool import PoolReconciler
from epp.api.problem import FieldPath, Problem, Severity, describe, format_path

__all__ = [
    "KINDS",
    "POOL_GROUP",
    "ApiObject",
    "AppProtocol",
    "Changes",
    "Decoded",
    "FieldPath",
    "InferenceObjective",
    "InferencePool",
    "Note",
    "ObjectRef",
    "Objective",
    "Pod",
    "PoolInfo",
    "PoolReconciler",
    "Problem",
    "Severity",
    "decode",
    "describe",
    "format_path",
]
