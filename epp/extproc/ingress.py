"""Between the conversations and the picker: what each tells the other, and nothing of how.

A transport's stream submits a request to the `Picker` and implements `Answer`; the shell implements the `Picker`.
Every submitted request gets exactly one answer, unless it was cancelled before, and the picker hears exactly one end
of every request that it answered with a dispatch: `delivery_failed` or `ended`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from epp.core.actions import Reason
    from epp.core.eligibility import Eligibility
    from epp.core.eviction import Begun

DEFAULT_FAIRNESS_ID = "default-flow"
"""The flow of requests that name none."""


class RequestFacts(msgspec.Struct, frozen=True):
    """What the conversation learnt of a request."""

    request_name: str
    """`x-request-id`, for people; '' if there is none. Not unique: a client may choose it."""
    objective: str
    """The name of its InferenceObjective; '' if it gives none."""
    fairness_id: str
    """Its flow; `DEFAULT_FAIRNESS_ID` if it gives none."""
    ttl_s: float | None
    """The waiting budget that the request itself gives, above 0."""
    model: str
    """The model it asks for; '' if unknown."""
    target_model: str
    """The model that it is sent on with: the same, unless it was rewritten."""
    path: str
    """Its path without the query, which may hold secrets."""
    streaming: bool
    """It asks for its answer as a stream of events."""
    size_bytes: int
    """Bytes of body held while it waits, or announced and soon to be held."""
    need: int
    """Requests' worth of room: 1, or 0 for a request without a body."""
    body_bytes: int
    """Bytes of its body, seen or announced; its input is estimated from them."""
    max_output_tokens: int | None
    """Its own cap on its output, over all of its choices; None if it has none."""
    eligibility: Eligibility
    invalid_headers: tuple[str, ...]
    """Names of control headers whose values were invalid and ignored."""
    slo_s: float | None = None
    """Within which time it wants its first token; None if it doesn't say."""


class Explanation(NamedTuple):
    """What a client is told of its request's way through the queue, where such things are told."""

    priority: int
    position: int
    """How many queued requests of its own and of higher priorities were there before it; 0 if it never waited."""
    blocked_by: str
    """Why it could not go at once; '' if it could."""
    request_id: int = 0
    """The picker's own number for it, by which it can be asked about; 0 if it has none."""


class Refusal(NamedTuple):
    """An answer instead of an endpoint."""

    reason: Reason
    retry_after_s: int | None
    """When trying again makes sense, 1 to 60; None where waiting can't help."""
    message: str
    """What the client reads; '' means the reason's usual text."""
    waited_s: float
    explanation: Explanation | None = None
    """None: the client is told no more."""


class ResponseOutcome(Enum):
    """How a dispatched request ended, by the messages seen."""

    COMPLETED = "completed"
    """The end of the response was seen."""
    ABORTED = "aborted"
    """The stream ended before the response did."""
    ENDED = "ended"
    """The stream ended, and this gateway doesn't show where responses end."""
    EVICTED = "evicted"
    """The picker wanted it to end."""


class ResponseFacts(msgspec.Struct, frozen=True):
    """What the conversation learnt of the response, at the end."""

    outcome: ResponseOutcome
    status: int | None
    """The model server's HTTP status; None if no response headers came."""
    request_bytes: int
    """Bytes of request body seen."""
    response_bytes: int
    """Bytes of response body seen; 0 where the gateway keeps them to itself."""
    input_tokens: int | None
    """From the response's `usage`, as are the other two; None if it didn't say."""
    output_tokens: int | None
    cached_tokens: int | None
    first_byte_s: float | None
    """When the first byte of the response's body came; None if none did."""
    ended_s: float
    """When the response, or the stream, ended."""


class HeadersPass(Enum):
    """When the headers of a response go on to the client, after which no other answer is possible."""

    AT_ONCE = "at once"
    WITH_BODY = "with the first byte of the body"
    """Where the gateway shows the body and doesn't wait for us to pass the headers on; at once elsewhere."""


class Answer(Protocol):
    """Where the picker leaves its decision, once, maybe before `submit` has returned; and a change of mind."""

    def dispatched(
        self,
        address: str,
        waited_s: float,
        explanation: Explanation | None = None,
        *,
        headers: HeadersPass = HeadersPass.AT_ONCE,
    ) -> None:
        """The request goes to the endpoint `address`, after `waited_s` in the queue.

        Without an `explanation` the client is told of the wait alone.
        """

    def refused(self, refusal: Refusal) -> None:
        """The request gets an answer instead."""

    def evicted(self, refusal: Refusal, begun: Begun) -> bool:
        """A request that was dispatched is to end: with the refusal, or, if its response has begun, broken off.

        Whether that is done, which `begun` forbids for a response that has begun, and the end of one that is complete.
        If it is, the picker hears the end as ever, once the gateway has been told.
        """


class TargetModel(Protocol):
    """Who knows which model a request is sent on with. Called like the picker, and may no more block or raise."""

    def __call__(self, asked: str, header: str, /) -> str:
        """The model to send it on with; '' to leave its body alone.

        Asked once for each request whose body was read, before it is submitted. `asked` is the model that the body
        names, '' if it names none; `header` is what the request's headers want instead, '' if nothing.
        """


def as_asked(asked: str, header: str) -> str:
    """The target model where nothing is ever rewritten."""
    del header
    return asked


class Picker(Protocol):
    """Who decides. Called on the event loop; none of the calls may block or raise."""

    def submit(self, facts: RequestFacts, answer: Answer) -> int:
        """Take a request, and return the id by which the calls below name it."""

    def cancel(self, request_id: int) -> None:
        """It is gone while it waited. Its answer is not wanted any more."""

    def delivery_failed(self, request_id: int) -> None:
        """It was dispatched, and the gateway could not be told: nothing reached the endpoint."""

    def first_byte(self, request_id: int) -> None:
        """It was dispatched, and its response has begun: its body, or where none is shown its headers."""

    def ended(self, request_id: int, response: ResponseFacts) -> None:
        """It was dispatched, and its stream has ended."""

    def rejected(self, facts: RequestFacts | None, refusal: Refusal) -> None:
        """The conversation itself refused a request: malformed or too large. For metrics and logs.

        `facts` is None if too little of it was understood. If the request had been submitted already, `cancel` or
        `ended` has been called for it just before.
        """
