"""The simulated engine, in virtual time."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.sim.engine import (
    Ending,
    Engine,
    EngineEvent,
    FinishReason,
    Preempted,
    Started,
    Token,
    TooLongError,
)
from epp.sim.model import ServiceModel

unhurried = settings(deadline=None)  # the machine may be busy

SMALL = ServiceModel(
    max_sequences=3,
    max_batched_tokens=16,
    step_s=1.0,
    sequence_s=0.125,
    prefill_token_s=0.0625,
    block_tokens=4,
    blocks=10,
    max_model_tokens=40,
    output_mean_tokens=6,
)


class Submit(NamedTuple):
    """A request comes `after_s` the last operation."""

    after_s: float
    prompt: int
    limit: int | None
    ending: Ending


class Abort(NamedTuple):
    """The `which`-th request, of those submitted so far, goes away."""

    after_s: float
    which: int


class Stall(NamedTuple):
    """The engine hangs for a while."""

    after_s: float
    for_s: float


Operation = Submit | Abort | Stall

pauses = st.sampled_from([0.0, 0.25, 1.0, 1.1875, 3.0, 20.0])
submits = st.builds(
    Submit,
    pauses,
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(1, 20)),
    st.sampled_from(list(Ending)),
)
aborts = st.builds(Abort, pauses, st.integers(0, 30))
stalls = st.builds(Stall, pauses, pauses)
operations = st.lists(st.one_of(submits, submits, submits, aborts, stalls), max_size=40)


class Run(NamedTuple):
    """What became of a list of operations."""

    submitted: list[int]
    aborted: dict[int, float]
    events: list[EngineEvent]
    engine: Engine
    end_s: float


def play(script: list[Operation], *, seed: int = 1, model: ServiceModel = SMALL, ticks: bool = True) -> Run:
    """Does what the script says, then lets everything finish; with `ticks` the engine is advanced in between."""
    engine = Engine(model, seed=seed, now=0.0)
    submitted: list[int] = []
    aborted: dict[int, float] = {}
    events: list[EngineEvent] = []
    now = 0.0

    def run_until(until_s: float) -> None:
        while ticks and (at_s := engine.next_event_at()) is not None and at_s <= until_s:
            events.extend(engine.advance(at_s))
            engine.check()

    for operation in script:
        run_until(now + operation.after_s)
        now += operation.after_s
        match operation:
            case Submit(_, prompt, limit, ending):
                submitted.append(engine.submit(now, prompt_tokens=prompt, max_tokens=limit, ending=ending))
            case Abort(_, which):
                if which < len(submitted):
                    request_id = submitted[which]
                    before = engine.truth(now).aborted
                    engine.abort(request_id, now)
                    if engine.truth(now).aborted > before:
                        aborted[request_id] = now
            case Stall(_, for_s):
                engine.stall(now)
                engine.check()
                assert engine.next_event_at() is None
                now += for_s
                engine.resume(now)
        engine.check()
    while (at_s := engine.next_event_at()) is not None:
        now = max(now, at_s)
        events.extend(engine.advance(now))
        engine.check()
    events.extend(engine.advance(now))
    return Run(submitted, aborted, events, engine, now)


@unhurried
@given(operations, st.integers(0, 3))
def test_every_request_ends_exactly_once_with_all_its_tokens(script: list[Operation], seed: int) -> None:
    """Tokens are numbered without gaps, only the last carries the reason, and the aborted get none later."""
    run = play(script, seed=seed)
    for request_id in run.submitted:
        tokens = [
            event for event in run.events if isinstance(event, Token) and event.request_id == request_id
        ]
        assert [token.number for token in tokens] == list(range(1, len(tokens) + 1))
        assert all(token.finish is None for token in tokens[:-1])
        if request_id in run.aborted:
            assert all(token.at_s <= run.aborted[request_id] for token in tokens)
            assert not tokens or tokens[-1].finish is None
        else:
            assert tokens[-1].finish is not None
    truth = run.engine.truth(run.end_s)
    assert truth.finished + truth.aborted == truth.submitted == len(run.submitted)
    assert truth.output_tokens == sum(isinstance(event, Token) for event in run.events)
    assert run.engine.load() == (0, 0, 0.0)


@unhurried
@given(operations)
def test_requests_start_in_the_order_of_their_arrival(script: list[Operation]) -> None:
    """First starts never pass one another, and the batch never has more sequences than the model allows."""
    run = play(script)
    first_starts: list[int] = []
    running: set[int] = set()
    for event in run.events:
        running -= {request_id for request_id, at_s in run.aborted.items() if at_s <= event.at_s}
        match event:
            case Started():
                running.add(event.request_id)
                if event.request_id not in first_starts:
                    first_starts.append(event.request_id)
            case Preempted():
                running.discard(event.request_id)
            case Token(finish=finish):
                if finish is not None:
                    running.discard(event.request_id)
        assert len(running) <= SMALL.max_sequences
    assert first_starts == sorted(first_starts)


@unhurried
@given(operations)
def test_the_same_script_and_seed_give_the_same_events(script: list[Operation]) -> None:
    """The engine is deterministic, and how often it is looked at changes nothing."""
    watched = play(script)
    assert play(script).events == watched.events
    assert play(script, ticks=False).events == watched.events


@unhurried
@given(operations)
def test_the_idle_integral_is_the_timelines(script: list[Operation]) -> None:
    """The truth's slot-seconds are those that its timeline of occupancies adds up to."""
    run = play(script)
    truth = run.engine.truth(run.end_s + 5.0)
    changes = [(0.0, 0), *((at_s, waiting + running) for at_s, waiting, running in truth.timeline)]
    ends = [at_s for at_s, _ in changes[1:]] + [run.end_s + 5.0]
    idle = sum(
        max(0, SMALL.max_sequences - present) * (end_s - at_s)
        for (at_s, present), end_s in zip(changes, ends, strict=True)
    )
    assert truth.idle_slot_s == pytest.approx(idle)
    assert truth.max_waiting == max((change.waiting for change in truth.timeline), default=0)
    assert truth.max_running == max((change.running for change in truth.timeline), default=0)


