"""Which endpoints a request may use at all.

An eligibility is a small hashable value. The core resolves it to a set of endpoints again whenever the
endpoints change, so a queued request follows the pool. Almost every request has `ANY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.endpoint import EndpointSpec


@dataclass(frozen=True, slots=True)
class AnyEndpoint:
    """Every endpoint of the pool."""

    @property
    def is_empty(self) -> bool:
        """Whether no endpoint can ever be admitted."""
        return False

    def admits(self, endpoint: EndpointSpec) -> bool:
        """Whether a request may use `endpoint`."""
        del endpoint
        return True


@dataclass(frozen=True, slots=True)
class Subset:
    """The endpoints that a gateway's subset hint names, by `ip:port` or by `ip` alone."""

    entries: frozenset[str]

    @classmethod
    def of(cls, entries: Iterable[str]) -> Subset:
        """From the hint's entries as they came; blanks are dropped, bare IPv6 gets its brackets."""
        cleaned = set()
        for raw in entries:
            entry = raw.strip()
            if entry.count(":") > 1 and not entry.startswith("["):
                entry = f"[{entry}]"
            if entry:
                cleaned.add(entry)
        return cls(frozenset(cleaned))

    @property
    def is_empty(self) -> bool:
        """Whether no endpoint can ever be admitted."""
        return not self.entries

    def admits(self, endpoint: EndpointSpec) -> bool:
        """Whether a request may use `endpoint`."""
        return endpoint.address in self.entries or endpoint.host in self.entries


Eligibility = AnyEndpoint | Subset

ANY = AnyEndpoint()
