"""A whole play: an open loop against a server in this process."""

from __future__ import annotations

import asyncio
import os
import resource
from collections import Counter
from types import MappingProxyType

import pytest

from benchmarks.load.client import ExhaustedError
from benchmarks.load.histograms import Which
from benchmarks.load.outcome import Result
from benchmarks.load.plan import Delivery, Due, Manner, Plan
from benchmarks.load.player import Player
from epp.sim.model import ServiceModel
from epp.sim.server import SimServer

CHAT = Manner(name="chat", patience_s=600.0)
BATCH = Manner(name="batch", objective="batch", delivery=Delivery.WHOLE, patience_s=600.0)
MANNERS = MappingProxyType({"chat": CHAT, "batch": BATCH})


def plan_of(*times: float, class_name: str = "chat", **more: list[float]) -> Plan:
    """Requests of `chat` (or that class) that are due then, and of other classes then."""
    requests = [
        Due(due_s, name, f"{name}-tenant", 5, 3)
        for name, all_times in {class_name: list(times), **more}.items()
        for due_s in all_times
    ]
    return Plan(MANNERS, tuple(sorted(requests, key=lambda due: due.due_s)), 1.0)


def player_of(plan: Plan, server, clock=None) -> Player:
    """One that plays against the server."""
    more = {} if clock is None else {"clock": clock}
    return Player(plan, base_urls=[server.base_url], model="m", **more)


def results(player: Player) -> Counter[Result]:
    """How requests ended."""
    return Counter(outcome.result for outcome in player.outcomes)


async def test_a_play(server) -> None:
    """Every request has its outcome, its histogram's entries and its place in the counts; nothing is left."""
    plan = plan_of(0.0, 0.001, 0.002, batch=[0.0, 0.003])
    player = player_of(plan, server)
    before = player.snapshot()
    assert (before.elapsed_s, before.lag_s, set(before.classes)) == (0.0, 0.0, {"chat", "batch"})
    await player.run()
    assert results(player) == {Result.COMPLETED: 5}
    assert sorted((each.due_s, each.class_name) for each in player.outcomes) == sorted(
        (due.due_s, due.class_name) for due in plan.requests
    )
    assert all(each.due_s <= each.sent_s <= each.first_token_s <= each.ended_s for each in player.outcomes)
    assert {each.tenant for each in player.outcomes} == {"chat-tenant", "batch-tenant"}
    histograms = player.histograms
    assert {name: each.ttft.get_total_count() for name, each in histograms.items()} == {"chat": 3, "batch": 2}
    assert {name: each.gap.get_total_count() for name, each in histograms.items()} == {"chat": 6, "batch": 0}
    live = player.snapshot().classes
    assert [(live[name].completed, live[name].waiting, live[name].streaming) for name in live] == [
        (3, 0, 0),
        (2, 0, 0),
    ]
    await server.until_alone()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_simulated_server_answers_exactly_what_was_planned() -> None:
    """Streamed or whole, each answer is as long as its plan says, and the gaps are those between its tokens."""
    requests = tuple(
        Due(0.0, name, "", prompt, output)
        for name in ("chat", "batch")
        for prompt, output in ((1, 1), (7, 2), (300, 40))
    )
    model = ServiceModel(step_s=0.0005, sequence_s=0.0, prefill_token_s=0.0)
    async with SimServer(model=model) as simulated:
        player = Player(
            Plan(MANNERS, requests, 1.0), base_urls=[f"http://{simulated.address}"], model="sim-model"
        )
        await player.run()
    assert results(player) == {Result.COMPLETED: 6}
    told = sorted((each.class_name, each.output_tokens, each.chunks) for each in player.outcomes)
    # A stream has three events more: the role, the usage and the end.
    assert told == [
        *(("batch", tokens, 0) for tokens in (1, 2, 40)),
        *(("chat", tokens, tokens + 3) for tokens in (1, 2, 40)),
    ]
    assert player.histograms["chat"].gap.get_total_count() == 1 + 39


async def test_nobody_waits_for_an_earlier_request(server) -> None:
    """Open loop: a hundred requests are at the server at once although none of them has been answered."""
    server.gate.clear()
    player = player_of(plan_of(*(number * 0.0005 for number in range(100))), server)
    play = asyncio.create_task(player.run())
    await server.until(lambda: len(server.requests) == 100)
    assert player.snapshot().classes["chat"].waiting == 100
    server.gate.set()
    await play
    assert results(player) == {Result.COMPLETED: 100}


async def test_a_stall_shows_in_the_waits_of_all_that_were_due_during_it(server, clock) -> None:
    """No coordinated omission: who left late because everything stood still has waited since it was due."""

    def stall(number: int) -> None:
        if number == 1:
            clock.now_s += 10.0

    server.on_request = stall
    times = [number * 0.01 for number in range(6)]
    player = player_of(plan_of(*times), server, clock)
    await player.run()
    waits = {outcome.due_s: outcome.ttft_s for outcome in player.outcomes}
    assert waits == {due_s: pytest.approx(10.0 - due_s) for due_s in times}
    assert sorted(outcome.sent_s for outcome in player.outcomes) == [0.0, *[10.0] * 5]
    assert player.snapshot().lag_s == pytest.approx(9.99)
    assert player.histograms["chat"].percentile_s(Which.TTFT, 0.0) == pytest.approx(9.95, rel=2e-3)


