"""What bodies say, and which of them are refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.parsers import UNREAD, BodyNeed, Malformed, OpenAIParser, ParsedRequest, Parsers

CHAT = "/v1/chat/completions"
JSON = "application/json"
OPENAI = OpenAIParser()


def parse(body: object, *, path: str = CHAT, content_type: str = JSON) -> ParsedRequest:
    """Through the OpenAI parser; anything but bytes is made JSON first."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OPENAI.parse(path, content_type, data)


MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("path", "body", "cap"),
    [
        (CHAT, {"messages": MESSAGES, "max_tokens": 5}, 5),
        (CHAT, {"messages": MESSAGES, "max_tokens": 5, "max_completion_tokens": 7}, 5),
        (CHAT, {"messages": MESSAGES, "max_tokens": 9, "max_completion_tokens": 7}, 7),
        (CHAT, {"messages": MESSAGES, "max_tokens": 0}, None),
        (CHAT, {"messages": MESSAGES, "max_tokens": 5, "n": 3}, 15),
        (CHAT, {"messages": MESSAGES, "max_tokens": 5, "n": 3, "best_of": 2}, 15),
        (CHAT, {"messages": MESSAGES, "max_tokens": 5, "n": 2, "best_of": 4}, 20),
        (CHAT, {"messages": MESSAGES, "max_tokens": 5, "n": 0}, 5),
        (CHAT, {"messages": MESSAGES, "max_tokens": 5, "n": "3", "best_of": None}, 5),
        (CHAT, {"messages": MESSAGES, "max_tokens": 5, "n": 10**40}, 2**31 - 1),
        (CHAT, {"messages": MESSAGES, "n": 3}, None),
        (CHAT, {"messages": MESSAGES, "max_completion_tokens": None, "max_tokens": 5}, 5),
        (CHAT, {"messages": MESSAGES, "max_tokens": "many"}, None),
        (CHAT, {"messages": MESSAGES, "max_tokens": -3}, None),
        (CHAT, {"messages": MESSAGES, "max_tokens": 10**40}, 2**31 - 1),
        (CHAT, {"messages": MESSAGES, "max_tokens": 10**15}, 2**31 - 1),
        ("/v1/chat/completions/", {"messages": MESSAGES}, None),
        ("/team/a/v1/chat/completions/render", {"messages": MESSAGES}, None),
        ("/v1/completions", {"prompt": "hi", "max_tokens": 9}, 9),
        ("/v1/completions", {"prompt": "hi", "max_tokens": 9, "best_of": 2}, 18),
        ("/v1/completions", {"prompt": ["a", "b"]}, None),
        ("/v1/completions", {"prompt": [1, 2]}, None),
        ("/v1/completions/render", {"prompt": "hi"}, None),
        ("/v1/embeddings", {"input": "hi"}, None),
        ("/v1/embeddings", {"input": [[1], [2]]}, None),
        ("/v1/responses", {"input": "hi", "max_output_tokens": 3}, 3),
        ("/v1/responses", {"input": {"any": "thing"}}, None),
        ("/v1/images/generations", {"prompt": "a cat"}, None),
    ],
)
def test_known_calls_are_read(path: str, body: dict[str, object], cap: int | None) -> None:
    """Each call of the API gives its model, its wish for a stream, and its cap on output over all choices."""
    assert parse({"model": "m", **body}, path=path) == ParsedRequest("m", False, cap)
    assert parse({"model": "m", "stream": True, **body}, path=path).streaming
    assert not parse({"model": "m", "stream": "yes", **body}, path=path).streaming


def test_a_conversation_needs_no_model() -> None:
    """The API's conversations name no model."""
    assert parse({"items": [{"a": 1}]}, path="/v1/conversations") == UNREAD


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        (CHAT, b"nope", "error unmarshaling request bodyMap: JSON is malformed"),
        (CHAT, b"", "error unmarshaling request bodyMap"),
        (CHAT, b"{", "error unmarshaling request bodyMap"),
        (CHAT, b"[1]", "error unmarshaling request bodyMap: Expected `object`"),
        (CHAT, b'"text"', "error unmarshaling request bodyMap: Expected `object`"),
        (CHAT, b'\xff\xfe{"model":"m"}', "error unmarshaling request bodyMap"),
        (CHAT, b'{"a":' + b"[" * 200_000, "error unmarshaling request bodyMap: nested too deeply"),
        (CHAT, {"model": "m"}, "invalid chat completions request: must have valid messages field"),
        (CHAT, {"model": "m", "messages": []}, "must have valid messages field"),
        (CHAT, {"model": "m", "messages": " "}, "must have valid messages field"),
        (CHAT, {"model": "m", "messages": {"role": "user"}}, "must have valid messages field"),
        ("/v1/completions", {"model": "m"}, "invalid completions request: must have prompt field"),
        ("/v1/completions", {"model": "m", "prompt": ""}, "must have prompt field"),
        ("/v1/completions", {"model": "m", "prompt": 4}, "must have prompt field"),
        ("/v1/embeddings", {"model": "m"}, "invalid embeddings request: must have input field"),
        ("/v1/responses", {"model": "m"}, "invalid responses request: must have input field"),
        ("/v1/responses", {"model": "m", "input": None}, "must have input field"),
        ("/v1/conversations", {"items": []}, "invalid conversations request: must have items field"),
        (
            "/v1/images/generations",
            {"model": "m"},
            "invalid images generations request: must have prompt field",
        ),
    ],
)
def test_hopeless_calls_are_refused(path: str, body: object, complaint: str) -> None:
    """A known call without what it needs is refused in upstream's words."""
    with pytest.raises(Malformed) as refused:
        parse(body, path=path)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("body", [{}, {"model": 5}, {"model": ""}, {"model": None}, {"model": ["m"]}])
