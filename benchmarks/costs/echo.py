"""What bare servers do with messages: the least that there is to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.extproc.wire import ext_proc_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Echo:
    """One stream: a request is kept until its end and then goes back whole, a response's messages go back at once."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[wire.ProcessingRequest] = []

    def answers(self, message: wire.ProcessingRequest) -> Iterable[wire.ProcessingResponse]:
        """To the gateway's next message. Raises ValueError for a kind that no benchmark sends."""
        match message.WhichOneof("request"):
            case "request_headers":
                self._held.append(message)
                return ()
            case "request_body":
                self._held.append(message)
                if not message.request_body.end_of_stream:
                    return ()
                held, self._held = self._held, []
                return _request(held)
            case "response_headers":
                return (
                    wire.ProcessingResponse(
                        response_headers=wire.HeadersResponse(response=wire.CommonResponse())
                    ),
                )
            case "response_body":
                answer = wire.ProcessingResponse()
                piece = answer.response_body.response.body_mutation.streamed_response
                piece.body = message.response_body.body
                piece.end_of_stream = message.response_body.end_of_stream
                return (answer,)
            case other:
                raise ValueError(f"the load generator sends no {other}")


def _request(held: list[wire.ProcessingRequest]) -> Iterator[wire.ProcessingResponse]:
    yield wire.ProcessingResponse(request_headers=wire.HeadersResponse(response=wire.CommonResponse()))
    for message in held[1:]:
        answer = wire.ProcessingResponse()
        piece = answer.request_body.response.body_mutation.streamed_response
        piece.body = message.request_body.body
        piece.end_of_stream = message.request_body.end_of_stream
        yield answer
