"""The conversation, fed with messages: what it says to the gateway, and what to the picker.

The gateway of these tests writes and reads with `envoy-data-plane`.
"""

from __future__ import annotations

import json

import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOptionHeaderAppendAction as AppendAction
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from hypothesis import given
from hypothesis import strategies as st

from epp.core.actions import Reason
from epp.core.eligibility import ANY, Subset
from epp.extproc.conversation import (
    Action,
    Conversation,
    Ended,
    Phase,
    Rejected,
    Submit,
)
from epp.extproc.headers import ControlHeaders
from epp.extproc.ingress import Refusal, RequestFacts, ResponseFacts, ResponseOutcome
from epp.extproc.parsers import Parsers
from epp.extproc.request import ConversationSettings
from epp.extproc.wire import ext_proc_pb2 as wire
from tests.extproc import gateway
from tests.extproc.gateway import ADDRESS, BUFFERED, CHAT, DUPLEX, LEAN, STREAMED

PASSTHROUGH = ConversationSettings(parsers=Parsers(("passthrough-parser",)))
REFUSED = Refusal(Reason.SATURATED, retry_after_s=3, message="", waited_s=1.5)


class Talk:
    """Both ends of one conversation."""

    def __init__(self, settings: ConversationSettings | None = None) -> None:
        self.conversation = Conversation(settings or ConversationSettings())
        self.now = 100.0
        self.actions: list[Action] = []
        self.heard: list[ProcessingResponse] = []

    def say(self, *messages: ProcessingRequest) -> Talk:
        """Send, one after the other, and listen after each."""
        for message in messages:
            read = wire.ProcessingRequest.FromString(bytes(message))
            self.actions += self.conversation.receive(read, self.now)
            self.listen()
        return self

    def listen(self) -> list[ProcessingResponse]:
        """Take what there is to hear, as a transport would."""
        news = []
        while (message := self.conversation.next_message()) is not None:
            news.append(ProcessingResponse.parse(message.SerializeToString()))
        self.actions += self.conversation.settle(self.now)
        self.heard += news
        return news

    def dispatch(self, *, waited_s: float = 0.0) -> Talk:
        """The picker's yes."""
        self.conversation.dispatched(ADDRESS, waited_s)
        self.listen()
        return self

    def refuse(self, refusal: Refusal = REFUSED) -> Talk:
        """The picker's no."""
        self.conversation.refused(refusal)
        self.listen()
        return self

    def half_close(self) -> Talk:
        """The gateway says that it will send nothing more."""
        self.actions += self.conversation.half_closed()
        self.listen()
        return self

    def reset(self) -> Talk:
        """The stream breaks."""
        self.actions += self.conversation.reset(self.now)
        return self

    @property
    def facts(self) -> RequestFacts:
        """What was submitted."""
        (submit,) = [action for action in self.actions if isinstance(action, Submit)]
        return submit.facts

    @property
    def ended(self) -> ResponseFacts:
        """What was told of the response."""
        (ended,) = [action for action in self.actions if isinstance(action, Ended)]
        return ended.response

    @property
    def kinds(self) -> list[str]:
        """Which answers were heard."""
        return gateway.kinds(self.heard)

    @property
    def names(self) -> list[str]:
        """Which actions were taken."""
        return [type(action).__name__ for action in self.actions]

    def error(self) -> tuple[int, str]:
        """The status and the message of the immediate response, which is the last answer."""
        answer = self.heard[-1].immediate_response
        assert self.conversation.phase is Phase.OVER
        return int(answer.status.code), json.loads(answer.body)["error"]["message"]


def queued(
    settings: ConversationSettings | None = None, config: ProtocolConfiguration | None = DUPLEX
) -> Talk:
    """A chat that waits for its decision."""
    return Talk(settings).say(gateway.request_headers(config=config), gateway.request_body())


def running(config: ProtocolConfiguration | None = DUPLEX, *, waited_s: float = 0.0) -> Talk:
    """A chat that an endpoint has."""
    return queued(config=config).dispatch(waited_s=waited_s)


# --------------------------------------------------------------------------------- the request


def test_nothing_is_said_before_the_decision() -> None:
    """While a request is queued the gateway hears nothing; at dispatch it hears the headers' answer first."""
    talk = queued()
    assert (talk.names, talk.heard) == (["Submit"], [])
    talk.dispatch()
    assert talk.kinds == ["request_headers", "request_body"]


