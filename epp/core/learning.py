"""A limit on requests that is learned for every endpoint, from the time that first tokens take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LearnedLimits(Enum):
    """What is done with what is learned."""

    SHADOW = "shadow"
    """It is published, and nothing follows from it."""
    ON = "on"
    """It is the endpoint's limit, within the operator's bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedLimitPolicy:
    """Bounds and pace of learning."""

    mode: LearnedLimits = LearnedLimits.SHADOW
    least: int = 1
    most: int = 256
    initial: int = 20
