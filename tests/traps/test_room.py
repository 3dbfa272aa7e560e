"""Traps of room: endpoints that are overrun, that idle beside work, or that are written off with their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epp.core import Controller
from epp.core.actions import Dispatch, Refuse
from epp.core.capacity import ConcurrencyDetector, ConcurrencyMode, UtilizationDetector
from epp.core.events import Arrived, Cancelled, Ended, Scraped
from tests.core.building import A, B, controller, dispatched, endpoint, policy, request, sample, scraped
from tests.core.engines import Engine, World
from tests.core.naive import Waiting, item_view

if TYPE_CHECKING:
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy


class Bystander:
    """Stands before a controller and knows who waits; it judges nothing."""

    def __init__(self, rules: FlowControlPolicy) -> None:
        self.core = Controller(rules, now=0.0)
        self.queued: dict[int, Waiting] = {}

    def handle(self, event: Event, now: float) -> list[Action]:
        """Pass the event on."""
        match event:
            case Arrived():
                view = item_view(event, 0, now, 0.0)
                self.queued[event.request_id] = Waiting(
                    event, 0, now, "", (event.eligibility, 1, None), view, now, 0.0, 0.0
                )
            case Cancelled(request_id):
                self.queued.pop(request_id, None)
            case _:
                pass
        actions = self.core.handle(event, now)
        for action in actions:
            if isinstance(action, Dispatch | Refuse):
                del self.queued[action.request_id]
        return actions


def busy_world(rules: FlowControlPolicy, *, slots: int, transit_s: float, seconds: float) -> World:
    """Two engines of so many slots with half as much work again as they can do, for so long."""
    engines = [Engine(endpoint(number), slots) for number in (1, 2)]
    world = World(Bystander(rules), engines, transit_s=transit_s)
    at_s = 0.0
    while at_s < seconds:
        at_s += world.random.expovariate(2 * slots / 0.2 * 1.5)
        world.at(at_s, lambda: world.arrive(world.random.uniform(0.1, 0.3)))
    return world


def test_no_slot_idles_beside_a_queue() -> None:
    """Trap: a static threshold, a poll or a mean over the pool holds requests while engines have nothing to do."""
    rules = policy(capacity=ConcurrencyDetector(max_concurrency=4), ttl_s=0.5)
    world = busy_world(rules, slots=4, transit_s=0.0, seconds=5.0)
    world.run(5.0)
    assert len(world.completed) > 2 * 4 * 5.0 / 0.2 * 0.9
    assert world.idle_eligible_slot_s == 0.0
    assert world.oracle.core.statistics(5.0).idle_eligible_slot_s == 0.0
    rules = policy(capacity=UtilizationDetector(), ttl_s=0.5)
    world = busy_world(rules, slots=4, transit_s=0.0, seconds=5.0)
    world.run(1.0)
    at_start_s = world.idle_eligible_slot_s
    world.run(5.0)
    assert world.idle_eligible_slot_s == at_start_s, "after the first batch"


def test_a_burst_between_two_scrapes_overruns_nobody() -> None:
    """Trap: between two scrapes every decision is made on the same old sample, and a whole burst goes through."""
    core = controller(A, B, capacity=UtilizationDetector(queue_depth_threshold=5), ttl_s=0.0)
    for spec in (A, B):
        core.handle(scraped(spec, 0.1, waiting=0, running=0), 0.1)
    sent = [each for number in range(1000) for each in dispatched(core.handle(request(number), 0.125))]
    assert len(sent) == 2 * 5, "an engine may have to queue five"
    gone = sent[:4]
    for number in gone:
        sent += dispatched(core.handle(Ended(number), 0.15))
    # The engines have taken up three each in the meantime, and say so in a scrape that saw all of it.
    for spec in (A, B):
        sent += dispatched(core.handle(scraped(spec, 0.2, waiting=2, running=3), 0.2))
    assert len(sent) == 10 + 4 + 2 * 3


def test_an_end_during_a_scrape_is_not_counted_twice() -> None:
    """Trap: load is the scrape plus what was sent since minus what ended since; it overshoots by what is on its way."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=3), ttl_s=0.0)
    core.handle(Scraped(A.key, 0.0, 0.0, sample(waiting=0, running=0)), 0.0)
    sent = [each for number in range(3) for each in dispatched(core.handle(request(number), 0.125))]
    assert sent == [0, 1, 2]
    # The engine is asked before any of the three has reached it, and answers that it has nothing.
    core.handle(Scraped(A.key, 0.126, 0.127, sample(waiting=0, running=0)), 0.127)
    assert dispatched(core.handle(request(3), 0.15)) == [], "what is on its way was forgotten"
    core.handle(Cancelled(3), 0.15)
    # One ends while the engine is asked: whether it was seen or not, it is nobody else's now.
    core.handle(Ended(0), 0.2)
    core.handle(Scraped(A.key, 0.19, 0.21, sample(waiting=3, running=0)), 0.21)
    assert core.statistics(0.21).endpoints[0].view.foreign_requests == 0
    assert dispatched(core.handle(request(4), 0.22)) == [4]


def test_stale_metrics_stop_nothing() -> None:
    """Trap: when scraping dies, or never began, the endpoint counts as full, and a pool of one stops for good."""
    for knows in (True, False):
        core = controller(
            A, capacity=UtilizationDetector(queue_depth_threshold=5), staleness_s=1.0, ttl_s=0.0
        )
        if knows:
            core.handle(scraped(A, 0.0, waiting=0, running=0), 0.0)
        in_flight = [each for number in range(100) for each in dispatched(core.handle(request(number), 0.5))]
        assert len(in_flight) == 5
        for step in range(60):
            now = 2.0 + step
            in_flight += dispatched(core.handle(Ended(in_flight.pop(0)), now))
            assert len(in_flight) == 5, f"at {now} s"


def test_stale_metrics_keep_what_was_proven() -> None:
    """Trap: falling back to a small number, where sixteen at a time were seen to fit before the scrapes stopped."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=5), staleness_s=1.0, ttl_s=0.0)
    in_flight: list[int] = []
    for number in range(100):
        in_flight += dispatched(core.handle(request(number), 0.0))
    for step in range(1, 5):
        now = step / 8
        seen: dict[str, Any] = {"waiting": 0, "running": len(in_flight)}
        in_flight += dispatched(core.handle(scraped(A, now, **seen), now))
        if len(in_flight) >= 16:
            break
    many = len(in_flight)
    assert many >= 16
    for step in range(40):
        in_flight += dispatched(core.handle(Ended(in_flight.pop(0)), 5.0 + step))
        assert len(in_flight) >= many - 5


def test_a_large_item_does_not_idle_the_pool() -> None:
    """Trap: admitting only what fits exactly; one large request waits for an empty endpoint, and all wait behind it."""
    detector = ConcurrencyDetector(mode=ConcurrencyMode.TOKENS, max_token_concurrency=100)
    core = controller(A, capacity=detector)
    assert dispatched(core.handle(request(1, charge_tokens=60), 0.0)) == [1]
    assert dispatched(core.handle(request(2, charge_tokens=80), 0.0)) == [2], "60 of 100 is below the limit"
    assert dispatched(core.handle(request(3, charge_tokens=1), 0.0)) == []
    assert dispatched(core.handle(Ended(1, 60, 0), 1.0)) == [3]
    assert dispatched(core.handle(request(4, charge_tokens=1000), 1.0)) == [4], "larger than the limit itself"