def test_the_destination_is_a_header_and_metadata_alike() -> None:
    """One address, as a header that replaces any other, and in the load balancer's namespace."""
    talk = running()
    (answer, _) = talk.heard
    common = answer.request_headers.response
    (option,) = common.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value) == (
        "x-gateway-destination-endpoint",
        ADDRESS.encode(),
    )
    assert option.append_action is AppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    assert common.clear_route_cache
    fields = answer.dynamic_metadata.fields["envoy.lb"].struct_value.fields
    assert fields["x-gateway-destination-endpoint"].string_value == ADDRESS


CONTROL = {
    "x-llm-d-inference-objective": "gold",
    "x-gateway-inference-objective": "old",
    "x-llm-d-inference-fairness-id": "tenant",
    "x-llm-d-inference-ttl": "5s",
    "x-gateway-destination-endpoint-subset": "10.0.0.1",
    "x-llm-d-flow-queue-duration-ms": "1",
}


def test_control_headers_end_here() -> None:
    """What steers us is removed before the model server, and only what was there is named."""
    talk = Talk().say(gateway.request_headers({**CONTROL, "x-other": "stays"}, end=True)).dispatch()
    mutation = talk.heard[0].request_headers.response.header_mutation
    assert set(mutation.remove_headers) == set(CONTROL)


def test_control_headers_can_be_kept() -> None:
    """Somebody who wants to see them behind us can."""
    settings = ConversationSettings(control_headers=ControlHeaders.KEEP)
    talk = Talk(settings).say(gateway.request_headers(CONTROL, end=True)).dispatch()
    assert talk.heard[0].request_headers.response.header_mutation.remove_headers == []


def test_no_content_length_is_ever_sent() -> None:
    """The body is not changed, so neither is its length."""
    talk = Talk().say(gateway.request_headers({"content-length": str(len(CHAT))}), gateway.request_body())
    talk.dispatch(waited_s=1.0).say(
        gateway.response_headers({"content-length": "5"}), gateway.response_body(b"hello", end=True)
    )
    for message in talk.heard:
        for part in (message.request_headers, message.response_headers):
            if part is not None:
                mutation = part.response.header_mutation
                assert "content-length" not in gateway.set_headers(mutation)
                assert "content-length" not in mutation.remove_headers


def test_what_the_picker_learns_of_a_chat() -> None:
    """Headers and body together make the facts."""
    body = b'{"model":"llama","stream":true,"max_tokens":100,"messages":[1]}'
    talk = Talk().say(
        gateway.request_headers({**CONTROL, "x-request-id": "r-1"}, path="/v1/chat/completions?key=secret"),
        gateway.request_body(body),
    )
    assert talk.facts == RequestFacts(
        request_name="r-1",
        objective="gold",
        fairness_id="tenant",
        ttl_s=5.0,
        model="llama",
        path="/v1/chat/completions",
        streaming=True,
        size_bytes=len(body),
        need=1,
        charge_tokens=len(body) // 4 + 100,
        eligibility=ANY,
        invalid_headers=(),
    )


def test_invalid_control_headers_are_named() -> None:
    """What was ignored is reported with the facts."""
    talk = Talk().say(gateway.request_headers({"x-llm-d-inference-ttl": "soon"}, end=True))
    assert talk.facts.invalid_headers == ("x-llm-d-inference-ttl",)


@pytest.mark.parametrize("settings", [None, PASSTHROUGH])
@pytest.mark.parametrize("config", [None, DUPLEX, LEAN, STREAMED, BUFFERED])
def test_a_request_without_a_body_needs_no_room(
    settings: ConversationSettings | None, config: ProtocolConfiguration | None
) -> None:
    """Header-only requests are queued at once, with need 0, in every mode."""
    talk = Talk(settings).say(gateway.request_headers(path="/v1/models", end=True, config=config))
    assert (talk.facts.need, talk.facts.size_bytes, talk.facts.charge_tokens) == (0, 0, 1)
    assert talk.dispatch().kinds == ["request_headers"]


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/anything"])
def test_an_unknown_body_is_queued_when_it_is_whole(path: str) -> None:
    """The default parser holds what it can't read as well, and charges it by its bytes."""
    talk = Talk().say(gateway.request_headers(path=path), gateway.request_body(b"x" * 400, end=False))
    assert talk.names == []
    talk.say(gateway.request_body(b"", end=True))
    assert (talk.facts.size_bytes, talk.facts.charge_tokens, talk.facts.model) == (400, 100, "")


