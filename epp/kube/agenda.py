"""What is to be done, each thing once however often it was asked for: now, or from a time on.

Things come out in the order in which they were asked for or fell due. One task takes; anybody asks.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, TypeVar

from epp.kube.pace import rung

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Key = TypeVar("Key", bound=Hashable)


class Agenda(Generic[Key]):
    """Keys of things to be done, without the things."""

    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._ready: OrderedDict[Key, None] = OrderedDict()
        """In order. A dict would look at every key that was ever first to find the first."""
        self._later: dict[Key, float] = {}
        """When each of the others falls due."""
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)

    def __contains__(self, key: Key) -> bool:
        return key in self._ready or key in self._later

    def add(self, key: Key) -> None:
        """To be done now; one that is waiting for its turn keeps it."""
        self._later.pop(key, None)
        self._ready.setdefault(key)
        self._changed.set()

    def add_later(self, key: Key, *, not_before_s: float) -> None:
        """To be done from a time on, unless it is to be done now anyway."""
        if key not in self._ready:
            self._later[key] = not_before_s
            self._changed.set()

    def discard(self, key: Key) -> None:
        """Not to be done any more."""
        self._ready.pop(key, None)
        self._later.pop(key, None)

    def give_up_one(self) -> Key:
        """Not to be done any more: what is due last, or if all is due now, what waited longest. There is something."""
        given_up = max(self._later, key=self._later.__getitem__) if self._later else next(iter(self._ready))
        self.discard(given_up)
        return given_up

    async def take(self) -> Key:
        """What is to be done next, as soon as there is something; it is off the agenda then."""
        while True:
            self._changed.clear()
            if not self._ready:
                self._ripen()
            if self._ready:
                return self._ready.popitem(last=False)[0]
            await self._rest()

    def _ripen(self) -> None:
        now_s = self._clock()
        for key, due_s in sorted(self._later.items(), key=itemgetter(1)):
            if due_s > now_s:
                break
            del self._later[key]
            self._ready[key] = None

    async def _rest(self) -> None:
        """Until something is asked for, or falls due."""
        if not self._later:
            await self._changed.wait()
            return
        due_in_s = max(min(self._later.values()) - self._clock(), 0.0)
        await rung(self._changed, within_s=due_in_s, sleep=self._sleep)
