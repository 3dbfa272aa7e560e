"""OpenAI's API as the simulated server speaks it, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from epp.sim.engine import Ending, FinishReason
from epp.sim.protocol import DONE, Answer, Api, ApiError, Ask, Delivery, parse

MODELS = ("first", "second")


def chat(**fields: Any) -> bytes:
    """A chat request with these fields on top of what it must have."""
    return json.dumps({"messages": [{"role": "user", "content": "hello"}], **fields}).encode()


def test_a_chat_request_is_read() -> None:
    """Every field that matters arrives; texts count a token for four characters, in parts or whole."""
    raw = chat(
        model="second",
        messages=[
            {"role": "system", "content": "x" * 10},
            {
                "role": "user",
                "content": [{"type": "text", "text": "y" * 11}, {"type": "image_url", "image_url": {}}],
            },
            {"role": "assistant", "content": None},
        ],
        max_tokens=5,
        max_completion_tokens=7,
        ignore_eos=True,
        stream=True,
        stream_options={"include_usage": True},
        temperature=0.3,
    )
    assert parse(Api.CHAT, raw, models=MODELS) == Ask(
        api=Api.CHAT,
        model="second",
        prompt_tokens=6,
        max_tokens=7,
        ending=Ending.AT_LIMIT,
        delivery=Delivery.STREAM_WITH_USAGE,
    )


@pytest.mark.parametrize(
    ("prompt", "tokens"), [("x" * 9, 3), ("", 1), ([1, 2, 3], 3), (["x" * 9], 3), ([[1, 2, 3, 4]], 4)]
)
def test_a_prompt_is_counted(prompt: object, tokens: int) -> None:
    """A prompt may be a text or token ids, and either may be the only one of a list."""
    ask = parse(Api.COMPLETIONS, json.dumps({"prompt": prompt}).encode(), models=MODELS)
    assert ask == Ask(Api.COMPLETIONS, "first", tokens, None, Ending.NATURAL, Delivery.WHOLE)


def test_without_a_limit_there_is_no_full_length() -> None:
    """`ignore_eos` alone doesn't make an answer as long as the model allows."""
    assert parse(Api.CHAT, chat(ignore_eos=True), models=MODELS).ending is Ending.NATURAL


@pytest.mark.parametrize(
    ("api", "raw", "status", "param", "words"),
    [
        (Api.CHAT, b"{", 400, None, "not JSON"),
        (Api.CHAT, b"\xff\xfe", 400, None, "not JSON"),
        (Api.CHAT, b"[" * 100_000, 400, None, "not JSON"),
        (Api.CHAT, b"[1]", 400, None, "expected an object"),
        (Api.CHAT, chat(model="third"), 404, "model", "`third` does not exist"),
        (Api.CHAT, chat(messages=[]), 400, "messages", "expected a list"),
        (Api.CHAT, chat(messages="hi"), 400, "messages", "expected a list"),
        (Api.CHAT, chat(messages=["hi"]), 400, "messages", "expected objects"),
        (Api.CHAT, chat(n=2), 400, "n", "one choice"),
        (Api.CHAT, chat(max_tokens=0), 400, "max_tokens", "at least 1"),
        (Api.CHAT, chat(max_tokens=True), 400, "max_tokens", "whole number"),
        (Api.CHAT, chat(max_completion_tokens="9"), 400, "max_completion_tokens", "whole number"),
        (Api.CHAT, chat(stream="yes"), 400, "stream", "true or false"),
        (Api.CHAT, chat(stream=True, stream_options=[1]), 400, "stream_options", "an object"),
        (Api.COMPLETIONS, b"{}", 400, "prompt", "one text"),
        (Api.COMPLETIONS, b'{"prompt": ["a", "b"]}', 400, "prompt", "one text"),
        (Api.COMPLETIONS, b'{"prompt": []}', 400, "prompt", "one text"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    api: Api, raw: bytes, status: int, param: str | None, words: str
) -> None:
    """A bad request gets its status, the field's name, and what was expected, in OpenAI's shape."""
    with pytest.raises(ApiError, match=words) as caught:
        parse(api, raw, models=MODELS)
    error = json.loads(caught.value.body())["error"]
    assert (caught.value.status, error["code"], error["param"]) == (status, status, param)
    assert words in error["message"]


def events(raw: bytes) -> list[Any]:
    """The JSON of server-sent events."""
    lines = raw.decode().split("\n\n")
    assert lines.pop() == ""
    return [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]


@pytest.mark.parametrize("api", list(Api))
def test_a_stream_says_the_same_as_the_whole(api: Api) -> None:
    """The chunks' texts join to the text of the whole answer; ids, models and usages are equal."""
    ask = Ask(api, "first", 11, 40, Ending.AT_LIMIT, Delivery.STREAM_WITH_USAGE)
    answer = Answer(ask, answer_id="7", created_s=1234)
    raw = answer.opening()
    raw += b"".join(answer.piece(number, None) for number in range(1, 40))
    raw += answer.piece(40, FinishReason.LENGTH) + answer.closing(40)
    assert raw.endswith(DONE)
    *chunks, usage = events(raw)
    whole = json.loads(answer.whole(40, FinishReason.LENGTH))
    if api is Api.CHAT:
        assert chunks.pop(0)["choices"][0]["delta"]["role"] == "assistant"
        text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
        assert text == whole["choices"][0]["message"]["content"]
    else:
        text = "".join(chunk["choices"][0]["text"] for chunk in chunks)
        assert text == whole["choices"][0]["text"]
    assert len(text.split()) == len(chunks) == 40
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 39 + ["length"]
    assert {chunk["id"] for chunk in [*chunks, usage]} == {whole["id"]} == {f"{api.value}-7"}
    assert usage["choices"] == []
    assert usage["usage"] == whole["usage"]
    assert (usage["usage"]["prompt_tokens"], usage["usage"]["total_tokens"]) == (11, 51)


def test_a_stream_without_usage_ends_with_done_alone() -> None:
    """Usage is sent only to those who asked for it."""
    ask = Ask(Api.CHAT, "first", 11, 40, Ending.AT_LIMIT, Delivery.STREAM)
    assert Answer(ask, answer_id="7", created_s=1234).closing(3) == DONE
