"""A flow: one tenant inside one band, and the single number that says whose turn it is.

The mechanism is start-time fair queueing (Goyal, Vin, Cheng 1996), with charges that are corrected. Rules of this file:

- A flow carries one *tag*, whatever the length of its queue. A dispatch is charged to it at once, by an estimate.
- A *settlement* leaves the tag as if the actual cost had been charged at dispatch. Between the two the flow may
  have woken from idleness, and each time its tag was raised to the virtual time of then. The last of those steps are
  remembered while a charge from before them is unsettled, and the correction goes through them: what virtual time
  passed while the flow was idle absorbs it, as it would have absorbed the flow's credit. Nothing else is clamped.
- Virtual time differs between endpoints, and so do tags that were earned there. A flow that wakes elsewhere than where
  it was served last brings its *lead* over virtual time, not its tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from epp.core.incarnation import Endpoint
    from epp.core.lane import Lane, Queue

_MOST_WAKES = 64
"""Remembered between a charge and its settlement: some requests run for hours, and their tenants wake all the time."""
_SLACK = 64
"""Dead entries of the stack of newest items that are not worth a sweep."""


class _Wake(NamedTuple):
    """What one wake made of the tag."""

    tag: float
    """Before it, with every correction so far."""
    reference: float
    """The virtual time that it was compared with."""
    floor: float
    """What virtual time was when the flow went to rest. A tag below that is behind for other reasons than rest: it was
    charged too much, and stays behind by as much."""
    kept: float
    """The share of its lead that counts."""


def _beyond(tag: float, reference: float, floor: float, kept: float) -> float:
    """Where a flow of that tag starts when it wakes, from virtual time on. The others are a wake's."""
    if tag < floor:
        return tag - floor
    return kept * (tag - reference) if tag > reference else 0.0


class Flow:
    """One tenant inside one band."""

    __slots__ = (
        "_born",
        "_charges",
        "_wakes",
        "at_cap",
        "epoch",
        "fairness_id",
        "home",
        "home_offset",
        "lifetime",
        "newest",
        "queued_bytes",
        "queued_cost",
        "queued_requests",
        "queues",
        "rested",
        "rested_s",
        "running_requests",
        "tag",
    )

    at_cap: bool
    """Whether as many of its requests run as may: then those that are queued can't be dispatched."""
    epoch: int
    """How often it woke or was reset."""
    home: Endpoint | None
    """Where it was served or woke last: its tag is in that endpoint's virtual time. None: it has no lead."""
    home_offset: float
    """What that endpoint's lane adds to the tag."""
    lifetime: int
    """The band's, in which its tag means something."""
    newest: list[tuple[int, Lane]] | None
    """Sequence and lane of its queued items, the newest last; entries of items that have left are dropped in time. None
    until somebody asks: `by_newness`."""
    queues: dict[Lane, Queue]
    queued_cost: float
    """What its queued items will be charged."""
    rested: float
    """The virtual time of its last lane when it went to rest."""
    rested_s: float
    """When its queue became empty last."""

    def __init__(self, fairness_id: str) -> None:
        self.fairness_id = fairness_id
        self.tag = 0.0
        self.home = None
        self.home_offset = 0.0
        self.epoch = 0
        self._born = 0
        self._charges: dict[int, int] = {}
        self.running_requests = 0
        self.queued_requests = 0
        self.queued_bytes = 0
        self.queued_cost = 0.0
        self.queues = {}
        self.newest = None
        self.at_cap = False
        self.lifetime = 0
        self.rested_s = 0.0
        self.rested = 0.0
        self._wakes: tuple[_Wake, ...] = ()

    def wake(
        self, time: float, where: Endpoint | None, *, reference: float, rested: float, kept: float
    ) -> None:
        """It becomes backlogged where virtual time is `time`, that of the endpoint `where`.

        `reference` is the virtual time that its tag is to be compared with, `rested` what that was when the flow went
        to rest, and `kept` the share of its lead that counts.
        """
        tag = self.tag + self.home_offset
        floor = min(rested, reference)
        self.home = where
        self.home_offset = 0.0
        self.tag = time + _beyond(tag, reference, floor, kept)
        self.epoch += 1
        if self._charges:
            self._wakes = (*self._wakes, _Wake(tag, reference, floor, kept))[-_MOST_WAKES:]

    def charge(self, cost: float, endpoint: Endpoint, offset: float) -> None:
        """It was given service on `endpoint`, at its tag plus `offset`."""
        self.tag += cost
        self.home = endpoint
        self.home_offset = offset
        self._charges[self.epoch] = self._charges.get(self.epoch, 0) + 1

    def settle(self, correction: float, epoch: int) -> bool:
        """The charge made at `epoch` turned out to be off by `correction`. Returns whether the tag moved."""
        moved = False
        if correction and epoch >= self._born:
            if epoch != self.epoch:
                correction = self._through_wakes(correction, epoch)
            self.tag += correction
            moved = correction != 0.0
        left = self._charges[epoch] - 1
        if left:
            self._charges[epoch] = left
        else:
            self._forget_epoch(epoch)
        return moved

    def _through_wakes(self, correction: float, epoch: int) -> float:
        """What is left of a correction once it has gone through the wakes since then."""
        wakes = list(self._wakes)
        # Of too many wakes the oldest are forgotten, and corrections go through those that are left.
        for at in range(max(0, epoch - self.epoch + len(wakes)), len(wakes)):
            wake = wakes[at]
            before, *how = wake
            after = before + correction
            wakes[at] = _Wake(after, *how)
            correction = _beyond(after, *how) - _beyond(before, *how)
            if not correction:
                break
        self._wakes = tuple(wakes)
        return correction

    def _forget_epoch(self, epoch: int) -> None:
        """All charges of that epoch are settled: the wakes that no other will go through are not needed any more."""
        del self._charges[epoch]
        wakes = self._wakes
        if wakes:
            oldest = next(iter(self._charges), self.epoch)
            self._wakes = wakes[max(0, len(wakes) - (self.epoch - oldest)) :]

    @property
    def unsettled(self) -> int:
        """Charges that may still be corrected."""
        return sum(self._charges.values())

    def reset(self, lifetime: int) -> None:
        """Nothing of before counts any more: the band has been empty."""
        self.lifetime = lifetime
        self.tag = self.home_offset = 0.0
        self.home = None
        self.epoch += 1
        self._born = self.epoch
        self._wakes = ()

    def by_newness(self) -> list[tuple[int, Lane]]:
        """`newest`, worked out if nobody asked before. Kept from now on, until its queue is empty."""
        if self.newest is None:
            # No two have the same sequence, so lanes are never compared.
            self.newest = sorted(
                (at, lane) for lane, queue in self.queues.items() for _, at in queue.heap if at in lane.items
            )
        return self.newest

    def pushed(self, sequence: int, lane: Lane) -> None:
        """An item of it is queued in `lane`, after somebody has asked for the newest."""
        newest = self.by_newness()
        if len(newest) > 4 * self.queued_requests + _SLACK:
            newest[:] = [(at, where) for at, where in newest if at in where.items]
        newest.append((sequence, lane))