def full_length(engine: Engine, now: float, *, prompt: int, tokens: int) -> int:
    """Submits a request whose answer has exactly so many tokens."""
    return engine.submit(now, prompt_tokens=prompt, max_tokens=tokens, ending=Ending.AT_LIMIT)


def token_times(events: list[EngineEvent], request_id: int) -> list[float]:
    """When a request gained its tokens."""
    return [event.at_s for event in events if isinstance(event, Token) and event.request_id == request_id]


def test_a_step_takes_longer_with_more_sequences_and_prompt_tokens() -> None:
    """The times of tokens are those of the model's formula, to the last bit."""
    engine = Engine(SMALL, seed=0, now=10.0)
    one = full_length(engine, 10.0, prompt=8, tokens=3)
    two = full_length(engine, 10.0, prompt=4, tokens=2)
    events = engine.advance(100.0)
    first = 10.0 + 1.0 + 0.125 + 8 * 0.0625
    second = first + 1.0 + 2 * 0.125 + 4 * 0.0625
    third = second + 1.0 + 2 * 0.125
    assert token_times(events, one) == [first, second, third]
    assert token_times(events, two) == [second, third]


def test_a_long_prompt_is_computed_in_chunks_of_the_token_budget() -> None:
    """36 prompt tokens at 16 a step take three steps, and the first token comes at the end of the last."""
    engine = Engine(SMALL, seed=0, now=0.0)
    long = full_length(engine, 0.0, prompt=36, tokens=1)
    events = engine.advance(100.0)
    assert token_times(events, long) == [2 * (1.125 + 16 * 0.0625) + 1.125 + 4 * 0.0625]


