"""What comes of putting the objects together: the pool that is served, its objectives, and what changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from epp.api.manifest import AppProtocol
    from epp.api.objects import ApiObject, ObjectRef
    from epp.api.problem import Problem
    from epp.api.selector import Selector
    from epp.core.events import EndpointsChanged, ObjectivesChanged


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """The pool that is served, with its namespace settled."""

    group: str
    namespace: str
    name: str
    app_protocol: AppProtocol
    selector: Selector
    target_ports: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Objective:
    """What an objective of the pool means for a request that names it."""

    name: str
    priority: int
    queue_ttl_s: float | None
    """How long the request may wait; None means the policy's, 0 means without limit."""
    weight: float


class Note(NamedTuple):
    """Something that the owner of an object should know, and that shows only when objects are put together."""

    ref: ObjectRef | None
    """The object; None if it is about one that is missing."""
    problem: Problem

    def __str__(self) -> str:
        return f"{self.ref}: {self.problem}" if self.ref else str(self.problem)


class Batch(NamedTuple):
    """Objects that came, changed and went, all at once: what a source of objects hands over."""

    upserts: tuple[ApiObject, ...] = ()
    deletes: tuple[ObjectRef, ...] = ()
    """Gone before the upserts came."""
    notes: tuple[Note, ...] = ()
    """What is wrong with objects, used or not, that was not wrong before."""
    seen: tuple[ObjectRef, ...] = ()
    """Objectives and rewrites whose status or metadata may differ from what was written there last."""


class Changes(NamedTuple):
    """What a batch came to."""

    events: tuple[EndpointsChanged | ObjectivesChanged, ...] = ()
    """For the core; empty if nothing changed that matters to it."""
    notes: tuple[Note, ...] = ()
    """What is noteworthy now and was not before."""
    judged: tuple[ObjectRef, ...] = ()
    """Objectives and rewrites whose verdict is new, different or gone."""
