"""How many requests wait in the picker, by priority, as its own metrics say."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Self

import aiohttp

if TYPE_CHECKING:
    from types import TracebackType

_QUEUE_SIZE = re.compile(r"^llm_d_epp_flow_control_queue_size\{([^}]*)\} (\S+)", re.MULTILINE)
_PRIORITY = re.compile(r'(?:^|,)\s*priority="(-?\d+)"')
_TIMEOUT_S = 2.0


class QueueGauge:
    """Reads one picker's metrics page."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def read(self) -> dict[int, int]:
        """Queued requests by priority; empty if the page can't be had just now."""
        try:
            async with self._session.get(self._url) as response:
                return queued_by_priority(await response.text())
        except (aiohttp.ClientError, OSError, TimeoutError):
            return {}


def queued_by_priority(page: str) -> dict[int, int]:
    """The sum over tenants and models of what a metrics page says for each priority."""
    queued: Counter[int] = Counter()
    for labels, value in _QUEUE_SIZE.findall(page):
        priority = _PRIORITY.search(labels)
        if priority is not None:
            queued[int(priority[1])] += int(float(value))
    return dict(queued)
