"""When Python's garbage collector looks, so that no request waits for it.

By itself it looks when what was made, less what has gone, exceeds a threshold. While a long queue moves that hardly
grows, although most of what is there is new each time: a look then comes late and has tens of thousands of objects to
go through, 30 ms and more. So looks are paced by requests instead:

- What exists once the picker serves is never looked at again.
- What is young is looked at after every so many requests, which takes about a millisecond.
- What has outlived such looks is looked at when nothing is queued, since so little of it is left then; and now and then
  whatever is queued.
- The collector's own trigger remains for what comes without requests, such as thousands of pods.
"""

from __future__ import annotations

import gc
from typing import Final

_REQUESTS_PER_LOOK: Final = 500
_YOUNG_LOOKS_PER_OLD: Final = 20
_YOUNG_LOOKS_AT_MOST: Final = 400
"""Before a look at what is old, though somebody waits."""
_OLD_LOOKS_PER_FULL: Final = 20
_OWN_TRIGGER: Final = (10_000, 200, 400)
"""Objects that appeared without requests; young looks, and old ones, after which it looks further on its own."""


def settle() -> None:
    """To be called once everything is there that lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_OWN_TRIGGER)


class GarbageLooks:
    """Paces the looks of one process."""

    __slots__ = ("_requests",)

    def __init__(self) -> None:
        self._requests = 0

    def request_came(self, *, queued_requests: int) -> None:
        """Another request was taken in; so many wait now."""
        self._requests += 1
        if self._requests < _REQUESTS_PER_LOOK:
            return
        self._requests = 0
        _, young_looks, old_looks = gc.get_count()
        if young_looks < (_YOUNG_LOOKS_AT_MOST if queued_requests else _YOUNG_LOOKS_PER_OLD):
            gc.collect(0)
        else:
            gc.collect(1 if queued_requests or old_looks < _OLD_LOOKS_PER_FULL else 2)