def test_who_does_not_fit_waits_and_holds_up_those_behind() -> None:
    """The head of the queue needs more blocks than are free: a smaller one behind it doesn't go past."""
    engine = Engine(SMALL, seed=0, now=0.0)
    first = full_length(engine, 0.0, prompt=16, tokens=3)
    big = full_length(engine, 0.1, prompt=32, tokens=2)
    small = full_length(engine, 0.2, prompt=4, tokens=1)
    events = engine.advance(0.5)
    assert [event.request_id for event in events] == [first]
    assert engine.load() == (2, 1, 0.4)
    events += engine.advance(100.0)
    starts = [event.request_id for event in events if isinstance(event, Started)]
    assert starts == [first, big, small]
    assert token_times(events, big)[0] > token_times(events, first)[-1]


def test_the_newest_is_preempted_when_the_cache_is_full_and_still_gets_all_its_tokens() -> None:
    """Two sequences outgrow the cache: the younger one waits, computes again, and numbers its tokens on."""
    engine = Engine(SMALL, seed=0, now=0.0)
    older = full_length(engine, 0.0, prompt=16, tokens=20)
    younger = full_length(engine, 0.0, prompt=12, tokens=20)
    events = engine.advance(1000.0)
    preempted = [event for event in events if isinstance(event, Preempted)]
    assert {event.request_id for event in preempted} == {younger}
    assert engine.truth(1000.0).preemptions == len(preempted) > 0
    restarts = {event.at_s for event in events if isinstance(event, Started)}
    assert restarts.isdisjoint(event.at_s for event in preempted), (
        "it must not come back in the step that needs its memory"
    )
    assert len(token_times(events, older)) == len(token_times(events, younger)) == 20
    assert token_times(events, older)[-1] < token_times(events, younger)[-1]


def test_an_aborted_request_frees_its_slot_and_its_blocks_at_once() -> None:
    """After the abort of a running request the next one starts with the next step."""
    engine = Engine(SMALL, seed=0, now=0.0)
    ids = [full_length(engine, 0.0, prompt=4, tokens=20) for _ in range(4)]
    engine.advance(3.0)
    assert engine.load().waiting == 1
    engine.abort(ids[0], 3.0)
    assert engine.load().running == 2
    starts = [event.request_id for event in engine.advance(6.0) if isinstance(event, Started)]
    assert starts == [ids[3]]
    engine.abort(ids[0], 6.0)
    assert engine.truth(6.0).aborted == 1


def test_peaks_are_those_since_they_were_forgotten() -> None:
    """A busy time before that shows no more, and what goes on is where the new peaks begin."""
    engine = Engine(SMALL, seed=0, now=0.0)
    for _ in range(SMALL.max_sequences + 2):
        full_length(engine, 0.0, prompt=4, tokens=1)
    engine.advance(100.0)
    busy = engine.truth(100.0)
    assert (busy.max_waiting, busy.max_running) == (SMALL.max_sequences + 1, SMALL.max_sequences)
    assert busy.max_kv_utilization == SMALL.max_sequences * SMALL.blocks_for(4) / SMALL.blocks
    full_length(engine, 100.0, prompt=4, tokens=2)
    engine.forget_peaks(100.5)
    quiet = engine.truth(200.0)
    assert (quiet.max_waiting, quiet.max_running) == (0, 1)
    assert quiet.max_kv_utilization == SMALL.blocks_for(5) / SMALL.blocks
    assert quiet.submitted == busy.submitted + 1


def test_nothing_is_done_before_the_model_is_loaded() -> None:
    """Requests that come during the start-up delay wait, start together, and no idle slot is counted before."""
    model = ServiceModel(max_sequences=2, startup_s=30.0, step_s=1.0, sequence_s=0.0, prefill_token_s=0.0)
    engine = Engine(model, seed=0, now=0.0)
    one, two = (full_length(engine, at_s, prompt=4, tokens=1) for at_s in (1.0, 29.0))
    assert engine.advance(29.5) == []
    events = engine.advance(40.0)
    assert [(event.request_id, event.at_s) for event in events if isinstance(event, Started)] == [
        (one, 30.0),
        (two, 30.0),
    ]
    assert token_times(events, one) == token_times(events, two) == [31.0]
    assert engine.truth(40.0).idle_slot_s == pytest.approx(2 * 9.0)