def test_passthrough_submits_on_the_headers() -> None:
    """Without a parser to wait for, a request is queued at once, charged by what it announces."""
    talk = Talk(PASSTHROUGH).say(gateway.request_headers({"content-length": "4000"}))
    assert (talk.facts.size_bytes, talk.facts.charge_tokens, talk.facts.need) == (4000, 1000, 1)
    talk.say(gateway.request_body(b"a" * 2000, end=False))
    talk.dispatch().say(gateway.request_body(b"b" * 2000, end=True))
    assert gateway.body_sent(talk.heard, "request_body") == b"a" * 2000 + b"b" * 2000
    assert talk.kinds == ["request_headers", "request_body", "request_body"]


@given(
    st.lists(st.integers(0, 90_000), min_size=1, max_size=8),
    st.sampled_from(["end of stream", "trailers"]),
    st.sampled_from([None, DUPLEX, LEAN]),
    st.sampled_from(["openai", "passthrough"]),
    st.integers(0, 8),
)
def test_every_byte_comes_back_in_order(
    sizes: list[int], ending: str, config: ProtocolConfiguration | None, parser: str, decided_after: int
) -> None:
    """However a body is cut and ended, and whenever the decision comes: headers first, then each byte once."""
    settings = ConversationSettings(parsers=Parsers((f"{parser}-parser",)))
    chunks = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    messages = [gateway.request_body(chunk, end=False) for chunk in chunks]
    if ending == "trailers":
        messages.append(gateway.request_trailers())
    else:
        messages[-1] = gateway.request_body(chunks[-1], end=True)
    talk = Talk(settings).say(gateway.request_headers(path="/raw", config=config))
    for number, message in enumerate(messages):
        if number == decided_after and talk.conversation.phase is Phase.QUEUED:
            talk.dispatch()
        talk.say(message)
    if talk.conversation.phase is Phase.QUEUED:
        assert talk.heard == []
        talk.dispatch()
    kinds = talk.kinds
    assert kinds[0] == "request_headers"
    assert kinds.count("request_headers") == 1
    assert gateway.body_sent(talk.heard, "request_body") == b"".join(chunks)
    pieces = gateway.pieces(talk.heard, "request_body")
    assert all(len(piece.body) <= max(62_000, *sizes) for piece in pieces)
    ends = [piece.end_of_stream for piece in pieces]
    if ending == "trailers":
        assert kinds[-1] == "request_trailers"
        assert not any(ends)
    else:
        assert ends == [False] * (len(ends) - 1) + [True]
    assert talk.names == ["Submit"]


def test_a_body_is_not_kept_once_it_has_gone() -> None:
    """After dispatch nothing of the body is held."""
    talk = running()
    assert talk.conversation._request is not None
    assert not talk.conversation._request._body._chunks


@pytest.mark.parametrize("config", [STREAMED, BUFFERED])
def test_modes_in_which_the_gateway_keeps_the_body(config: ProtocolConfiguration) -> None:
    """There the body comes after the headers' answer, so it is not waited for, and each message gets one answer."""
    talk = Talk().say(gateway.request_headers({"content-length": "64"}, config=config))
    assert (talk.facts.need, talk.facts.size_bytes, talk.facts.charge_tokens) == (1, 0, 16)
    talk.dispatch().say(gateway.request_body(CHAT[:9], end=False), gateway.request_body(CHAT[9:]))
    talk.say(gateway.response_headers(), gateway.response_body(b"hello", end=True))
    assert talk.kinds == ["request_headers", *["request_body"] * 2, "response_headers", "response_body"]
    for message in talk.heard:
        for part in (message.request_body, message.response_body):
            assert part is None or part.response.body_mutation is None
    assert (talk.ended.request_bytes, talk.ended.response_bytes) == (len(CHAT), 5)


def test_copies_that_came_early_are_answered_at_dispatch() -> None:
    """A gateway that doesn't wait for the headers' answer gets one answer for each message it sent meanwhile."""
    talk = Talk().say(gateway.request_headers(config=STREAMED))
    talk.say(
        gateway.request_body(b"a", end=False),
        gateway.request_body(b"b", end=False),
        gateway.request_trailers(),
    )
    assert talk.heard == []
    assert talk.dispatch().kinds == ["request_headers", "request_body", "request_body", "request_trailers"]


