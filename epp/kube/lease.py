"""Who leads, by a Lease: the election as a state machine. No I/O and no clock; the time comes with every call.

Rules of this file:
- Nobody else's clock counts. A record has expired when it has not changed for its own duration on OUR clock since we
  first read it as it is. A record without a holder was released, and is free at once.
- Every write builds on one reading and carries its resourceVersion, so of two writers one gets a 409. What was read
  is used up by the write: when the answer is lost, the next step is to read.
- A renewal counts from when it was SENT. Whoever reads the record starts to count no earlier than that, so with a
  duration that is longer than the renew deadline by more than two clocks can drift apart, a leader that stops at its
  deadline (`LeaseLoss.STOP`) has stopped before anybody can succeed it.
- A Lease that somebody deleted is not free for those who have read it: its holder may not know yet. The holder
  creates it anew at once; the others wait until it would have expired. A candidate that never saw it can't know, so
  deleting the Lease of a living leader is the one way to two of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import assert_never

import msgspec

from epp.kube.errors import UNREADABLE

API_VERSION = "coordination.k8s.io/v1"
KIND = "Lease"
MOST_DURATION_S = 86400.0
CLOCK_MARGIN = 1.05
"""The duration is longer than the renew deadline by this factor at least: two clocks that are 1 % wrong, and room."""
_INT32_MAX = 2**31 - 1


class LeaseLoss(Enum):
    """What a leader does that can't renew its lease."""

    KEEP = "keep"
    """It leads on until it reads that somebody else does."""
    STOP = "stop"
    """It stops at its renew deadline, before anybody else can lead."""


class Standing(Enum):
    """Where a candidate stands."""

    LEADING = "leading"
    UNCONFIRMED = "unconfirmed"
    """It leads on although its renew deadline has passed; somebody else may lead as well."""
    STANDBY = "standby"
    FENCED = "fenced"
    """It held the lease when it last heard of it, and must not act on that."""

    @property
    def may_dispatch(self) -> bool:
        """Whether requests may be sent on."""
        return self in {Standing.LEADING, Standing.UNCONFIRMED}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """The times of an election; all candidates should have the same. The defaults are those of client-go."""

    duration_s: float = 15.0
    """How long a record that does not change keeps the others away."""
    renew_deadline_s: float = 10.0
    """How long after its last renewal a leader is sure to lead."""
    retry_s: float = 2.0
    """How often the lease is renewed, or tried for."""

    def __post_init__(self) -> None:
        if not 0 < self.duration_s <= MOST_DURATION_S:
            raise ValueError(
                f"the lease's duration is {self.duration_s:g}s; it must be more than 0 and at most {MOST_DURATION_S:g}s"
            )
        if not self.renew_deadline_s * CLOCK_MARGIN <= self.duration_s:
            raise ValueError(
                f"the renew deadline of {self.renew_deadline_s:g}s is too long for a lease of {self.duration_s:g}s: "
                f"make it at most {self.duration_s / CLOCK_MARGIN:.3g}s, so that a leader stops before another starts"
            )
        if not 0 < self.retry_s < self.renew_deadline_s:
            raise ValueError(
                f"the retry period is {self.retry_s:g}s; it must be more than 0 and less than the renew deadline of "
                f"{self.renew_deadline_s:g}s, so that a leader can renew in time"
            )

    @classmethod
    def of(cls, duration_s: float) -> LeaseTerms:
        """The terms of that duration in the proportions of the defaults."""
        return cls(duration_s=duration_s, renew_deadline_s=duration_s * 2 / 3, retry_s=duration_s * 2 / 15)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """What a Lease says of the election. While it stays equal nobody renewed it, whatever else of the Lease changed."""

    holder: str = ""
    """Empty when it was released."""
    duration_s: int = 0
    """0 when the Lease does not say."""
    acquire_time: str = ""
    renew_time: str = ""
    transitions: int = 0
    """How often the holder changed."""
    resource_version: str = field(default="", compare=False)
    """Of the Lease that it was read from; empty if there is none."""


