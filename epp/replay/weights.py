"""What a configuration makes of recorded arrivals: its policy, and the weight it gives each tenant.

A recorded weight is what was in force. Tenants that the other configuration names get its weight; those that the
recorded one named, and the other doesn't, get 1; all others keep theirs, which is their objective's. Names in a
recording are pseudonyms, so exact ids can be found again and patterns can't.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from epp.eventlog.pseudonyms import Pseudonyms
from epp.replay.simulation import Candidate

if TYPE_CHECKING:
    from epp.config.model import EndpointPickerConfig
    from epp.config.weights import Weights
    from epp.core.events import Arrived
    from epp.eventlog.header import Header

_UNSAID = -1.0


class Tried(NamedTuple):
    """A configuration to try, and what a user should know of the trial."""

    candidate: Candidate
    notes: tuple[str, ...]


class _Named:
    """What a configuration says of tenants, by the names that they have in the log."""

    def __init__(self, weights: Weights, salt: bytes) -> None:
        self._weights = weights
        self._is_clear = not salt

    def of(self, name: str, otherwise: float) -> float:
        """The weight of that tenant; `otherwise` if nothing is said of it."""
        if self._is_clear:
            return self._weights.of(name, otherwise)
        return self._weights.by_id.get(name, otherwise)


def candidate(name: str, config: EndpointPickerConfig, header: Header) -> Tried:
    """The configuration, in the place where the recording was made."""
    salt = bytes.fromhex(header.salt)
    said, recorded = config.flow_control.weights, header.recipe.parsed().flow_control.weights
    names = Pseudonyms(salt)
    said = replace(said, by_id={names.name(each): weight for each, weight in said.by_id.items()})
    notes: tuple[str, ...] = ()
    policy = header.recipe.policy_of(config)
    if said == recorded:
        return Tried(Candidate(name, policy, _as_recorded), notes)
    if salt and (said.by_pattern or recorded.by_pattern):
        note = (
            "flowControl.weights: names in the log are pseudonyms, which patterns can't be matched with: "
            "tenants that only a pattern names keep the weight that was recorded"
        )
        notes = (note,)
    here, there = _Named(said, salt), _Named(recorded, salt)

    def weight(arrived: Arrived) -> float:
        tenant = arrived.fairness_id
        objective = arrived.weight if there.of(tenant, _UNSAID) == _UNSAID else 1.0
        return here.of(tenant, objective)

    return Tried(Candidate(name, policy, weight), notes)


def _as_recorded(arrived: Arrived) -> float:
    return arrived.weight
