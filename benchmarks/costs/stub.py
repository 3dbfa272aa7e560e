"""One process that stands for many idle model servers: each on an address of its own, all with the same metrics page.

    python -m benchmarks.costs.stub --servers N

The page has vLLM's names and the usual 62 KB. Scraping is what is measured, so this stub does as little as it can.
`/served` tells how many pages have been asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
from typing import TYPE_CHECKING, cast

from benchmarks.program import SERVING, run, say
from epp.sim.engine import Engine
from epp.sim.model import ServiceModel
from epp.sim.page import CONTENT_TYPE, ServerPage

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST_HOST = ipaddress.IPv4Address("127.0.1.1")
"""Linux answers for the whole loopback network; a pool may have eight ports only, but any number of addresses."""
_TRIES = 20


class Tally:
    """What has been served."""

    __slots__ = ("pages",)

    def __init__(self) -> None:
        self.pages = 0


class _Connection(asyncio.Protocol):
    """Answers whatever is asked; requests don't come in pieces on loopback, and are not pipelined."""

    def __init__(self, page: bytes, tally: Tally) -> None:
        self._page = page
        self._tally = tally
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        assert self._transport is not None
        if data.startswith(b"GET /served "):
            self._transport.write(response(str(self._tally.pages).encode()))
        else:
            self._tally.pages += 1
            self._transport.write(self._page)


def response(body: bytes) -> bytes:
    """An HTTP response, whole."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def metrics_page() -> bytes:
    """The page of an idle server."""
    model = ServiceModel()
    engine = Engine(model, seed=0, now=0.0)
    return ServerPage(model, model_name="bench-model").render(engine.load(), engine.truth(0.0), wall_s=0.0)


async def _serve(servers: int) -> None:
    page, tally = response(metrics_page()), Tally()
    listening = await _listen(lambda: _Connection(page, tally), servers)
    async with contextlib.AsyncExitStack() as stack:
        for server in listening:
            await stack.enter_async_context(server)
        addresses = ["{}:{}".format(*server.sockets[0].getsockname()) for server in listening]
        say(SERVING, addresses=addresses)
        await listening[0].serve_forever()


async def _listen(protocol: Callable[[], asyncio.Protocol], servers: int) -> list[asyncio.Server]:
    """One port on so many addresses."""
    loop = asyncio.get_running_loop()
    for _ in range(_TRIES):
        listening = [await loop.create_server(protocol, str(_FIRST_HOST), 0)]
        port = listening[0].sockets[0].getsockname()[1]
        try:
            for host in (str(_FIRST_HOST + number) for number in range(1, servers)):
                listening.append(await loop.create_server(protocol, host, port))  # noqa: PERF401 - closed below
        except OSError:  # somebody has the port on one of the others
            for server in listening:
                server.close()
            continue
        return listening
    raise OSError(f"no port was free on all of {servers} loopback addresses")


def main(argv: list[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.stub")
    parser.add_argument("--servers", type=int, required=True)
    run(_serve(parser.parse_args(argv).servers))


if __name__ == "__main__":
    main()