ABSENT = LeaseRecord()
"""There is no Lease."""


class LeaseError(ValueError):
    """The bytes are not a Lease."""


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec | None = None


class _Change(msgspec.Struct):
    type: str
    object: msgspec.Raw


_DECODER = msgspec.json.Decoder(_Lease)
_CHANGES = msgspec.json.Decoder(_Change)


def decode_lease(raw: bytes | msgspec.Raw) -> LeaseRecord:
    """What a Lease says. Raises `LeaseError`; fields that are missing, null or unknown are none."""
    try:
        lease = _DECODER.decode(raw)
    except UNREADABLE as error:
        raise LeaseError(f"not a Lease: {error}") from error
    if not lease.metadata.resource_version:
        raise LeaseError("not a Lease: it has no metadata.resourceVersion")
    spec = lease.spec or _Spec()
    return LeaseRecord(
        holder=spec.holder_identity or "",
        duration_s=max(0, spec.lease_duration_seconds or 0),
        acquire_time=spec.acquire_time or "",
        renew_time=spec.renew_time or "",
        transitions=max(0, spec.lease_transitions or 0),
        resource_version=lease.metadata.resource_version,
    )


def holder_after(line: bytes) -> str:
    """Who holds the Lease after the change that a line of its watch tells of; empty if nobody does.

    Raises `LeaseError` if it tells of no change.
    """
    try:
        change = _CHANGES.decode(line)
    except UNREADABLE as error:
        raise LeaseError(f"not a change of a Lease: {error}") from error
    match change.type:
        case "ADDED" | "MODIFIED":
            return decode_lease(change.object).holder
        case "DELETED":
            return ""
        case _:
            raise LeaseError(f"not a change of a Lease: {change.type[:20]!r}")


