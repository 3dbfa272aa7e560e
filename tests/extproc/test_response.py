"""The response half of a conversation: what is passed on, and what is told of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest, ProtocolConfiguration
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.actions import Ended, FirstByte
from epp.extproc.ingress import Explanation, HeadersPass, ResponseFacts, ResponseOutcome
from epp.extproc.phases import Phase
from epp.extproc.wire import ext_proc_pb2 as wire
from tests.extproc import gateway
from tests.extproc.gateway import BUFFERED, CHAT, DUPLEX, LEAN, STREAMED
from tests.extproc.talk import PASSTHROUGH, Talk, queued, running

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


# ------------------------------------------------------------- what waits while a write is under way


SIZES = st.one_of(st.integers(0, 300), st.integers(20_000, 70_000))
LIMIT = 62_000


@given(
    st.lists(st.lists(SIZES, max_size=6), max_size=5),
    st.sampled_from(["with the last", "by itself", "trailers"]),
)
def test_chunks_that_wait_go_together(bursts: list[list[int]], ending: str) -> None:
    """In order, to the last byte and its usage, in as few messages as fit, none larger than the gateway's own."""
    talk = running().say(gateway.response_headers())
    came = b""
    largest = LIMIT
    for number, sizes in enumerate(bursts):
        chunks = [bytes([65 + number]) * size for size in sizes]
        largest = max([largest, *sizes])
        before = len(talk.heard)
        talk.hurry(*map(gateway.response_body, chunks))
        pieces = gateway.pieces(talk.heard[before:], "response_body")
        assert b"".join(piece.body for piece in pieces) == b"".join(chunks)
        assert all(len(piece.body) <= largest for piece in pieces)
        assert all(len(one.body) + len(behind.body) > LIMIT for one, behind in pairwise(pieces))
        assert bool(pieces) == bool(chunks)
        came += b"".join(chunks)
    cut = len(USAGE) // 2
    last = gateway.response_body(USAGE[cut:], end=ending == "with the last")
    end = {
        "with the last": [],
        "by itself": [gateway.response_body(b"", end=True)],
        "trailers": [gateway.response_trailers()],
    }
    before = len(talk.heard)
    talk.hurry(gateway.response_body(USAGE[:cut]), last, *end[ending])
    assert gateway.body_sent(talk.heard, "response_body") == came + USAGE
    (piece,) = gateway.pieces(talk.heard[before:], "response_body")
    assert piece.end_of_stream == (ending != "trailers")
    assert (talk.kinds[-1] == "response_trailers") == (ending == "trailers")
    assert (talk.ended.outcome, talk.ended.output_tokens) == (ResponseOutcome.COMPLETED, 9)
    assert talk.ended.response_bytes == len(came + USAGE)


def test_headers_and_trailers_never_travel_with_the_body() -> None:
    """All that waits keeps its order: the headers, one message for the body, the trailers."""
    talk = running().hurry(
        gateway.response_headers(),
        gateway.response_body(b"a"),
        gateway.response_body(b"b"),
        gateway.response_trailers(),
    )
    assert talk.kinds[-3:] == ["response_headers", "response_body", "response_trailers"]
    assert gateway.body_sent(talk.heard, "response_body") == b"ab"


@pytest.mark.parametrize("config", [STREAMED, BUFFERED])
def test_who_keeps_the_body_gets_every_answer(config: ProtocolConfiguration) -> None:
    """A gateway that waits for an answer to each of its messages would otherwise wait for ever."""
    talk = queued(config=config).dispatch().say(gateway.response_headers())
    before = len(talk.heard)
    talk.hurry(*(gateway.response_body(b"x", end=number == 4) for number in range(5)))
    assert gateway.kinds(talk.heard[before:]) == ["response_body"] * 5