async def test_base_urls_are_used_in_turn(server) -> None:
    """Each gets its share of the requests, whatever their class; a slash at the end does no harm."""
    urls = [server.base_url, server.base_url.replace("127.0.0.1", "localhost") + "/"]
    player = Player(plan_of(0.0, 0.0, 0.0, batch=[0.0, 0.0]), base_urls=urls, model="m")
    await player.run()
    assert results(player) == {Result.COMPLETED: 5}
    hosts = Counter(headers["host"].partition(":")[0] for headers, _ in server.requests)
    assert hosts == {"127.0.0.1": 3, "localhost": 2}


@pytest.mark.parametrize(("share", "gone"), [(0.0, 0), (0.25, 2), (0.5, 5), (1.0, 9)])
async def test_clients_hang_up(server, share: float, gone: int) -> None:
    """So many of the class do, while they wait; they are reported so, the server sees them go, the others stay."""
    server.gate.clear()
    player = player_of(plan_of(*[0.0] * 9, batch=[0.0]), server)
    play = asyncio.create_task(player.run())
    await server.until(lambda: len(server.requests) == 10)
    assert player.hang_up("chat", share) == gone
    await server.until(lambda: server.hung_up == gone)
    server.gate.set()
    await play
    assert results(player) == Counter({Result.COMPLETED: 10 - gone, Result.HUNG_UP: gone})
    assert player.histograms["chat"].ttft.get_total_count() == 9 - gone
    assert player.histograms["chat"].latency.get_total_count() == 9 - gone
    live = player.snapshot().classes["chat"]
    assert (live.hung_up, live.completed, live.waiting, live.streaming) == (gone, 9 - gone, 0, 0)


async def test_clients_hang_up_in_the_middle_of_their_answers(server) -> None:
    """Who has some tokens keeps them; who has hung up can't do so again."""
    server.second_gate.clear()
    player = player_of(plan_of(0.0, 0.0), server)
    play = asyncio.create_task(player.run())
    while player.snapshot().classes["chat"].streaming < 2:  # noqa: ASYNC110 - a player tells nobody
        await asyncio.sleep(0)
    assert player.hang_up("chat") == 2
    assert player.hang_up("chat") == 0
    await play
    assert results(player) == {Result.HUNG_UP: 2}
    assert [(each.output_tokens, each.status) for each in player.outcomes] == [(1, 200)] * 2
    assert all(each.first_token_s is not None for each in player.outcomes)
    await server.until(lambda: server.hung_up == 2)
    await server.until_alone()


async def test_hanging_up_when_nobody_is_there(server) -> None:
    """Before, and after the end, there is nobody to hang up."""
    player = player_of(plan_of(0.0), server)
    assert player.hang_up("chat") == 0
    await player.run()
    assert player.hang_up("chat") == 0
    assert results(player) == {Result.COMPLETED: 1}


async def test_cancelling_closes_everything(server) -> None:
    """No task and no connection is left, and what was under way has no outcome."""
    server.gate.clear()
    player = player_of(plan_of(*[0.0] * 20, 3600.0), server)
    play = asyncio.create_task(player.run())
    await server.until(lambda: len(server.requests) == 20)
    play.cancel()
    with pytest.raises(asyncio.CancelledError):
        await play
    assert player.outcomes == ()
    await server.until(lambda: server.hung_up == 20)
    await server.until_alone()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelling_while_clients_hang_up(server) -> None:
    """The cancellation of the play wins."""
    server.gate.clear()
    player = player_of(plan_of(0.0, 0.0), server)
    play = asyncio.create_task(player.run())
    await server.until(lambda: len(server.requests) == 2)
    player.hang_up("chat")
    play.cancel()
    with pytest.raises(asyncio.CancelledError):
        await play
    await server.until_alone()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_too_few_descriptors_end_the_play(server) -> None:
    """That is no result of the target: the message says what is short, and the remedy; all connections are closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    player = player_of(plan_of(*[0.0] * 30), server)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 20, hard))
        while len(taken) < 20:
            try:
                taken.append(os.dup(taken[0]))
            except OSError:
                break
        with pytest.raises(
            ExhaustedError, match=r"too few file descriptors: raise the limit, `ulimit -n`, now \d+"
        ):
            await player.run()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)
    assert player.outcomes == ()
    await server.until_alone()


async def test_a_player_plays_once(server) -> None:
    """A second run is an error, since its times would be those of the first."""
    player = player_of(plan_of(0.0), server)
    await player.run()
    with pytest.raises(RuntimeError, match="make a new one"):
        await player.run()


def test_a_player_needs_somewhere_to_send_to() -> None:
    """The message says what is missing."""
    with pytest.raises(ValueError, match=r"^base_urls is empty: give at least one"):
        Player(plan_of(0.0), base_urls=[], model="m")
