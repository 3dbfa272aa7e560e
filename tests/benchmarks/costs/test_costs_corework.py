"""The core under load: that the benchmark does to it what it says."""

from __future__ import annotations

import pytest

from benchmarks.costs.corework import BareHeap, Crowd, FirstOfAll, LoadedCore, heap_pair_s, pool
from epp.core.endpoint import NO_SAMPLE, EndpointView, Knowledge

CROWD = Crowd(bands=3, flows_per_band=10, endpoints=4)
SLOTS = 10


@pytest.fixture
def core() -> LoadedCore:
    """A full pool of four, and 100 requests in the queue."""
    return LoadedCore(CROWD, queued=100, endpoints=pool(4))


def test_all_slots_are_taken_and_the_rest_is_queued(core: LoadedCore) -> None:
    """The steady state that is measured."""
    told = core.controller.statistics(core.now_s)
    assert told.running_requests == len(core.running) == 4 * SLOTS
    assert told.queued_requests == 100
    assert [band.priority for band in told.bands] == [2, 1, 0]
    core.controller.check()


def test_a_cycle_leaves_as_many_queued_as_before(core: LoadedCore) -> None:
    """One arrives, one ends, one is dispatched in the same call; and nothing is refused on the way."""
    assert core.cycles(300) == 0
    told = core.controller.statistics(core.now_s)
    assert (told.queued_requests, told.running_requests) == (100, 4 * SLOTS)
    core.controller.check()


def test_a_slot_that_nobody_takes_counts_as_late() -> None:
    """With an empty queue a freed slot stays free: the counter sees it, so its 0 elsewhere means something."""
    alone = LoadedCore(CROWD, queued=0, endpoints=pool(4))
    alone.end()
    assert alone.cycles(1) == 1


def test_draining_lets_everything_go() -> None:
    """All that is queued is dispatched, in bounded steps."""
    waiting = LoadedCore(CROWD, queued=500, endpoints=())
    gone, worst_s = waiting.drain(pool(4, max_concurrency=500))
    assert gone == 500
    assert worst_s > 0
    assert waiting.controller.statistics(waiting.now_s).queued_requests == 0


def test_draining_stops_where_there_is_no_room() -> None:
    """What doesn't fit stays, and the loop ends."""
    waiting = LoadedCore(CROWD, queued=50, endpoints=())
    assert waiting.drain(pool(2, max_concurrency=3))[0] == 6


def test_the_heap_keeps_its_size() -> None:
    """What is pushed is popped again, and costs time."""
    heap = BareHeap(50)
    heap.pairs(200)
    assert len(heap) == 50
    assert heap_pair_s(size=50, pairs=200) > 0


def test_the_choice_of_endpoint_is_the_first() -> None:
    """It is not what is measured."""
    views = [EndpointView(spec, 0, 0, 0, Knowledge.UNKNOWN, NO_SAMPLE, 0, 0) for spec in pool(3)]
    assert FirstOfAll().choose(views, None) is views[0]


def test_endpoints_have_addresses_of_their_own() -> None:
    """More than a byte's worth, too."""
    assert len({spec.address for spec in pool(600)}) == 600
