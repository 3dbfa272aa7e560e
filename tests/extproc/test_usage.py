"""Finding usage at the end of a response."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.usage import NO_USAGE, TAIL_BYTES, BodyTail, Usage, find_usage

CHAT = {
    "id": "c1",
    "choices": [{"message": {"content": "hello"}}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 34, "prompt_tokens_details": {"cached_tokens": 8}},
    "prompt_logprobs": None,
}
RESPONSES = {
    "object": "response",
    "output": [],
    "usage": {"input_tokens": 12, "output_tokens": 34, "input_tokens_details": {"cached_tokens": 8}},
}
FOUND = Usage(12, 34, 8)


def events(*documents: object, data: str = "data: ", end: str = "\n\n") -> bytes:
    """A stream of server-sent events, ended as the API ends it."""
    lines = [data + (text if isinstance(text, str) else json.dumps(text)) for text in (*documents, "[DONE]")]
    return (end.join(lines) + end).encode()


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(CHAT).encode(),
        json.dumps(CHAT, indent=2).encode(),
        json.dumps(CHAT, separators=(",", ":")).encode(),
        json.dumps(RESPONSES).encode(),
        events({"choices": [], "usage": None}, CHAT),
        events(CHAT, data="data:"),
        events(CHAT, end="\r\n\r\n"),
        events(CHAT, end="\r\r"),
        events({"type": "response.completed", "response": RESPONSES}),
    ],
)
def test_every_form_of_usage_is_found(body: bytes) -> None:
    """JSON or events, with or without spaces, with any line ends, in either of the API's spellings."""
    assert find_usage(body) == FOUND


def test_an_event_may_be_spread_over_lines() -> None:
    """A document in several `data:` lines, cut inside its usage, is one document."""
    body = json.dumps(CHAT, indent=1).replace("\n", "\ndata: ")
    assert find_usage(f"data: {body}\n\n".encode()) == FOUND


@pytest.mark.parametrize("data", ["data: ", "data:"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_line_may_end_before_the_usage_begins(data: str, line_end: str) -> None:
    """Anywhere between the key and its object."""
    lines = ['{"usage"', ":", ' {"prompt_tokens": 12,', '"completion_tokens": 34}}']
    body = "".join(f"{data}{line}{line_end}" for line in lines)
    assert find_usage(body.encode()) == Usage(12, 34, None)


def test_a_usage_behind_the_last_one_that_counts() -> None:
    """What looks like the key and has nothing to say doesn't hide the one before it, however often it comes."""
    nothing = [
        '"usage":null',
        '"usage"',
        '"usage":{}',
        '"usage":{"x":1}',
        '"usage" data {',
        '"usage":{"cut":',
    ]
    for junk in nothing:
        assert find_usage(json.dumps(CHAT).encode() + b"\n" + junk.encode() * 20) == FOUND


def test_continuous_usage_counts_once() -> None:
    """Of the counts that come with every event the last one is the usage."""
    body = events(*({"usage": {"prompt_tokens": 12, "completion_tokens": count}} for count in range(50)))
    assert find_usage(body) == Usage(12, 49, None)


def test_an_aborted_stream_has_the_usage_seen_so_far() -> None:
    """A last event that was cut off doesn't hide the one before."""
    first = b'data: {"usage":{"prompt_tokens":12,"completion_tokens":3}}\n\n'
    assert find_usage(first + b'data: {"usage":{"prompt_tokens":12,"compl') == Usage(12, 3, None)


def test_what_a_model_writes_is_not_usage() -> None:
    """Text that looks like usage is escaped inside its string, and so is none."""
    spoof = {"choices": [{"text": '"usage": {"prompt_tokens": 999, "completion_tokens": 999}'}]}
    assert find_usage(json.dumps(spoof).encode()) == NO_USAGE
    assert find_usage(json.dumps({**CHAT, "user": spoof["choices"][0]["text"]}).encode()) == FOUND


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"prompt_tokens": "12", "completion_tokens": "34"}, Usage(12, 34, None)),
        ({"prompt_tokens": 12}, Usage(12, None, None)),
        ({"prompt_tokens": -1, "completion_tokens": True}, NO_USAGE),
        ({"prompt_tokens": 1.5, "completion_tokens": [1]}, NO_USAGE),
        ({"prompt_tokens": 10**30, "completion_tokens": "9" * 40}, NO_USAGE),
        ({"prompt_tokens": 1, "prompt_tokens_details": [1]}, Usage(1, None, None)),
        ({"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": None}}, Usage(1, None, None)),
        ({}, NO_USAGE),
    ],
)
def test_only_counts_count(usage: object, found: Usage) -> None:
    """Counts as numbers or digits are taken, anything else is not known."""
    assert find_usage(json.dumps({"usage": usage}).encode()) == found


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b\x08\xff", b'{"usage":null}', b'"usage":{' * 50, b"usage"])
def test_nothing_found_is_an_answer(body: bytes) -> None:
    """Bodies without a readable usage give none, and no error."""
    assert find_usage(body) == NO_USAGE


@given(st.data())
def test_usage_is_found_however_the_body_is_cut(data: st.DataObject) -> None:
    """The chunks in which a response comes make no difference."""
    body = events(*({"choices": [{"delta": {"content": "w" * 40}}]} for _ in range(30)), CHAT)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=60)))
    tail = BodyTail()
    for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
        tail.add(body[start:stop])
    assert tail.usage() == FOUND


@given(st.binary(max_size=200))
def test_any_tail_can_be_searched(body: bytes) -> None:
    """Whatever a backend sends, looking for usage doesn't fail."""
    assert isinstance(find_usage(b'{"usage":{"prompt_tokens":' + body), Usage)


@given(st.lists(st.integers(0, 3 * TAIL_BYTES), max_size=40))
def test_only_a_bounded_tail_is_kept(sizes: list[int]) -> None:
    """However much passes, what is kept is the end of it, and little more than the bound."""
    tail = BodyTail()
    for number, size in enumerate(sizes):
        tail.add(bytes([number]) * size)
    whole = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    assert whole.endswith(tail._kept)
    assert min(TAIL_BYTES, len(whole)) <= len(tail._kept) < 1.5 * TAIL_BYTES