def test_trailers_without_a_body_are_answered() -> None:
    """A request of headers and trailers only is queued when the trailers have come."""
    talk = Talk().say(gateway.request_headers(path="/raw"), gateway.request_trailers()).dispatch()
    assert talk.kinds == ["request_headers", "request_trailers"]


# ---------------------------------------------------------------------------------- the subset


def test_a_subset_restricts_the_request() -> None:
    """The hint may come with the headers."""
    metadata = gateway.subset(gateway.listed("10.0.0.1:8000"))
    talk = Talk().say(gateway.request_headers(end=True, metadata=metadata))
    assert talk.facts.eligibility == Subset.of(["10.0.0.1:8000"])


def test_the_last_subset_before_the_queue_counts() -> None:
    """Upstream reads it from the last message of the body, so gateways may put it there."""
    talk = Talk().say(
        gateway.request_headers(metadata=gateway.subset(gateway.listed("10.0.0.1"))),
        gateway.request_body(CHAT[:9], end=False),
        gateway.request_body(CHAT[9:], metadata=gateway.subset(gateway.listed("10.0.0.2"))),
    )
    assert talk.facts.eligibility == Subset.of(["10.0.0.2"])


def test_an_empty_subset_is_still_a_subset() -> None:
    """A hint that names nothing allows nothing; the picker answers that with 503."""
    talk = Talk().say(gateway.request_headers(end=True, metadata=gateway.subset(gateway.listed())))
    assert talk.facts.eligibility == Subset(frozenset())


# --------------------------------------------------------------------------------- the refusal


def test_a_refusal_is_the_only_answer() -> None:
    """The client gets the refusal, nothing comes before or after it, and the picker hears nothing more."""
    talk = queued().refuse()
    assert talk.kinds == ["immediate_response"]
    headers = gateway.set_headers(talk.heard[0].immediate_response.headers)
    assert headers["retry-after"] == "3"
    assert headers["x-llm-d-flow-queue-duration-ms"] == "1500"
    talk.say(gateway.request_trailers(), gateway.response_headers()).half_close().reset()
    assert (talk.kinds, talk.names) == (["immediate_response"], ["Submit"])


@pytest.mark.parametrize("body", [b"not json", b"[1,2]", b'{"messages":[1]}', b'{"model":"m"}', b"\xff"])
def test_a_malformed_chat_never_reaches_the_queue(body: bytes) -> None:
    """400, told to the client and reported with what is known of the request."""
    talk = Talk().say(gateway.request_headers({"x-request-id": "r-1"}), gateway.request_body(body))
    assert talk.error()[0] == 400
    (rejected,) = talk.actions
    assert isinstance(rejected, Rejected)
    assert rejected.refusal.reason is Reason.MALFORMED
    assert rejected.refusal.retry_after_s is None
    assert rejected.facts is not None
    assert rejected.facts.request_name == "r-1"


SMALL = ConversationSettings(max_request_body_bytes=1000)


@pytest.mark.parametrize("config", [None, DUPLEX, LEAN, STREAMED])
def test_an_announced_size_is_enough_to_refuse(config: ProtocolConfiguration | None) -> None:
    """A content-length above the limit is refused before the first byte."""
    talk = Talk(SMALL).say(gateway.request_headers({"content-length": "1001"}, config=config))
    assert talk.error()[0] == 413
    assert talk.names == ["Rejected"]


def test_a_body_that_grows_too_large_is_refused_at_once() -> None:
    """Without an announcement it is refused with the chunk that is too much, and what was held is dropped."""
    talk = Talk(SMALL).say(gateway.request_headers(), gateway.request_body(b"x" * 1000, end=False))
    assert talk.heard == []
    talk.say(gateway.request_body(b"x", end=False))
    assert talk.error()[0] == 413
    assert talk.conversation._request is None


@pytest.mark.parametrize("config", [DUPLEX, STREAMED])
def test_a_queued_body_that_grows_too_large_leaves_the_queue(config: ProtocolConfiguration) -> None:
    """The picker hears that it is gone before it hears why."""
    settings = ConversationSettings(parsers=Parsers(("passthrough-parser",)), max_request_body_bytes=1000)
    talk = Talk(settings).say(
        gateway.request_headers(config=config), gateway.request_body(b"x" * 1001, end=False)
    )
    assert talk.names == ["Submit", "Cancel", "Rejected"]
    assert talk.error()[0] == 413


