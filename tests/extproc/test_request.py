"""The request half of a conversation: what is submitted, what comes back, what is refused."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOptionHeaderAppendAction as AppendAction
from envoy_data_plane.envoy.service.ext_proc.v3 import ProtocolConfiguration
from hypothesis import given
from hypothesis import strategies as st

from epp.core.actions import Reason
from epp.core.eligibility import ANY, Subset
from epp.extproc.actions import Rejected
from epp.extproc.headers import ControlHeaders
from epp.extproc.ingress import RequestFacts, ResponseOutcome
from epp.extproc.parsers import Parsers
from epp.extproc.phases import Phase
from epp.extproc.request import ConversationSettings
from tests.extproc import gateway
from tests.extproc.gateway import ADDRESS, BUFFERED, CHAT, DUPLEX, LEAN, STREAMED
from tests.extproc.talk import PASSTHROUGH, Talk, queued, running


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
    "x-llm-d-slo-ttft-ms": "250",
    "x-slo-ttft-ms": "300",
    "x-llm-d-model-name-rewrite": "llama",
    "x-gateway-model-name-rewrite": "llama",
    "x-gateway-destination-endpoint-subset": "10.0.0.1",
    "x-llm-d-flow-queue-duration-ms": "1",
    "x-llm-d-flow-priority": "100",
    "x-llm-d-flow-position": "0",
    "x-llm-d-flow-blocked-by": "no_room",
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
        target_model="llama",
        path="/v1/chat/completions",
        streaming=True,
        size_bytes=len(body),
        need=1,
        body_bytes=len(body),
        max_output_tokens=100,
        eligibility=ANY,
        invalid_headers=(),
        slo_s=0.25,
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
    assert (talk.facts.need, talk.facts.size_bytes, talk.facts.body_bytes) == (0, 0, 0)
    assert talk.dispatch().kinds == ["request_headers"]


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/anything"])
def test_an_unknown_body_is_queued_when_it_is_whole(path: str) -> None:
    """The default parser holds what it can't read as well, and tells how long it is."""
    talk = Talk().say(gateway.request_headers(path=path), gateway.request_body(b"x" * 400, end=False))
    assert talk.names == []
    talk.say(gateway.request_body(b"", end=True))
    assert (talk.facts.size_bytes, talk.facts.body_bytes, talk.facts.model) == (400, 400, "")


def test_passthrough_submits_on_the_headers() -> None:
    """Without a parser to wait for, a request is queued at once, with the length that it announces."""
    talk = Talk(PASSTHROUGH).say(gateway.request_headers({"content-length": "4000"}))
    assert (talk.facts.size_bytes, talk.facts.body_bytes, talk.facts.need) == (4000, 4000, 1)
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
    """There the body comes after the headers' answer, so it is not waited for, and each message gets one answer.

    None of it is held, but its announced length tells what it will cost.
    """
    talk = Talk().say(gateway.request_headers({"content-length": "64"}, config=config))
    assert (talk.facts.need, talk.facts.size_bytes, talk.facts.body_bytes) == (1, 0, 64)
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
