"""The demo's client: what it sends, and what it reports."""

from __future__ import annotations

import asyncio

import pytest

from epp.demo.client import Client, Prompt
from epp.demo.tally import Outcome, Result, Tally
from epp.demo.traffic import Arrival, TrafficClass, three_classes
from epp.quickstart.ports import free_ports

PREMIUM, STANDARD, _ = three_classes(2.5)
PROMPT = Prompt(model="m", text="Hello", max_tokens=3)
PATIENCE_S = 60.0


async def asked(
    base_url: str,
    traffic_class: TrafficClass = PREMIUM,
    *,
    patience_s: float = PATIENCE_S,
    late_s: float = 0.0,
) -> tuple[Outcome, Tally]:
    """What is reported of one request that was due `late_s` ago, 5 s after the beginning."""
    tally = Tally([traffic_class.name])
    async with Client(base_url, PROMPT, patience_s=patience_s) as client:
        due_s = asyncio.get_running_loop().time() - late_s
        await client.send(Arrival(5.0, traffic_class), due_s, tally)
    (outcome,) = tally.outcomes
    return outcome, tally


async def test_a_complete_answer(server) -> None:
    """It is completed, and its times are in order and counted from the beginning."""
    outcome, tally = await asked(server.base_url)
    assert outcome.result is Result.COMPLETED
    assert outcome.class_name == "premium"
    assert outcome.first_token_s is not None
    assert 5.0 == outcome.due_s <= outcome.first_token_s <= outcome.ended_s
    live = tally.snapshot(6.0, queued=None).classes["premium"]
    assert (live.waiting, live.streaming, live.completed) == (0, 0, 1)


async def test_the_wait_counts_from_the_due_time(server) -> None:
    """A request that left late has waited that long."""
    outcome, _ = await asked(server.base_url, late_s=3.0)
    assert outcome.ttft_s is not None
    assert outcome.ttft_s >= 3.0


async def test_what_is_sent(server) -> None:
    """A streaming chat completion; the objective is a header, and without one there is none."""
    await asked(server.base_url, PREMIUM)
    await asked(server.base_url, STANDARD)
    (premium, body), (standard, _) = server.requests
    assert premium["x-llm-d-inference-objective"] == "premium"
    assert "x-llm-d-inference-objective" not in standard
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 3,
        "stream": True,
    }


@pytest.mark.parametrize("status", [429, 503])
async def test_an_honest_no_is_a_refusal_and_is_not_retried(server, status: int) -> None:
    """One request was sent, and it is reported as refused, with the reason."""
    server.status, server.reason = status, "evicted-ttl"
    outcome, _ = await asked(server.base_url)
    assert (outcome.result, outcome.detail) == (Result.REFUSED, f"{status} evicted-ttl")
    assert outcome.ttft_s is None
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_failure_without_a_reason_is_broken(server, status: int) -> None:
    """Nobody decided it, so it is no refusal; what came instead is kept."""
    server.status = status
    outcome, _ = await asked(server.base_url)
    assert outcome.result is Result.BROKEN
    assert outcome.detail.startswith(f"{status} ")
    assert "no" in outcome.detail


async def test_an_answer_without_its_end_is_broken(server) -> None:
    """A stream that stops without its last event is not counted as completed."""
    server.done = False
    outcome, _ = await asked(server.base_url)
    assert outcome.result is Result.BROKEN
    assert outcome.first_token_s is not None


async def test_a_connection_that_breaks_is_broken(server) -> None:
    """In the middle of an answer, too."""
    server.drops = True
    assert (await asked(server.base_url))[0].result is Result.BROKEN


async def test_nobody_listening_is_broken() -> None:
    """A refused connection is reported like everything else."""
    (port,) = free_ports(1)
    outcome, tally = await asked(f"http://127.0.0.1:{port}")
    assert outcome.result is Result.BROKEN
    assert tally.snapshot(0.0, queued=None).classes["premium"].waiting == 0


async def test_patience_ends(server) -> None:
    """A client that gets no token hangs up."""
    server.gate.clear()
    outcome, _ = await asked(server.base_url, patience_s=0.05)
    assert outcome.result is Result.GAVE_UP
    assert outcome.ttft_s is None
    assert outcome.ended_s >= 5.05


async def test_patience_that_is_over_before_the_request_leaves(server) -> None:
    """A request that is due long ago is given up, not sent for ever."""
    outcome, _ = await asked(server.base_url, patience_s=0.05, late_s=1.0)
    assert outcome.result is Result.GAVE_UP
