"""How conversations end, and what they make of a gateway that breaks the protocol or answers by itself."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest, ProtocolConfiguration
from hypothesis import given
from hypothesis import strategies as st

from epp.core.eviction import Begun
from epp.extproc.actions import Ended, Rejected
from epp.extproc.ingress import HeadersPass, ResponseOutcome
from epp.extproc.phases import Phase
from epp.extproc.request import ConversationSettings
from epp.extproc.wire import ext_proc_pb2 as wire
from tests.extproc import gateway
from tests.extproc.gateway import ADDRESS, BUFFERED, CHAT, DUPLEX, LEAN, STREAMED
from tests.extproc.talk import EVICTED, PASSTHROUGH, REFUSED, Talk, queued, running

USAGE = b'{"usage":{"prompt_tokens":7,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":2}}}'

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


# -------------------------------------------------------------------------------------- eviction

EVICTION = ResponseOutcome.EVICTED


@pytest.mark.parametrize("begun", list(Begun))
@pytest.mark.parametrize("config", [DUPLEX, LEAN, STREAMED])
def test_a_request_without_a_response_is_evicted(begun: Begun, config: ProtocolConfiguration) -> None:
    """Its client gets a 429 that says so, and the picker hears the end once that has been sent."""
    talk = running(config)
    assert talk.conversation.evicted(EVICTED, begun, talk.now)
    assert "Ended" not in talk.names
    talk.listen()
    status, _ = talk.error()
    assert status == 429
    headers = gateway.set_headers(talk.heard[-1].immediate_response.headers)
    assert headers["x-llm-d-request-dropped-reason"] == "evicted"
    assert headers["retry-after"] == "1"
    assert (talk.names, talk.ended.outcome) == (["Submit", "Ended"], EVICTION)
    heard = len(talk.heard)
    talk.say(gateway.response_headers(), gateway.response_body(b"x")).evict().half_close().reset()
    assert (talk.names, len(talk.heard)) == (["Submit", "Ended"], heard)


@pytest.mark.parametrize("config", [DUPLEX, LEAN])
@pytest.mark.parametrize("body", [b"", b"data: x\n\n"])
def test_a_response_that_has_begun_is_spared(config: ProtocolConfiguration, body: bytes) -> None:
    """Its headers alone are enough: no 429 could follow them."""
    talk = running(config).say(gateway.response_headers())
    if body and config is DUPLEX:
        talk.say(gateway.response_body(body))
    assert not talk.conversation.evicted(EVICTED, Begun.SPARED, talk.now)
    talk.listen()
    assert talk.kinds[-1] != "immediate_response"
    assert "Ended" not in talk.names


def test_a_response_that_has_begun_is_broken_off_on_request() -> None:
    """The gateway is told in the only way that ends a response, and what was seen of it is told."""
    talk = running().say(gateway.response_headers(), gateway.response_body(USAGE)).evict(Begun.EVICTED)
    assert talk.kinds[-1] == "immediate_response"
    assert (talk.ended.outcome, talk.ended.output_tokens, talk.ended.status) == (EVICTION, 9, 200)


def test_a_complete_response_cannot_be_evicted() -> None:
    """Its last piece may not have been sent yet, but there is nothing left to end."""
    talk = running().say(gateway.response_headers())
    last = wire.ProcessingRequest.FromString(bytes(gateway.response_body(USAGE, end=True)))
    talk.actions += talk.conversation.receive(last, talk.now)
    talk.evict(Begun.EVICTED)
    assert talk.kinds[-1] == "response_body"
    assert talk.ended.outcome is ResponseOutcome.COMPLETED
    assert not talk.conversation.evicted(EVICTED, Begun.EVICTED, talk.now)


@pytest.mark.parametrize("moment", [Talk(), queued(), queued().refuse(), queued().reset()])
def test_only_what_runs_can_be_evicted(moment: Talk) -> None:
    """An eviction that comes too early or too late changes nothing."""
    before = (moment.conversation.phase, list(moment.actions))
    moment.evict(Begun.EVICTED)
    assert (moment.conversation.phase, moment.actions) == before


def test_an_eviction_before_the_dispatch_was_sent_undoes_it() -> None:
    """What never left for the endpoint was never served; the client is told all the same."""
    talk = queued()
    talk.conversation.dispatched(ADDRESS, 0.0)
    talk.evict()
    assert talk.kinds == ["immediate_response"]
    assert talk.names == ["Submit", "DeliveryFailed"]


def test_an_eviction_while_the_dispatch_is_sent_ends_it() -> None:
    """The endpoint may have it already; nothing more of the body goes there."""
    talk = queued()
    talk.conversation.dispatched(ADDRESS, 0.0)
    assert talk.conversation.next_message() is not None
    talk.evict()
    assert talk.kinds == ["immediate_response"]
    assert talk.ended.outcome is EVICTION


def test_an_eviction_that_cannot_be_sent_ends_as_well() -> None:
    """If the stream breaks first, the picker hears the end then, once."""
    talk = running()
    talk.conversation.evicted(EVICTED, Begun.SPARED, talk.now)
    talk.reset().reset()
    assert talk.names == ["Submit", "Ended"]
    assert talk.listen() == []


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


def _evict_begun(talk: Talk) -> None:
    talk.evict(Begun.EVICTED)


def _dispatch_holding(talk: Talk) -> None:
    talk.dispatch(headers=HeadersPass.WITH_BODY)


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
    st.sampled_from(
        [
            Talk.dispatch,
            _dispatch_holding,
            Talk.refuse,
            Talk.evict,
            _evict_begun,
            Talk.half_close,
            Talk.reset,
            Talk.listen,
        ]
    ),
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
            answered |= step in {Talk.dispatch, _dispatch_holding, Talk.refuse} and before is Phase.QUEUED
    talk.reset()
    names = talk.names
    ends = [name for name in names if name in {"Cancel", "DeliveryFailed", "Ended"}]
    assert names.count("Submit") <= 1
    assert names.count("Rejected") <= 1
    assert talk.kinds.count("immediate_response") <= 1
    evicted = any(isinstance(each, Ended) and each.response.outcome is EVICTION for each in talk.actions)
    refused_by_picker = "immediate_response" in talk.kinds and "Rejected" not in names and not evicted
    assert len(ends) == (names.count("Submit") if not refused_by_picker else 0)
    assert names.count("FirstByte") <= names.count("Ended")
    if "request_headers" in talk.kinds or "request_body" in talk.kinds:
        assert answered
        assert talk.kinds[0] == "request_headers"
    if "response_headers" in talk.kinds and "response_body" in talk.kinds:
        assert talk.kinds.index("response_headers") < talk.kinds.index("response_body")
    assert talk.conversation.phase is Phase.OVER
