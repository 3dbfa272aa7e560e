"""Somebody else's picker: whether it can be asked, and what to do if not, before a round is wasted on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.stage.errors import StageError
from benchmarks.stage.target import Security
from benchmarks.stage.usage import peak_bytes
from benchmarks.stage.warmup import Answer, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.stage.gateway import ExtProcCounts, Gateway
    from benchmarks.stage.target import ForeignPicker
    from epp.quickstart.address import Address

_CONNECT_WITHIN_S = 5.0
_TALKS_WITHIN_S = 1.0
_ANSWERS_WITHIN_S = 10.0
_ASK_EVERY_S = 0.2
_OK = 200


async def check_reachable(target: ForeignPicker) -> None:
    """Raises `StageError` if nobody listens there, or the process to be measured isn't there."""
    address = target.address
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except (OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {_CONNECT_WITHIN_S:g} s"
        raise StageError(
            f"extproc={address}: nobody can be reached there ({why}); start the picker first"
        ) from error
    writer.close()
    if target.pid is not None:
        try:
            peak_bytes(target.pid)
        except OSError as error:
            raise StageError(
                f"extproc={address},pid={target.pid}: there is no such process on this machine"
            ) from error


async def check_answers(
    http: aiohttp.ClientSession, target: ForeignPicker, *, gateway: Gateway, servers: Sequence[Address]
) -> None:
    """Raises `StageError` unless a request gets to one of the servers by the picker's word.

    It may take the picker a moment to notice servers that have just been started, but none to speak Envoy's language.
    """
    began_s = asyncio.get_running_loop().time()
    while True:
        answer = await _answer(http, gateway.url)
        if answer.status == _OK and answer.from_server:
            return
        counts = await gateway.counts()
        patience_s = _TALKS_WITHIN_S if _talks_another_language(counts) else _ANSWERS_WITHIN_S
        if asyncio.get_running_loop().time() > began_s + patience_s:
            said = f"status {answer.status} {answer.text}".rstrip() if answer.status else answer.text
            raise StageError(
                f"extproc={target.address}: a request through Envoy and this picker came to nothing ({said}). "
                + _remedy(counts, target, servers)
            )
        await asyncio.sleep(_ASK_EVERY_S)


async def _answer(http: aiohttp.ClientSession, url: str) -> Answer:
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN_S):
            return await ask(http, url)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return Answer(0, from_server=False, text=str(error) or f"no answer within {_ANSWERS_WITHIN_S:g} s")


def _talks_another_language(counts: ExtProcCounts) -> bool:
    return bool(counts.failed_streams and not counts.received)


def _remedy(counts: ExtProcCounts, target: ForeignPicker, servers: Sequence[Address]) -> str:
    if _talks_another_language(counts):
        return {
            Security.PLAINTEXT: "All of Envoy's plaintext streams to it failed; if it wants TLS, add ',tls'.",
            Security.TLS: "All of Envoy's TLS streams to it failed; if it wants plaintext, leave ',tls' out.",
        }[target.security]
    known = ", ".join(map(str, servers))
    return (
        f"Envoy reaches the picker, which probably doesn't know the simulated servers. They are at {known}: configure "
        "the picker for them, and keep them there with --server-port."
    )