def test_a_lot_that_waits_is_told() -> None:
    """Once as much waits as one message takes, or as many answers as should, a transport had better not read on."""
    talk = running().say(gateway.response_headers())
    chunk = wire.ProcessingRequest.FromString(bytes(gateway.response_body(b"x" * (LIMIT // 2))))
    talk.conversation.receive(chunk, talk.now)
    assert not talk.conversation.is_backlogged
    talk.conversation.receive(chunk, talk.now)
    assert talk.conversation.is_backlogged
    talk.listen()
    assert not talk.conversation.is_backlogged
    copies = queued(config=STREAMED).dispatch().say(gateway.response_headers())
    taken = 0
    while not copies.conversation.is_backlogged:
        copies.conversation.receive(chunk, copies.now)
        taken += 1
    assert 1 < taken <= 32
    copies.listen()
    assert not copies.conversation.is_backlogged


def test_the_end_is_told_after_it_was_passed_on() -> None:
    """The last piece is handed out before the picker hears that there is room."""
    talk = running().say(gateway.response_headers())
    last = wire.ProcessingRequest.FromString(bytes(gateway.response_body(USAGE, end=True)))
    assert talk.conversation.receive(last, talk.now) == (FirstByte(),)
    assert talk.conversation.next_message() is not None
    assert talk.conversation.next_message() is None
    (ended,) = talk.conversation.settle(talk.now + 5.0)
    assert isinstance(ended, Ended)
    assert ended.response.ended_s == talk.now
    assert talk.conversation.settle(talk.now + 5.0) == ()


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
    assert talk.names == ["Submit", "FirstByte", "Ended"]


def test_a_response_that_waited_says_so() -> None:
    """The client learns how long its request was queued, whatever the backend claims."""
    claim = {"x-llm-d-flow-queue-duration-ms": "77"}
    talk = running(waited_s=0.25).say(gateway.response_headers(claim))
    mutation = talk.heard[-1].response_headers.response.header_mutation
    assert gateway.set_headers(mutation) == {"x-llm-d-flow-queue-duration-ms": "250"}


CLAIMS = {
    "x-llm-d-flow-queue-duration-ms": "77",
    "x-llm-d-flow-priority": "100",
    "x-llm-d-flow-position": "0",
    "x-llm-d-flow-blocked-by": "nobody",
}


@pytest.mark.parametrize("config", [DUPLEX, LEAN])
def test_a_response_explains_itself_where_asked_to(config: ProtocolConfiguration) -> None:
    """With an explanation the client is told of its way through the queue, and of nothing that the backend makes up."""
    talk = queued(config=config).dispatch(waited_s=0.25, explanation=Explanation(10, 3, "higher_priority"))
    mutation = talk.say(gateway.response_headers(CLAIMS)).heard[-1].response_headers.response.header_mutation
    assert gateway.set_headers(mutation) == {
        "x-llm-d-flow-queue-duration-ms": "250",
        "x-llm-d-flow-priority": "10",
        "x-llm-d-flow-position": "3",
        "x-llm-d-flow-blocked-by": "higher_priority",
    }
    assert mutation.remove_headers == []


def test_what_is_not_told_is_removed_if_claimed() -> None:
    """A request that never waited has no duration and no reason, also where the backend sends some."""
    talk = queued().dispatch(explanation=Explanation(0, 0, ""))
    mutation = talk.say(gateway.response_headers(CLAIMS)).heard[-1].response_headers.response.header_mutation
    assert set(gateway.set_headers(mutation)) == {"x-llm-d-flow-priority", "x-llm-d-flow-position"}
    assert set(mutation.remove_headers) == {"x-llm-d-flow-queue-duration-ms", "x-llm-d-flow-blocked-by"}
    plain = running().say(gateway.response_headers(CLAIMS)).heard[-1].response_headers.response
    assert set(plain.header_mutation.remove_headers) == set(CLAIMS)


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


# --------------------------------------------------------------------------- headers held back


WITH_BODY = HeadersPass.WITH_BODY
BODY, HEADERS, TRAILERS = "response_body", "response_headers", "response_trailers"


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        (gateway.response_body(b"x"), [HEADERS, BODY]),
        (gateway.response_body(b""), [HEADERS, BODY]),
        (gateway.response_body(b"", end=True), [HEADERS, BODY]),
        (gateway.response_body(b"x", end=True), [HEADERS, BODY]),
        (gateway.response_trailers(), [HEADERS, TRAILERS]),
    ],
)
def test_headers_may_wait_for_what_follows(message: ProcessingRequest, answers: list[str]) -> None:
    """They go first all the same, once, and as they would have gone at once."""
    talk = queued().dispatch(waited_s=0.25, headers=WITH_BODY)
    before = len(talk.heard)
    talk.say(gateway.response_headers())
    assert len(talk.heard) == before
    talk.say(message)
    assert gateway.kinds(talk.heard[before:]) == answers
    mutation = talk.heard[before].response_headers.response.header_mutation
    assert gateway.set_headers(mutation) == {"x-llm-d-flow-queue-duration-ms": "250"}
    if "Ended" not in talk.names:
        talk.say(gateway.response_body(b"y", end=True))
        assert gateway.kinds(talk.heard[before:]) == [*answers, BODY]


def test_headers_without_a_body_do_not_wait() -> None:
    """Nothing would follow."""
    talk = queued().dispatch(headers=WITH_BODY).say(gateway.response_headers(end=True))
    assert talk.kinds[-1] == HEADERS
    assert talk.ended.outcome is ResponseOutcome.COMPLETED


@pytest.mark.parametrize("config", [LEAN, STREAMED, BUFFERED])
def test_headers_do_not_wait_where_the_gateway_does(config: ProtocolConfiguration) -> None:
    """A gateway that sends no body before the headers have been answered would wait for ever."""
    talk = queued(config=config).dispatch(headers=WITH_BODY).say(gateway.response_headers())
    assert talk.kinds[-1] == HEADERS


def test_who_has_only_sent_headers_can_be_evicted_while_they_are_held_back() -> None:
    """The client has got nothing yet, so it gets the refusal as a whole answer; afterwards it is spared."""
    talk = queued().dispatch(headers=WITH_BODY).say(gateway.response_headers()).evict()
    assert talk.kinds[-1] == "immediate_response"
    assert HEADERS not in talk.kinds
    assert (talk.ended.outcome, talk.ended.status) == (ResponseOutcome.EVICTED, 200)
    spared = queued().dispatch(headers=WITH_BODY)
    spared.say(gateway.response_headers(), gateway.response_body(b"x")).evict()
    assert spared.kinds[-1] == BODY


# ------------------------------------------------------------------------------- the first byte


def test_the_first_byte_is_told_once() -> None:
    """Neither headers nor an empty chunk are the first byte, and no later chunk is."""
    talk = running().say(gateway.response_headers(), gateway.response_body(b""))
    assert "FirstByte" not in talk.names
    talk.say(gateway.response_body(b"a"), gateway.response_body(b"b"), gateway.response_body(b"c", end=True))
    assert talk.names == ["Submit", "FirstByte", "Ended"]


def test_a_lean_response_begins_with_its_headers() -> None:
    """Where no body is shown there is no better sign."""
    assert running(LEAN).say(gateway.response_headers()).names == ["Submit", "FirstByte"]


def test_a_response_without_a_body_has_no_first_byte() -> None:
    """HEAD and 204 end without one."""
    assert running().say(gateway.response_headers(end=True)).names == ["Submit", "Ended"]


@pytest.mark.parametrize("config", [DUPLEX, LEAN])
def test_the_gateways_own_answer_is_nobodys_first_byte(config: ProtocolConfiguration) -> None:
    """What the gateway answers while the request is queued is no endpoint's response."""
    talk = queued(config=config).say(gateway.response_headers(status="504"), gateway.response_body(b"late"))
    assert talk.names == ["Submit", "Cancel"]


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
