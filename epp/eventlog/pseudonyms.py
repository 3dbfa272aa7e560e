"""Names that tenants and models have in an event log: keyed hashes, the same within one log and in no other.

The salt is written into the log, so whoever has both the log and a name can look that tenant up; nobody reads names out
of a log alone. A replay's decisions are those of the original, since the core compares names and never orders them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from epp.core.band import OVERFLOW_FLOW
from epp.core.eligibility import Subset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.endpoint import EndpointSpec

KEPT_NAMES = ("", "default-flow", OVERFLOW_FLOW)
"""They name nobody, and the core knows some of them."""
_REMEMBERED = 65_536
"""Names whose pseudonym is kept; clients may make up as many as they like."""
_ADDRESS = re.compile(r"[0-9A-Fa-f.:\[\]]{1,64}\Z")


class Pseudonyms:
    """The disguise of one log. An empty salt: names stay as they are, for traces that nobody's names are in."""

    def __init__(self, salt: bytes, *, label_keys: Iterable[str] = ()) -> None:
        self.salt = salt
        self._label_keys = frozenset(label_keys)
        self._names: dict[str, str] = {}
        self._forget()

    def name(self, text: str, /) -> str:
        """For a tenant's or a model's name."""
        known = self._names.get(text)
        if known is not None:
            return known
        if len(self._names) >= _REMEMBERED:
            self._forget()
        made = self._names[text] = self._hash(text) if self.salt else text
        return made

    def subset(self, eligibility: Subset, /) -> Subset:
        """Entries that aren't addresses are hashed: they match no endpoint either way."""
        if all(map(_ADDRESS.match, eligibility.entries)):
            return eligibility
        return Subset(
            frozenset(entry if _ADDRESS.match(entry) else self._hash(entry) for entry in eligibility.entries)
        )

    def endpoint(self, spec: EndpointSpec, /) -> EndpointSpec:
        """With the labels that limits go by. All else that is said of it is hashed: two that differ still do."""
        if not self.salt:
            return spec
        return replace(
            spec,
            name=self._hash(repr((spec.name, spec.labels, sorted(spec.models)))),
            labels=tuple((key, value) for key, value in spec.labels if key in self._label_keys),
            models=frozenset(map(self.name, spec.models)),
        )

    def _hash(self, text: str) -> str:
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=self.salt).hexdigest()

    def _forget(self) -> None:
        self._names.clear()
        self._names.update((name, name) for name in KEPT_NAMES)
