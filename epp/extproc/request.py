"""The request half of a conversation: what a request is, and the way of its body.

It reads the headers, holds the body until the decision, and then gives back, in this order: the answer to the headers
with the endpoint in it, every byte of the body, the answer to the trailers. It says when enough has been seen to queue
the request, and refuses what can't be read or is too large, as soon as that is known.

A body that was read may be sent on with another model in it. A body that wasn't never changes, nor does one of which
the gateway keeps a copy: there the copy is what goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from epp.core.actions import Reason
from epp.core.eligibility import ANY, Subset
from epp.extproc.body import MOST_OWED, PassingBody
from epp.extproc.envelope import REQUEST_BODY, body_answer
from epp.extproc.headers import (
    CONTENT_LENGTH,
    DESTINATION,
    Conformance,
    ControlHeaders,
    read_request,
    set_header,
)
from epp.extproc.ingress import RequestFacts, as_asked
from epp.extproc.metadata import set_destination, subset_hint
from epp.extproc.modelname import name_model
from epp.extproc.modes import BodyMode
from epp.extproc.parsers import OPENAI_PARSER, UNREAD, BodyNeed, Malformed, ParsedRequest, Parsers
from epp.extproc.wire import ext_proc_pb2 as wire

if TYPE_CHECKING:
    from epp.core.eligibility import Eligibility
    from epp.extproc.headers import RequestControl
    from epp.extproc.ingress import TargetModel

# Looked up once: a member of an enum costs as much as a call.
_DUPLEX: Final = BodyMode.DUPLEX
_WHOLE: Final = BodyNeed.WHOLE
_REMOVE: Final = ControlHeaders.REMOVE
_CONFORMANCE_ON: Final = Conformance.ON
_LONGEST_PATH_SHOWN: Final = 256
_ANSWERS_REMEMBERED: Final = 4096

_BODY_SEEN: Final = wire.ProcessingResponse(
    request_body=wire.BodyResponse(response=wire.CommonResponse())
).SerializeToString()
_TRAILERS_SEEN: Final = wire.ProcessingResponse(request_trailers=wire.TrailersResponse()).SerializeToString()


def default_parsers() -> Parsers:
    """What reads bodies where nothing else is configured."""
    return Parsers((OPENAI_PARSER,))


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """What all conversations of a picker have in common."""

    parsers: Parsers = field(default_factory=default_parsers)
    max_request_body_bytes: int = 32 * 1024 * 1024
    control_headers: ControlHeaders = ControlHeaders.REMOVE
    conformance: Conformance = Conformance.OFF
    target_model: TargetModel = as_asked


class Unacceptable(Exception):  # noqa: N818 - no error of ours: what a peer sent; the conversation catches it
    """The stream can't go on with what has just come; the message is for the client."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Progress(Enum):
    """What a message of the request changed."""

    NOTHING = "nothing"
    READY = "ready"
    """The request can be queued now. Said once."""


_NOTHING: Final = Progress.NOTHING
_READY: Final = Progress.READY


