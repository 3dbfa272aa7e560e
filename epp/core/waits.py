"""Queued seconds of one band by reason: what `accounting` books and metrics show."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.core.statistics import WaitReason

if TYPE_CHECKING:
    from collections.abc import Mapping


class WaitAccount:
    """Queued seconds of one band by reason. Attributes rather than a mapping: it is written at every event."""

    __slots__ = (
        "ceiling",
        "flow_cap",
        "higher_priority",
        "ineligible",
        "no_endpoint",
        "no_room",
        "same_band",
    )

    def __init__(self) -> None:
        self.higher_priority = 0.0
        self.same_band = 0.0
        self.no_room = 0.0
        self.no_endpoint = 0.0
        self.ineligible = 0.0
        self.ceiling = 0.0
        self.flow_cap = 0.0

    def by_reason(self) -> Mapping[WaitReason, float]:
        """A snapshot."""
        return MappingProxyType({reason: float(getattr(self, reason.value)) for reason in WaitReason})

    def any(self) -> bool:
        """Whether anything was booked."""
        return any(getattr(self, reason.value) for reason in WaitReason)

    def add(self, other: WaitAccount) -> None:
        """Take over what another account holds."""
        for reason in WaitReason:
            setattr(self, reason.value, getattr(self, reason.value) + getattr(other, reason.value))
