"""One request: what is sent, and what is reported of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiohttp import ClientSession
from yarl import URL

from benchmarks.load import client as client_module
from benchmarks.load.client import PATH, Call, Client, Leave
from benchmarks.load.histograms import Which
from benchmarks.load.outcome import Outcome, Result
from benchmarks.load.plan import Delivery, Due, Manner
from benchmarks.load.question import Questions, headers
from benchmarks.load.tally import ClassTally
from epp.quickstart.ports import free_ports

CHAT = Manner(name="chat", objective="premium")
WHOLE = replace(CHAT, delivery=Delivery.WHOLE)
DUE = Due(5.0, "chat", "ada", 20, 3)


def call_to(base_url: str, manner: Manner = CHAT, due: Due = DUE) -> tuple[Call, list[Outcome]]:
    """A request that is to be sent there, and where its outcome will be."""
    outcomes: list[Outcome] = []
    questions = Questions("m", longest_tokens=due.prompt_tokens)
    call = Call(
        due=due,
        manner=manner,
        url=URL(base_url + PATH),
        headers=headers(manner, due.tenant),
        body=questions.body(due, manner.delivery, number=0),
        tally=ClassTally(outcomes),
    )
    return call, outcomes


async def sent(
    base_url: str, clock, manner: Manner = CHAT, due: Due = DUE, *, late_s: float = 0.0
) -> tuple[Outcome, ClassTally]:
    """What is reported of one request that leaves `late_s` after it was due."""
    call, outcomes = call_to(base_url, manner, due)
    async with Client(clock=clock, start_s=clock.now_s - due.due_s - late_s) as client:
        await client.send(call)
    (outcome,) = outcomes
    live = call.tally.counts.live(0.0)
    assert live.waiting == live.streaming == 0
    return outcome, call.tally


async def test_a_complete_answer(server, clock) -> None:
    """It is completed, with all its events and tokens, and what its headers say of the picker."""
    server.headers = {"X-LLM-D-Flow-Band": "10", "x-other": "1", "Retry-After": "3"}
    outcome, tally = await sent(server.base_url, clock)
    assert outcome == Outcome(
        class_name="chat",
        tenant="ada",
        due_s=5.0,
        sent_s=5.0,
        first_token_s=5.0,
        ended_s=5.0,
        result=Result.COMPLETED,
        status=200,
        chunks=6,
        output_tokens=3,
        headers=(("x-llm-d-flow-band", "10"), ("retry-after", "3")),
    )
    histograms = tally.histograms
    assert [histograms.of(which).get_total_count() for which in Which] == [1, 1, 2]
    assert tally.counts.tokens == 3


@pytest.mark.parametrize("manner", [CHAT, WHOLE])
async def test_what_is_sent(server, clock, manner: Manner) -> None:
    """The body as JSON, the class and the tenant as headers, and nothing that a client library adds by itself."""
    await sent(server.base_url, clock, manner)
    ((told, body),) = server.requests
    assert told["x-llm-d-inference-objective"] == "premium"
    assert told["x-llm-d-inference-fairness-id"] == "ada"
    assert told["content-type"] == "application/json"
    assert not {"accept-encoding", "accept", "user-agent", "cookie"} & set(told)
    assert (body["max_tokens"], body["ignore_eos"], body.get("stream")) == (
        3,
        True,
        True if manner is CHAT else None,
    )


async def test_waiting_counts_from_the_due_time(server, clock) -> None:
    """A request that left 3 s late has waited 3 s, to the first token and to the end, in outcome and histogram."""
    outcome, tally = await sent(server.base_url, clock, late_s=3.0)
    assert (outcome.due_s, outcome.sent_s) == (5.0, 8.0)
    assert outcome.ttft_s == outcome.latency_s == 3.0
    assert tally.histograms.percentile_s(Which.TTFT, 1.0) == pytest.approx(3.0, rel=1e-3)
    assert tally.histograms.percentile_s(Which.LATENCY, 1.0) == pytest.approx(3.0, rel=1e-3)
    assert tally.counts.live(8.0).ttft_s == 3.0


async def test_gaps_are_between_tokens(server, clock) -> None:
    """Time that passes between two tokens is a gap; the rest, what ends the answer included, is none."""
    server.second_gate.clear()
    server.tokens = 2
    call, outcomes = call_to(server.base_url)
    async with Client(clock=clock, start_s=clock.now_s - 5.0) as client:
        sending = asyncio.create_task(client.send(call))
        while call.first_token_s is None:  # noqa: ASYNC110 - a client tells nobody
            await asyncio.sleep(0)
        clock.now_s += 0.25
        server.second_gate.set()
        await sending
    gaps = call.tally.histograms.gap
    assert gaps.get_total_count() == 1
    assert call.tally.histograms.percentile_s(Which.GAP, 1.0) == pytest.approx(0.25, rel=1e-3)
    assert (outcomes[0].ttft_s, outcomes[0].latency_s) == (0.0, 0.25)


async def test_a_whole_answer(server, clock) -> None:
    """Its tokens are what the usage says; it has no chunks and no gaps, and its first byte is its first token."""
    outcome, tally = await sent(server.base_url, clock, WHOLE)
    assert (outcome.result, outcome.chunks, outcome.output_tokens) == (Result.COMPLETED, 0, 3)
    assert outcome.first_token_s == 5.0
    assert tally.histograms.gap.get_total_count() == 0
    assert tally.counts.tokens == 3


@pytest.mark.parametrize("raw", [b"", b"no", b"{}", b'{"choices":1}', b"\xff"])
async def test_a_whole_answer_that_is_none_is_broken(server, clock, raw: bytes) -> None:
    """Status 200 alone is no answer."""
    server.raw = raw
    outcome, _ = await sent(server.base_url, clock, WHOLE)
    assert outcome.result is Result.BROKEN
    assert outcome.detail.startswith("the answer is no chat completion: ")


@pytest.mark.parametrize("status", [413, 429, 503])
@pytest.mark.parametrize("manner", [CHAT, WHOLE])
async def test_an_honest_no_is_a_refusal_and_is_not_retried(
    server, clock, manner: Manner, status: int
) -> None:
    """One request was sent; it ranks as never, and its reason and advice are kept."""
    server.status = status
    server.headers = {
        "x-llm-d-request-dropped-reason": "evicted-ttl",
        "retry-after": "7",
        "x-should-retry": "true",
    }
    outcome, tally = await sent(server.base_url, clock, manner)
    assert (outcome.result, outcome.status, outcome.detail) == (
        Result.REFUSED,
        status,
        f"{status} evicted-ttl",
    )
    assert dict(outcome.headers) == server.headers
    assert outcome.ttft_s is None
    assert tally.histograms.percentile_s(Which.TTFT, 0.0) is None
    assert tally.histograms.ttft.get_total_count() == tally.histograms.latency.get_total_count() == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [302, 429, 500, 503])
async def test_a_failure_without_a_reason_is_broken(server, clock, status: int) -> None:
    """Nobody decided it, so it is no refusal; what came instead is kept, and no redirect is followed."""
    server.status, server.headers = status, {"location": "/elsewhere"}
    outcome, _ = await sent(server.base_url, clock)
    assert (outcome.result, outcome.status) == (Result.BROKEN, status)
    assert outcome.detail == f'{status} {{"error": {{"message": "no"}}}}'
    assert len(server.requests) == 1


async def test_an_answer_without_its_end_is_broken(server, clock) -> None:
    """What came is counted all the same."""
    server.done = server.tells_usage = False
    outcome, tally = await sent(server.base_url, clock)
    assert (outcome.result, outcome.detail) == (Result.BROKEN, "the answer has no end")
    assert (outcome.first_token_s, outcome.output_tokens, outcome.chunks) == (5.0, 3, 4)
    assert tally.histograms.percentile_s(Which.TTFT, 1.0) == 0.0
    assert tally.histograms.percentile_s(Which.LATENCY, 1.0) is None


async def test_an_error_within_the_answer_is_broken(server, clock) -> None:
    """Though the answer ends as it should."""
    server.error = True
    outcome, _ = await sent(server.base_url, clock)
    assert (outcome.result, outcome.detail) == (Result.BROKEN, '{"error": {"message": "out of memory"}}')


async def test_a_connection_that_breaks_is_broken_and_not_retried(server, clock) -> None:
    """In the middle of an answer and before it, on a new connection and on one that served before."""
    server.drops_within = True
    assert (await sent(server.base_url, clock))[0].result is Result.BROKEN
    server.drops_within = False
    server.requests.clear()
    (first, first_outcomes), (second, second_outcomes) = call_to(server.base_url), call_to(server.base_url)
    async with Client(clock=clock, start_s=clock.now_s) as client:
        await client.send(first)
        server.drops_before = True
        await client.send(second)
        assert len(server.requests) == 2
    assert (first_outcomes[0].result, second_outcomes[0].result) == (Result.COMPLETED, Result.BROKEN)
    assert second_outcomes[0].status is None


async def test_nobody_listening_is_broken(clock) -> None:
    """A refused connection is reported like everything else."""
    (port,) = free_ports(1)
    outcome, _ = await sent(f"http://127.0.0.1:{port}", clock)
    assert (outcome.result, outcome.status) == (Result.BROKEN, None)
    assert "refused" in outcome.detail or "Connect call failed" in outcome.detail


@pytest.mark.parametrize("manner", [CHAT, WHOLE])
async def test_patience_ends(server, clock, manner: Manner) -> None:
    """A client without a first token hangs up, counted from when its request was due, and the server sees it."""
    server.gate.clear()
    outcome, tally = await sent(server.base_url, clock, replace(manner, patience_s=30.02), late_s=30.0)
    assert (outcome.result, outcome.ttft_s, outcome.output_tokens) == (Result.GAVE_UP, None, 0)
    assert tally.histograms.percentile_s(Which.TTFT, 0.0) is None
    await server.until_alone()


async def test_patience_that_is_over_before_the_request_leaves(server, clock) -> None:
    """It is given up at once, not sent for ever."""
    server.gate.clear()
    outcome, _ = await sent(server.base_url, clock, late_s=300.0)
    assert outcome.result is Result.GAVE_UP


async def test_patience_is_for_the_first_token_only(server, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it another limit holds, and who runs into that one got a broken answer."""
    monkeypatch.setattr(client_module, "ANSWER_S", 0.05)
    server.second_gate.clear()
    outcome, _ = await sent(server.base_url, clock)
    assert outcome.result is Result.BROKEN
    assert outcome.detail == "no end within 0.05 s of its first token"
    assert outcome.first_token_s == 5.0


