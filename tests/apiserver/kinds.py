"""The kinds of objects a server knows: the built-in ones that a picker meets, and the shape that custom ones share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class Scope(Enum):
    """Where objects of a kind live."""

    NAMESPACED = "Namespaced"
    CLUSTER = "Cluster"


class Origin(Enum):
    """Who defined the kind; built-in and custom kinds differ in many small ways."""

    BUILT_IN = "built in"
    CUSTOM = "custom"


class StatusPath(Enum):
    """Whether a kind's status is written apart."""

    SUBRESOURCE = "status"
    NONE = "none"


class Counting(Enum):
    """Whether metadata.generation counts changes of the spec."""

    GENERATION = "generation"
    NONE = "none"


class Overwriting(Enum):
    """What a PUT may do besides replacing the very version that it names."""

    NOTHING = "nothing"
    BLINDLY = "replace whatever version is there"
    CREATING = "create what is not there"
    BLINDLY_OR_CREATING = "both"

    @property
    def creates(self) -> bool:
        return self in {Overwriting.CREATING, Overwriting.BLINDLY_OR_CREATING}

    @property
    def needs_version(self) -> bool:
        return self in {Overwriting.NOTHING, Overwriting.CREATING}


@dataclass(frozen=True)
class Kind:
    """One kind in one version of its group."""

    group: str
    version: str
    plural: str
    kind: str
    scope: Scope = Scope.NAMESPACED
    origin: Origin = Origin.CUSTOM
    status: StatusPath = StatusPath.SUBRESOURCE
    counting: Counting = Counting.GENERATION
    overwriting: Overwriting = Overwriting.NOTHING

    def __hash__(self) -> int:
        """Quick, since kinds are keys everywhere."""
        return hash(self.resource)

    @cached_property
    def api_version(self) -> str:
        """As in manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def resource(self) -> str:
        """As in messages: `pods`, `inferenceobjectives.llm-d.ai`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @cached_property
    def prefix(self) -> str:
        """The path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @cached_property
    def head(self) -> bytes:
        """How the JSON of every object of this kind begins."""
        return f'{{"apiVersion":"{self.api_version}","kind":"{self.kind}",'.encode()

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Where a client finds the collection, an object, or a part of one."""
        parts = [self.prefix]
        if namespace and self.scope is Scope.NAMESPACED:
            parts.append(f"namespaces/{namespace}")
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


PODS = Kind("", "v1", "pods", "Pod", origin=Origin.BUILT_IN, overwriting=Overwriting.BLINDLY)
NAMESPACES = Kind(
    "",
    "v1",
    "namespaces",
    "Namespace",
    scope=Scope.CLUSTER,
    origin=Origin.BUILT_IN,
    counting=Counting.NONE,
    overwriting=Overwriting.BLINDLY,
)
EVENTS = Kind(
    "",
    "v1",
    "events",
    "Event",
    origin=Origin.BUILT_IN,
    status=StatusPath.NONE,
    counting=Counting.NONE,
    overwriting=Overwriting.BLINDLY_OR_CREATING,
)
LEASES = Kind(
    "coordination.k8s.io",
    "v1",
    "leases",
    "Lease",
    origin=Origin.BUILT_IN,
    status=StatusPath.NONE,
    counting=Counting.NONE,
    overwriting=Overwriting.CREATING,
)
BUILT_IN = (PODS, NAMESPACES, EVENTS, LEASES)
BUILT_IN_GROUPS = frozenset(kind.group for kind in BUILT_IN)
