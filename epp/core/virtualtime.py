"""Virtual time: how far service has got in one band, on each endpoint.

A dispatch moves the time of its endpoint to the start of what was dispatched, and it never runs backwards while
requests are queued. Endpoints serve unlike sets of flows at unlike speeds, so their times drift apart, and so do the
tags of flows that are served there. What can be carried from one endpoint to another is a flow's *lead*.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from epp.core.flow import Flow
    from epp.core.incarnation import Endpoint
    from epp.core.lane import Lane


_MOST_PARTED = 1024
"""Endpoints that left and may come back, whose times are remembered."""


class VirtualTimes:
    """One band's."""

    __slots__ = ("_parted", "_times", "latest", "latest_at", "lifetime")

    latest: float
    latest_at: Endpoint | None
    """The endpoint whose time is the latest; None while nothing was dispatched."""
    lifetime: int
    """How often the band was empty: tags of before mean nothing."""

    def __init__(self) -> None:
        self._times: dict[Endpoint, float] = {}
        self._parted: dict[tuple[str, str], float] = {}
        self.latest = 0.0
        self.latest_at = None
        self.lifetime = 0

    def of(self, endpoint: Endpoint) -> float:
        """The time on one endpoint."""
        return self._times.get(endpoint, 0.0)

    @property
    def known(self) -> Mapping[Endpoint, float]:
        """Of every endpoint where something was dispatched, or that joined since."""
        return self._times

    def served(self, endpoint: Endpoint, start: float) -> None:
        """An item that started at `start` goes to `endpoint`."""
        if start >= self._times.get(endpoint, 0.0):
            self._times[endpoint] = start
        if start > self.latest or self.latest_at is None:
            self.latest = start
            self.latest_at = endpoint

    def endpoints_changed(self, *, joined: Iterable[Endpoint], left: Iterable[Endpoint]) -> None:
        """Endpoints that join start at the latest time; one that comes back goes on where it was."""
        for endpoint in left:
            time = self._times.pop(endpoint, None)
            if time is not None:
                self._parted[endpoint.spec.key] = time
                if len(self._parted) > _MOST_PARTED:
                    del self._parted[next(iter(self._parted))]
        if self.latest_at is not None and self.latest_at not in self._times and self._times:
            # Nobody is to wait for times that were reached where nobody can be served any more.
            self.latest_at = max(self._times, key=self.of)
            self.latest = self.of(self.latest_at)
        for endpoint in joined:
            time = self._parted.pop(endpoint.spec.key, self.latest)
            if time:
                self._times[endpoint] = time

    def reset(self) -> None:
        """The band is empty: all start anew."""
        self._times.clear()
        self._parted.clear()
        self.latest = 0.0
        self.latest_at = None
        self.lifetime += 1

    # ------------------------------------------------------------ where flows stand

    def lead(self, flow: Flow) -> float:
        """How far the flow is ahead of the time at its home; 0 if it was never given anything."""
        if flow.home is None:
            return 0.0
        return flow.tag + flow.home_offset - self._times.get(flow.home, self.latest)

    def apart(self, flow: Flow) -> float:
        """How far an idle flow is ahead of virtual time, or was behind it when it went to rest; else 0 or less."""
        return max(self.lead(flow), flow.rested - flow.tag - flow.home_offset)

    def start(self, flow: Flow, lane: Lane, *, kept: float) -> None:
        """The flow becomes backlogged in a lane; `kept` is the share of its lead that counts."""
        time, where = self._start_of(lane)
        home = flow.home
        if home is None:
            tag = flow.tag + flow.home_offset
            flow.wake(time, where, reference=tag, rested=tag, kept=kept)
        elif lane.eligible is None or home in lane.eligible:
            flow.wake(time, where, reference=time, rested=flow.rested, kept=kept)
        else:
            # What it is ahead counts everywhere, but what it is owed by those that it shared its home with doesn't.
            flow.wake(time, where, reference=self._times.get(home, self.latest), rested=-inf, kept=kept)

    def rest(self, flow: Flow, lane: Lane) -> None:
        """The flow's last item has left `lane`, or it reached its cap: what it misses from here on has to be known."""
        flow.rested, _ = self._start_of(lane)

    def offset(self, flow: Flow, lane: Lane) -> float:
        """What another lane that the backlogged flow enters adds to its tag: its lead stays what it is."""
        time, _ = self._start_of(lane)
        lead = flow.tag + flow.home_offset - self._reference(flow, lane, time)
        return time + max(0.0, lead) - flow.tag

    def _start_of(self, lane: Lane) -> tuple[float, Endpoint | None]:
        """The time at which a flow starts in a lane, and whose it is."""
        if not lane.eligible:  # all endpoints, or none
            return self.latest, self.latest_at
        where = max(lane.eligible, key=self.of)
        return self.of(where), where

    def _reference(self, flow: Flow, lane: Lane, time: float) -> float:
        """The time that the flow's tag is to be compared with."""
        home = flow.home
        if home is None:
            return flow.tag + flow.home_offset
        if lane.eligible is None or home in lane.eligible:
            return time
        return self._times.get(home, self.latest)
