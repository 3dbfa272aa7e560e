"""Requests that don't count: they make connections, and code warm, before a round begins.

They ask for a model of their own, so that what a picker learns from their tiny answers is not about the scenario's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from benchmarks.stage.errors import StageError
from benchmarks.stage.servers import WARM_UP_MODEL
from epp.sim.server import SERVER_HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

_AT_ONCE = 4
_PER_SERVER = 2
_LEAST = 8
_BODY = {
    "model": WARM_UP_MODEL,
    "messages": [{"role": "user", "content": "Are you there?"}],
    "max_tokens": 2,
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}
_OK = 200
_MOST_SHOWN = 300


class Answer(NamedTuple):
    """What came back."""

    status: int
    from_server: bool
    """Whether one of the simulated servers answered, rather than somebody on the way to it."""
    text: str


async def ask(http: aiohttp.ClientSession, base_url: str) -> Answer:
    """One request, to its end."""
    async with http.post(f"{base_url}/v1/chat/completions", json=_BODY) as response:
        text = await response.text(errors="replace")
        return Answer(response.status, SERVER_HEADER in response.headers, text.strip()[:_MOST_SHOWN])


async def warm_up(
    http: aiohttp.ClientSession, base_urls: Sequence[str], *, target: str, servers: int
) -> None:
    """Enough requests that every server has probably had one. Raises `StageError` if one isn't answered."""
    count = max(_LEAST, _PER_SERVER * servers)
    for start in range(0, count, _AT_ONCE):
        urls = [base_urls[number % len(base_urls)] for number in range(start, min(start + _AT_ONCE, count))]
        try:
            answers = await asyncio.gather(*(ask(http, url) for url in urls))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StageError(
                f"{target}: a request to warm up broke: {str(error) or type(error).__name__}"
            ) from error
        for answer in answers:
            if answer.status != _OK or not answer.from_server:
                raise StageError(
                    f"{target}: a request to warm up got status {answer.status} instead of an answer: {answer.text}"
                )