def encode_new(record: LeaseRecord, *, namespace: str, name: str) -> dict[str, object]:
    """The Lease to create."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"namespace": namespace, "name": name},
        "spec": _spec(record),
    }


def encode_patch(record: LeaseRecord) -> dict[str, object]:
    """The merge patch that makes the Lease say this, whatever else it holds, if it is still the one that was read."""
    return {"metadata": {"resourceVersion": record.resource_version}, "spec": _spec(record)}


def micro_time(wall_s: float) -> str:
    """A wall-clock time, in seconds since 1970, as Kubernetes' MicroTime."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Elector:
    """One candidate. It says what to read and what to write, and is told what came of it.

    A step is: `read` if `must_read`, then `propose`; send the proposal, if there is one; then `accepted`, or nothing if
    it was refused or its fate is unknown. Steps follow each other; they never overlap.
    """

    def __init__(self, identity: str, *, terms: LeaseTerms, on_loss: LeaseLoss) -> None:
        self.identity = identity
        self.terms = terms
        self._on_loss = on_loss
        self._base: LeaseRecord | None = None
        """What the next write builds on; None if that has to be read."""
        self._seen = ABSENT
        """The record as last read or written; of a Lease that was deleted, the last one."""
        self._seen_s = -math.inf
        """Since when it is known to be like that."""
        self._held = False
        self._renewed_s = -math.inf
        """When the last write that was accepted was sent."""
        self._in_doubt = False
        """A proposal was made, and nothing was heard of the Lease since."""
        self._retired = False

    # ------------------------------------------------------------------------ what is known

    def standing(self, *, now_s: float) -> Standing:
        """Where we stand now."""
        if not self._held:
            return Standing.STANDBY
        if now_s < self.confirmed_until_s:
            return Standing.LEADING
        match self._on_loss:
            case LeaseLoss.KEEP:
                return Standing.UNCONFIRMED
            case LeaseLoss.STOP:
                return Standing.FENCED
            case _:
                assert_never(self._on_loss)

    @property
    def confirmed_until_s(self) -> float:
        """Until when we lead for sure; in the past, or -inf, if we don't."""
        return self._renewed_s + self.terms.renew_deadline_s if self._held else -math.inf

    @property
    def renewed_s(self) -> float | None:
        """When the renewal by which we hold the lease was sent; None if we don't hold it."""
        return self._renewed_s if self._held else None

    @property
    def holder(self) -> str:
        """Who held the lease when we last heard of it; empty if nobody did."""
        return self._seen.holder

    @property
    def transitions(self) -> int:
        """How often the holder changed, by the Lease's own count."""
        return self._seen.transitions

    @property
    def is_retired(self) -> bool:
        """Whether we gave up the lease for good."""
        return self._retired

    @property
    def may_hold(self) -> bool:
        """Whether the Lease may name us as its holder."""
        return self._in_doubt if self._base is None else self._base.holder == self.identity

    def free_in_s(self, *, now_s: float) -> float:
        """How long until the lease can be taken, if its record stays as it is; 0 if it can be now."""
        if self._seen.holder in {"", self.identity}:
            return 0.0
        return max(0.0, self._seen_s + (self._seen.duration_s or self.terms.duration_s) - now_s)

    # ----------------------------------------------------------------------------- the steps

    @property
    def must_read(self) -> bool:
        """Whether a step begins with reading. The holder knows the Lease by its own last write."""
        return self._base is None or not self._held

    def read(self, record: LeaseRecord, *, now_s: float) -> None:
        """The API server holds this; `ABSENT` if it has no such Lease. `now_s` is when the answer came."""
        self._base, self._in_doubt = record, False
        if not record.resource_version:
            return
        self._held = self._held and record.holder == self.identity
        self._see(record, now_s)

    def propose(self, *, now_s: float, wall_time: str) -> LeaseRecord | None:
        """The record to write: to create if it has no resourceVersion. None if the lease is not for us to take."""
        base = self._base
        if base is None or self._retired or self.free_in_s(now_s=now_s) > 0:
            return None
        self._base, self._in_doubt = None, True
        last = self._seen
        ours = last.holder == self.identity
        first = not last.resource_version
        return LeaseRecord(
            holder=self.identity,
            duration_s=math.ceil(self.terms.duration_s),
            acquire_time=last.acquire_time if ours else wall_time,
            renew_time=wall_time,
            transitions=last.transitions if ours or first else min(last.transitions + 1, _INT32_MAX),
            resource_version=base.resource_version,
        )

    def accepted(self, record: LeaseRecord, *, sent_s: float, now_s: float) -> None:
        """The proposal that was sent at `sent_s` was written, and the Lease is now this."""
        self._base, self._in_doubt = record, False
        self._held = record.holder == self.identity and not self._retired
        self._renewed_s = sent_s
        self._see(record, now_s)

    def retire(self) -> None:
        """Give the lease up, and never run for it again. `propose_release` tells the others."""
        self._retired = True
        self._held = False

    def propose_release(self, *, wall_time: str) -> LeaseRecord | None:
        """The record that lets the next one in at once; None if the Lease does not name us, or must be read first."""
        base = self._base
        if base is None or not base.resource_version or base.holder != self.identity:
            return None
        self._base, self._in_doubt = None, True
        return replace(base, holder="", renew_time=wall_time)

    def _see(self, record: LeaseRecord, now_s: float) -> None:
        if record != self._seen:
            self._seen_s = now_s
        self._seen = record


def _spec(record: LeaseRecord) -> dict[str, object]:
    spec = _Spec(
        holder_identity=record.holder,
        lease_duration_seconds=record.duration_s or None,
        acquire_time=record.acquire_time or None,
        renew_time=record.renew_time or None,
        lease_transitions=record.transitions,
    )
    return {name: value for name, value in msgspec.to_builtins(spec).items() if value is not None}
