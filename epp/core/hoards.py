"""Who holds most of a full band: of requests, or of bytes.

Kept only while somebody asks: two lazy heaps, to which flows that grow are pushed. Flows that shrink keep their old
entries, which are put right when they surface; so the answer costs a few heap steps, not a look at every flow.
"""

from __future__ import annotations

from enum import Enum
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.flow import Flow

_SLACK = 64
_LOST_INTEREST = 10_000
"""Items queued since somebody asked last: then nobody keeps count any more."""


class Shortage(Enum):
    """What a full queue lacks."""

    REQUESTS = "requests"
    BYTES = "bytes"


def held(flow: Flow, shortage: Shortage) -> int:
    """How much of what is short the flow holds."""
    return flow.queued_requests if shortage is Shortage.REQUESTS else flow.queued_bytes


class Hoards:
    """The flows of one band by what they hold."""

    __slots__ = ("_count", "_unasked", "heaps")

    heaps: dict[Shortage, list[tuple[int, int, Flow]]]
    """Empty while nobody asks: then `grew` need not be told."""

    def __init__(self) -> None:
        self.heaps = {}
        self._count = 0
        self._unasked = 0

    def grew(self, flow: Flow) -> None:
        """One more item of the flow is queued."""
        self._unasked += 1
        if self._unasked > _LOST_INTEREST:
            self.forget()
        for shortage, heap in self.heaps.items():
            self._count += 1
            heappush(heap, (-held(flow, shortage), self._count, flow))

    def forget(self) -> None:
        """Nobody asks for the time being."""
        self.heaps.clear()

    def largest(self, flows: Iterable[Flow], shortage: Shortage, count: int) -> Flow:
        """The one of the band's `count` flows that holds most; of equals, the one that holds it longest."""
        self._unasked = 0
        heap = self.heaps.get(shortage)
        if heap is None or len(heap) > 4 * count + _SLACK:
            heap = self.heaps[shortage] = []
            for flow in flows:
                self._count += 1
                heap.append((-held(flow, shortage), self._count, flow))
            heapify(heap)
        while True:
            amount, at, flow = heap[0]
            now = held(flow, shortage)
            if -amount == now and now:
                return flow
            if now:
                heapreplace(heap, (-now, at, flow))
            else:
                heappop(heap)
