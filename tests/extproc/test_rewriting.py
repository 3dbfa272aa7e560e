"""Requests whose model is rewritten: when it is asked for, what goes out, and what is told of it."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProtocolConfiguration
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.actions import Rejected
from epp.extproc.ingress import as_asked
from epp.extproc.parsers import Parsers
from epp.extproc.request import ConversationSettings
from tests.extproc import gateway
from tests.extproc.gateway import BUFFERED, CHAT, DUPLEX, LEAN, STREAMED
from tests.extproc.talk import Talk


class Rewriter:
    """Gives the same answer to everybody, and remembers who asked."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def __call__(self, asked: str, header: str) -> str:
        self.asked.append((asked, header))
        return self.answer

    def talk(self, parser: str = "openai-parser") -> Talk:
        """A conversation that asks here."""
        return Talk(ConversationSettings(parsers=Parsers((parser,)), target_model=self))


@pytest.mark.parametrize("config", [None, DUPLEX, LEAN])
def test_a_rewritten_request_names_another_model_and_is_otherwise_the_same(
    config: ProtocolConfiguration | None,
) -> None:
    """The endpoint gets the target in the bytes that the client sent, and the picker hears of both names."""
    body = b'{ "seed":9007199254740993,"model" :"llama","x":"<\\u00e9>", "messages":[{"content":"model"}]}'
    rewriter = Rewriter("llama-lora-7")
    talk = rewriter.talk().say(gateway.request_headers(config=config), gateway.request_body(body)).dispatch()
    assert rewriter.asked == [("llama", "")]
    assert (talk.facts.model, talk.facts.target_model) == ("llama", "llama-lora-7")
    assert gateway.body_sent(talk.heard, "request_body") == body.replace(b'"llama"', b'"llama-lora-7"')
    assert talk.kinds == ["request_headers", "request_body"]
    assert talk.facts.size_bytes == len(body)


@given(
    st.lists(st.integers(2000, 70_000), min_size=1, max_size=5),
    st.integers(0, 120_000),
    st.sampled_from(["end of stream", "trailers"]),
)
def test_a_rewritten_body_comes_back_whole_and_in_order(sizes: list[int], before: int, ending: str) -> None:
    """However it is cut, wherever the model stands, and however it ends."""
    filler = b"x" * before
    body = b'{"a":"%b","model":"llama","messages":[1],"b":"%b"}' % (filler, b"y" * 50_000)
    cuts = [0]
    while cuts[-1] < len(body):
        cuts.append(cuts[-1] + sizes[len(cuts) % len(sizes)])
    messages = [gateway.request_body(body[start:end], end=False) for start, end in pairwise(cuts)]
    messages.append(
        gateway.request_trailers() if ending == "trailers" else gateway.request_body(b"", end=True)
    )
    talk = Rewriter("b" * 300).talk().say(gateway.request_headers(), *messages)
    assert talk.heard == []
    talk.dispatch()
    wanted = body.replace(b'"llama"', b'"' + b"b" * 300 + b'"')
    assert gateway.body_sent(talk.heard, "request_body") == wanted
    pieces = gateway.pieces(talk.heard, "request_body")
    assert all(len(piece.body) <= max(62_000, *sizes) for piece in pieces)
    assert [piece.end_of_stream for piece in pieces] == [False] * (len(pieces) - 1) + [ending != "trailers"]
    assert talk.kinds[0] == "request_headers"
    assert (talk.kinds[-1] == "request_trailers") == (ending == "trailers")


@pytest.mark.parametrize("answer", ["", "llama"])
def test_a_model_that_stays_costs_nothing(answer: str) -> None:
    """Without another target the bytes that came go out as the object that they came in."""
    settings = ConversationSettings(target_model=Rewriter(answer))
    talk = Talk(settings).say(gateway.request_headers({"content-length": str(len(CHAT))}))
    talk.say(gateway.request_body()).dispatch()
    assert (talk.facts.model, talk.facts.target_model) == ("llama", "llama")
    assert gateway.body_sent(talk.heard, "request_body") == CHAT
    mutation = talk.heard[0].request_headers.response.header_mutation
    assert list(gateway.set_headers(mutation)) == ["x-gateway-destination-endpoint"]


@pytest.mark.parametrize("header", ["x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"])
def test_the_header_is_passed_on_to_whoever_decides(header: str) -> None:
    """Both spellings are told, along with the model of the body; what follows is not decided here."""
    rewriter = Rewriter("c")
    talk = rewriter.talk().say(gateway.request_headers({header: " b "}), gateway.request_body())
    assert rewriter.asked == [("llama", "b")]
    assert talk.facts.target_model == "c"


def test_by_default_the_header_means_nothing() -> None:
    """A conversation that was told of no rewriting sends what was asked for."""
    assert as_asked("a", "b") == "a"
    talk = Talk().say(gateway.request_headers({"x-llm-d-model-name-rewrite": "b"}), gateway.request_body())
    assert talk.facts.target_model == "llama"


# -------------------------------------------------------------------------- the body's length


def test_a_changed_length_is_corrected() -> None:
    """A gateway that keeps the client's content-length is given the right one."""
    talk = Rewriter("llama-lora").talk().say(gateway.request_headers({"content-length": str(len(CHAT))}))
    talk.say(gateway.request_body()).dispatch()
    length = gateway.set_headers(talk.heard[0].request_headers.response.header_mutation)["content-length"]
    assert int(length) == len(gateway.body_sent(talk.heard, "request_body")) == len(CHAT) + 5


