"""Traps of priority and lanes: who overtakes whom, who blocks whom, and who is never looked at again."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from epp.core.capacity import ConcurrencyDetector
from epp.core.eligibility import ANY, Subset
from epp.core.events import Cancelled, Ended, EndpointsChanged, Tick
from tests.core.building import A, B, controller, destinations, dispatched, endpoint, refused, request, wake_s

if TYPE_CHECKING:
    from epp.core.actions import Action
    from epp.core.events import Event

ON_A = Subset.of([A.address])
ON_B = Subset.of([B.address])


def test_a_newcomer_waits_at_the_instant_a_slot_frees() -> None:
    """Trap: a fast path gives the free slot to whoever arrives, before the queue is looked at."""
    for newcomer_first in (False, True):
        core = controller(A)
        core.handle(request(1, 0), 0.0)
        core.handle(request(2, 10), 0.0)
        events: list[Event] = [Ended(1), request(3, 0)]
        sent = []
        for event in reversed(events) if newcomer_first else events:
            sent += dispatched(core.handle(event, 1.0))
        assert sent == [2]
    many = 200
    core = controller()
    for number in range(many):
        core.handle(request(number, 10), 0.0)
    actions = core.handle(EndpointsChanged(tuple(endpoint(number) for number in range(1, 251))), 1.0)
    sent = dispatched(actions)
    assert len(sent) < many, "the pass was meant to need several steps"
    sent += dispatched(core.handle(request(many, 0), 1.0))
    while wake_s(actions) == 1.0:
        actions = core.handle(Tick(), 1.0)
        sent += dispatched(actions)
    assert sent.index(many) >= many


def test_strictness_is_global() -> None:
    """Trap: priority is only an order inside a tenant, a class or a lane, so a high request waits behind low ones."""
    core = controller(A, B, capacity=ConcurrencyDetector(max_concurrency=1))
    core.handle(request(1), 0.0)
    core.handle(request(2), 0.0)
    number = 2
    priority_of = {}
    for round_ in range(10):
        for priority in (0, -5, 100):
            for tenant in ("ada", "bob", "cyd"):
                for eligibility in (ANY, ON_A, ON_B):
                    number += 1
                    priority_of[number] = priority
                    core.handle(request(number, priority, tenant, eligibility=eligibility), 0.1 + round_)
    running = {A.address: 1, B.address: 2}
    sent = []
    while running:
        address = A.address if len(sent) % 2 else B.address
        if address not in running:
            address = next(iter(running))
        went = destinations(core.handle(Ended(running.pop(address)), 50.0))
        for request_id, to in went.items():
            sent.append(priority_of[request_id])
            running[to] = request_id
    assert len(sent) == len(priority_of)
    assert sent == sorted(sent, reverse=True)


def test_a_blocked_head_does_not_stall_its_band() -> None:
    """Trap: the band's next request may only use a full endpoint, and everybody behind it waits for that endpoint."""
    core = controller(A, B)
    assert destinations(core.handle(request(1, eligibility=ON_A), 0.0)) == {1: A.address}
    assert dispatched(core.handle(request(2, eligibility=ON_A), 1.0)) == []
    assert destinations(core.handle(request(3), 2.0)) == {3: B.address}
    assert dispatched(core.handle(request(4), 3.0)) == []
    assert destinations(core.handle(Ended(3), 4.0)) == {4: B.address}
    assert dispatched(core.handle(request(5), 5.0)) == []
    assert destinations(core.handle(Ended(1), 6.0)) == {2: A.address}, "the blocked one lost its turn"
    wait_s = core.statistics(6.0).bands[0].wait_s
    assert {reason.value: waited for reason, waited in wait_s.items() if waited} == {
        "no_room": 5.0 + 1.0 + 1.0
    }


def test_no_order_of_a_few_events_loses_a_wake_up() -> None:
    """Trap: something makes room and nobody looks, or a deadline comes and nobody is woken; work waits for ever."""
    events: tuple[Event, ...] = (
        request(1, 0, ttl_s=8.0),
        request(2, 5, ttl_s=4.0),
        request(3, 0, "other", eligibility=ON_B, ttl_s=2.0),
        EndpointsChanged((A, B)),
        EndpointsChanged((B,)),
        Ended(1),
        Cancelled(2),
    )
    for order in permutations(events):
        _judge_order(order)


def _judge_order(order: tuple[Event, ...]) -> None:
    """After each event nobody waits beside a free endpoint, and the next deadline is a wake-up that was asked for."""
    core = controller(A, hold_s=16.0)
    now, listed = 0.0, {A.address}
    queued: dict[int, tuple[float, set[str]]] = {}
    running: dict[int, str] = {}

    def follow(actions: list[Action]) -> None:
        for request_id, address in destinations(actions).items():
            del queued[request_id]
            running[request_id] = address
        for request_id in refused(actions):
            del queued[request_id]
        free = listed - set(running.values())
        assert not any(usable & free for _, usable in queued.values()), (order, now)
        if queued:
            deadline_s = min(deadline_s for deadline_s, _ in queued.values())
            woken_s = wake_s(actions)
            assert woken_s is not None
            assert now <= woken_s <= deadline_s, (order, now)

    for event in order:
        now += 0.125
        match event:
            case EndpointsChanged(specs):
                listed = {spec.address for spec in specs}
            case Ended(request_id) | Cancelled(request_id):
                running.pop(request_id, None)
                if isinstance(event, Cancelled):
                    queued.pop(request_id, None)
            case _:
                usable = {A.address, B.address} if event.eligibility == ANY else {B.address}
                queued[event.request_id] = (now + event.ttl_s, usable)
        follow(core.handle(event, now))
    while queued:
        now = min(deadline_s for deadline_s, _ in queued.values())
        before = len(queued)
        follow(core.handle(Tick(), now))
        assert len(queued) < before, (order, now)
