"""`epp sim`: simulated model servers, on consecutive ports or where they are told to, until a signal ends them.

When all of them listen, one line of JSON on standard output says where, for whoever started the process:
`{"servers": ["127.0.0.1:8000", ...]}`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import fields
from typing import TYPE_CHECKING

import uvloop

from epp.sim.faults import Faults, MetricsFault, RequestFault
from epp.sim.model import ServiceModel
from epp.sim.page import DEFAULT_PAGE_BYTES
from epp.sim.server import DEFAULT_MODEL_NAME, SimServer

if TYPE_CHECKING:
    import argparse

_MODEL_HELP = {
    "max_sequences": "sequences that run at once; more wait",
    "max_batched_tokens": "tokens in one engine step",
    "step_s": "seconds that every step takes",
    "sequence_s": "seconds more for every sequence in the step",
    "prefill_token_s": "seconds more for every prompt token in the step",
    "block_tokens": "tokens in one block of the KV cache",
    "blocks": "blocks of the KV cache",
    "max_model_tokens": "prompt and answer together, at most",
    "output_mean_tokens": "mean length of answers that end by themselves",
    "output_sigma": "spread of those lengths, in the logarithm; 0 for none",
    "startup_s": "seconds until the first step",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `epp sim`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="first port; 0 takes free ones (default %(default)s)"
    )
    parser.add_argument(
        "--count", type=int, default=1, help="servers, on consecutive ports (default %(default)s)"
    )
    parser.add_argument(
        "--listen",
        action="append",
        metavar="HOST:PORT",
        help="a server there, repeatable; instead of --host, --port and --count",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help=f"served model, repeatable (default {DEFAULT_MODEL_NAME})",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the answers' lengths (default %(default)s)")
    parser.add_argument(
        "--page-bytes",
        type=int,
        default=DEFAULT_PAGE_BYTES,
        help="least size of /metrics (default %(default)s)",
    )
    engine = parser.add_argument_group("engine")
    for field in fields(ServiceModel):
        engine.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=f"{_MODEL_HELP[field.name]} (default %(default)s)",
        )
    faults = parser.add_argument_group("faults", "also while running: POST /sim/faults")
    faults.add_argument("--metrics-fault", choices=[fault.value for fault in MetricsFault], default="none")
    faults.add_argument(
        "--metrics-delay-s", type=float, default=5.0, help="with slow metrics (default %(default)s)"
    )
    faults.add_argument("--request-fault", choices=[fault.value for fault in RequestFault], default="none")


def run(args: argparse.Namespace) -> int:
    """Serves until SIGINT or SIGTERM. Returns the exit status."""
    try:
        servers = _servers(args)
    except ValueError as error:
        print(f"epp sim: {error}", file=sys.stderr)  # noqa: T201 - what a person typed was wrong
        return 2
    return uvloop.run(_serve(servers))


def _servers(args: argparse.Namespace) -> list[SimServer]:
    places = [_place(text) for text in args.listen] if args.listen else _consecutive(args)
    model = ServiceModel(**{field.name: getattr(args, field.name) for field in fields(ServiceModel)})
    faults = Faults(
        metrics=MetricsFault(args.metrics_fault),
        metrics_delay_s=args.metrics_delay_s,
        requests=RequestFault(args.request_fault),
    )
    return [
        SimServer(
            model=model,
            model_names=tuple(args.model or [DEFAULT_MODEL_NAME]),
            seed=args.seed + index,
            host=host,
            port=port,
            page_bytes=args.page_bytes,
            faults=faults,
        )
        for index, (host, port) in enumerate(places)
    ]


def _consecutive(args: argparse.Namespace) -> list[tuple[str, int]]:
    if args.count < 1:
        raise ValueError(f"--count is {args.count}: there must be a server")
    last_port = args.port + args.count - 1 if args.port else 0
    if not 0 <= args.port <= last_port <= 65535 and args.port != 0:
        raise ValueError(f"--port {args.port} with --count {args.count}: ports go from 0 to 65535")
    return [(args.host, args.port and args.port + index) for index in range(args.count)]


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"--listen {text}: give HOST:PORT, as in 127.0.0.1:8000; port 0 takes a free one")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def _serve(servers: list[SimServer]) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        for server in servers:
            try:
                await stack.enter_async_context(server)
            except OSError as error:
                message = (
                    f"epp sim: can't listen on {server.address}: {error.strerror or error}; try --port 0"
                )
                print(message, file=sys.stderr)  # noqa: T201 - tells a person why nothing runs
                return 1
        line = json.dumps({"servers": [server.address for server in servers]})
        print(line, flush=True)  # noqa: T201 - the line that a parent process waits for
        await stop.wait()
    return 0