def test_a_stall_delays_work_by_its_length() -> None:
    """A token that was due when the engine hung comes that much later; what came meanwhile is served after."""
    engine = Engine(SMALL, seed=0, now=0.0)
    request_id = full_length(engine, 0.0, prompt=8, tokens=1)
    due = engine.next_event_at()
    assert due is not None
    engine.stall(0.5)
    assert engine.advance(50.0) == [Started(request_id, 0.0)]
    late = full_length(engine, 50.0, prompt=4, tokens=1)
    engine.resume(100.5)
    events = engine.advance(200.0)
    assert token_times(events, request_id) == [due + 100.0]
    assert token_times(events, late)[0] > due + 100.0


def test_a_request_to_an_idle_stalled_engine_starts_when_it_resumes() -> None:
    """A stall that began in idleness holds newcomers, and no longer than it lasts."""
    engine = Engine(SMALL, seed=0, now=0.0)
    engine.stall(1.0)
    request_id = full_length(engine, 5.0, prompt=4, tokens=1)
    assert engine.next_event_at() is None
    engine.resume(9.0)
    assert engine.advance(9.0) == [Started(request_id, 9.0)]


def test_lengths_are_the_seeds_unless_the_limit_comes_first() -> None:
    """Answers end by themselves at seeded lengths with the mean asked for, and the limit cuts with its own reason."""
    model = ServiceModel(output_mean_tokens=50, output_sigma=0.5)

    def lengths(seed: int, limit: int | None) -> list[tuple[int, FinishReason]]:
        engine = Engine(model, seed=seed, now=0.0)
        for _ in range(400):
            engine.submit(0.0, prompt_tokens=1, max_tokens=limit, ending=Ending.NATURAL)
        tokens = [event for event in engine.advance(1e6) if isinstance(event, Token) and event.finish]
        return [(token.number, token.finish) for token in sorted(tokens) if token.finish]

    free = lengths(1, None)
    assert free == lengths(1, None) != lengths(2, None)
    assert {reason for _, reason in free} == {FinishReason.STOP}
    assert sum(length for length, _ in free) / 400 == pytest.approx(50, rel=0.1)
    for (length, reason), (natural, _) in zip(lengths(1, 40), free, strict=True):
        assert (length, reason) == (
            (natural, FinishReason.STOP) if natural < 40 else (40, FinishReason.LENGTH)
        )


@pytest.mark.parametrize(("prompt", "limit"), [(40, None), (30, 11), (10_000, 1)])
def test_what_is_longer_than_the_model_is_refused_and_changes_nothing(prompt: int, limit: int | None) -> None:
    """A request that can't fit raises with the limit's number, and the engine is as before."""
    engine = Engine(SMALL, seed=0, now=0.0)
    with pytest.raises(TooLongError, match="40 tokens"):
        engine.submit(0.0, prompt_tokens=prompt, max_tokens=limit, ending=Ending.NATURAL)
    assert engine.next_event_at() is None
    assert engine.truth(0.0).submitted == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_sequences", 0),
        ("max_batched_tokens", 31),
        ("step_s", 0.0),
        ("sequence_s", -1.0),
        ("prefill_token_s", float("nan")),
        ("blocks", 511),
        ("block_tokens", 0),
        ("output_mean_tokens", 0.5),
        ("startup_s", float("inf")),
    ],
)
def test_a_model_that_makes_no_sense_is_refused_by_name(field: str, value: float) -> None:
    """An impossible parameter raises an error that names it."""
    with pytest.raises(ValueError, match=f"{field} is "):
        ServiceModel(**{field: value})