def test_a_model_that_is_missing_is_noted(body: dict[str, object]) -> None:
    """Whatever is no name counts as none; refusing that is not the parser's business, as one may yet be set."""
    assert parse({**body, "messages": MESSAGES}) == ParsedRequest(lacks_model=True)


@pytest.mark.parametrize(
    "path", ["", "/", "/v1/models", "/v1/xcompletions", "/v1/audio/speech", "/v1/responses/r1"]
)
@pytest.mark.parametrize("body", [b"", b"nope", b"[]"])
def test_unknown_paths_are_not_read(path: str, body: bytes) -> None:
    """On any other path nothing is refused, whatever the body is."""
    assert parse(body, path=path) == UNREAD


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "text/plain", "application/x-www-form-urlencoded"]
)
def test_other_content_types_are_not_read(content_type: str) -> None:
    """A body that doesn't claim to be JSON isn't judged as JSON."""
    assert parse(b"nope", content_type=content_type) == UNREAD


@pytest.mark.parametrize("content_type", ["", JSON, "application/vnd.api+json"])
def test_json_content_types_are_read(content_type: str) -> None:
    """JSON is read under each of its names, and under none."""
    assert parse({"model": "m", "messages": MESSAGES}, content_type=content_type).model == "m"


@given(st.binary(max_size=60))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    """No body makes the parser fail in any other way, and a refusal never quotes it."""
    try:
        parse(b'{"model":"m","messages":[' + body)
    except Malformed as refused:
        assert "role" not in str(refused)  # noqa: PT017 - both ends are fine, this one says something


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries({}, optional={"model": json_values, "messages": json_values, "stream": json_values})
)
def test_what_is_taken_is_what_json_says(body: dict[str, object]) -> None:
    """The lazy reading agrees with a full one about every JSON object."""
    model, messages = body.get("model"), body.get("messages")
    good = isinstance(messages, list) and messages != []
    name = model if isinstance(model, str) else ""
    try:
        parsed = parse(body)
    except Malformed:
        assert not good
    else:
        assert good
        assert parsed == ParsedRequest(name, body.get("stream") is True, None, lacks_model=not name)


def test_a_known_path_goes_to_the_parser_that_claims_it() -> None:
    """With a fallback behind it, the OpenAI parser gets its paths and nothing else."""
    parsers = Parsers(("openai-parser", "passthrough-parser"))
    assert parsers.choose(CHAT).body_need is BodyNeed.WHOLE
    assert parsers.choose("/v1/audio/speech").body_need is BodyNeed.NOTHING


def test_without_a_fallback_the_first_parser_takes_the_rest() -> None:
    """The default waits for every body, known path or not."""
    assert Parsers(("openai-parser",)).choose("/v1/audio/speech").body_need is BodyNeed.WHOLE


def test_a_fallback_ends_the_list() -> None:
    """Behind a parser without paths nobody is asked, as upstream."""
    parsers = Parsers(("passthrough-parser", "openai-parser"))
    parser = parsers.choose(CHAT)
    assert parser.body_need is BodyNeed.NOTHING
    assert parser.parse(CHAT, JSON, b"nope") == UNREAD


@pytest.mark.parametrize("names", [(), ("openai-parser", "anthropic-parser")])
def test_unknown_parsers_are_an_error(names: tuple[str, ...]) -> None:
    """A list without parsers, or with one that doesn't exist, is refused with the names that do."""
    with pytest.raises(ValueError, match="passthrough-parser"):
        Parsers(names)


def test_a_models_name_is_no_place_to_keep_things() -> None:
    """A name of a megabyte is refused before anybody remembers it; 1,024 characters are a name."""
    parser = Parsers(["openai-parser"]).choose("/v1/completions")

    def parse(length: int) -> ParsedRequest:
        body = json.dumps({"model": "m" * length, "prompt": "x"}).encode()
        return parser.parse("/v1/completions", "application/json", body)

    assert len(parse(1024).model) == 1024
    with pytest.raises(Malformed, match="1000000 characters: 1024 at most"):
        parse(1_000_000)
