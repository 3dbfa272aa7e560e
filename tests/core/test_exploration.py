"""Small worlds, to the last state: whatever can happen to a few requests of three flows, in every order it can.

A world is two bands, two slots and a handful of requests whose estimates are wrong. From every state that it can be
in, every event is tried: the next arrival of each flow, and for every request that there is a seen end, an unseen
one, a cancellation, a failed delivery, and the next deadline. The oracle and `Controller.check` judge each step, and
states that look alike by the oracle's own books are gone on from only once.
"""

from __future__ import annotations

import pickle
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from epp.core import Controller
from epp.core.capacity import ConcurrencyDetector
from epp.core.eligibility import ANY, Subset
from epp.core.events import Arrived, Cancelled, DeliveryFailed, Ended, EndpointsChanged, Event, Tick
from tests.core.building import A, B, policy, request
from tests.core.leftovers import assert_empty
from tests.core.oracle import Oracle
from tests.core.policies import BY_DEADLINE, BY_TOKENS
from tests.core.tags import Charge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.core.endpoint import EndpointSpec
    from epp.core.policy import FlowControlPolicy
    from tests.core.naive import Site

ON_A = Subset.of([A.address])


@dataclass(frozen=True)
class World:
    """What there is, and who may come."""

    rules: FlowControlPolicy
    endpoints: tuple[EndpointSpec, ...]
    requests: tuple[Arrived, ...]
    """The requests of one flow arrive in this order."""
    actual: dict[int, int] = field(default_factory=dict)
    """Tokens that a request turns out to take, where that isn't its estimate."""

    def start(self) -> Oracle:
        """Nobody has arrived yet."""
        oracle = Oracle(Controller(self.rules, now=0.0), self.rules)
        oracle.handle(EndpointsChanged(self.endpoints), 0.0)
        return oracle

    def events(self, oracle: Oracle) -> Iterator[tuple[Event, float]]:
        """Whatever can happen next, and when. Time stands still except for a deadline."""
        now, flows = oracle.now, set()
        for each in self.requests:
            number, flow = each.request_id, (each.priority, each.fairness_id)
            if number in oracle.running:
                yield Ended(number, self.actual.get(number, each.input_tokens), 0), now
                yield Ended(number), now
                yield Cancelled(number), now
                yield DeliveryFailed(number), now
            elif number in oracle.queued:
                yield Cancelled(number), now
            elif number not in oracle.ends and flow not in flows:
                flows.add(flow)
                yield each, now
        if oracle.queued:
            yield Tick(), now + min(min(oracle.left_s(waiting)) for waiting in oracle.queued.values())

    def likeness(self, oracle: Oracle) -> object:
        """What the future depends on, by the oracle's books: places, turns, and what is left of the deadlines."""
        places: list[object] = []
        for each in self.requests:
            number = each.request_id
            if number in oracle.queued:
                waiting = oracle.queued[number]
                behind = sum(other.sequence < waiting.sequence for other in oracle.queued.values())
                places.append((behind, min(oracle.left_s(waiting))))
            elif number in oracle.running:
                places.append(oracle.running[number].site.spec.address)
            else:
                places.append(number in oracle.ends)
        whose = {id(held.charge): number for number, held in oracle.running.items()}
        turns = [
            (
                priority,
                sorted((site.spec.address, virtual) for site, virtual in tags.virtual.items()),
                (tags.latest, address(tags.latest_at)),
                name,
                (flow.base.tag, address(flow.base.home), flow.base.offset),
                flow.lanes,
                [
                    (whose.get(id(each)), each.cost, each.site.spec.address, each.offset)
                    if isinstance(each, Charge)
                    else (each.virtual, address(each.where), each.reference)
                    for each in flow.entries
                ],
            )
            for priority, tags in sorted(oracle.tags.items())
            for name, flow in sorted(tags.flows.items())
        ]
        return repr((places, turns))


def address(site: Site | None) -> str:
    """Where that is."""
    return "" if site is None else site.spec.address


WORLDS: dict[str, World] = {
    "two endpoints": World(
        policy(default_band=BY_TOKENS, bands={}, ttl_s=0.0),
        (A, B),
        (
            request(1, 0, "ada", charge_tokens=4, ttl_s=1.0),
            request(2, 0, "ada", charge_tokens=1),
            request(3, 0, "bob", charge_tokens=2, eligibility=ON_A),
            request(4, 0, "bob", charge_tokens=1, ttl_s=2.0),
            request(5, 5, "cyd", charge_tokens=3),
        ),
        {1: 1, 2: 6, 4: 3},
    ),
    "one endpoint with two slots": World(
        policy(
            capacity=ConcurrencyDetector(max_concurrency=2),
            default_band=replace(BY_TOKENS, flow_max_in_flight=1),
            bands={},
            ttl_s=0.0,
        ),
        (A,),
        (
            request(1, 0, "ada", charge_tokens=4),
            request(2, 0, "ada", charge_tokens=1, weight=4.0, ttl_s=1.0),
            request(3, 0, "bob", charge_tokens=2),
            request(4, 0, "bob", charge_tokens=1),
            request(5, 5, "cyd", charge_tokens=3, ttl_s=2.0),
        ),
        {1: 1, 2: 6, 3: 9},
    ),
    "a full band, by deadline": World(
        policy(default_band=replace(BY_DEADLINE, max_requests=2), bands={}, max_requests=3, ttl_s=4.0),
        (A, B),
        (
            request(1, 0, "ada", charge_tokens=2, eligibility=ON_A),
            request(2, 0, "ada", charge_tokens=3, ttl_s=1.0),
            request(3, 0, "ada", charge_tokens=1),
            request(4, 0, "bob", charge_tokens=2, ttl_s=2.0),
            request(5, 5, "cyd", charge_tokens=1, prefill=ANY),
        ),
        {1: 7, 4: 1},
    ),
}


def explore(world: World) -> tuple[int, int]:
    """Every state within reach, nearest first; returns how many there were, and how many steps were judged."""
    start = world.start()
    seen = {world.likeness(start)}
    front = deque([pickle.dumps(start)])
    steps = 0
    while front:
        state = front.popleft()
        for event, now in list(world.events(pickle.loads(state))):
            oracle = pickle.loads(state)
            oracle.handle(event, now)
            steps += 1
            likeness = world.likeness(oracle)
            if likeness not in seen:
                seen.add(likeness)
                front.append(pickle.dumps(oracle))
                if not oracle.queued and not oracle.running and oracle.ends:
                    assert_empty(oracle)
    return len(seen), steps


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_every_state_of_a_small_world_keeps_every_promise(world: World) -> None:
    """From each of hundreds of states that the world can be in, each event is decided right, to the last state."""
    states, steps = explore(world)
    assert states >= 500
    assert steps >= 4000
