"""The Kubernetes objects that the picker follows: typed values, their validation, and what they come to.

`decode` makes an object of a plain document, or says everything that is wrong with it; `wire.decode_json` does the same
with the JSON of an API server. `PoolReconciler` turns objects into the pool's endpoints, objectives and rewrites, into
events for the core, and into verdicts for the owners of objects. Everything here is pure, and nothing knows whether the
objects come from files or from an API server.
"""

from epp.api.changes import Batch, Changes, Note, Objective, PoolInfo
from epp.api.decode import KINDS, Decoded, decode
from epp.api.manifest import POOL_GROUP, AppProtocol
from epp.api.objects import (
    ApiObject,
    InferenceModelRewrite,
    InferenceObjective,
    InferencePool,
    ObjectRef,
    Pod,
)
from epp.api.pool import PoolReconciler
from epp.api.problem import FieldPath, Problem, Severity, describe, format_path
from epp.api.rewrites import Rewriting
from epp.api.selector import Selector, parse_selector
from epp.api.verdict import Acceptance, Verdict

__all__ = [
    "KINDS",
    "POOL_GROUP",
    "Acceptance",
    "ApiObject",
    "AppProtocol",
    "Batch",
    "Changes",
    "Decoded",
    "FieldPath",
    "InferenceModelRewrite",
    "InferenceObjective",
    "InferencePool",
    "Note",
    "ObjectRef",
    "Objective",
    "Pod",
    "PoolInfo",
    "PoolReconciler",
    "Problem",
    "Rewriting",
    "Selector",
    "Severity",
    "Verdict",
    "decode",
    "describe",
    "format_path",
    "parse_selector",
]
