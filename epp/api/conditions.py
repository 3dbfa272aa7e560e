"""The conditions of an object's status: what is to be written there, if anything.

- Ours is `Accepted`. Its transition time changes only when its status does, as `metav1.Condition` says.
- `Ready` is removed while it still is what the schema of InferenceObjective puts there, since nobody would ever
  change it. Every other condition stays as it is, where it is.
- An object has at most `MOST_CONDITIONS`. Where others have taken them all, nothing is written.
- Writing what is already there is never asked for: after one write there is nothing to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from epp.api.verdict import Acceptance, Verdict
from epp.api.written import Condition

if TYPE_CHECKING:
    from epp.api.written import Written

ACCEPTED: Final = "Accepted"
MOST_CONDITIONS: Final = 8
MOST_MESSAGE_BYTES: Final = 32_768
SCHEMA_DEFAULT: Final = Condition(
    type="Ready",
    status="Unknown",
    reason="Pending",
    message="Waiting for controller",
    last_transition_time="1970-01-01T00:00:00Z",
)
"""What the API server gives an InferenceObjective that has no conditions."""


def next_conditions(
    written: Written, verdict: Verdict | None, *, now: str, pool: str
) -> tuple[Condition, ...] | None:
    """All conditions that the object is to have; None if there is nothing to write.

    Without a verdict the object was for `pool` and is no more. That is said once, unless somebody has judged its
    present generation, be it another picker or we. `now` is an RFC 3339 time.
    """
    if no_room(written):
        return None
    old = next((each for each in written.conditions if each.type == ACCEPTED), None)
    if verdict is None:
        if old is not None and old.observed_generation == written.generation:
            return None
        message = f"{pool} judges this object no more: it names another pool now, or is being deleted"
        verdict = Verdict(Acceptance.PENDING, message)
    ours = _accepted(verdict, written.generation, old, now)
    conditions: list[Condition] = []
    for each in written.conditions:
        if not _ours(each):
            conditions.append(each)
        elif each.type == ACCEPTED and ours not in conditions:
            conditions.append(ours)
    if ours not in conditions:
        conditions.append(ours)
    return None if tuple(conditions) == written.conditions else tuple(conditions)


def no_room(written: Written) -> bool:
    """Whether others have taken all the conditions that an object may have."""
    return sum(not _ours(each) for each in written.conditions) >= MOST_CONDITIONS


def _ours(condition: Condition) -> bool:
    """Whether a condition is ours to replace."""
    return condition.type == ACCEPTED or condition == SCHEMA_DEFAULT


def _accepted(verdict: Verdict, generation: int, old: Condition | None, now: str) -> Condition:
    unchanged = old is not None and old.status == verdict.status and old.last_transition_time
    return Condition(
        type=ACCEPTED,
        status=verdict.status,
        reason=verdict.reason.value,
        message=cut(verdict.message, most_bytes=MOST_MESSAGE_BYTES),
        observed_generation=generation,
        last_transition_time=unchanged or now,
    )


def cut(message: str, *, most_bytes: int) -> str:
    """A message that the API server takes: limited in bytes, and no character is cut into."""
    raw = message.encode(errors="replace")
    if len(raw) <= most_bytes:
        return raw.decode()
    ellipsis = "…"
    return raw[: most_bytes - len(ellipsis.encode())].decode(errors="ignore") + ellipsis
