"""One string for each text that many requests carry: paths, tenants, objectives, models.

Thousands of requests are held at a time, and each read its own copy. Which texts there are is up to clients, so only
the last ones are remembered, and none that is long. (`sys.intern` would do, but Python 3.12 never forgets what it was
given.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_TEXTS_REMEMBERED: Final = 4096
_LONGEST: Final = 128


def shared(text: str) -> str:
    """The same text, in the object that others have as well."""
    return _remembered(text) if len(text) <= _LONGEST else text


@lru_cache(_TEXTS_REMEMBERED)
def _remembered(text: str) -> str:
    return text