def test_a_running_body_that_grows_too_large_ends() -> None:
    """The limit holds after dispatch as well, and the endpoint is given back."""
    settings = ConversationSettings(parsers=Parsers(("passthrough-parser",)), max_request_body_bytes=1000)
    talk = Talk(settings).say(gateway.request_headers()).dispatch()
    talk.say(gateway.request_body(b"x" * 1001, end=False))
    assert talk.names == ["Submit", "Ended", "Rejected"]
    assert talk.ended.outcome is ResponseOutcome.ABORTED


# -------------------------------------------------------------------------------- the response

USAGE = b'{"usage":{"prompt_tokens":7,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":2}}}'


def test_a_json_response_passes_and_is_read_at_the_end() -> None:
    """Its bytes go on as they come; the picker hears of it once, with the tokens."""
    talk = running().say(gateway.response_headers())
    talk.now = 101.0
    talk.say(gateway.response_body(USAGE[:20]))
    talk.now = 102.0
    assert "Ended" not in talk.names
    talk.say(gateway.response_body(USAGE[20:], end=True))
    talk.now = 103.0
    talk.half_close()
    assert gateway.body_sent(talk.heard, "response_body") == USAGE
    assert [piece.end_of_stream for piece in gateway.pieces(talk.heard, "response_body")] == [False, True]
    assert talk.ended == ResponseFacts(
        outcome=ResponseOutcome.COMPLETED,
        status=200,
        request_bytes=len(CHAT),
        response_bytes=len(USAGE),
        input_tokens=7,
        output_tokens=9,
        cached_tokens=2,
        first_byte_s=101.0,
        ended_s=102.0,
    )
    assert talk.conversation.phase is Phase.OVER


@given(st.lists(st.binary(max_size=200), max_size=12), st.sampled_from(["end of stream", "trailers"]))
def test_every_response_byte_comes_back_at_once(chunks: list[bytes], ending: str) -> None:
    """Each message of a response is answered by one message with the same bytes, before anything else happens."""
    talk = running().say(gateway.response_headers({"content-type": "text/event-stream"}))
    for chunk in chunks:
        before = len(talk.heard)
        talk.say(gateway.response_body(chunk))
        (piece,) = gateway.pieces(talk.heard[before:], "response_body")
        assert (piece.body, piece.end_of_stream) == (chunk, False)
    talk.say(gateway.response_trailers() if ending == "trailers" else gateway.response_body(b"", end=True))
    assert talk.kinds[-1] == ("response_trailers" if ending == "trailers" else "response_body")
    assert gateway.body_sent(talk.heard, "response_body") == b"".join(chunks)
    assert talk.ended.outcome is ResponseOutcome.COMPLETED
    assert talk.ended.response_bytes == sum(map(len, chunks))


def test_the_end_is_told_after_it_was_passed_on() -> None:
    """The last piece is handed out before the picker hears that there is room."""
    talk = running().say(gateway.response_headers())
    last = wire.ProcessingRequest.FromString(bytes(gateway.response_body(USAGE, end=True)))
    assert talk.conversation.receive(last, talk.now) == ()
    assert talk.conversation.next_message() is not None
    assert talk.conversation.next_message() is None
    assert [type(action) for action in talk.conversation.settle(talk.now)] == [Ended]
    assert talk.conversation.settle(talk.now) == ()


def test_an_empty_response_ends_with_its_headers() -> None:
    """HEAD, 204 and trailers-only responses have no body to wait for."""
    talk = running().say(gateway.response_headers(status="204", end=True))
    assert (talk.ended.outcome, talk.ended.status) == (ResponseOutcome.COMPLETED, 204)
    assert talk.ended.first_byte_s is None


def test_a_response_may_be_trailers_only() -> None:
    """Trailers right after the headers end a response."""
    talk = running().say(gateway.response_headers(), gateway.response_trailers())
    assert talk.kinds[-2:] == ["response_headers", "response_trailers"]
    assert talk.ended.outcome is ResponseOutcome.COMPLETED


@pytest.mark.parametrize("status", ["400", "404", "500", "503"])
def test_errors_of_the_model_server_pass_unchanged(status: str) -> None:
    """What isn't a success is passed on like one, with its status told."""
    talk = running().say(gateway.response_headers(status=status), gateway.response_body(b"no", end=True))
    assert gateway.body_sent(talk.heard, "response_body") == b"no"
    assert (talk.ended.status, talk.ended.outcome) == (int(status), ResponseOutcome.COMPLETED)


