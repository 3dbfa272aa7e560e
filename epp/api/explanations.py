"""What `kubectl explain` says of every field of our custom resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.api.manifest import (
    EndpointPickerPort,
    EndpointPickerRef,
    LabelSelector,
    ModelMatch,
    ObjectiveSpec,
    PoolRef,
    PoolSpec,
    RewriteMatch,
    RewriteRule,
    RewriteSpec,
    RewriteTarget,
    TargetPort,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Struct

WORDS: Mapping[type[Struct], Mapping[str, str]] = {
    ObjectiveSpec: {
        "poolRef": "The pool that the objective is for. It is in the objective's own namespace.",
        "priority": (
            "How important the requests of this objective are, compared with others of the pool. While the pool "
            "is short of room, a request waits until no other of a higher priority waits; requests of the same "
            "priority share fairly. May be negative. Unset counts as 0, as do requests without an objective."
        ),
    },
    PoolRef: {
        "group": "The API group of the pool.",
        "kind": "The kind of the pool.",
        "name": "The name of the pool.",
    },
    PoolSpec: {
        "selector": "Which pods are the pool; they are in its own namespace.",
        "targetPorts": "The ports on which every pod serves. Each makes an endpoint of its own.",
        "appProtocol": "What the gateway speaks to the model servers.",
        "endpointPickerRef": "The picker that the gateway asks.",
    },
    LabelSelector: {"matchLabels": "The labels that a pod carries, all of them."},
    TargetPort: {"number": "The number of the port."},
    EndpointPickerRef: {
        "group": "The API group of the picker's object; empty for a Service.",
        "kind": "The kind of the picker's object.",
        "name": "The name of the picker's object.",
        "port": "The port on which the picker answers; a Service needs one.",
        "failureMode": "What the gateway does with a request when the picker does not answer.",
    },
    EndpointPickerPort: {"number": "The number of the port."},
    RewriteSpec: {
        "poolRef": "The pool whose requests are rewritten. It is in the rewrite's own namespace.",
        "rules": (
            "What is served under which name. For one request one rule counts: one that names its model before one "
            "that is for all; then that of the oldest object; then the first in the list."
        ),
    },
    RewriteRule: {
        "matches": "Which requests the rule is for: those for which any of these is true. Without any, all.",
        "targets": "What the requests get instead. With several, each request gets one of them by chance.",
    },
    RewriteMatch: {"model": "The model that the request asks for."},
    ModelMatch: {
        "type": "How the names are compared: Exact.",
        "value": "The name of the model, as in the request's field model.",
    },
    RewriteTarget: {
        "modelRewrite": "The name of the model that the request gets.",
        "weight": (
            "The share of the requests that get this model, divided by the sum of all weights of the rule. Either "
            "all targets of a rule have a weight, or none has one; without weights the shares are equal."
        ),
    },
}
"""By class, and by the field's name in a manifest."""
