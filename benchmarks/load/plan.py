"""What will be sent, to the last request: drawn before the first one leaves, so that every target gets the same.

Promises:
- A plan says when each request is due, whose it is and how long it and its answer are; it knows neither servers nor
  clocks.
- The same seed gives the same plan; another class, or another rate of one class, leaves the others' requests as they
  are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Delivery(Enum):
    """How a client wants its answer."""

    STREAM = "stream"
    """Token by token, with the usage at the end."""
    WHOLE = "whole"
    """In one piece. It has no first token of its own: what counts as that is its first byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """What all requests of a class have in common."""

    name: str
    """Of the class."""
    objective: str | None = None
    """The InferenceObjective that they name; None means that they name none."""
    delivery: Delivery = Delivery.STREAM
    patience_s: float = 30.0
    """Whoever has no first token by then hangs up, counted from when the request was due."""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """More of them, on every request."""


class Due(NamedTuple):
    """One request to come."""

    due_s: float
    """Seconds since the beginning."""
    class_name: str
    tenant: str
    """Its fairness id; '' means that it names none."""
    prompt_tokens: int
    output_tokens: int
    """Exactly so many: the model server is asked not to stop before."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it, in order of time."""

    manners: Mapping[str, Manner]
    """By class name."""
    requests: tuple[Due, ...]
    duration_s: float
    """While requests arrive; they end later."""
