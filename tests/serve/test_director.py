"""The director: conversations on one side, the core on the other, and no request lost between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from epp.api.changes import Objective
from epp.core import Controller
from epp.core.actions import Reason
from epp.core.capacity import ConcurrencyDetector
from epp.core.ceilings import StaticCeiling
from epp.core.controller import STEP
from epp.core.eligibility import ANY, Subset
from epp.core.endpoint import EndpointSpec, EndpointView
from epp.core.events import EndpointsChanged
from epp.core.fairness import RoundRobinFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy, FlowControlPolicy
from epp.extproc.ingress import Refusal, RequestFacts, ResponseFacts, ResponseOutcome
from epp.observe.limiter import RateLimitedLog
from epp.observe.metrics import Build, Metrics, Sources
from epp.serve.bookkeeping import Bookkeeping
from epp.serve.director import Director, DirectorSettings

if TYPE_CHECKING:
    from collections.abc import Callable

FACTS = RequestFacts(
    request_name="",
    objective="",
    fairness_id="tenant",
    ttl_s=None,
    model="m",
    target_model="m",
    path="/v1/chat/completions",
    streaming=False,
    size_bytes=10,
    need=1,
    charge_tokens=3,
    eligibility=ANY,
    invalid_headers=(),
)
OBJECTIVES = {
    "premium": Objective("premium", 10, None, 1.0),
    "patient": Objective("patient", -5, 600.0, 1.0),
}


class FirstChoice:
    """Takes whatever comes first."""

    name = "first"

    def choose(self, candidates: tuple[EndpointView, ...], facts: object) -> EndpointView:
        del facts
        return candidates[0]


class Stream:
    """An `Answer` that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.answered = asyncio.Event()

    def dispatched(self, address: str, waited_s: float) -> None:
        self.told.append((address, waited_s))
        self.answered.set()

    def refused(self, refusal: Refusal) -> None:
        self.told.append(refusal.reason)
        self.answered.set()


class DeadStream(Stream):
    """An `Answer` whose conversation is broken."""

    def dispatched(self, address: str, waited_s: float) -> None:
        raise RuntimeError(f"nobody can be told of {address} after {waited_s}")