class RequestHalf:
    """One request, from its headers to the last byte sent on.

    Nothing comes out before `release`.
    """

    __slots__ = (
        "_answer",
        "_body",
        "_content_length",
        "_control",
        "_eligibility",
        "_facts",
        "_mode",
        "_need",
        "_owed",
        "_parsed",
        "_parser",
        "_released",
        "_removed",
        "_resized_bytes",
        "_settings",
        "_steered",
        "_target",
        "_trailers_owed",
        "_unread",
        "body_bytes",
        "ended",
        "pending",
    )

    def __init__(self, settings: ConversationSettings, first: wire.ProcessingRequest, mode: BodyMode) -> None:
        """From the message that brought the request's headers."""
        self._settings = settings
        self._mode = mode
        headers = first.request_headers
        control = read_request(headers.headers.headers)
        self._control: RequestControl | None = control
        self._facts: RequestFacts | None = None
        self._content_length = control.content_length
        self._removed = control.present if settings.control_headers is _REMOVE else ()
        self._parser = settings.parsers.choose(control.path)
        self._parsed: ParsedRequest = UNREAD
        self._target = ""
        self._resized_bytes: int | None = None
        self._eligibility: Eligibility = subset_hint(first) or ANY
        # A test's own selection overrides what the gateway allows, whichever message that comes in.
        self._steered = settings.conformance is _CONFORMANCE_ON and control.test_selection != ""
        if self._steered:
            self._eligibility = Subset.of(control.test_selection.split(","))
        self._body = PassingBody()
        self._answer: bytes | None = None
        self._owed = 0
        self._trailers_owed = False
        self._released = False
        self.body_bytes = 0
        """Bytes of body that have come so far."""
        self.ended: bool = headers.end_of_stream
        """Nothing more of this request may come."""
        self._need = 0 if self.ended else 1
        # Only in full duplex does the body come before the headers are answered: elsewhere waiting for it means
        # waiting for ever.
        self._unread = not self.ended and mode is _DUPLEX and self._parser.body_need is _WHOLE
        self.pending = False
        """`next_message` may have something."""

    def begin(self) -> Progress:
        """Judge the headers."""
        length = self._content_length
        if length is not None and length > self._settings.max_request_body_bytes:
            raise self._too_large()
        return _NOTHING if self._unread else _READY

    def take_body(self, chunk: bytes, *, end_of_stream: bool) -> Progress:
        """Take the next piece of the body."""
        self.body_bytes += len(chunk)
        if self.body_bytes > self._settings.max_request_body_bytes:
            raise self._too_large()
        if self._mode is _DUPLEX:
            self._body.add(chunk)
            if end_of_stream:
                self._body.end()
        else:
            self._owed += 1
        self.pending = self._released
        return self._end() if end_of_stream else _NOTHING

    def take_trailers(self) -> Progress:
        """Take the trailers, which end the body."""
        self._trailers_owed = True
        self.pending = self._released
        return self._end()

    def restrict(self, hint: Eligibility) -> None:
        """The gateway names a subset: it counts for as long as nothing is decided, unless a test selects for itself."""
        if not self._released and not self._steered:
            self._eligibility = hint

    def facts(self) -> RequestFacts:
        """What is known of the request. Asked for once nothing that may still come makes a difference to it."""
        control = self._control
        if control is None:
            assert self._facts is not None
            return self._facts
        # A parser that doesn't wait for the body goes by what the headers announce: it will soon be held.
        size = max(self.body_bytes, self._content_length or 0) if self._need else 0
        parsed = self._parsed
        # In the fields' order: by their names it takes twice as long.
        facts = self._facts = RequestFacts(
            control.request_name,
            control.objective,
            control.fairness_id,
            control.ttl_s,
            parsed.model,
            self._target,
            control.path[:_LONGEST_PATH_SHOWN],
            parsed.streaming,
            size if self._mode is _DUPLEX else 0,
            self._need,
            size,
            parsed.max_output_tokens,
            self._eligibility,
            control.invalid,
            control.slo_s,
        )
        # Thousands of requests are held for long, and this is all that is wanted of their headers.
        self._control = None
        self._parsed = UNREAD
        return facts

    def release(self, address: str) -> None:
        """Let it go to the endpoint `address`."""
        if self._resized_bytes is None:
            self._answer = _usual_answer(address, self._removed)
        else:
            self._answer = _answer(address, self._removed, resized_bytes=self._resized_bytes)
        self._released = self.pending = True

    @property
    def is_backlogged(self) -> bool:
        """Whether as much waits to be written as should."""
        return self.pending and (self._body.fills_a_piece or self._owed >= MOST_OWED)

    def next_message(self) -> bytes | None:
        """The next message for the gateway, in order; None if there is none now."""
        if self._answer is not None:
            answer, self._answer = self._answer, None
            return answer
        piece = self._body.next_piece()
        if piece is not None:
            return body_answer(REQUEST_BODY, piece.body, end_of_stream=piece.end_of_stream)
        if self._owed:
            self._owed -= 1
            return _BODY_SEEN
        self.pending = False
        if self._trailers_owed:
            self._trailers_owed = False
            return _TRAILERS_SEEN
        return None

    def _end(self) -> Progress:
        self.ended = True
        if not self._unread:
            return _NOTHING
        self._unread = False
        control = self._control
        assert control is not None
        body = self._body.whole()
        try:
            self._parsed = self._parser.parse(control.path, control.content_type, body)
            self._choose_model(body, control)
        except Malformed as error:
            raise Unacceptable(Reason.MALFORMED, str(error)) from None
        return _READY

    def _choose_model(self, body: bytes, control: RequestControl) -> None:
        """Find out which model the request is sent on with, and name it in the body if it is another one."""
        asked = self._target = self._parsed.model
        # A call that needs no model isn't given one.
        if not asked and not self._parsed.lacks_model:
            return
        target = self._settings.target_model(asked, control.model_rewrite) or asked
        if not target:
            raise Malformed("model not found in request body")
        if target == asked:
            return
        edits = name_model(body, target)
        self._body.replace(edits)
        self._target = target
        growth = sum(edit.growth for edit in edits)
        # Gateways drop the length of a body that we may change. One that doesn't must not keep a wrong one.
        if growth and self._content_length is not None:
            self._resized_bytes = self.body_bytes + growth

    def _too_large(self) -> Unacceptable:
        limit = self._settings.max_request_body_bytes
        return Unacceptable(
            Reason.TOO_LARGE, f"The request's body is larger than {limit} bytes, the most that is taken here."
        )


def _answer(address: str, removed: tuple[str, ...], *, resized_bytes: int | None = None) -> bytes:
    """The answer to a request's headers: where it goes, and what is changed of them."""
    answer = wire.ProcessingResponse()
    common = answer.request_headers.response
    common.clear_route_cache = True
    set_header(common.header_mutation, DESTINATION, address)
    if resized_bytes is not None:
        set_header(common.header_mutation, CONTENT_LENGTH, str(resized_bytes))
    common.header_mutation.remove_headers.extend(removed)
    set_destination(answer, address)
    return answer.SerializeToString()


@lru_cache(_ANSWERS_REMEMBERED)
def _usual_answer(address: str, removed: tuple[str, ...]) -> bytes:
    """The same for all requests to one endpoint that brought the same control headers."""
    return _answer(address, removed)
