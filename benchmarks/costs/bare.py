"""The bare server: the least that a picker on grpc.aio could cost. Everything else is measured against it.

It uses the same message classes, the same loop and the same transport as the picker, buffers each request until its
end, and echoes. No JSON, no metrics, no decisions. With `--hold` it answers nothing, so that its memory per waiting
stream can be compared.

    python -m benchmarks.costs.bare [--hold]
"""

from __future__ import annotations

import argparse
from enum import Enum

import grpc
import grpc.aio

from benchmarks.costs.echo import Echo
from benchmarks.program import SERVING, run, say
from epp.extproc.listen import SERVICE
from epp.extproc.wire import ext_proc_pb2 as wire
from epp.serve import garbage

_MOST_STREAMS = 1_000_000

_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.http2.max_ping_strikes", 0),
    # Streams that came faster than the loop takes them: from the 1,000th on grpc would cancel some at random.
    ("grpc.server.max_pending_requests", _MOST_STREAMS),
    ("grpc.server.max_pending_requests_hard_limit", _MOST_STREAMS),
    # And whoever has waited for the loop for 30 s.
    ("grpc.server_max_unrequested_time_in_server", 3_600),
]


class Bareness(Enum):
    """What the server does with a request that is complete."""

    ECHO = "echo"
    HOLD = "hold"


class BareServer:
    """The service."""

    def __init__(self, bareness: Bareness) -> None:
        self._bareness = bareness

    async def start(self) -> tuple[grpc.aio.Server, int]:
        """Listen on a free port; gives the server and that port."""
        server = grpc.aio.server(options=_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(
            self._process,
            request_deserializer=wire.ProcessingRequest.FromString,
            response_serializer=wire.ProcessingResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Process": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    async def _process(
        self, _: object, context: grpc.aio.ServicerContext[wire.ProcessingRequest, wire.ProcessingResponse]
    ) -> None:
        echo = Echo()
        while (message := await context.read()) is not grpc.aio.EOF:
            answers = echo.answers(message)
            if self._bareness is Bareness.ECHO:
                for answer in answers:
                    await context.write(answer)


async def _serve(bareness: Bareness) -> None:
    server, port = await BareServer(bareness).start()
    garbage.settle()
    say(SERVING, grpc_port=port)
    await server.wait_for_termination()


def main(argv: list[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.bare")
    parser.add_argument("--hold", action="store_true", help="answer nothing")
    options = parser.parse_args(argv)
    run(_serve(Bareness.HOLD if options.hold else Bareness.ECHO))


if __name__ == "__main__":
    main()
