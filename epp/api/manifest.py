"""The shape of the objects that we read, as the API server serves them, and the rules of their fields.

Every rule stands here once, as data: patterns, lengths, ranges, defaults and enums are those of the custom resource
definitions. `schema` reads plain documents by them and reports every breach; typed JSON decoding and schemas of
the custom resources can be made from the same classes. Rules that tie several fields together are in `decode`.
Only what the picker needs of an object is declared; a class that derives from `Closed` declares all of it.

The remedy of a rule is in the `extra` of its `Meta`: what a right value looks like.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct, field

POOL_GROUP = "inference.networking.k8s.io"
OBJECTIVE_GROUPS = ("llm-d.ai", "inference.networking.x-k8s.io")
"""The groups that InferenceObjective is served in; the first wins where both name the same objective."""

_DNS_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN_REMEDY = {"remedy": "lower-case letters, digits, '-' and '.', such as my-pool"}

Group = Annotated[
    str,
    Meta(
        max_length=253,
        pattern=f"^$|^{_DNS_SUBDOMAIN}$",
        extra={"remedy": "an API group without its version, such as inference.networking.k8s.io"},
    ),
]
Kind = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=63,
        pattern="^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
        extra={"remedy": "a kind such as InferencePool or Service"},
    ),
]
ReferentName = Annotated[
    str, Meta(min_length=1, max_length=253, extra={"remedy": "the name of the object that is meant"})
]
ObjectName = Annotated[
    str, Meta(min_length=1, max_length=253, pattern=f"^{_DNS_SUBDOMAIN}$", extra=_SUBDOMAIN_REMEDY)
]
Namespace = Annotated[
    str,
    Meta(
        max_length=63,
        pattern="^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        extra={"remedy": "lower-case letters, digits and '-', such as my-team"},
    ),
]
LabelValue = Annotated[
    str,
    Meta(
        max_length=63,
        pattern="^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        extra={"remedy": "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"},
    ),
]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class Manifest(Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an object of which we declare only what we read."""


class Closed(Manifest, frozen=True, kw_only=True, rename="camel"):
    """A part of an object that is declared in full: any other field in it is a mistake."""


class AppProtocol(Enum):
    """What the gateway speaks to the model servers."""

    HTTP = "http"
    H2C = "kubernetes.io/h2c"


class FailureMode(Enum):
    """What the gateway does when the picker does not answer."""

    OPEN = "FailOpen"
    CLOSE = "FailClose"


class ObjectMeta(Manifest, frozen=True, kw_only=True, rename="camel"):
    """What every object says of itself."""

    name: ObjectName
    namespace: Namespace = ""
    uid: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    deletion_timestamp: str | None = None


class LabelSelector(Closed, frozen=True, kw_only=True, rename="camel"):
    """The labels that a pod of the pool carries, all of them."""

    match_labels: Annotated[dict[str, LabelValue], Meta(min_length=1, max_length=64)]


class TargetPort(Closed, frozen=True, kw_only=True, rename="camel"):
    """A port on which every pod of the pool serves."""

    number: PortNumber


class EndpointPickerPort(Closed, frozen=True, kw_only=True, rename="camel"):
    """The port of the picker's Service."""

    number: PortNumber


class EndpointPickerRef(Closed, frozen=True, kw_only=True, rename="camel"):
    """Whom the gateway asks for an endpoint of this pool."""

    group: Group = ""
    kind: Kind = "Service"
    name: ReferentName
    port: EndpointPickerPort | None = None
    failure_mode: FailureMode = FailureMode.CLOSE


class PoolSpec(Closed, frozen=True, kw_only=True, rename="camel"):
    """Which pods are the pool, and where they serve."""

    selector: LabelSelector
    target_ports: Annotated[tuple[TargetPort, ...], Meta(min_length=1, max_length=8)]
    app_protocol: AppProtocol = AppProtocol.HTTP
    endpoint_picker_ref: EndpointPickerRef | None = None


class PoolManifest(Manifest, frozen=True, kw_only=True, rename="camel"):
    """An InferencePool."""

    metadata: ObjectMeta
    spec: PoolSpec


class PoolRef(Closed, frozen=True, kw_only=True, rename="camel"):
    """The pool that an objective is for, in the objective's own namespace."""

    group: Group = POOL_GROUP
    kind: Kind = "InferencePool"
    name: ReferentName


class ObjectiveSpec(Closed, frozen=True, kw_only=True, rename="camel"):
    """How important the requests of an objective are."""

    pool_ref: PoolRef
    priority: Int32 | None = None


class ObjectiveManifest(Manifest, frozen=True, kw_only=True, rename="camel"):
    """An InferenceObjective."""

    metadata: ObjectMeta
    spec: ObjectiveSpec


class PodCondition(Manifest, frozen=True, kw_only=True, rename="camel"):
    """One of the things that are true or not of a pod."""

    type: str
    status: str


class PodStatus(Manifest, frozen=True, kw_only=True, rename="camel"):
    """Where a pod is, and how it is."""

    pod_ip: str = field(name="podIP", default="")
    conditions: tuple[PodCondition, ...] = ()


class PodManifest(Manifest, frozen=True, kw_only=True, rename="camel"):
    """A Pod."""

    metadata: ObjectMeta
    status: PodStatus = PodStatus()
