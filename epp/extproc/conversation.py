"""One ext_proc stream as a state machine: messages in, messages and actions out, no I/O, time passed in.

Rules of this file: nothing here waits, reads a clock or knows a transport; whatever a peer sends, nothing here raises.

What its phases are, and what moves it from one to the next: see `phases`.

Two promises to the gateway: the answer to the request's headers is the first message it gets, and it gets it at
dispatch, not before. And one to the picker: exactly one of Cancel, DeliveryFailed and Ended for each Submit, unless
it refused the request itself.

An ImmediateResponse is an answer as long as nothing of another one has gone to the client. After that gateways can
only break the response off, and do.

How a stream ends says nothing: normal ends, clients that left and upstreams that failed look the same. So the outcome
follows from the messages seen, and where this gateway doesn't show the response's end, it is `ENDED`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from epp.core.actions import Reason
from epp.core.eviction import Begun
from epp.extproc.actions import Cancel, DeliveryFailed, Ended, FirstByte, Rejected, Submit
from epp.extproc.headers import account_of
from epp.extproc.ingress import HeadersPass, Refusal, ResponseOutcome
from epp.extproc.metadata import subset_hint
from epp.extproc.modes import UNDECLARED, BodyMode, Modes, read_modes
from epp.extproc.phases import Delivery, Phase
from epp.extproc.refusals import refusal_message
from epp.extproc.request import ConversationSettings, Progress, RequestHalf, Unacceptable
from epp.extproc.response import ResponseHalf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epp.extproc.actions import Action
    from epp.extproc.ingress import Explanation
    from epp.extproc.wire import ext_proc_pb2 as wire


_NOTHING: Final[tuple[Action, ...]] = ()
_FIRST_BYTE: Final = (FirstByte(),)


# Looked up once: a member of an enum costs as much as a call, and these are asked for with every streamed token.
_OPENING, _RECEIVING, _QUEUED = Phase.OPENING, Phase.RECEIVING, Phase.QUEUED
_RUNNING, _SETTLED, _OVER = Phase.RUNNING, Phase.SETTLED, Phase.OVER
_DUE, _HANDED_OUT, _WRITTEN = Delivery.DUE, Delivery.HANDED_OUT, Delivery.WRITTEN
_READY = Progress.READY
_UNSEEN = BodyMode.UNSEEN


class Conversation:
    """One stream. The transport feeds it, sends what `next_message` gives, and carries the actions to the picker."""

    __slots__ = (
        "_delivery",
        "_half_closed",
        "_last_word",
        "_modes",
        "_parting",
        "_request",
        "_response",
        "_settings",
        "is_to_settle",
        "phase",
    )

    def __init__(self, settings: ConversationSettings) -> None:
        self._settings = settings
        self._modes: Modes | None = None
        self._request: RequestHalf | None = None
        self._response: ResponseHalf | None = None
        self._last_word: bytes | None = None
        self._parting: Sequence[Action] = _NOTHING
        """What the picker hears of an evicted request, once the gateway has been told."""
        self._delivery = _DUE
        self._half_closed = False
        self.is_to_settle = False
        """Once everything has been sent, `settle` has something to do."""
        self.phase = _OPENING

    # ------------------------------------------------------------------------ from the gateway

    def receive(self, message: wire.ProcessingRequest, now: float) -> Sequence[Action]:
        """The next message of the gateway."""
        if self.phase is _OVER:
            return _NOTHING
        try:
            return _HANDLERS[message.WhichOneof("request")](self, message, now)
        except Unacceptable as problem:
            return self._give_up(problem.reason, problem.message, now)

    def request_body(self, chunk: bytes, *, end_of_stream: bool, now: float) -> Sequence[Action]:
        """The next message of the gateway, one that is a piece of the request's body and nothing more."""
        if self.phase is _OVER:
            return _NOTHING
        try:
            return self._take_request_body(chunk, end_of_stream=end_of_stream)
        except Unacceptable as problem:
            return self._give_up(problem.reason, problem.message, now)

    def response_body(self, chunk: bytes, *, end_of_stream: bool, now: float) -> Sequence[Action]:
        """The next message of the gateway, one that is a piece of the response's body and nothing more.

        Called for every streamed token.
        """
        if self.phase is _OVER:
            return _NOTHING
        actions = _NOTHING if self._response is not None else self._stand_aside(UNDECLARED)
        response = self._response
        assert response is not None
        try:
            is_first = response.take_body(chunk, end_of_stream=end_of_stream, now=now)
        except Unacceptable as problem:
            return self._give_up(problem.reason, problem.message, now)
        if end_of_stream:
            self.is_to_settle = True
        return _FIRST_BYTE if is_first and self.phase is _RUNNING else actions

    def unreadable(self, now: float) -> Sequence[Action]:
        """Something came that is no message of the protocol."""
        if self.phase is _OVER:
            return _NOTHING
        return self._give_up(Reason.MALFORMED, "The gateway sent something that is no ext_proc message.", now)

    def half_closed(self) -> None:
        """The gateway will send nothing more. It may well still wait for answers."""
        self._half_closed = self.is_to_settle = True
        if self.phase is _OPENING or self.phase is _RECEIVING:
            self._leave()

    def reset(self, now: float) -> Sequence[Action]:
        """The stream is gone, both ways."""
        actions = self._let_go(now)
        self._leave()
        self._last_word = None
        return actions

    # ------------------------------------------------------------------------- from the picker

    def dispatched(
        self,
        address: str,
        waited_s: float,
        explanation: Explanation | None = None,
        *,
        headers: HeadersPass = HeadersPass.AT_ONCE,
    ) -> bool:
        """The queued request goes to the endpoint `address`. Whether that was still waited for."""
        if self.phase is not _QUEUED:
            return False
        assert self._request is not None
        assert self._modes is not None
        self._request.release(address)
        self._response = ResponseHalf(
            self._modes.response,
            account=account_of(waited_s, explanation),
            headers=headers,
            conformance=self._settings.conformance,
        )
        self.phase = _RUNNING
        self.is_to_settle = self._half_closed
        return True

    def refused(self, refusal: Refusal) -> bool:
        """The queued request gets an answer instead. Whether that was still waited for."""
        if self.phase is not _QUEUED:
            return False
        self._leave()
        self._last_word = refusal_message(refusal).SerializeToString()
        return True

    def evicted(self, refusal: Refusal, begun: Begun, now: float) -> bool:
        """The running request is to end. Whether there was anything left to end, and `begun` allows it."""
        response = self._response
        if self.phase is not _RUNNING or response is None or response.complete:
            return False
        if response.has_passed and begun is Begun.SPARED:
            return False
        # One whose answer is on its way to the gateway may have reached the endpoint: only the end says that it left.
        if self._delivery is _DUE:
            self._parting = (DeliveryFailed(),)
        else:
            self._parting = (self._ended(ResponseOutcome.EVICTED, now),)
        self._leave()
        self.is_to_settle = True
        self._last_word = refusal_message(refusal).SerializeToString()
        return True

    # -------------------------------------------------------------------------- to the gateway

    def next_message(self) -> bytes | None:
        """The next message to send; None if there is none now.

        Asking again says that the message before has been written.
        """
        response = self._response
        if response is None:
            last_word, self._last_word = self._last_word, None
            return last_word
        if self._delivery is not _WRITTEN:
            self._delivery = _HANDED_OUT if self._delivery is _DUE else _WRITTEN
        request = self._request
        if request is not None and request.pending:
            message = request.next_message()
            if message is not None:
                return message
        return response.next_message() if response.pending else None

    @property
    def is_backlogged(self) -> bool:
        """Whether so much waits to be sent that nothing should be received before some of it has been."""
        request, response = self._request, self._response
        return response is not None and (
            response.is_backlogged or (request is not None and request.is_backlogged)
        )

    def settle(self, now: float) -> Sequence[Action]:
        """To be called when everything has been sent, at least if `is_to_settle`: what can be looked at only now."""
        self.is_to_settle = False
        if self.phase is _RUNNING:
            if self._half_closed or (self._response is not None and self._response.complete):
                actions = self._let_go(now)
                self.phase = _SETTLED
                if self._half_closed:
                    self._leave()
                return actions
        elif self.phase is _SETTLED and self._half_closed:
            self._leave()
        elif self._parting:
            return self._let_go(now)
        return _NOTHING

    # ----------------------------------------------------------------------------- one message

    def _on_request_headers(self, message: wire.ProcessingRequest, now: float) -> Sequence[Action]:
        del now
        if self.phase is not _OPENING:
            raise _out_of_order("request_headers came a second time")
        self._modes = read_modes(message)
        self._request = RequestHalf(self._settings, message, self._modes.request)
        self.phase = _RECEIVING
        return self._submit(self._request.begin())

    def _on_request_body(self, message: wire.ProcessingRequest, now: float) -> Sequence[Action]:
        del now
        self._restrict(message)
        sent = message.request_body
        return self._take_request_body(sent.body, end_of_stream=sent.end_of_stream)

    def _on_request_trailers(self, message: wire.ProcessingRequest, now: float) -> Sequence[Action]:
        del now
        self._restrict(message)
        request = self._open_request("request_trailers")
        return _NOTHING if request is None else self._submit(request.take_trailers())

    def _on_response_headers(self, message: wire.ProcessingRequest, now: float) -> Sequence[Action]:
        actions = _NOTHING if self._response is not None else self._stand_aside(read_modes(message))
        assert self._response is not None
        assert self._modes is not None
        self._response.take_headers(message, now)
        self.is_to_settle |= self._response.complete
        # Where the body isn't shown there will be no better sign.
        if self.phase is _RUNNING and self._modes.response is _UNSEEN:
            return _FIRST_BYTE
        return actions

    def _on_response_body(self, message: wire.ProcessingRequest, now: float) -> Sequence[Action]:
        actions = _NOTHING if self._response is not None else self._stand_aside(read_modes(message))
        sent = message.response_body
        return self.response_body(sent.body, end_of_stream=sent.end_of_stream, now=now) or actions

    def _on_response_trailers(self, message: wire.ProcessingRequest, now: float) -> Sequence[Action]:
        actions = _NOTHING if self._response is not None else self._stand_aside(read_modes(message))
        assert self._response is not None
        self._response.take_trailers(now)
        self.is_to_settle = True
        return actions

    def _on_nothing(self, message: wire.ProcessingRequest, now: float) -> Sequence[Action]:
        del message, now
        raise Unacceptable(Reason.MALFORMED, "The gateway sent a message without headers, body or trailers.")

    # --------------------------------------------------------------------------------- helpers

    def _take_request_body(self, chunk: bytes, *, end_of_stream: bool) -> Sequence[Action]:
        request = self._open_request("request_body")
        if request is None:
            return _NOTHING
        return self._submit(request.take_body(chunk, end_of_stream=end_of_stream))

    def _restrict(self, message: wire.ProcessingRequest) -> None:
        """Gateways may name the subset in any message of the request: the last one before it is queued counts."""
        request = self._request
        if request is not None and (hint := subset_hint(message)) is not None:
            request.restrict(hint)

    def _submit(self, progress: Progress) -> Sequence[Action]:
        if progress is not _READY:
            return _NOTHING
        assert self._request is not None
        self.phase = _QUEUED
        return (Submit(self._request.facts()),)

    def _open_request(self, kind: str) -> RequestHalf | None:
        """The request that a message continues; None if it doesn't matter any more."""
        request = self._request
        if request is None:
            if self.phase is _SETTLED:
                return None
            raise _out_of_order(f"{kind} came before request_headers")
        if request.ended:
            raise _out_of_order(f"{kind} came after the request had ended")
        return request

    def _stand_aside(self, modes: Modes) -> Sequence[Action]:
        """Leave a request that we have not answered to the gateway, which answers it by itself.

        `modes` are those that this message tells, should it be the stream's first.

        That is a filter before us that refused it, or a timeout while it was queued: its response comes past us
        like any other.
        """
        if self._response is not None:
            return _NOTHING
        if self._modes is None:
            self._modes = modes
        actions: Sequence[Action] = (Cancel(),) if self.phase is _QUEUED else _NOTHING
        self._request = None
        self._response = ResponseHalf(self._modes.response)
        self._delivery = _WRITTEN
        self.phase = _SETTLED
        return actions

    def _give_up(self, reason: Reason, message: str, now: float) -> Sequence[Action]:
        """Answer instead of going on."""
        refusal = Refusal(reason, retry_after_s=None, message=message, waited_s=0.0)
        facts = self._request.facts() if self._request is not None else None
        actions = (*self._let_go(now), Rejected(facts, refusal))
        self._leave()
        self._last_word = refusal_message(refusal).SerializeToString()
        return actions

    def _let_go(self, now: float) -> Sequence[Action]:
        """Tell the picker the end of what it knows of, once; the phase is the caller's business."""
        if self.phase is _QUEUED:
            return (Cancel(),)
        if self.phase is not _RUNNING:
            parting, self._parting = self._parting, _NOTHING
            return parting
        if self._delivery is not _WRITTEN:
            return (DeliveryFailed(),)
        return (self._ended(self._unfinished(), now),)

    def _ended(self, otherwise: ResponseOutcome, now: float) -> Ended:
        assert self._request is not None
        assert self._response is not None
        return Ended(
            self._response.facts(otherwise=otherwise, request_bytes=self._request.body_bytes, now=now)
        )

    def _unfinished(self) -> ResponseOutcome:
        """The outcome of a response whose end has not been seen."""
        assert self._modes is not None
        assert self._response is not None
        if self._modes.response is _UNSEEN:
            return ResponseOutcome.ENDED
        # A gateway that declares nothing, closes its side and shows no response is one that never shows any.
        if not self._modes.declared and self._half_closed and not self._response.begun:
            return ResponseOutcome.ENDED
        return ResponseOutcome.ABORTED

    def _leave(self) -> None:
        """Drop everything that is held; nothing is sent after this but a last word."""
        self.phase = _OVER
        self._request = None
        self._response = None


def _out_of_order(message: str) -> Unacceptable:
    return Unacceptable(Reason.MALFORMED, f"The gateway's messages are out of order: {message}.")


_HANDLERS: Final[
    dict[str | None, Callable[[Conversation, wire.ProcessingRequest, float], Sequence[Action]]]
] = {
    "request_headers": Conversation._on_request_headers,
    "request_body": Conversation._on_request_body,
    "request_trailers": Conversation._on_request_trailers,
    "response_headers": Conversation._on_response_headers,
    "response_body": Conversation._on_response_body,
    "response_trailers": Conversation._on_response_trailers,
    None: Conversation._on_nothing,
}
