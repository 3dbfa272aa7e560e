"""One HTTP request at a time through one Envoy after the other: how long a client waits for the whole answer.

    python -m benchmarks.costs.through --upstream-port P --port P ... --requests N --rounds N

The upstream that all of them send everything to is in this process, and answers at once. So what is left are Envoy,
which is the same everywhere, and whom it asks. They take turns in blocks: what slows the machine slows all of them, and
none comes out of a long sleep for every request.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Self, cast

from benchmarks.costs import messages
from benchmarks.program import RESULT, run, say
from epp.serve import garbage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_HOST = "127.0.0.1"
_BLOCK_REQUESTS = 10
_WARM_UP_REQUESTS = 50
_OK = b"HTTP/1.1 200 "
_BLANK = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)

_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "bench-model",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Queues."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 200, "completion_tokens": 2, "total_tokens": 202},
}


class AnswerError(Exception):
    """A request was not answered as the upstream answers it."""


def whole(start_line: str, headers: dict[str, str], body: bytes) -> bytes:
    """An HTTP message."""
    fields = {**headers, "content-type": "application/json", "content-length": str(len(body))}
    lines = [start_line, *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + _BLANK + body


def is_whole(message: bytes) -> bool:
    """Whether an HTTP message has come to its end, which must have a body of JSON."""
    end = message.find(_BLANK)
    if end < 0:
        return False
    length = _LENGTH.search(message, 0, end + 2)
    if length is None:
        return message.endswith(_LAST_CHUNK)
    return len(message) - end - len(_BLANK) >= int(length[1])


ANSWER = whole("HTTP/1.1 200 OK", {}, json.dumps(_COMPLETION).encode())


class Upstream(asyncio.Protocol):
    """A connection to a model server that has the same answer for everybody."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        assert self._transport is not None
        self._unread += data
        if is_whole(self._unread):
            self._unread = b""
            self._transport.write(ANSWER)


class Client(asyncio.Protocol):
    """One connection that is kept, to one Envoy."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._answer: asyncio.Future[bytes] | None = None

    async def __aenter__(self) -> Self:
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, _HOST, self._port)
        self._transport = transport
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._unread += data
        if is_whole(self._unread):
            answer, self._unread = self._unread, b""
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(AnswerError(f"the gateway has closed the connection: {exc or ''}"))

    async def answered_s(self, number: int) -> float:
        """Seconds until a request has its whole answer. Raises `AnswerError` if that is another one."""
        assert self._transport is not None
        headers = {
            "host": "inference.example.com",
            "authorization": "Bearer sk-bench",
            "user-agent": "OpenAI/Python",
            "x-llm-d-inference-fairness-id": messages.flow(number),
        }
        request = whole("POST /v1/chat/completions HTTP/1.1", headers, messages.body(messages.BODY_BYTES))
        self._answer = asyncio.get_running_loop().create_future()
        began_s = perf_counter()
        self._transport.write(request)
        answer = await self._answer
        took_s = perf_counter() - began_s
        if not answer.startswith(_OK):
            raise AnswerError(f"a request was answered {answer[:300]!r}")
        return took_s


async def round_of_blocks(clients: Sequence[Client], requests: int) -> list[float]:
    """The median at each Envoy."""
    taken_s: list[list[float]] = [[] for _ in clients]
    for block, first in enumerate(range(0, requests, _BLOCK_REQUESTS)):
        numbers = range(first, min(first + _BLOCK_REQUESTS, requests))
        turns = list(zip(clients, taken_s, strict=True))
        for client, taken in reversed(turns) if block % 2 else turns:
            taken += [await client.answered_s(number) for number in numbers]
    return [median(taken) for taken in taken_s]


async def _measure(ports: Sequence[int], *, upstream_port: int, requests: int, rounds: int) -> None:
    garbage.settle()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(
            await asyncio.get_running_loop().create_server(Upstream, _HOST, upstream_port)
        )
        clients = [await stack.enter_async_context(Client(port)) for port in ports]
        await round_of_blocks(clients, min(_WARM_UP_REQUESTS, requests))
        found = [await round_of_blocks(clients, requests) for _ in range(rounds)]
        say(RESULT, answered_s=found)


def main(argv: list[str] | None = None) -> None:
    """Measure and say the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.through")
    parser.add_argument("--port", action="append", type=int, required=True)
    for name in ("upstream-port", "requests", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args(argv)
    run(
        _measure(
            options.port,
            upstream_port=options.upstream_port,
            requests=options.requests,
            rounds=options.rounds,
        )
    )


if __name__ == "__main__":
    main()