@pytest.mark.parametrize(
    ("headers", "target"), [({}, "llama-lora"), ({"content-length": str(len(CHAT))}, "bison")]
)
def test_no_length_is_invented(headers: dict[str, str], target: str) -> None:
    """Where none was sent none is added, and where it is still right it isn't touched."""
    talk = Rewriter(target).talk().say(gateway.request_headers(headers), gateway.request_body()).dispatch()
    mutation = talk.heard[0].request_headers.response.header_mutation
    assert "content-length" not in gateway.set_headers(mutation)


# ------------------------------------------------------------------------------ without a model


@pytest.mark.parametrize("model", [b"", b'"model":null,', b'"model":5,', b'"model":"",'])
def test_a_request_without_a_model_can_be_given_one(model: bytes) -> None:
    """What names no model is accepted if one is supplied, and sent on with it."""
    rewriter = Rewriter("b")
    talk = rewriter.talk().say(
        gateway.request_headers(), gateway.request_body(b"{" + model + b'"messages":[1]}')
    )
    assert rewriter.asked == [("", "")]
    assert (talk.facts.model, talk.facts.target_model) == ("", "b")
    talk.dispatch()
    assert gateway.body_sent(talk.heard, "request_body") == b'{"model":"b","messages":[1]}'


@pytest.mark.parametrize("settings", [None, ConversationSettings(target_model=Rewriter(""))])
@pytest.mark.parametrize("model", [b"", b'"model":null,', b'"model":5,', b'"model":"",'])
def test_a_request_without_a_model_is_refused_otherwise(
    settings: ConversationSettings | None, model: bytes
) -> None:
    """Nobody names one: 400, in upstream's words."""
    talk = Talk(settings).say(
        gateway.request_headers(), gateway.request_body(b"{" + model + b'"messages":[1]}')
    )
    assert talk.error() == (400, "model not found in request body")
    (rejected,) = talk.actions
    assert isinstance(rejected, Rejected)
    assert rejected.facts is not None
    assert (rejected.facts.model, rejected.facts.target_model) == ("", "")


def test_a_call_that_takes_no_model_is_given_none() -> None:
    """The API's conversations name none, so nobody is asked for one; if one is named it is rewritten."""
    rewriter = Rewriter("b")
    body = b'{"items":[1]}'
    talk = rewriter.talk().say(gateway.request_headers(path="/v1/conversations"), gateway.request_body(body))
    talk.dispatch()
    assert rewriter.asked == []
    assert gateway.body_sent(talk.heard, "request_body") == body
    body = b'{"items":[1],"model":"a"}'
    talk = rewriter.talk().say(gateway.request_headers(path="/v1/conversations"), gateway.request_body(body))
    talk.dispatch()
    assert gateway.body_sent(talk.heard, "request_body") == b'{"items":[1],"model":"b"}'


# ----------------------------------------------------------------------------- bodies left alone


@pytest.mark.parametrize(
    ("path", "content_type", "parser"),
    [
        ("/v1/audio/speech", "application/json", "openai-parser"),
        (gateway.CHAT_PATH, "text/plain", "openai-parser"),
        (gateway.CHAT_PATH, "application/json", "passthrough-parser"),
    ],
)
def test_a_body_that_nobody_read_is_left_alone(path: str, content_type: str, parser: str) -> None:
    """Whoever doesn't know where its model stands doesn't change it, whatever the header says."""
    rewriter = Rewriter("b")
    headers = {"content-type": content_type, "x-llm-d-model-name-rewrite": "b"}
    talk = rewriter.talk(parser).say(gateway.request_headers(headers, path=path), gateway.request_body())
    talk.dispatch()
    assert rewriter.asked == []
    assert (talk.facts.model, talk.facts.target_model) == ("", "")
    assert gateway.body_sent(talk.heard, "request_body") == CHAT


@pytest.mark.parametrize("config", [STREAMED, BUFFERED])
def test_a_body_that_the_gateway_keeps_is_left_alone(config: ProtocolConfiguration) -> None:
    """There it is the gateway's copy that goes on."""
    rewriter = Rewriter("b")
    talk = rewriter.talk().say(gateway.request_headers(config=config)).dispatch()
    talk.say(gateway.request_body())
    assert rewriter.asked == []
    assert talk.heard[1].request_body.response.body_mutation is None


def test_a_request_without_a_body_is_asked_for_nothing() -> None:
    """GET names no model."""
    rewriter = Rewriter("b")
    rewriter.talk().say(gateway.request_headers(path="/v1/models", end=True)).dispatch()
    assert rewriter.asked == []


def test_a_body_too_intricate_to_change_is_refused() -> None:
    """400, and only if it would have to be changed at all."""
    body = b'{"model":"llama","messages":[1]' + b',"x":0' * 40_000 + b"}"
    talk = Rewriter("b").talk().say(gateway.request_headers(), gateway.request_body(body))
    status, text = talk.error()
    assert (status, "too many fields" in text) == (400, True)
    assert Rewriter("").talk().say(gateway.request_headers(), gateway.request_body(body)).names == ["Submit"]


def test_a_body_may_be_nested_to_any_depth() -> None:
    """At whatever depth one of the decoders gives up: it is taken or refused, and nothing is raised."""
    ends = set()
    for depth in range(500, 1100):
        body = b'{"model":"llama","messages":[1],"tools":' + b"[" * depth + b"]" * depth + b"}"
        talk = Rewriter("b").talk().say(gateway.request_headers(), gateway.request_body(body))
        ends.add(talk.names[-1])
    assert ends == {"Submit", "Rejected"}


def test_responses_are_not_rewritten() -> None:
    """They name the model that answered, byte for byte."""
    said = json.dumps({"model": "b", "choices": []}).encode()
    talk = Rewriter("b").talk().say(gateway.request_headers(), gateway.request_body()).dispatch()
    talk.say(gateway.response_headers(), gateway.response_body(said, end=True))
    assert gateway.body_sent(talk.heard, "response_body") == said
