"""The objects that the picker follows, as values: what was validated and nothing that it doesn't need.

They come from manifests in files or from an API server, and nothing in them tells which. An empty namespace
means that the manifest names none: such an object belongs to the pool's namespace. Two values are equal if the
picker would treat them alike, so that a heartbeat in a pod's status is not a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from epp.api.manifest import AppProtocol, EndpointPickerRef, PoolRef, RewriteRule
    from epp.api.selector import Selector


class ObjectRef(NamedTuple):
    """Which object: its identity as long as it exists."""

    group: str
    kind: str
    namespace: str
    """Empty if the manifest names none."""
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        return f"{kind} {place}"


class InferencePool(Struct, frozen=True, kw_only=True, gc=False):
    """Which pods are a pool, and on which ports each of them serves."""

    group: str
    namespace: str
    name: str
    terminating: bool
    """Being deleted, which counts as gone."""
    selector: Selector
    """What the labels of a pod must fulfil."""
    target_ports: tuple[int, ...]
    """Every port of a pod is an endpoint of its own; the position is its rank."""
    app_protocol: AppProtocol
    endpoint_picker: EndpointPickerRef | None

    @property
    def ref(self) -> ObjectRef:
        """Its identity."""
        return ObjectRef(self.group, "InferencePool", self.namespace, self.name)


class InferenceObjective(Struct, frozen=True, kw_only=True, gc=False):
    """How important the requests are that name it, for one pool."""

    group: str
    namespace: str
    name: str
    terminating: bool
    """Being deleted, which counts as gone."""
    pool: PoolRef
    priority: int | None
    """None counts as 0."""
    queue_ttl_s: float | None
    """Annotation `epp/queue-ttl`: how long its requests may wait; 0 means without limit."""
    weight: float
    """Annotation `epp/weight`: its share among flows of the same priority."""

    @property
    def ref(self) -> ObjectRef:
        """Its identity."""
        return ObjectRef(self.group, "InferenceObjective", self.namespace, self.name)


class InferenceModelRewrite(Struct, frozen=True, kw_only=True, gc=False):
    """Under which names models are served, for one pool."""

    group: str
    namespace: str
    name: str
    terminating: bool
    """Being deleted, which counts as gone."""
    pool: PoolRef
    rules: tuple[RewriteRule, ...]
    """The first of those that fit a model counts."""
    created: str
    """When, as the API server writes it: the text's order is that of time. Empty if the manifest says nothing."""

    @property
    def ref(self) -> ObjectRef:
        """Its identity."""
        return ObjectRef(self.group, "InferenceModelRewrite", self.namespace, self.name)


class Pod(Struct, frozen=True, kw_only=True, gc=False):
    """A pod that may serve."""

    namespace: str
    name: str
    uid: str
    """Empty if the manifest has none."""
    terminating: bool
    labels: tuple[tuple[str, str], ...]
    """Sorted by key."""
    ip: str
    """In its canonical form, without brackets; empty while it has none."""
    ready: bool
    active_ports: frozenset[int] | None
    """Annotation `llm-d.ai/active-ports`: the only ports that serve; None means all."""
    max_concurrency: int | None
    """Annotation `epp/max-concurrency`: its own limit on requests in flight; 0 sends it nothing."""
    models: frozenset[str] = frozenset()
    """Annotation `epp/models`: the models that it serves; empty means whatever the pool serves."""

    @property
    def ref(self) -> ObjectRef:
        """Its identity."""
        return ObjectRef("", "Pod", self.namespace, self.name)


ApiObject = InferencePool | InferenceObjective | InferenceModelRewrite | Pod