def test_a_response_without_headers_shown_passes() -> None:
    """A gateway may be configured not to show response headers."""
    talk = running().say(gateway.response_body(USAGE, end=True))
    assert (talk.ended.status, talk.ended.output_tokens) == (None, 9)


def test_a_response_may_overtake_the_request() -> None:
    """A model server that answers before it has read everything is heard, and the rest of the request still goes."""
    talk = Talk(PASSTHROUGH).say(gateway.request_headers(), gateway.request_body(b"a", end=False)).dispatch()
    talk.say(gateway.response_headers(status="400"), gateway.response_body(b"no", end=True))
    assert talk.ended.outcome is ResponseOutcome.COMPLETED
    talk.say(gateway.request_body(b"b", end=True))
    assert gateway.body_sent(talk.heard, "request_body") == b"ab"
    assert talk.names == ["Submit", "Ended"]


def test_a_response_that_waited_says_so() -> None:
    """The client learns how long its request was queued, whatever the backend claims."""
    claim = {"x-llm-d-flow-queue-duration-ms": "77"}
    talk = running(waited_s=0.25).say(gateway.response_headers(claim))
    mutation = talk.heard[-1].response_headers.response.header_mutation
    assert gateway.set_headers(mutation) == {"x-llm-d-flow-queue-duration-ms": "250"}


def test_a_response_that_did_not_wait_claims_nothing() -> None:
    """A backend's own queue duration doesn't pass for ours, and other responses are not touched."""
    claim = {"x-llm-d-flow-queue-duration-ms": "77"}
    mutation = (
        running().say(gateway.response_headers(claim)).heard[-1].response_headers.response.header_mutation
    )
    assert mutation.remove_headers == ["x-llm-d-flow-queue-duration-ms"]
    assert mutation.set_headers == []
    plain = running().say(gateway.response_headers()).heard[-1].response_headers.response
    assert plain.header_mutation is None


# -------------------------------------------------------------------------------- lean gateways


def test_a_lean_response_ends_with_its_stream() -> None:
    """Where no body is shown, the stream's end is the response's end, and nobody knows how it was."""
    for end in (Talk.half_close, Talk.reset):
        talk = running(LEAN).say(gateway.response_headers())
        end(talk)
        assert (talk.ended.outcome, talk.ended.status) == (ResponseOutcome.ENDED, 200)
        assert talk.conversation.phase is Phase.OVER


def test_a_lean_response_with_trailers_is_complete() -> None:
    """If the end is shown after all, it is known."""
    talk = running(LEAN).say(gateway.response_headers(), gateway.response_trailers()).half_close()
    assert talk.ended.outcome is ResponseOutcome.COMPLETED


def test_a_gateway_that_shows_no_response_at_all() -> None:
    """One that declares nothing and closes its side after the request gets its answer, and its end is unknown."""
    talk = queued(config=None).half_close()
    assert talk.names == ["Submit"]
    talk.dispatch()
    assert talk.kinds == ["request_headers", "request_body"]
    assert talk.ended.outcome is ResponseOutcome.ENDED
    assert talk.conversation.phase is Phase.OVER


# ------------------------------------------------------------------------------ how streams end


def test_half_closing_is_not_cancelling() -> None:
    """A queued request whose gateway has nothing more to say keeps its place."""
    talk = queued().half_close()
    assert (talk.names, talk.conversation.phase) == (["Submit"], Phase.QUEUED)
    talk.dispatch()
    assert talk.kinds == ["request_headers", "request_body"]


def test_a_half_closed_request_can_be_refused() -> None:
    """The refusal reaches a gateway that only listens."""
    assert queued().half_close().refuse().kinds == ["immediate_response"]


@pytest.mark.parametrize("begun", [False, True])
def test_half_closing_before_the_request_is_whole_ends_it(begun: bool) -> None:
    """What can't become a request any more is forgotten without a word."""
    talk = Talk()
    if begun:
        talk.say(gateway.request_headers(), gateway.request_body(CHAT[:5], end=False))
    talk.half_close()
    assert (talk.heard, talk.actions, talk.conversation.phase) == ([], [], Phase.OVER)


def test_a_reset_while_receiving_is_nobodys_business() -> None:
    """What was never queued needs no cancelling."""
    assert Talk().say(gateway.request_headers()).reset().actions == []


