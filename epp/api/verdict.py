"""What becomes of an object that names our pool: the `Accepted` condition's reason, and words for its owner."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Acceptance(Enum):
    """The reasons of the condition `Accepted`."""

    ACCEPTED = "Accepted"
    """It counts."""
    PENDING = "Pending"
    """Not judged by anybody: unknown."""
    POOL_NOT_FOUND = "PoolNotFound"
    """It names our pool, which does not exist now. It counts once it does."""
    INVALID_POOL_REF = "InvalidPoolRef"
    """It names our pool by a wrong group or kind."""
    SUPERSEDED = "Superseded"
    """Another object of the same name, of the preferred group, counts instead."""
    INVALID = "Invalid"
    """It can't be read by the rules of its kind; what it said before, if anything, still counts."""


class Verdict(NamedTuple):
    """What is to be told to the owner of an object."""

    reason: Acceptance
    message: str

    @property
    def status(self) -> str:
        """The condition's status: True, False or Unknown."""
        if self.reason is Acceptance.ACCEPTED:
            return "True"
        return "Unknown" if self.reason is Acceptance.PENDING else "False"
