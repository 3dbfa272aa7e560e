"""A controller in a world of its own: what it decides has consequences there, at times that a service model gives.

Rules of this file:

- Time is what the caller says, and what is due before comes first, at its own time.
- What runs on which endpoint follows the decisions taken here, not those of whoever is watched.
- An event about a request that is gone changes nothing, so what was scheduled is never called back.
- Time may be passed in portions: what is left then happens later, at its own time all the same.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Protocol, assert_never

from epp.core.actions import Dispatch, Evict, Refuse, ScrapeNow, WakeAt
from epp.core.events import Cancelled, DeliveryFailed, Ended, Tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.core.actions import Action
    from epp.core.events import Event

    Due = Event | Callable[[float], Event | None]
    """What is to happen: an event, or who makes one up when its time has come."""


_LOOK = 1 / 16
"""What it costs to ask a maker that has nothing to say, in decisions."""


class Decider(Protocol):
    """A controller, or who stands before one."""

    def handle(self, event: Event, now: float, /) -> list[Action]:
        """Take in what happened, and say what to do about it."""


class Watcher(Protocol):
    """Hears of decisions and of their ends, and gives them consequences."""

    def dispatched(self, action: Dispatch, now: float, /) -> None:
        """A request went to an endpoint."""

    def refused(self, action: Refuse, now: float, /) -> None:
        """A request was answered."""

    def left(self, request_id: int, now: float, /) -> None:
        """A running request ended, however it did."""

    def asked(self, key: tuple[str, str], now: float, /) -> None:
        """The controller wants this endpoint scraped at once."""


class World:
    """One controller and what follows from its decisions."""

    def __init__(self, controller: Decider, watcher: Watcher) -> None:
        self._controller = controller
        self.load: dict[tuple[str, str], int] = {}
        """Requests that run on each endpoint."""
        self.running: dict[int, tuple[str, str]] = {}
        """Where each request runs."""
        self.work = 0.0
        """What was done since the start: decisions, each event that led to none counting as one."""
        self._watcher = watcher
        self._due: list[tuple[float, int, Due]] = []
        self._scheduled = 0
        self._wake_s: float | None = None

    def tell(self, event: Event, now: float) -> None:
        """Let the controller know, after everything that was due before."""
        self.pass_time(now)
        self._handle(event, now)

    def pass_time(self, until_s: float, *, until_work: float = inf) -> bool:
        """Whatever is due happens, each thing at its time. False if `work` came that far first: call again."""
        while True:
            due_s = self._due[0][0] if self._due else None
            wake_s = self._wake_s
            is_wake = wake_s is not None and wake_s <= until_s and (due_s is None or wake_s < due_s)
            if not is_wake and (due_s is None or due_s > until_s):
                return True
            if self.work >= until_work:
                return False
            if is_wake and wake_s is not None:
                self._handle(Tick(), wake_s)
                continue
            at_s, _, due = heappop(self._due)
            event = due(at_s) if callable(due) else due
            if event is None:
                self.work += _LOOK
            else:
                self._handle(event, at_s)

    def next_due_s(self) -> float | None:
        """When something happens by itself; None if nothing ever does."""
        times = [each for each in (self._wake_s, self._due[0][0] if self._due else None) if each is not None]
        return min(times, default=None)

    def schedule(self, at_s: float, due: Due) -> None:
        """Let this happen by itself."""
        self._scheduled += 1
        heappush(self._due, (at_s, self._scheduled, due))

    def _handle(self, event: Event, now: float) -> None:
        self._wake_s = None
        actions = self._controller.handle(event, now)
        if isinstance(event, (Ended, Cancelled, DeliveryFailed)):
            self._leave(event.request_id, now)
        before = self.work
        for action in actions:
            match action:
                case Dispatch(request_id, endpoint):
                    self.running[request_id] = endpoint.key
                    self.load[endpoint.key] = self.load.get(endpoint.key, 0) + 1
                    self.work += 1
                    self._watcher.dispatched(action, now)
                case Refuse():
                    self.work += 1
                    self._watcher.refused(action, now)
                case Evict(request_id):
                    self.schedule(now, Ended(request_id))
                case ScrapeNow(key):
                    self._watcher.asked(key, now)
                case WakeAt(at_s):
                    self._wake_s = at_s
                case _:
                    assert_never(action)
        if self.work == before:
            self.work += 1

    def _leave(self, request_id: int, now: float) -> None:
        key = self.running.pop(request_id, None)
        if key is None:
            return
        left = self.load[key] - 1
        if left:
            self.load[key] = left
        else:
            del self.load[key]
        self._watcher.left(request_id, now)
