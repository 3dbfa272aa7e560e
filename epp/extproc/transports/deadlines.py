"""When calls are to end by the wish of whoever made them (`grpc-timeout`)."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sized
    from typing import Protocol

    class Open(Container[int], Sized, Protocol):
        """Which calls there are."""


_FEW: Final = 64
_NEVER_S: Final = float("inf")


class Deadlines:
    """Of one connection's calls. Those of calls that are over are forgotten sooner or later."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_s(self) -> float:
        """The first of them; infinity if there is none."""
        return self._heap[0][0] if self._heap else _NEVER_S

    def add(self, stream_id: int, when_s: float, *, among: Open) -> None:
        """One more; `among` are the calls that are open."""
        heap = self._heap
        if len(heap) > max(_FEW, 2 * len(among)):
            heap[:] = [each for each in heap if each[1] in among]
            heapq.heapify(heap)
        heapq.heappush(heap, (when_s, stream_id))

    def due(self, now: float) -> Iterator[int]:
        """Take out those that have come."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            yield heapq.heappop(heap)[1]
