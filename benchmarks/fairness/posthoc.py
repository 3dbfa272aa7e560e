"""Least attained service as the upstream picker does it, for comparison: its rules, none of its code.

Of the tenants with requests queued the one with the best score goes next: 0.8 x (1 - attained service) + 0.2 x the
wait of its oldest request, each from 0 for the least of them to 1 for the most. Service is counted when a request
completes, not when it is dispatched, and halves every minute. Work that was cut off counts nothing, and there are
no weights. Upstream counts a token of output twice; here a token is a token for everybody.
"""

from __future__ import annotations

from collections import deque
from math import exp2
from typing import TYPE_CHECKING, assert_never

from epp.core.actions import Action, Dispatch
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Draining,
    Ended,
    EndpointsChanged,
    FirstByte,
    ObjectivesChanged,
    PolicyChanged,
    Resumed,
    Scraped,
    Tick,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.endpoint import EndpointSpec
    from epp.core.events import Event

_SERVICE_WEIGHT = 0.8
_WAIT_WEIGHT = 0.2
_HALF_LIFE_S = 60.0


class _Program:
    """One tenant."""

    def __init__(self) -> None:
        self.queue: deque[tuple[int, float]] = deque()
        """(request, when it came)."""
        self._service = 0.0
        self._counted_s = 0.0

    def serve(self, tokens: float, now: float) -> None:
        """A request of it completed."""
        self._service = self.service(now) + tokens
        self._counted_s = now

    def service(self, now: float) -> float:
        """What it has attained, the past being forgotten bit by bit."""
        return self._service * exp2((self._counted_s - now) / _HALF_LIFE_S)


class PostHocScheduler:
    """Dispatches to the least loaded endpoint with a slot, as long as there is one."""

    def __init__(self) -> None:
        self._programs: dict[str, _Program] = {}
        self._free: dict[str, int] = {}
        self._endpoints: dict[str, EndpointSpec] = {}
        self._running: dict[int, tuple[str, str]] = {}
        """Whose request runs where."""

    def handle(self, event: Event, now: float) -> list[Action]:
        """What happened, and who is dispatched."""
        match event:
            case Arrived(request_id, _, name):
                self._programs.setdefault(name, _Program()).queue.append((request_id, now))
            case Ended() | Cancelled() | DeliveryFailed():
                name, address = self._running.pop(event.request_id)
                self._free[address] += 1
                if isinstance(event, Ended):
                    self._programs[name].serve((event.input_tokens or 0) + (event.output_tokens or 0), now)
            case EndpointsChanged(endpoints):
                self._endpoints = {each.address: each for each in endpoints}
                self._free = {each.address: each.max_concurrency or 1 for each in endpoints}
            case (
                FirstByte()
                | Scraped()
                | ObjectivesChanged()
                | PolicyChanged()
                | Draining()
                | Resumed()
                | Tick()
            ):
                pass
            case _:
                assert_never(event)
        return list(self._drain(now))

    def _drain(self, now: float) -> Iterable[Dispatch]:
        while waiting := {name: each for name, each in self._programs.items() if each.queue}:
            address = max(self._free, key=self._free.__getitem__)
            if not self._free[address]:
                return
            name = self._next(waiting, now)
            request_id, came_s = waiting[name].queue.popleft()
            self._free[address] -= 1
            self._running[request_id] = (name, address)
            yield Dispatch(request_id, self._endpoints[address], now - came_s)

    @staticmethod
    def _next(waiting: dict[str, _Program], now: float) -> str:
        service = _normalised({name: each.service(now) for name, each in waiting.items()})
        wait = _normalised({name: now - each.queue[0][1] for name, each in waiting.items()})
        return max(
            waiting, key=lambda name: _SERVICE_WEIGHT * (1 - service[name]) + _WAIT_WEIGHT * wait[name]
        )


def _normalised(values: dict[str, float]) -> dict[str, float]:
    """From 0 for the least to 1 for the most."""
    low, high = min(values.values()), max(values.values())
    return {name: (value - low) / (high - low) if high > low else 0.0 for name, value in values.items()}
