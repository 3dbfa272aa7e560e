"""What another configuration would have made of a recording: the same arrivals, in virtual time.

Arrivals, clients that gave up, endpoints and objectives are as recorded. What follows from decisions follows from those
taken here: a request runs as long as it ran in the recording, or, if it never ran there or was evicted, as long as its
tokens make likely; engines say what they said, with the difference of what we have on them. Made-up traces come with
their engines, which are simulated instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Ended,
    FirstByte,
    PolicyChanged,
    Scraped,
    Tick,
)
from epp.core.snapshot import restore
from epp.replay.course import Course
from epp.replay.engines import EngineService
from epp.whatif.service import ServiceRates, moved_sample
from epp.whatif.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.core import Controller
    from epp.core.actions import Action, Dispatch, Refuse
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy
    from epp.replay.recording import Recording

_LONGEST_TAIL_S = 3600.0
"""How long after the last event the queue is watched."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration that is tried."""

    name: str
    policy: FlowControlPolicy
    weight: Callable[[Arrived], float]


class _Listening:
    """A controller, and the course that it takes."""

    def __init__(self, controller: Controller, course: Course) -> None:
        self._controller = controller
        self._course = course

    def handle(self, event: Event, now: float, /) -> list[Action]:
        """As the controller's."""
        actions = self._controller.handle(event, now)
        self._course.observe(event, actions, now)
        return actions


class _Service(Protocol):
    """What gives decisions their consequences."""

    def attach(self, world: World, begun_s: float) -> None:
        """Serve in this world."""

    def dispatched(self, action: Dispatch, now: float, /) -> None:
        """A request went to an endpoint."""

    def refused(self, action: Refuse, now: float, /) -> None:
        """A request was answered."""

    def left(self, request_id: int, now: float, /) -> None:
        """A running request ended."""

    def asked(self, key: tuple[str, str], now: float, /) -> None:
        """An endpoint is to be scraped at once."""


class RecordedService:
    """Requests run as long as they did, or would."""

    def __init__(self, course: Course, *, first_bytes: bool) -> None:
        self._fates = course.fates
        self._until_s = course.last_s
        self._first_bytes = first_bytes
        self._rates = ServiceRates()
        self._world: World | None = None
        for fate in self._fates.values():
            is_whole = not fate.undelivered and not fate.cut_off
            if is_whole and fate.dispatched_s is not None and fate.ended_s is not None:
                self._rates.learn(fate.key, fate.tokens, fate.ended_s - fate.dispatched_s)

    def attach(self, world: World, begun_s: float) -> None:
        """Serve in this world."""
        del begun_s
        self._world = world

    def dispatched(self, action: Dispatch, now: float, /) -> None:
        """It ends after its time."""
        world = self._world
        assert world is not None  # `attach` comes first
        fate = self._fates.get(action.request_id)
        if fate is None:
            return  # it arrived before the recording began: what is recorded of its end holds
        if fate.dispatched_s is None:
            run_s = self._rates.run_s(action.endpoint.key, fate.tokens)
        elif fate.undelivered:
            world.schedule(now, DeliveryFailed(action.request_id))
            return
        elif fate.ended_s is None:
            likely_s = self._rates.run_s(action.endpoint.key, fate.tokens)
            run_s = max(likely_s, self._until_s - fate.dispatched_s)
        elif fate.cut_off:
            run_s = self._rates.run_s(action.endpoint.key, fate.tokens)
        else:
            run_s = fate.ended_s - fate.dispatched_s
        if self._first_bytes:
            first_s = run_s * fate.input_tokens / fate.tokens
            if fate.first_byte_s is not None and fate.dispatched_s is not None:
                first_s = min(run_s, fate.first_byte_s - fate.dispatched_s)
            world.schedule(now + first_s, FirstByte(action.request_id))
        world.schedule(now + run_s, Ended(action.request_id, fate.input_tokens, fate.output_tokens))

    def refused(self, action: Refuse, now: float, /) -> None:
        """Nothing to do."""

    def left(self, request_id: int, now: float, /) -> None:
        """Nothing to do."""

    def asked(self, key: tuple[str, str], now: float, /) -> None:
        """Nobody can be asked any more."""


def simulate(recording: Recording, candidate: Candidate) -> Course:
    """Every request's fate under the candidate."""
    course = Course()
    policy = candidate.policy
    begun_s = recording.header.monotonic_s
    controller = restore(recording.snapshot, recording.header.recipe.policy())
    engines = recording.header.engines
    service: _Service
    if engines is None:
        service = RecordedService(recording.course, first_bytes=policy.wants_first_bytes)
    else:
        service = EngineService(
            engines,
            recording.truths,
            scrape_interval_s=policy.scrape_interval_s,
            first_bytes=policy.wants_first_bytes,
        )
    world = World(_Listening(controller, course), service)
    world.tell(PolicyChanged(policy), begun_s)
    service.attach(world, begun_s)
    last_s = begun_s
    told = _Told(recording, world, candidate, is_made_up=engines is not None)
    for now, event, recorded_load in recording.timeline:
        last_s = now
        heard = told.translated(event, recorded_load)
        if heard is None:
            world.pass_time(now)
        else:
            world.tell(heard, now)
    _finish(world, course, last_s)
    return course


def _finish(world: World, course: Course, last_s: float) -> None:
    """Nobody comes any more: what waits and runs sees its end."""
    until_s = last_s + _LONGEST_TAIL_S
    while world.running or any(fate.left_s is None for fate in course.fates.values()):
        due_s = world.next_due_s()
        if due_s is None or due_s > until_s:
            return
        # Many steps at once: whether all is over is worth asking only now and then.
        world.pass_time(min(until_s, due_s + 1.0))


class _Told:
    """What the candidate hears of a recorded event."""

    def __init__(self, recording: Recording, world: World, candidate: Candidate, *, is_made_up: bool) -> None:
        self._fates = recording.course.fates
        self._world = world
        self._candidate = candidate
        self._is_made_up = is_made_up
        self._most_running: dict[tuple[str, str], int] = {}

    def translated(self, event: Event, recorded_load: int) -> Event | None:
        """The event as it would have been; None if it follows from decisions that are taken anew."""
        match event:
            case Arrived():
                return event._replace(weight=self._candidate.weight(event))
            case Tick() | PolicyChanged():
                return None
            case Ended(request_id) | FirstByte(request_id) | DeliveryFailed(request_id):
                return None if request_id in self._fates else event
            case Cancelled(request_id):
                fate = self._fates.get(request_id)
                runs = request_id in self._world.running
                return None if fate is not None and (fate.gave_up_s is None or runs) else event
            case Scraped():
                return None if self._is_made_up else self._moved(event, recorded_load)
            case _:
                return event

    def _moved(self, event: Scraped, recorded_load: int) -> Scraped:
        sample = event.sample
        if sample is None:
            return event
        if sample.waiting:
            self._most_running[event.key] = max(sample.running, self._most_running.get(event.key, 0))
        more = self._world.load.get(event.key, 0) - recorded_load
        moved = moved_sample(sample, more=more, most_running=self._most_running.get(event.key, 0))
        return replace(event, sample=moved)
