"""Whose turn it is, worked out the long way: every flow's whole history, added up anew at every question.

A flow's history is a list of charges and lifts in the order in which they came. Its tag is what they come to: a charge
moves it on, a lift puts it to the virtual time of that moment plus what the flow was ahead. A settlement replaces the
charge *where it stands in the list*, so what follows from it is by definition as if the actual cost had been charged at
dispatch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from epp.core.eligibility import ANY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from epp.core.eligibility import Eligibility
    from epp.core.policy import FairnessPolicy, ItemView
    from tests.core.naive import Site

LaneKey = tuple["Eligibility", int, "Eligibility | None"]
"""What requests have in common that may use the same endpoints."""


@dataclass(slots=True, eq=False)
class Charge:
    """What a dispatch cost its flow, where, and by which rules."""

    cost: float
    site: Site
    offset: float
    fairness: FairnessPolicy
    view: ItemView
    is_settled: bool = False


@dataclass(slots=True, eq=False)
class Lift:
    """The flow became dispatchable where virtual time stood at `virtual`."""

    virtual: float
    where: Site | None
    reference: float | None
    """The virtual time that its tag was in; None: it had been given nothing yet."""
    floor: float
    """Virtual time when it went to rest: a tag below it stays as far behind as it was."""
    kept: float = 1.0
    """The share of its lead that it has not forgotten."""


class Standing(NamedTuple):
    """What a history comes to."""

    tag: float = 0.0
    home: Site | None = None
    """In whose virtual time the tag is."""
    offset: float = 0.0

    def after(self, entry: Charge | Lift) -> Standing:
        """One more thing happened."""
        if isinstance(entry, Charge):
            return Standing(self.tag + entry.cost, entry.site, entry.offset)
        tag = self.tag + self.offset
        if entry.reference is None:
            return Standing(entry.virtual, entry.where)
        if tag < entry.floor:
            return Standing(entry.virtual + tag - entry.floor, entry.where)
        return Standing(entry.virtual + entry.kept * max(0.0, tag - entry.reference), entry.where)


@dataclass(slots=True, eq=False)
class History:
    """All that ever happened to one flow."""

    base: Standing = field(default_factory=Standing)
    entries: list[Charge | Lift] = field(default_factory=list)
    rested_s: float = 0.0
    """When it had nothing queued any more."""
    rested: float = 0.0
    """Virtual time then, where it had had something queued."""
    lanes: dict[LaneKey, float] = field(default_factory=dict)
    """Where it has requests queued, and what each of those lanes adds to its tag."""

    def standing(self) -> Standing:
        """What it comes to."""
        standing = self.base
        for entry in self.entries:
            standing = standing.after(entry)
        return standing

    def add(self, entry: Charge | Lift) -> None:
        """Something happened. What nothing can change any more is added up, once."""
        self.entries.append(entry)
        while self.entries and not (isinstance(self.entries[0], Charge) and not self.entries[0].is_settled):
            self.base = self.base.after(self.entries.pop(0))


@dataclass(slots=True, eq=False)
class BandTags:
    """The histories of one band's flows, and its virtual time on every endpoint."""

    flows: dict[str, History] = field(default_factory=dict)
    lanes: dict[LaneKey, list[Site]] = field(default_factory=dict)
    """The endpoints that each restricted lane may use."""
    virtual: dict[Site, float] = field(default_factory=dict)
    parted: dict[tuple[str, str], float] = field(default_factory=dict)
    """What virtual time was on endpoints that left."""
    latest: float = 0.0
    latest_at: Site | None = None

    def flow(self, name: str) -> History:
        """The flow's history, which may be empty."""
        return self.flows.setdefault(name, History())

    def key(self, name: str, lane: LaneKey) -> float:
        """The flow's tag, as it counts in a lane."""
        flow = self.flow(name)
        return flow.standing().tag + flow.lanes[lane]

    # ------------------------------------------------------------------ who is queued

    def queue(self, name: str, lane: LaneKey, pool: Iterable[Site], kept: Callable[[History], float]) -> None:
        """A request of the flow is queued in that lane."""
        if lane[0] != ANY and lane not in self.lanes:
            self.lanes[lane] = [site for site in pool if lane[0].admits(site.spec)]
        flow = self.flow(name)
        if not flow.lanes:
            self.start(flow, lane, kept(flow))
        elif lane not in flow.lanes:
            flow.lanes[lane] = self._offset(flow, lane)

    def start(self, flow: History, lane: LaneKey, kept: float = 1.0) -> None:
        """The flow becomes dispatchable, in this lane first."""
        virtual, where = self._start_of(lane)
        standing, reference = flow.standing(), self._reference(flow, lane, virtual)
        is_home = lane[0] == ANY or standing.home in self.lanes[lane]
        floor = -inf if reference is None or not is_home else min(flow.rested, reference)
        flow.add(Lift(virtual, where, reference, floor, kept))
        flow.lanes[lane] = 0.0

    def rest(self, flow: History, lane: LaneKey) -> None:
        """The flow isn't dispatchable from here on; it was so in this lane last."""
        flow.rested, _ = self._start_of(lane)

    def release(self, name: str) -> None:
        """The flow was at its cap, and is no more: it starts as if it had been idle."""
        flow = self.flow(name)
        for at, lane in enumerate(flow.lanes):
            if at:
                flow.lanes[lane] = self._offset(flow, lane)
            else:
                self.start(flow, lane)

    def _start_of(self, lane: LaneKey) -> tuple[float, Site | None]:
        usable = self.lanes.get(lane)
        if not usable:
            return self.latest, self.latest_at
        where = max(usable, key=lambda site: self.virtual.get(site, 0.0))
        return self.virtual.get(where, 0.0), where

    def _reference(self, flow: History, lane: LaneKey, virtual: float) -> float | None:
        home = flow.standing().home
        if home is None:
            return None
        if lane[0] == ANY or home in self.lanes[lane]:
            return virtual
        return self.virtual.get(home, self.latest)

    def _offset(self, flow: History, lane: LaneKey) -> float:
        """In another lane the flow is as far ahead of virtual time as it is in its own."""
        virtual, _ = self._start_of(lane)
        standing, reference = flow.standing(), self._reference(flow, lane, virtual)
        lead = 0.0 if reference is None else max(0.0, standing.tag + standing.offset - reference)
        return virtual + lead - standing.tag

    # ---------------------------------------------------------------- what is charged

    def charge(
        self, name: str, lane: LaneKey, site: Site, fairness: FairnessPolicy, view: ItemView
    ) -> Charge:
        """A request of the flow was sent there."""
        start = self.key(name, lane)
        self.virtual[site] = max(self.virtual.get(site, 0.0), start)
        if start > self.latest or self.latest_at is None:
            self.latest, self.latest_at = start, site
        flow = self.flow(name)
        charge = Charge(fairness.cost(view), site, flow.lanes[lane], fairness, view)
        flow.add(charge)
        return charge

    def enlist(self, *, joined: list[Site], left: list[Site], described: list[Site]) -> None:
        """Endpoints that join start at the latest virtual time of all, those that come back where they were."""
        for site in left:
            if site in self.virtual:
                self.parted[site.spec.key] = self.virtual.pop(site)
        if self.latest_at is not None and self.latest_at not in self.virtual and self.virtual:
            self.latest_at, self.latest = max(self.virtual.items(), key=lambda entry: entry[1])
        for site in joined:
            time = self.parted.pop(site.spec.key, self.latest)
            if time:
                self.virtual[site] = time
        gone = [*left, *described]
        for lane, usable in self.lanes.items():
            stayed = [site for site in usable if site not in gone]
            self.lanes[lane] = stayed + [each for each in (*joined, *described) if lane[0].admits(each.spec)]


def settle(charge: Charge, usage: tuple[int, int] | None) -> None:
    """A request has ended: with this usage, or with none that was seen."""
    if usage is not None:
        actual = charge.view._replace(input_tokens=max(1, usage[0]), output_tokens=usage[1])
        charge.cost = charge.fairness.cost(actual)
    charge.is_settled = True


def undo(charge: Charge) -> None:
    """It was never delivered."""
    charge.cost = 0.0
    charge.is_settled = True