async def test_a_very_long_prompt(server, clock) -> None:
    """It is sent in pieces, and whole."""
    due = DUE._replace(prompt_tokens=400_000)
    outcome, _ = await sent(server.base_url, clock, due=due)
    assert outcome.result is Result.COMPLETED
    messages = server.requests[0][1]["messages"]
    assert isinstance(messages, list)
    assert len(messages[0]["content"]) == 1_600_000


async def test_cancellation_is_no_outcome(server, clock) -> None:
    """Whoever cancels the task gets its cancellation, and the connection is closed."""
    server.gate.clear()
    call, outcomes = call_to(server.base_url)
    async with Client(clock=clock, start_s=clock.now_s) as client:
        sending = asyncio.create_task(client.send(call))
        await server.until(lambda: len(server.requests) == 1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await server.until(lambda: server.hung_up == 1)
    assert outcomes == []


async def test_a_cancellation_beside_hanging_up_is_not_swallowed(server, clock) -> None:
    """Who is told to hang up and is cancelled by somebody else, both at once, is cancelled."""
    server.gate.clear()
    call, outcomes = call_to(server.base_url)
    async with Client(clock=clock, start_s=clock.now_s) as client:
        sending = asyncio.create_task(client.send(call))
        await server.until(lambda: len(server.requests) == 1)
        call.leave = Leave.HANGS_UP
        sending.cancel()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert outcomes == []


async def test_a_session_that_never_closes_holds_nobody_up(server, clock, monkeypatch) -> None:
    """The outcome is there, and what the kernel doesn't tell of a connection's end is not waited for."""
    monkeypatch.setattr(client_module, "CLOSING_S", 0.01)
    close = ClientSession.close
    left_open = []

    async def closes_never(session: ClientSession) -> None:
        left_open.append(session)
        await asyncio.Event().wait()

    monkeypatch.setattr(ClientSession, "close", closes_never)
    try:
        async with asyncio.timeout(30):
            outcome, _ = await sent(server.base_url, clock)
    finally:
        (session,) = left_open
        await close(session)
    assert outcome.result is Result.COMPLETED
