"""What is in force, for people: which policies, with which numbers, and every cap.

Policies are plain values; whatever numbers, words and switches they hold are shown under the names they have there.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING

from epp.core.insight import BandRules, PolicyEntry, PolicyInForce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.core.controller import Controller
    from epp.core.policy import BandPolicy

_UNLIMITED = "unlimited"
_SHOWN_ELSEWHERE = frozenset({"name", "default_band", "default_negative_band"})
"""Fields that are no numbers of what holds them."""


def policy_in_force(controller: Controller) -> PolicyInForce:
    """The controller's policy as it is now."""
    policy = controller._policy
    negative = policy.default_negative_band
    return PolicyInForce(
        capacity=_entry(policy.capacity),
        ceiling=_entry(policy.ceiling),
        caps=dict(_parameters(policy)),
        default_band=_rules(policy.default_band),
        default_negative_band=None if negative is None else _rules(negative),
        bands=tuple(_rules(policy.bands[each], each) for each in sorted(policy.bands, reverse=True)),
        faults={f"{name}: {fault}": count for (name, fault), count in controller._guard.faults.items()},
    )


def _rules(policy: BandPolicy, priority: int | None = None) -> BandRules:
    return BandRules(priority, _entry(policy.fairness), _entry(policy.ordering), dict(_parameters(policy)))


def _entry(policy: object) -> PolicyEntry:
    name = getattr(policy, "name", None)
    return PolicyEntry(name if isinstance(name, str) else type(policy).__name__, dict(_parameters(policy)))


def _parameters(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The numbers, words and switches of a plain value; those inside another one of its values by `outer.inner`."""
    if not is_dataclass(value):
        return
    for each in fields(value):
        if each.name in _SHOWN_ELSEWHERE:
            continue
        held = getattr(value, each.name)
        name = prefix + each.name
        match held:
            case None:
                yield name, _UNLIMITED if "max" in each.name else "none"
            case Enum():
                yield name, str(held.value)
            case bool() | int() | float() | str():
                yield name, str(held)
            case _ if not hasattr(held, "name"):
                yield from _parameters(held, f"{name}.")
