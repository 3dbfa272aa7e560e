"""What an operator says of single endpoints' limits: by the pod's own annotation, else by its labels.

A pool of unlike machines has unlike limits. The annotation wins over a label that holds the number, which wins over the
first rule that matches; where none of them speaks, the detector's own number holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epp.core.endpoint import EndpointSpec


@dataclass(frozen=True, slots=True)
class LabelLimit:
    """Endpoints whose pods carry this label take so many requests each."""

    key: str
    value: str
    max_concurrency: int


@dataclass(frozen=True, slots=True)
class LimitRules:
    """How labels become limits."""

    label: str = ""
    """A label whose value is the limit, a whole number above 0; '' if there is none. Other values say nothing."""
    by_label: tuple[LabelLimit, ...] = ()
    """The first that matches counts."""

    def limit(self, endpoint: EndpointSpec) -> int | None:
        """The limit stated for `endpoint`; None if nothing is said of it."""
        if endpoint.max_concurrency is not None:
            return endpoint.max_concurrency
        if not self.label and not self.by_label:
            return None
        labels = dict(endpoint.labels)
        stated = labels.get(self.label, "")
        if stated.isascii() and stated.isdigit() and len(stated) < 10 and int(stated) > 0:
            return int(stated)
        for rule in self.by_label:
            if labels.get(rule.key) == rule.value:
                return rule.max_concurrency
        return None


NO_RULES = LimitRules()