def test_a_reset_while_queued_cancels() -> None:
    """The request leaves the queue, once; a late decision changes nothing."""
    talk = queued().reset()
    assert talk.names == ["Submit", "Cancel"]
    talk.dispatch().refuse().reset()
    assert (talk.names, talk.heard) == (["Submit", "Cancel"], [])


def test_a_reset_before_the_answer_was_taken_is_a_failed_delivery() -> None:
    """A dispatch that was never handed to the transport is undone."""
    talk = queued()
    talk.conversation.dispatched(ADDRESS, 0.0)
    talk.reset()
    assert talk.names == ["Submit", "DeliveryFailed"]


def test_a_reset_before_the_answer_was_written_is_a_failed_delivery() -> None:
    """So is one that was handed out, if the stream broke while it was being written."""
    talk = queued()
    talk.conversation.dispatched(ADDRESS, 0.0)
    assert talk.conversation.next_message() is not None
    talk.reset()
    assert talk.names == ["Submit", "DeliveryFailed"]


def test_a_reset_while_running_ends_it_unfinished() -> None:
    """The outcome follows from the messages: no end was seen."""
    talk = running().say(gateway.response_headers(), gateway.response_body(b"data: x\n\n")).reset()
    assert talk.ended.outcome is ResponseOutcome.ABORTED
    assert talk.ended.response_bytes == 9


def test_a_half_close_while_running_ends_it_unfinished() -> None:
    """A declared full-duplex gateway that stops in the middle has given up."""
    talk = running().say(gateway.response_headers()).half_close()
    assert talk.ended.outcome is ResponseOutcome.ABORTED


def test_a_reset_after_the_end_does_not_change_the_outcome() -> None:
    """A response that was complete when its stream broke was complete, told already or not."""
    talk = running().say(gateway.response_headers())
    last = wire.ProcessingRequest.FromString(bytes(gateway.response_body(USAGE, end=True)))
    talk.actions += talk.conversation.receive(last, talk.now)
    talk.reset()
    assert (talk.ended.outcome, talk.ended.output_tokens) == (ResponseOutcome.COMPLETED, 9)


def test_a_refusal_that_was_not_sent_is_dropped_by_a_reset() -> None:
    """After a reset there is nothing to say, whatever was about to be said."""
    talk = queued()
    talk.conversation.refused(REFUSED)
    talk.reset()
    assert talk.listen() == []


# ----------------------------------------------------------- the gateway answers by itself


def test_a_gateway_that_loses_patience_answers_by_itself() -> None:
    """A timeout of the gateway while a request is queued comes as a response: it passes, and the request is gone."""
    talk = queued().say(
        gateway.response_headers(status="504"), gateway.response_body(b"stream timeout", end=True)
    )
    assert talk.names == ["Submit", "Cancel"]
    assert talk.kinds == ["response_headers", "response_body"]
    assert gateway.body_sent(talk.heard, "response_body") == b"stream timeout"
    talk.dispatch().say(gateway.request_trailers()).half_close()
    assert talk.names == ["Submit", "Cancel"]
    assert talk.conversation.phase is Phase.OVER


@pytest.mark.parametrize("begun", [False, True])
def test_a_filter_before_us_may_refuse(begun: bool) -> None:
    """Its answer passes, whether or not the request was seen, and the picker never hears of it."""
    talk = Talk()
    if begun:
        talk.say(gateway.request_headers())
    talk.say(gateway.response_headers(status="401"), gateway.response_body(b"who?", end=True)).half_close()
    assert talk.kinds == ["response_headers", "response_body"]
    assert talk.actions == []


def test_a_local_answer_may_begin_with_anything() -> None:
    """Without response headers shown, the gateway's own answer begins with its body, or is trailers only."""
    assert queued().say(gateway.response_body(b"x", end=True)).kinds == ["response_body"]
    assert queued().say(gateway.response_trailers()).kinds == ["response_trailers"]


# ------------------------------------------------------------------------------ out of order


def first(*, end: bool = False) -> ProcessingRequest:
    """The headers of a request that no parser judges."""
    return gateway.request_headers(path="/raw", end=end)


