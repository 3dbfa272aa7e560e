"""What requests ask."""

from __future__ import annotations

import json

import pytest

from benchmarks.load.plan import Delivery, Due, Manner
from benchmarks.load.question import Questions, headers
from epp.sim.engine import Ending
from epp.sim.protocol import Api, parse
from epp.sim.protocol import Delivery as SimDelivery

MODEL = 'sim "model"'


def due(prompt_tokens: int, output_tokens: int = 9) -> Due:
    """A request of that length."""
    return Due(0.0, "chat", "", prompt_tokens, output_tokens)


@pytest.mark.parametrize("prompt_tokens", [1, 2, 3, 50, 512, 55_000])
@pytest.mark.parametrize("number", [0, 7, 123_456_789])
def test_a_simulated_server_counts_what_was_planned(prompt_tokens: int, number: int) -> None:
    """The prompt has exactly so many tokens there, the answer is to be exactly so long, and usage is asked for."""
    questions = Questions(MODEL, longest_tokens=55_000)
    ask = parse(Api.CHAT, questions.body(due(prompt_tokens), Delivery.STREAM, number=number), models=(MODEL,))
    assert ask.prompt_tokens == prompt_tokens
    assert (ask.max_tokens, ask.ending) == (9, Ending.AT_LIMIT)
    assert ask.delivery is SimDelivery.STREAM_WITH_USAGE


def test_a_whole_answer_is_asked_for_without_options_of_streams() -> None:
    """Servers refuse them otherwise."""
    body = json.loads(Questions(MODEL, longest_tokens=9).body(due(9), Delivery.WHOLE, number=1))
    assert set(body) == {"model", "messages", "ignore_eos", "max_tokens"}
    assert body["model"] == MODEL


def test_prompts_begin_differently() -> None:
    """So that a prefix cache finds none of them."""
    questions = Questions(MODEL, longest_tokens=50)
    bodies = [json.loads(questions.body(due(50), Delivery.STREAM, number=number)) for number in range(1000)]
    texts = {body["messages"][0]["content"][:8] for body in bodies}
    assert len(texts) == 1000


def test_headers_name_the_objective_and_the_tenant() -> None:
    """Those that there are, and what the class adds wins whatever its case."""
    assert headers(Manner(name="chat"), "") == {"content-type": "application/json"}
    manner = Manner(
        name="chat", objective="premium", headers={"X-LLM-D-Inference-Fairness-Id": "eve", "a": "b"}
    )
    assert headers(manner, "ada") == {
        "content-type": "application/json",
        "x-llm-d-inference-objective": "premium",
        "x-llm-d-inference-fairness-id": "eve",
        "a": "b",
    }
