"""The core alone, under a full queue: what a request costs it, beside a bare heap of the same size in the same process.

    python -m benchmarks.costs.corework speed|policies|beside|memory [sizes]

`speed` keeps two controllers and a heap in a steady state and works on them in turn, a slice at a time, so that
whatever slows the machine slows all three. All endpoints are full: each cycle is one request that arrives and one that
ends, which frees a slot for the next in the queue. Then the whole queue drains into a pool that suddenly has room.
`policies` does the steady state with one kind of fairness or order after the other, `beside` without and with what may
run beside the core. `memory` counts what the core allocates for the requests that it holds, and for their flows.

Time is CPU time of this process, with the garbage collector set up as in the picker.
"""

from __future__ import annotations

import argparse
import tempfile
import tracemalloc
from collections import deque
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from time import process_time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.costs.listeners import Listener, Logged, Shadowed
from benchmarks.program import RESULT, say
from epp.core import Controller
from epp.core.actions import Dispatch
from epp.core.capacity import ConcurrencyDetector
from epp.core.ceilings import StaticCeiling
from epp.core.endpoint import EndpointSpec
from epp.core.events import Arrived, Ended, EndpointsChanged, ObjectivesChanged, Tick
from epp.core.fairness import GlobalStrictFairness, ProgramAwareFairness, RoundRobinFairness, TokenFairness
from epp.core.ordering import EdfOrdering, FcfsOrdering, SloDeadlineOrdering
from epp.core.policy import BandPolicy, FlowControlPolicy
from epp.serve import garbage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epp.core.actions import Action
    from epp.core.endpoint import EndpointView
    from epp.core.events import Event
    from epp.core.policy import FairnessPolicy, OrderingPolicy

_SEED = 1
_SLOTS = 10
"""Of each endpoint, in the steady state."""
_SLICES = 8
_SECONDS_PER_EVENT = 1e-4
_TTL_S = 36_000.0
"""Waiting budgets are kept, and none runs out."""
_INPUT_TOKENS, _OUTPUT_TOKENS = 300, 200
"""What a request takes; its estimate is something else."""


class Deciding(NamedTuple):
    """How a band decides whose turn it is."""

    fairness: FairnessPolicy
    ordering: OrderingPolicy


