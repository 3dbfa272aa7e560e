"""The response half of a conversation: passing on what the model server says, and remembering what it said.

Every message can be answered at once, and changes nothing but headers of ours; only the headers may be made to wait for
the body, so that until then another answer is possible. In full duplex, chunks that come before the last answer was
written go on together in one message: nothing waits for that, and a message costs far more than its bytes. Who wants
an answer to each message gets one.

No byte of a body is altered: a response to a request whose model was rewritten names the model that answered, and not
the one that was asked for. A name can be cut in two by any chunk, be part of what the model says, or be covered by a
length that has long been sent. What is worth knowing, the tokens used, is looked for at the end, in the body's tail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from epp.core.actions import Reason
from epp.extproc.body import MOST_OWED, PassingBody, Piece
from epp.extproc.envelope import RESPONSE_BODY, body_answer
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
).SerializeToString()
_BODY_SEEN: Final = wire.ProcessingResponse(
    response_body=wire.BodyResponse(response=wire.CommonResponse())
).SerializeToString()
_TRAILERS_SEEN: Final = wire.ProcessingResponse(response_trailers=wire.TrailersResponse()).SerializeToString()
# Looked up once: a member of an enum costs as much as a call, and these are asked for with every streamed token.
_DUPLEX: Final = BodyMode.DUPLEX
_CONFORMANCE_ON: Final = Conformance.ON
_WITH_BODY: Final = HeadersPass.WITH_BODY
_COMPLETED: Final = ResponseOutcome.COMPLETED
_EMPTY_PIECE: Final = Piece(b"", end_of_stream=False)


class ResponseHalf:
    """One response, from its headers to its end."""

    __slots__ = (
        "_account",
        "_body",
        "_body_bytes",
        "_conformance",
        "_empty_owed",
        "_ended_s",
        "_first_byte_s",
        "_headers",
        "_held",
        "_holds",
        "_mode",
        "_owed",
        "_status",
        "_tail",
        "_trailers_owed",
        "begun",
        "complete",
        "pending",
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
        self._holds = mode is _DUPLEX and headers is _WITH_BODY
        self._held = False
        """The answer to the headers waits for what follows them."""
        self._headers: bytes | None = None
        self._body = PassingBody()
        self._empty_owed = False
        self._owed = 0
        self._trailers_owed = False
        self._tail = BodyTail()
        self._status: int | None = None
        self._body_bytes = 0
        self._first_byte_s: float | None = None
        self._ended_s: float | None = None
        self.begun = False
        """Something of the response has come."""
        self.complete = False
        """Its end has come."""
        self.pending = False
        """`next_message` may have something."""

    def take_headers(self, message: wire.ProcessingRequest, now: float) -> None:
        """Pass the headers on, with what is told of the queue; nobody else may tell of it."""
        if self.begun:
            raise _out_of_order("response_headers came after the response had begun")
        self.begun = True
        sent = message.response_headers
        self._status, claimed = read_response(sent.headers.headers)
        account = self._account
        self._headers = _HEADERS_SEEN
        if account or claimed or self._conformance is _CONFORMANCE_ON:
            answer = wire.ProcessingResponse()
            mutation = answer.response_headers.response.header_mutation
            for name, value in account.items():
                set_header(mutation, name, value)
            mutation.remove_headers.extend(name for name in claimed if name not in account)
            if self._conformance is _CONFORMANCE_ON:
                set_header(mutation, TEST_SERVED, served_endpoint(message) or NOT_TOLD)
            self._headers = answer.SerializeToString()
        self._held = self._holds
        self.pending = not self._held
        if sent.end_of_stream:
            self._end(now)

    def take_body(self, chunk: bytes, *, end_of_stream: bool, now: float) -> bool:
        """Pass a piece of the body on, and keep the tail. Called for every streamed token: nothing else.

        Whether it brought the body's first byte.
        """
        if self.complete:
            raise _out_of_order("response_body came after the response had ended")
        self.begun = self.pending = True
        self._held = False
        if self._mode is not _DUPLEX:
            self._owed += 1
        elif chunk:
            self._body.add(chunk)
        elif not end_of_stream:
            self._empty_owed = True
        is_first = False
        if chunk:
            if not self._body_bytes:
                self._first_byte_s = now
                is_first = True
            self._body_bytes += len(chunk)
            self._tail.add(chunk)
        if end_of_stream:
            if self._mode is _DUPLEX:
                self._body.end()
            self._end(now)
        return is_first

    def take_trailers(self, now: float) -> None:
        """Answer the trailers, which end the response."""
        if self.complete:
            raise _out_of_order("response_trailers came after the response had ended")
        self.begun = self._trailers_owed = True
        self._end(now)

    def next_message(self) -> bytes | None:
        """The next message for the gateway, in order; None if there is none now."""
        if self._headers is not None:
            headers, self._headers = self._headers, None
            return headers
        piece = self._body.next_piece()
        if piece is None and self._empty_owed:
            piece = _EMPTY_PIECE
        if piece is not None:
            self._empty_owed = False
            self.pending = self._body.held_bytes > 0 or self._trailers_owed
            return body_answer(RESPONSE_BODY, piece.body, end_of_stream=piece.end_of_stream)
        if self._owed:
            self._owed -= 1
            return _BODY_SEEN
        self.pending = False
        if self._trailers_owed:
            self._trailers_owed = False
            return _TRAILERS_SEEN
        return None

    @property
    def is_backlogged(self) -> bool:
        """Whether as much waits to be written as should."""
        return self._body.fills_a_piece or self._owed >= MOST_OWED

    @property
    def has_passed(self) -> bool:
        """Whether something of it has gone to the client, or is about to."""
        return self.begun and not self._held

    def facts(self, *, otherwise: ResponseOutcome, request_bytes: int, now: float) -> ResponseFacts:
        """The response in a few numbers, and its outcome: completed, or `otherwise`."""
        usage = self._tail.usage()
        return ResponseFacts(
            outcome=_COMPLETED if self.complete else otherwise,
            status=self._status,
            request_bytes=request_bytes,
            response_bytes=self._body_bytes,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            first_byte_s=self._first_byte_s,
            ended_s=now if self._ended_s is None else self._ended_s,
        )

    def _end(self, now: float) -> None:
        self._held = False
        self.pending = self.complete = True
        self._ended_s = now


def _out_of_order(message: str) -> Unacceptable:
    return Unacceptable(Reason.MALFORMED, f"The gateway's messages are out of order: {message}.")