OUT_OF_ORDER = [
    ([gateway.request_body()], "request_body came before request_headers"),
    ([gateway.request_trailers()], "request_trailers came before request_headers"),
    ([first(), first()], "request_headers came a second time"),
    ([first(end=True), gateway.request_body()], "request_body came after the request had ended"),
    (
        [first(), gateway.request_body(), gateway.request_body()],
        "request_body came after the request had ended",
    ),
    (
        [first(), gateway.request_trailers(), gateway.request_trailers()],
        "request_trailers came after the request",
    ),
    ([ProcessingRequest()], "without headers, body or trailers"),
    ([first(), ProcessingRequest()], "without headers, body or trailers"),
    (
        [gateway.response_headers(), gateway.response_headers()],
        "response_headers came after the response had begun",
    ),
    (
        [gateway.response_trailers(), gateway.response_body(b"x")],
        "response_body came after the response had ended",
    ),
    ([gateway.response_trailers(), gateway.response_trailers()], "response_trailers came after the response"),
]


@pytest.mark.parametrize(("messages", "complaint"), OUT_OF_ORDER)
def test_messages_out_of_order_are_refused(messages: list[ProcessingRequest], complaint: str) -> None:
    """A gateway that breaks the protocol gets a 400 that names the mistake, and the stream is over."""
    talk = Talk().say(*messages)
    status, text = talk.error()
    assert status == 400
    assert complaint in text
    assert isinstance(talk.actions[-1], Rejected)


@pytest.mark.parametrize("message", [gateway.request_headers(), gateway.request_body(b"x")])
def test_disorder_while_running_gives_the_endpoint_back(message: ProcessingRequest) -> None:
    """The picker hears the end, then the reason."""
    talk = running().say(gateway.response_headers()).say(message)
    assert talk.names == ["Submit", "Ended", "Rejected"]
    assert talk.ended.outcome is ResponseOutcome.ABORTED
    assert talk.error()[0] == 400


def test_garbage_is_refused() -> None:
    """Bytes that are no message are answered, not crashed on; after the end they are ignored."""
    talk = queued()
    talk.actions += talk.conversation.unreadable(talk.now)
    talk.listen()
    assert talk.error()[0] == 400
    assert talk.names == ["Submit", "Cancel", "Rejected"]
    assert talk.conversation.unreadable(talk.now) == ()


any_message = st.one_of(
    st.builds(
        gateway.request_headers,
        end=st.booleans(),
        path=st.sampled_from(["/raw", gateway.CHAT_PATH]),
        config=st.sampled_from([None, DUPLEX, LEAN, STREAMED, BUFFERED]),
    ),
    st.builds(gateway.request_body, st.sampled_from([b"", b"x", CHAT]), end=st.booleans()),
    st.builds(gateway.request_trailers),
    st.builds(gateway.response_headers, end=st.booleans()),
    st.builds(gateway.response_body, st.sampled_from([b"", b"x"]), end=st.booleans()),
    st.builds(gateway.response_trailers),
    st.builds(ProcessingRequest),
)
any_step = st.one_of(
    any_message,
    st.sampled_from([Talk.dispatch, Talk.refuse, Talk.half_close, Talk.reset, Talk.listen]),
)


@given(st.lists(any_step, max_size=12), st.sampled_from([None, PASSTHROUGH]), st.booleans())
def test_whatever_happens_the_promises_hold(
    steps: list[object], settings: ConversationSettings | None, in_order: bool
) -> None:
    """Any messages in any order with any decisions: no exception, one submission, one end, no answer before it."""
    talk = Talk(settings)
    if in_order:
        talk.say(gateway.request_headers(path="/raw"))
    answered = False
    for step in steps:
        before = talk.conversation.phase
        if isinstance(step, ProcessingRequest):
            talk.say(step)
        else:
            assert callable(step)
            step(talk)
            answered |= step in {Talk.dispatch, Talk.refuse} and before is Phase.QUEUED
    talk.reset()
    names = talk.names
    ends = [name for name in names if name in {"Cancel", "DeliveryFailed", "Ended"}]
    assert names.count("Submit") <= 1
    assert names.count("Rejected") <= 1
    assert talk.kinds.count("immediate_response") <= 1
    refused_by_picker = "immediate_response" in talk.kinds and "Rejected" not in names
    assert len(ends) == (names.count("Submit") if not refused_by_picker else 0)
    if "request_headers" in talk.kinds or "request_body" in talk.kinds:
        assert answered
        assert talk.kinds[0] == "request_headers"
    assert talk.conversation.phase is Phase.OVER
