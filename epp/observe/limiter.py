"""A log that says the same thing at most once per interval, and how often it kept quiet."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

DEFAULT_INTERVAL_S = 10.0
MOST_KEYS = 1000
"""Keys remembered; what was silent for longest is forgotten first."""


class RateLimitedLog:
    """Lets one line per key through in every interval.

    The line says as `suppressed` how many were kept back since the one before it, if any were.
    """

    def __init__(self, *, clock: Callable[[], float], interval_s: float = DEFAULT_INTERVAL_S) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._log = structlog.get_logger()
        self._keys: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        """When a line with this key was last logged, and how many were not since."""

    def info(self, event: str, *, key: Hashable, **facts: object) -> None:
        """Something that operators may want to know."""
        if self._passes(key, facts):
            self._log.info(event, **facts)

    def warning(self, event: str, *, key: Hashable, **facts: object) -> None:
        """Something that operators may have to mend."""
        if self._passes(key, facts):
            self._log.warning(event, **facts)

    def exception(self, event: str, *, key: Hashable, **facts: object) -> None:
        """A bug; called while its exception is handled."""
        if self._passes(key, facts):
            self._log.exception(event, **facts)

    def _passes(self, key: Hashable, facts: dict[str, object]) -> bool:
        """Whether it is time for a line; if so, its facts get the count of those kept back."""
        now = self._clock()
        logged_s, suppressed = self._keys.get(key, (now - self._interval_s, 0))
        if now - logged_s < self._interval_s:
            self._keys[key] = (logged_s, suppressed + 1)
            return False
        self._keys[key] = (now, 0)
        self._keys.move_to_end(key)
        if len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)
        if suppressed:
            facts["suppressed"] = suppressed
        return True
