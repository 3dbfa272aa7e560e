"""The bare server: the least that a picker on grpc.aio could cost. Everything else is measured against it.

It uses the same message classes, the same loop and the same transport as the picker, buffers each request until its
end, and echoes. No JSON, no metrics, no decisions. With `--hold` it answers nothing, so that its memory per waiting
stream can be compared.

    python -m benchmarks.costs.bare [--hold]
"""

from __future__ import annotations

import argparse
from enum import Enum
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from benchmarks.program import SERVING, run, say
from epp.extproc.listen import SERVICE
from epp.extproc.wire import ext_proc_pb2 as wire
from epp.serve import garbage

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        held: list[wire.ProcessingRequest] = []
        while (message := await context.read()) is not grpc.aio.EOF:
            match message.WhichOneof("request"):
                case "request_headers":
                    held.append(message)
                case "request_body":
                    held.append(message)
                    if message.request_body.end_of_stream and self._bareness is Bareness.ECHO:
                        for answer in _answers(held):
                            await context.write(answer)
                        held.clear()
                case "response_headers":
                    await context.write(
                        wire.ProcessingResponse(
                            response_headers=wire.HeadersResponse(response=wire.CommonResponse())
                        )
                    )
                case "response_body":
                    answer = wire.ProcessingResponse()
                    piece = answer.response_body.response.body_mutation.streamed_response
                    piece.body = message.response_body.body
                    piece.end_of_stream = message.response_body.end_of_stream
                    await context.write(answer)
                case other:
                    raise ValueError(f"the load generator sends no {other}")


def _answers(held: list[wire.ProcessingRequest]) -> Iterator[wire.ProcessingResponse]:
    yield wire.ProcessingResponse(request_headers=wire.HeadersResponse(response=wire.CommonResponse()))
    for message in held[1:]:
        answer = wire.ProcessingResponse()
        piece = answer.request_body.response.body_mutation.streamed_response
        piece.body = message.request_body.body
        piece.end_of_stream = message.request_body.end_of_stream
        yield answer


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