DEFAULT = Deciding(TokenFairness(), FcfsOrdering())
POLICIES = {
    "tokens": DEFAULT,
    "round robin": Deciding(RoundRobinFairness(), FcfsOrdering()),
    "program-aware": Deciding(ProgramAwareFairness(), FcfsOrdering()),
    "global strict": Deciding(GlobalStrictFairness(), FcfsOrdering()),
    "tokens, edf": Deciding(TokenFairness(), EdfOrdering()),
    "tokens, slo-deadline": Deciding(TokenFairness(), SloDeadlineOrdering()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Who is in the queue."""

    bands: int
    flows_per_band: int
    endpoints: int

    @property
    def priorities(self) -> tuple[int, ...]:
        """One for each band."""
        return tuple(range(self.bands))


class FirstOfAll:
    """A choice of endpoint that costs nothing: choosing is not what is measured."""

    def choose(self, candidates: Sequence[EndpointView], facts: object, /) -> EndpointView:
        """The first."""
        del facts
        return candidates[0]


class LoadedCore:
    """A controller whose endpoints are full, with so many requests queued."""

    def __init__(
        self,
        crowd: Crowd,
        *,
        queued: int,
        endpoints: Sequence[EndpointSpec],
        deciding: Deciding = DEFAULT,
        listen: Callable[[Controller], Listener] | None = None,
    ) -> None:
        self.now_s = 0.0
        self._random = Random(_SEED)
        self._crowd = crowd
        self._last_id = 0
        self._garbage = garbage.GarbageLooks()
        self.controller = Controller(rules(crowd, deciding), now=self.now_s)
        self.listener = listen(self.controller) if listen else None
        self._tell(ObjectivesChanged(frozenset(crowd.priorities)))
        self.running: deque[int] = deque()
        if endpoints:
            self._tell(EndpointsChanged(tuple(endpoints)))
        for _ in range(_SLOTS * len(endpoints) + queued):
            self._note(self.arrive())

    def arrive(self) -> list[Action]:
        """One more request, of a band and a tenant, of a size, a budget and a deadline at random."""
        self._last_id += 1
        self.now_s += _SECONDS_PER_EVENT
        dice = self._random.random
        band = int(dice() * self._crowd.bands)
        tenant = int(dice() * self._crowd.flows_per_band)
        request = Arrived(
            self._last_id,
            band,
            f"tenant-{tenant}",
            1024,
            ttl_s=_TTL_S * (1.0 + dice()),
            body_bytes=int(500 + 4000 * dice()),
            slo_s=dice(),
        )
        actions = self._tell(request)
        self._garbage.request_came(queued_requests=self.controller.queued_requests)
        return actions

    def end(self) -> list[Action]:
        """The request that has run longest ends."""
        self.now_s += _SECONDS_PER_EVENT
        ended = Ended(self.running.popleft(), _INPUT_TOKENS, _OUTPUT_TOKENS)
        return self._tell(ended)

    def cycles(self, count: int) -> int:
        """So many arrivals and ends. Returns in how many of them the freed slot was not given away at once."""
        late = 0
        for _ in range(count):
            self.arrive()
            actions = self.end()
            late += not isinstance(actions[0] if actions else None, Dispatch)
            self._note(actions)
        return late

    def drain(self, endpoints: Sequence[EndpointSpec]) -> tuple[int, float]:
        """Let everything that is queued go to `endpoints`. Returns how many went, and the longest step in seconds."""
        gone, worst_s = 0, 0.0
        event: EndpointsChanged | Tick = EndpointsChanged(tuple(endpoints))
        while True:
            before_s = process_time()
            actions = self._tell(event)
            worst_s = max(worst_s, process_time() - before_s)
            dispatches = sum(type(action) is Dispatch for action in actions)
            if not dispatches:
                return gone, worst_s
            gone += dispatches
            event = Tick()

    def _tell(self, event: Event) -> list[Action]:
        listener = self.listener
        if listener is None:
            return self.controller.handle(event, self.now_s)
        listener.before(event, self.now_s)
        actions = self.controller.handle(event, self.now_s)
        listener.after(event, actions, self.now_s)
        return actions

    def _note(self, actions: list[Action]) -> None:
        for action in actions:
            if type(action) is Dispatch:
                self.running.append(action.request_id)


def rules(crowd: Crowd, deciding: Deciding) -> FlowControlPolicy:
    """Flow control that refuses nobody."""
    band = BandPolicy(
        deciding.fairness, deciding.ordering, max_requests=1_000_000, max_bytes=1_000_000_000_000
    )
    return FlowControlPolicy(
        capacity=ConcurrencyDetector(max_concurrency=_SLOTS),
        ceiling=StaticCeiling(),
        choice=FirstOfAll(),
        default_band=band,
        ttl_s=_TTL_S,
        hold_s=_TTL_S,
        max_flows=crowd.bands * crowd.flows_per_band + 1,
    )


class BareHeap:
    """What any queue costs at least: a heap of (time, number), one pushed and one popped at a time."""

    def __init__(self, size: int) -> None:
        self._random = Random(_SEED)
        self._heap: list[tuple[float, int]] = []
        for number in range(size):
            heappush(self._heap, (self._random.random(), number))

    def __len__(self) -> int:
        return len(self._heap)

    def pairs(self, count: int) -> None:
        """So many pushes and pops. What is pushed belongs somewhere in the middle."""
        heap, dice = self._heap, self._random.random
        for number in range(count):
            heappush(heap, (heap[0][0] + dice(), number))
            heappop(heap)


def heap_pair_s(*, size: int, pairs: int) -> float:
    """CPU seconds of one push and pop on a heap of `size`."""
    heap = BareHeap(size)
    before_s = process_time()
    heap.pairs(pairs)
    return (process_time() - before_s) / pairs


def pool(count: int, *, max_concurrency: int | None = None) -> tuple[EndpointSpec, ...]:
    """So many endpoints."""
    return tuple(
        EndpointSpec(f"10.0.{number // 250}.{number % 250 + 1}:8000", max_concurrency=max_concurrency)
        for number in range(count)
    )


def _speed(crowd: Crowd, *, queued: int, few_queued: int, cycles: int) -> None:
    garbage.settle()
    endpoints = pool(crowd.endpoints)
    heap = BareHeap(queued)
    full = LoadedCore(crowd, queued=queued, endpoints=endpoints)
    small = LoadedCore(crowd, queued=few_queued, endpoints=endpoints)
    spent_s = [0.0, 0.0, 0.0]
    late = 0
    share = max(1, cycles // _SLICES)
    for _ in range(_SLICES):
        at_s = process_time()
        heap.pairs(share)
        spent_s[0] += process_time() - at_s
        at_s = process_time()
        late += full.cycles(share)
        spent_s[1] += process_time() - at_s
        at_s = process_time()
        late += small.cycles(share)
        spent_s[2] += process_time() - at_s
    del small, heap
    waiting = LoadedCore(crowd, queued=queued, endpoints=())
    at_s = process_time()
    gone, worst_s = waiting.drain(pool(crowd.endpoints, max_concurrency=queued))
    drained_s = process_time() - at_s
    if gone != queued:
        raise RuntimeError(f"{gone} of {queued} queued requests were dispatched")
    pair_s, cycle_s, small_cycle_s = (spent / (share * _SLICES) for spent in spent_s)
    say(
        RESULT,
        heap_pair_s=pair_s,
        cycle_s=cycle_s,
        few_cycle_s=small_cycle_s,
        late=late,
        drain_request_s=drained_s / queued,
        drain_worst_step_s=worst_s,
    )


def _policies(crowd: Crowd, *, queued: int, cycles: int) -> None:
    garbage.settle()
    endpoints = pool(crowd.endpoints)
    heap = BareHeap(queued)
    share = max(1, cycles // _SLICES)
    ratios: dict[str, float] = {}
    cycle_s: dict[str, float] = {}
    for name, deciding in POLICIES.items():
        full = LoadedCore(crowd, queued=queued, endpoints=endpoints, deciding=deciding)
        spent_s = [0.0, 0.0]
        for _ in range(_SLICES):
            at_s = process_time()
            heap.pairs(share)
            spent_s[0] += process_time() - at_s
            at_s = process_time()
            full.cycles(share)
            spent_s[1] += process_time() - at_s
        ratios[name] = spent_s[1] / spent_s[0]
        cycle_s[name] = spent_s[1] / (share * _SLICES)
    say(RESULT, ratios=ratios, cycle_s=cycle_s)


def _beside(crowd: Crowd, *, queued: int, cycles: int) -> None:
    garbage.settle()
    endpoints = pool(crowd.endpoints)
    share = max(1, cycles // _SLICES)
    with tempfile.TemporaryDirectory(prefix="epp-bench-") as directory:
        path = Path(directory) / "events.jsonl"
        kinds: dict[str, Callable[[Controller], Listener] | None] = {
            "alone": None,
            "log": lambda controller: Logged(controller, path),
            "shadow": lambda _: Shadowed(rules(crowd, POLICIES["round robin"])),
        }
        cores = {
            kind: LoadedCore(crowd, queued=queued, endpoints=endpoints, listen=listen)
            for kind, listen in kinds.items()
        }
        spent_s = dict.fromkeys(kinds, 0.0)
        for _ in range(_SLICES):
            for kind, core in cores.items():
                at_s = process_time()
                core.cycles(share)
                if core.listener is not None:
                    core.listener.catch_up()
                spent_s[kind] += process_time() - at_s
        for core in cores.values():
            if core.listener is not None:
                core.listener.close()
    alone_s, log_s, shadow_s = (spent_s[kind] / (share * _SLICES) for kind in kinds)
    say(RESULT, alone_s=alone_s, log_s=log_s - alone_s, shadow_s=shadow_s - alone_s)


def _memory(crowd: Crowd, *, queued: int) -> None:
    """A flow is weighed by comparing the same queue in one flow for each band."""
    full = LoadedCore(crowd, queued=0, endpoints=pool(crowd.endpoints))
    per_request = _bytes_per_request(full, queued=queued)
    few = LoadedCore(replace(crowd, flows_per_band=1), queued=0, endpoints=pool(crowd.endpoints))
    in_one_flow = _bytes_per_request(few, queued=queued)
    flows = sum(len(band.flows) for band in full.controller.statistics(full.now_s).bands)
    say(
        RESULT,
        bytes_per_request=per_request,
        bytes_per_item=in_one_flow,
        bytes_per_flow=(per_request - in_one_flow) * queued / flows,
        flows=flows,
    )


def _bytes_per_request(core: LoadedCore, *, queued: int) -> float:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(queued):
        core.arrive()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / queued


def main(argv: list[str] | None = None) -> None:
    """Measure and say the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.corework")
    parser.add_argument("what", choices=("speed", "policies", "beside", "memory"))
    parser.add_argument("--bands", type=int, default=8)
    parser.add_argument("--flows-per-band", type=int, default=5_000)
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--queued", type=int, default=50_000)
    parser.add_argument("--few-queued", type=int, default=500)
    parser.add_argument("--cycles", type=int, default=20_000)
    options = parser.parse_args(argv)
    crowd = Crowd(bands=options.bands, flows_per_band=options.flows_per_band, endpoints=options.endpoints)
    match options.what:
        case "speed":
            _speed(crowd, queued=options.queued, few_queued=options.few_queued, cycles=options.cycles)
        case "policies":
            _policies(crowd, queued=options.queued, cycles=options.cycles)
        case "beside":
            _beside(crowd, queued=options.queued, cycles=options.cycles)
        case _:
            _memory(crowd, queued=options.queued)


if __name__ == "__main__":
    main()
