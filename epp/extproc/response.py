"""The response half of a conversation: passing on what the model server says, and remembering what it said.

Every message is answered at once and changes nothing but headers of ours; only the headers may be made to wait for the
body, so that until then another answer is possible. No byte of a body is altered: a response to
a request whose model was rewritten names the model that answered, and not the one that was asked for. A name can be
cut in two by any chunk, be part of what the model says, or be covered by a length that has long been sent. What is
worth knowing, the tokens used, is looked for at the very end, in the body's tail.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from epp.core.actions import Reason
from epp.extproc.headers import (
    NOT_TOLD,
    TEST_SERVED,
    Conformance,
    read_response,
    set_header,
)
from epp.extproc.ingress import HeadersPass, ResponseFacts, ResponseOutcome
from epp.extproc.metadata import served_endpoint
from epp.extproc.modes import BodyMode
from epp.extproc.request import Unacceptable
from epp.extproc.usage import BodyTail
from epp.extproc.wire import ext_proc_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_ACCOUNT: Final[Mapping[str, str]] = {}

_HEADERS_SEEN: Final = wire.ProcessingResponse(
    response_headers=wire.HeadersResponse(response=wire.CommonResponse())
)
_BODY_SEEN: Final = wire.ProcessingResponse(response_body=wire.BodyResponse(response=wire.CommonResponse()))
_TRAILERS_SEEN: Final = wire.ProcessingResponse(response_trailers=wire.TrailersResponse())


class ResponseHalf:
    """One response, from its headers to its end."""

    __slots__ = (
        "_account",
        "_body_bytes",
        "_conformance",
        "_ended_s",
        "_first_byte_s",
        "_held",
        "_holds",
        "_mode",
        "_status",
        "_tail",
        "begun",
        "complete",
        "outbox",
    )

    def __init__(
        self,
        mode: BodyMode,
        *,
        account: Mapping[str, str] = _NO_ACCOUNT,
        headers: HeadersPass = HeadersPass.AT_ONCE,
        conformance: Conformance = Conformance.OFF,
    ) -> None:
        """`account` is what the client is told of the queue, as headers.

        Under `conformance` the client is told what the gateway says of the endpoint that served.
        """
        self._mode = mode
        self._conformance = conformance
        self._account = account
        # Elsewhere no body comes before the headers have been answered.
        self._holds = mode is BodyMode.DUPLEX and headers is HeadersPass.WITH_BODY
        self._held: wire.ProcessingResponse | None = None
        self._tail = BodyTail()
        self._status: int | None = None
        self._body_bytes = 0
        self._first_byte_s: float | None = None
        self._ended_s: float | None = None
        self.begun = False
        """Something of the response has come."""
        self.complete = False
        """Its end has come."""
        self.outbox: deque[wire.ProcessingResponse] = deque()
        """Answers that wait to be sent, first to last."""

    def take_headers(self, message: wire.ProcessingRequest, now: float) -> None:
        """Pass the headers on, with what is told of the queue; nobody else may tell of it."""
        if self.begun:
            raise _out_of_order("response_headers came after the response had begun")
        self.begun = True
        sent = message.response_headers
        self._status, claimed = read_response(sent.headers.headers)
        account = self._account
        answer = _HEADERS_SEEN
        if account or claimed or self._conformance is Conformance.ON:
            answer = wire.ProcessingResponse()
            mutation = answer.response_headers.response.header_mutation
            for name, value in account.items():
                set_header(mutation, name, value)
            mutation.remove_headers.extend(name for name in claimed if name not in account)
            if self._conformance is Conformance.ON:
                set_header(mutation, TEST_SERVED, served_endpoint(message) or NOT_TOLD)
        if self._holds:
            self._held = answer
        else:
            self.outbox.append(answer)
        if sent.end_of_stream:
            self._end(now)

    def take_body(self, message: wire.ProcessingRequest, now: float) -> bool:
        """Pass a message of the body on, and keep the tail. Called for every streamed token: nothing else.

        Whether it brought the body's first byte.
        """
        if self.complete:
            raise _out_of_order("response_body came after the response had ended")
        self.begun = True
        sent = message.response_body
        chunk = sent.body
        if self._mode is BodyMode.DUPLEX:
            answer = wire.ProcessingResponse()
            streamed = answer.response_body.response.body_mutation.streamed_response
            streamed.body = chunk
            if sent.end_of_stream:
                streamed.end_of_stream = True
            self.outbox.append(answer)
        else:
            self.outbox.append(_BODY_SEEN)
        is_first = False
        if chunk:
            if not self._body_bytes:
                self._first_byte_s = now
                is_first = True
                self._pass_headers()
            self._body_bytes += len(chunk)
            self._tail.add(chunk)
        else:
            self._pass_headers()
        if sent.end_of_stream:
            self._end(now)
        return is_first

    def take_trailers(self, now: float) -> None:
        """Answer the trailers, which end the response."""
        if self.complete:
            raise _out_of_order("response_trailers came after the response had ended")
        self.begun = True
        self.outbox.append(_TRAILERS_SEEN)
        self._end(now)

    @property
    def has_passed(self) -> bool:
        """Whether something of it has gone to the client, or is about to."""
        return self.begun and self._held is None

    def facts(self, *, otherwise: ResponseOutcome, request_bytes: int, now: float) -> ResponseFacts:
        """The response in a few numbers, and its outcome: completed, or `otherwise`."""
        usage = self._tail.usage()
        return ResponseFacts(
            outcome=ResponseOutcome.COMPLETED if self.complete else otherwise,
            status=self._status,
            request_bytes=request_bytes,
            response_bytes=self._body_bytes,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            first_byte_s=self._first_byte_s,
            ended_s=now if self._ended_s is None else self._ended_s,
        )

    def _pass_headers(self) -> None:
        """Let the headers go that were held back, before whatever came after them."""
        if self._held is not None:
            self.outbox.appendleft(self._held)
            self._held = None

    def _end(self, now: float) -> None:
        self._pass_headers()
        self.complete = True
        self._ended_s = now


def _out_of_order(message: str) -> Unacceptable:
    return Unacceptable(Reason.MALFORMED, f"The gateway's messages are out of order: {message}.")
