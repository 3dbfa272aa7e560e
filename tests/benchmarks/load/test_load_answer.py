"""How a streamed answer is read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.answer import AnswerReader
from epp.sim.engine import FinishReason
from epp.sim.protocol import Answer, Api, parse

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":" word"}}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7}}\n\n'
DONE = b"data: [DONE]\n\n"


def read(*pieces: bytes) -> tuple[AnswerReader, list[int]]:
    """A reader that has read these, and what it said to each."""
    reader = AnswerReader()
    return reader, [reader.feed(piece) for piece in pieces]


def pieces_of(answer: bytes, cuts: list[int]) -> list[bytes]:
    """The answer, cut there."""
    places = sorted({0, len(answer), *(cut % len(answer) for cut in cuts)})
    return [answer[begin:end] for begin, end in pairwise(places)]


def simulated(tokens: int, *, usage: bool = True) -> bytes:
    """What a simulated server streams."""
    options = b',"stream_options":{"include_usage":true}' if usage else b""
    ask = parse(
        Api.CHAT, b'{"messages":[{"content":"Hello"}],"stream":true%s}' % options, models=("sim-model",)
    )
    answer = Answer(ask, answer_id="1", created_s=0)
    words = [answer.piece(n, FinishReason.LENGTH if n == tokens else None) for n in range(1, tokens + 1)]
    return b"".join([answer.opening(), *words, answer.closing(tokens)])


def test_one_event_per_read() -> None:
    """The role is no token, every word is one, and what ends the answer is none."""
    reader, tokens = read(ROLE, WORD, WORD, FINISH, USAGE, DONE)
    assert tokens == [
        0,
        1,
        1,
        1,
        0,
        0,
    ]  # that FINISH has no content is looked at only where usage or end come
    assert reader.events == 6
    assert reader.is_done
    assert reader.tokens == 7


def test_several_events_in_one_read() -> None:
    """Each of them counts, also those that come with the first token, with the end, and all at once."""
    assert read(ROLE + WORD + WORD, WORD + WORD + WORD, WORD + FINISH + USAGE + DONE)[1] == [2, 3, 1]
    reader, tokens = read(ROLE + WORD + WORD + FINISH + USAGE + DONE)
    assert tokens == [2]
    assert reader.events == 6


@given(tokens=st.integers(1, 40), usage=st.booleans(), cuts=st.lists(st.integers(0, 100_000), max_size=60))
def test_it_does_not_matter_how_it_is_cut(tokens: int, usage: bool, cuts: list[int]) -> None:
    """A simulated server's answer has as many events and tokens, and its end, however its bytes come."""
    answer = simulated(tokens, usage=usage)
    reader, _ = read(*pieces_of(answer, cuts))
    assert reader.events == answer.count(b"data: ")
    assert reader.tokens == tokens
    assert reader.is_done


def test_byte_by_byte() -> None:
    """The finest cut changes nothing, and the first token is seen with its content, not before."""
    answer = ROLE + WORD + WORD + FINISH + DONE
    reader, tokens = read(*(answer[n : n + 1] for n in range(len(answer))))
    assert (reader.events, reader.tokens, reader.is_done) == (5, 2, True)
    assert tokens.index(1) == len(ROLE) + WORD.index(b" word")


def test_without_usage_tokens_are_the_events_with_content() -> None:
    """An answer that was cut off says how much came."""
    assert read(ROLE, WORD, WORD)[0].tokens == 2
    assert read(ROLE, WORD, WORD, FINISH, DONE)[0].tokens == 2
    assert read(ROLE)[0].tokens == 0
    assert read()[0].tokens == 0


@pytest.mark.parametrize(
    "word",
    [
        b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n',
        b'data:{"choices":[{"delta":{"content":"x"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}}]}\r\n\r\n',
        b'data: {"choices":[{"delta":{"reasoning_content":"x"}}]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"f"}}]}}]}\n\n',
        b'data: {"choices":[{"text":"x"}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}\n\n',
        b': keep-alive\n\ndata: {"choices":[{"delta":{"content":"data: x\\ndata: y"}}]}\n\n',
    ],
)
def test_other_servers_spell_it_otherwise(word: bytes) -> None:
    """Spaces, line ends, other kinds of content, comments, and content that looks like an event."""
    reader, tokens = read(word, word, word, b"data:[DONE]\n\n" if b"data:{" in word else DONE)
    assert tokens == [1, 1, 1, 0]
    assert reader.tokens == 3
    assert reader.is_done


def test_an_error_within_the_answer() -> None:
    """It is told."""
    reader, _ = read(ROLE, WORD, b'data: {"error": {"message": "out of memory"}}\n\n', DONE)
    assert reader.error == '{"error": {"message": "out of memory"}}'
    assert read(ROLE, WORD, DONE)[0].error is None


def test_the_end_is_the_event_and_not_a_word() -> None:
    """A model that says [DONE] hasn't."""
    assert not read(ROLE, b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n')[0].is_done


def test_a_long_answer_is_not_kept() -> None:
    """Only its end stays in memory."""
    reader, tokens = read(ROLE, *[WORD * 100] * 100, USAGE + DONE)
    assert sum(tokens) == 10_000
    assert reader.events == 10_003
    assert len(reader._tail) <= 1024
