"""Which endpoints a request may use at all.

An eligibility is a small hashable value. The core resolves it to a set of endpoints again whenever the
endpoints change, so a queued request follows the pool. Almost every request has `ANY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.endpoint import EndpointSpec


@dataclass(frozen=True, slots=True, eq=False)
class AnyEndpoint:
    """Every endpoint of the pool. There is one of it, `ANY`, which is told from others by identity."""

    def __reduce__(self) -> str:
        """It stays the one when it is copied."""
        return "ANY"

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


@dataclass(frozen=True, slots=True)
class Serving:
    """The endpoints that serve a model: those that declare it, and those that declare none.

    With the empty name only the latter. Whoever makes these has to know which models are declared at all, or a client
    could have as many lanes as it can think of names.
    """

    model: str

    @property
    def is_empty(self) -> bool:
        """Whether no endpoint can ever be admitted."""
        return False

    def admits(self, endpoint: EndpointSpec) -> bool:
        """Whether a request may use `endpoint`."""
        return not endpoint.models or self.model in endpoint.models


@dataclass(frozen=True, slots=True)
class Both:
    """The endpoints of a subset that serve a model."""

    subset: Subset
    serving: Serving

    @property
    def is_empty(self) -> bool:
        """Whether no endpoint can ever be admitted."""
        return self.subset.is_empty

    def admits(self, endpoint: EndpointSpec) -> bool:
        """Whether a request may use `endpoint`."""
        return self.subset.admits(endpoint) and self.serving.admits(endpoint)


Eligibility = AnyEndpoint | Subset | Serving | Both

ANY = AnyEndpoint()


def narrowed(wanted: Eligibility, serving: Serving | None) -> Eligibility:
    """`wanted`, of which only those that serve a model; all of it if that doesn't matter."""
    if serving is None:
        return wanted
    match wanted:
        case AnyEndpoint():
            return serving
        case Subset():
            return Both(wanted, serving)
        case Serving():
            return serving
        case Both(subset, _):
            return Both(subset, serving)
        case _:
            assert_never(wanted)