class Bench:
    """A director on a core with one endpoint that takes one request, without a clock of its own."""

    def __init__(self, *, ignore_subsets: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.asked: list[tuple[str, str]] = []
        self.controller = Controller(
            FlowControlPolicy(
                capacity=ConcurrencyDetector(max_concurrency=1),
                ceiling=StaticCeiling(),
                choice=FirstChoice(),
                default_band=BandPolicy(RoundRobinFairness(), FcfsOrdering()),
            ),
            now=loop.time(),
        )
        self.metrics = Metrics(
            sources=Sources(
                pool_name=lambda: "pool",
                detector=lambda: "concurrency-detector",
                statistics=lambda: self.controller.statistics(loop.time()),
                scrape_failures=dict,
            ),
            build=Build(commit="", build_ref=""),
            clock=loop.time,
        )
        self.director = Director(
            self.controller,
            settings=DirectorSettings(longest_ttl_s=60.0, ignore_subsets=ignore_subsets),
            objective=OBJECTIVES.get,
            scrape_now=self.asked.append,
            bookkeeping=Bookkeeping(self.metrics, RateLimitedLog(clock=loop.time), clock=loop.time),
            loop=loop,
        )
        self.pool("10.0.0.1:80")

    def pool(self, *addresses: str) -> None:
        self.director.feed(EndpointsChanged(tuple(EndpointSpec(each) for each in addresses)))

    def submit(self, **changes: object) -> tuple[int, Stream]:
        stream = Stream()
        return self.director.submit(FACTS._replace(**changes), stream), stream

    def end(self, request_id: int) -> None:
        self.director.ended(
            request_id, ResponseFacts(ResponseOutcome.COMPLETED, 200, 10, 5, 1, 2, None, 0.0, 1.0)
        )

    def state(self) -> tuple[int, int]:
        statistics = self.controller.statistics(0.0)
        return statistics.queued_requests, statistics.running_requests


@pytest.fixture
async def bench() -> Bench:
    """A director with one idle endpoint."""
    return Bench()


async def test_room_means_an_answer_before_submit_returns(bench: Bench) -> None:
    """An idle endpoint is told to the stream synchronously, without a turn of the loop."""
    _, stream = bench.submit()
    assert stream.told == [("10.0.0.1:80", 0.0)]


async def test_the_highest_priority_gets_the_freed_slot(bench: Bench) -> None:
    """The objective's priority decides who follows, and it happens in the call that frees the slot."""
    first, _ = bench.submit()
    _, unnamed = bench.submit()
    _, premium = bench.submit(objective="premium")
    bench.end(first)
    assert unnamed.told == []
    assert premium.told[0][0] == "10.0.0.1:80"


async def test_an_unknown_objective_is_priority_0_and_counted(bench: Bench) -> None:
    """A name that the pool doesn't have is no error for the client, and visible to the operator."""
    first, _ = bench.submit()
    _, unknown = bench.submit(objective="nobody")
    _, patient = bench.submit(objective="patient")
    bench.end(first)
    assert (len(unknown.told), len(patient.told)) == (1, 0)
    assert b"epp_unknown_objectives_total 1" in bench.metrics.page()


async def test_a_cancelled_request_leaves_nothing(bench: Bench) -> None:
    """Queued or running, after a cancel the core holds nothing of it and the director no ticket."""
    running, _ = bench.submit()
    queued, stream = bench.submit()
    bench.director.cancel(queued)
    bench.end(running)
    assert stream.told == []
    assert bench.state() == (0, 0)
    assert bench.director.open_requests == 0


async def test_a_broken_conversation_costs_only_its_own_request(bench: Bench) -> None:
    """An answer that raises is a delivery failure: its slot goes to the next request at once."""
    running, _ = bench.submit()
    bench.director.submit(FACTS, DeadStream())
    _, healthy = bench.submit()
    bench.end(running)
    assert len(healthy.told) == 1
    assert bench.state() == (0, 1)


async def test_ends_of_unknown_requests_change_nothing(bench: Bench) -> None:
    """Whatever a transport says of a request that is over is no error."""
    request_id, _ = bench.submit()
    bench.end(request_id)
    bench.end(request_id)
    bench.director.cancel(request_id)
    bench.director.delivery_failed(4711)
    assert bench.state() == (0, 0)


async def test_time_runs_out_by_the_timer_alone(bench: Bench) -> None:
    """A queued request whose own budget ends is refused although nothing else happens."""
    bench.submit()
    _, stream = bench.submit(ttl_s=0.01)
    async with asyncio.timeout(5):
        await stream.answered.wait()
    assert stream.told == [Reason.TTL_EXPIRED]


@pytest.mark.parametrize(
    ("objective", "asked_s", "granted_s"),
    [
        ("", None, None),
        ("", 5.0, 5.0),
        ("", 500.0, 60.0),
        ("patient", None, 600.0),
        ("patient", 500.0, 500.0),
        ("patient", 700.0, 600.0),
    ],
)
async def test_a_client_may_shorten_its_wait_but_not_lengthen_it(
    bench: Bench, objective: str, asked_s: float | None, granted_s: float | None
) -> None:
    """The header is cut to what the objective grants, or else the policy; without it the objective's own holds."""
    facts = FACTS._replace(objective=objective, ttl_s=asked_s)
    assert bench.director.ttl_s(facts, OBJECTIVES.get(objective)) == granted_s


async def test_subsets_are_ignored_only_on_request() -> None:
    """A foreign subset is refused, unless --disable-endpoint-subset-filter says not to look."""
    foreign = Subset.of(["10.9.9.9:80"])
    _, refused = Bench().submit(eligibility=foreign)
    _, served = Bench(ignore_subsets=True).submit(eligibility=foreign)
    assert refused.told == [Reason.NO_ENDPOINTS]
    assert served.told[0][0] == "10.0.0.1:80"


async def test_an_empty_pool_holds_and_the_first_endpoint_serves(bench: Bench) -> None:
    """Scale from zero: what waits goes the moment an endpoint is there."""
    bench.pool()
    _, stream = bench.submit()
    assert stream.told == []
    bench.pool("10.0.0.2:80")
    assert stream.told[0][0] == "10.0.0.2:80"


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_drain_in_steps_goes_on_by_itself(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """More work than one step decides is worked off turn by turn, on either loop, without any further event."""

    async def burst() -> int:
        bench = Bench()
        bench.pool()
        streams = [bench.submit(need=0)[1] for _ in range(5 * STEP)]
        bench.pool("10.0.0.1:80")
        streams.append(bench.submit(need=0)[1])  # comes while a wake is due already
        async with asyncio.timeout(10):
            await streams[-1].answered.wait()
        return sum(len(stream.told) for stream in streams)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(burst()) == 5 * STEP + 1
