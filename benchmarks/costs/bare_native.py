"""The other bare server: the least that a picker on our own engine could cost.

It stands on all of the picker's own transport, as the one on grpc.aio stands on all of that: the same engine with the
same limits, the same connections with their time limits, bounded buffers and back-pressure. It uses the same message
classes, buffers each request until its end, and echoes. No JSON, no metrics, no decisions.

    python -m benchmarks.costs.bare_native
"""

from __future__ import annotations

import argparse
import asyncio
from collections import deque
from typing import TYPE_CHECKING

from benchmarks.costs.echo import Echo
from benchmarks.program import SERVING, run, say
from epp.extproc.http2.statuses import Status
from epp.extproc.transports.native import NativeServer
from epp.extproc.transports.transport import ServerSettings
from epp.extproc.wire import ext_proc_pb2 as wire
from epp.serve import garbage

if TYPE_CHECKING:
    from epp.extproc.http2.call import Call
    from epp.extproc.http2.limits import Limits
    from epp.extproc.ingress import Answer, Refusal, RequestFacts, ResponseFacts
    from epp.extproc.transports.peer import Peer


class EchoExchange:
    """One stream. It sends what the peer's windows and the connection's buffer have room for, as a picker's does."""

    __slots__ = ("_call", "_echo", "_is_half_closed", "_peer", "_unsent", "touched")

    def __init__(self, peer: Peer, call: Call) -> None:
        self.touched = False
        self._peer = peer
        self._call: Call | None = call
        """None once it is over."""
        self._echo = Echo()
        self._unsent: deque[wire.ProcessingResponse] = deque()
        self._is_half_closed = False

    def receive(self, data: bytes) -> None:
        """See Handler."""
        self._unsent.extend(self._echo.answers(wire.ProcessingRequest.FromString(data)))

    def half_closed(self) -> None:
        """See Handler."""
        self._is_half_closed = True

    def send(self) -> None:
        """See Handler."""
        call = self._call
        if call is None:
            return
        peer = self._peer
        calls = peer.calls
        unsent = self._unsent
        while call.pending is None:
            if not unsent:
                if self._is_half_closed:
                    self._finish(Status.OK)
                elif call.withheld:
                    calls.release(call)
                return
            message = unsent.popleft().SerializeToString()
            calls.send_message(call, message)
            peer.room_bytes -= len(message)
            if peer.room_bytes < 0 and not peer.has_made_room():
                peer.touch(self)
                break
        self.hold_back()

    def hold_back(self) -> None:
        """See Handler."""
        call = self._call
        if call is not None and call.withheld is not bool(self._unsent):
            if call.withheld:
                self._peer.calls.release(call)
            else:
                self._peer.calls.withhold(call)

    def reset(self) -> None:
        """See Handler."""
        if self._call is not None:
            self._call.owner = None
            self._call = None
            self._peer.service.exchange_ended()

    def expire(self) -> None:
        """See Handler."""
        self._finish(Status.DEADLINE_EXCEEDED)

    def fail(self) -> None:
        """See Handler."""
        self._finish(Status.UNKNOWN)

    def _finish(self, status: Status) -> None:
        call = self._call
        if call is not None:
            self.reset()
            self._peer.calls.finish(call, status)


class _Nobody:
    """A picker that no request is shown to."""

    def submit(self, facts: RequestFacts, answer: Answer) -> int:
        """See Picker."""
        raise NotImplementedError("no exchange is made that could submit anything")

    def cancel(self, request_id: int) -> None:
        """See Picker."""

    def delivery_failed(self, request_id: int) -> None:
        """See Picker."""

    def first_byte(self, request_id: int) -> None:
        """See Picker."""

    def ended(self, request_id: int, response: ResponseFacts) -> None:
        """See Picker."""

    def rejected(self, facts: RequestFacts | None, refusal: Refusal) -> None:
        """See Picker."""


def bare_server(limits: Limits | None = None) -> NativeServer:
    """On a free port, once started."""
    settings = ServerSettings(host="127.0.0.1", port=0)
    return NativeServer(_Nobody(), settings=settings, limits=limits, new_exchange=EchoExchange)


async def _serve() -> None:
    server = bare_server()
    await server.start()
    garbage.settle()
    say(SERVING, grpc_port=server.port)
    await asyncio.Event().wait()


def main(argv: list[str] | None = None) -> None:
    """Serve until killed."""
    argparse.ArgumentParser(prog="python -m benchmarks.costs.bare_native").parse_args(argv)
    run(_serve())


if __name__ == "__main__":
    main()
