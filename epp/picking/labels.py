"""Which endpoints a profile uses at all, by their pods' labels.

Upstream filters candidates for every request. A label rule gives the same answer for every request, so here it
restricts the pool instead: an endpoint that it doesn't admit has no room for anybody, and no request waits
for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.core.endpoint import EndpointSpec

ROLE_LABEL = "llm-d.ai/role"


class Operator(Enum):
    """How a label is compared; the names are those of Kubernetes' label selectors."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    IN_OR_ABSENT = "InOrAbsent"
    """One of the values, or no such label. Not in Kubernetes; what upstream's role filters need."""


@dataclass(frozen=True, slots=True)
class LabelRequirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it. As in Kubernetes, `NotIn` holds where the label is missing."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.IN_OR_ABSENT:
                return value is None or value in self.values
            case _:
                assert_never(self.operator)


@dataclass(frozen=True, slots=True)
class LabelRule:
    """All of its requirements must hold; without any, every endpoint is admitted."""

    requirements: tuple[LabelRequirement, ...] = ()

    def admits(self, endpoint: EndpointSpec) -> bool:
        """Whether the pool may use `endpoint`."""
        labels = dict(endpoint.labels)
        return all(requirement.holds(labels) for requirement in self.requirements)

    def __and__(self, other: LabelRule) -> LabelRule:
        return LabelRule(self.requirements + other.requirements)


def _role(operator: Operator, *roles: str) -> LabelRule:
    return LabelRule((LabelRequirement(ROLE_LABEL, operator, frozenset(roles)),))


EVERY_ENDPOINT = LabelRule()
DECODE_ROLES = _role(Operator.IN_OR_ABSENT, "decode", "prefill-decode", "both", "encode-prefill-decode")
PREFILL_ROLES = _role(
    Operator.IN, "prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"
)
ENCODE_ROLES = _role(Operator.IN, "encode", "encode-prefill", "encode-prefill-decode")
