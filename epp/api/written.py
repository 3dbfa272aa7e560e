"""An object's status as it stands in the API server, and the metadata that writing it needs."""

from __future__ import annotations

from msgspec import Struct


class Condition(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One condition, as metav1.Condition has it."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


class Written(Struct, frozen=True, kw_only=True):
    """What the API server holds of an object's status now."""

    uid: str
    resource_version: str
    generation: int
    conditions: tuple[Condition, ...]
