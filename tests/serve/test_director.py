"""The director: conversations on one side, the core on the other, and no request lost between them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest
import structlog
import uvloop

from epp.api.changes import Objective
from epp.config.runtime import ExplainHeaders
from epp.config.weights import Weights
from epp.core import Controller
from epp.core.actions import Action, Dispatch, Entry, Evict, Reason, Refuse
from epp.core.capacity import ConcurrencyDetector
from epp.core.ceilings import StaticCeiling
from epp.core.controller import STEP
from epp.core.eligibility import ANY, Serving, Subset
from epp.core.endpoint import EndpointSpec, EndpointView
from epp.core.events import Arrived, Ended, EndpointsChanged, Event, FirstByte, PolicyChanged, Tick, Unseen
from epp.core.eviction import Begun, EvictionPolicy
from epp.core.fairness import RoundRobinFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy, FlowControlPolicy
from epp.core.statistics import WaitReason
from epp.extproc.ingress import (
    Explanation,
    HeadersPass,
    Refusal,
    RequestFacts,
    ResponseFacts,
    ResponseOutcome,
)
from epp.observe.limiter import RateLimitedLog
from epp.observe.metrics import Build, Metrics, Sources
from epp.serve.bookkeeping import Bookkeeping
from epp.serve.director import Director, DirectorSettings

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
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
    body_bytes=12,
    max_output_tokens=None,
    eligibility=ANY,
    invalid_headers=(),
)
OBJECTIVES = {
    "premium": Objective("premium", 10, None, 1.0),
    "patient": Objective("patient", -5, 600.0, 1.0),
    "heavy": Objective("heavy", 0, None, 3.0),
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
        self.explanation: Explanation | None = None
        self.headers = HeadersPass.AT_ONCE
        self.gives_way = True
        self.is_broken = False
        self.answered = asyncio.Event()

    def dispatched(
        self,
        address: str,
        waited_s: float,
        explanation: Explanation | None = None,
        *,
        headers: HeadersPass = HeadersPass.AT_ONCE,
    ) -> None:
        self.told.append((address, waited_s))
        self.explanation, self.headers = explanation, headers
        self.answered.set()

    def refused(self, refusal: Refusal) -> None:
        self.told.append(refusal.reason)
        self.explanation = refusal.explanation
        self.answered.set()

    def evicted(self, refusal: Refusal, begun: Begun) -> bool:
        if self.is_broken:
            raise RuntimeError("nobody can be told")
        self.told.append((refusal.reason, refusal.retry_after_s, begun))
        self.explanation = refusal.explanation
        return self.gives_way


class DeadStream(Stream):
    """An `Answer` whose conversation is broken."""

    def dispatched(
        self,
        address: str,
        waited_s: float,
        explanation: Explanation | None = None,
        *,
        headers: HeadersPass = HeadersPass.AT_ONCE,
    ) -> None:
        del explanation, headers
        raise RuntimeError(f"nobody can be told of {address} after {waited_s}")


class Overheard(Controller):
    """The core, with what it is told; it says what a test wants it to say besides."""

    def __init__(self, policy: FlowControlPolicy, *, now: float) -> None:
        super().__init__(policy, now=now)
        self.events: list[Event] = []
        self.also: list[Action] = []
        self.entry: Entry | None = None
        """What every request met that is decided from now on."""

    def handle(self, event: Event, now: float) -> list[Action]:
        self.events.append(event)
        actions: list[Action] = []
        for action in super().handle(event, now):
            decides = isinstance(action, Dispatch | Refuse)
            actions.append(action._replace(entry=self.entry) if decides else action)
        actions += self.also
        self.also = []
        return actions

    def last(self, kind: type[T]) -> T:
        """The last event of this kind."""
        return next(event for event in reversed(self.events) if isinstance(event, kind))


POLICY = FlowControlPolicy(
    capacity=ConcurrencyDetector(max_concurrency=1),
    ceiling=StaticCeiling(),
    choice=FirstChoice(),
    default_band=BandPolicy(RoundRobinFairness(), FcfsOrdering()),
    bands={10: BandPolicy(RoundRobinFairness(), FcfsOrdering(), ttl_s=20.0)},
)
EVICTING = replace(POLICY, eviction=EvictionPolicy(begun=Begun.EVICTED))


class Bench:
    """A director on a core with one endpoint that takes one request, without a clock of its own."""

    def __init__(self, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.asked: list[tuple[str, str]] = []
        self.declared: frozenset[str] = frozenset()
        self.settings = replace(DirectorSettings(policy=POLICY), **settings)
        self.controller = Overheard(self.settings.policy, now=loop.time())
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
            settings=self.settings,
            objective=OBJECTIVES.get,
            declared_models=lambda: self.declared,
            scrape_now=self.asked.append,
            bookkeeping=Bookkeeping(self.metrics, RateLimitedLog(clock=loop.time), clock=loop.time),
            loop=loop,
        )
        self.pool("10.0.0.1:80")

    def pool(self, *addresses: str) -> None:
        self.director.feed(EndpointsChanged(tuple(EndpointSpec(each) for each in addresses)))

    def submit(self, **changes: object) -> tuple[int, Stream]:
        stream = Stream()
        return self.director.submit(msgspec.structs.replace(FACTS, **changes), stream), stream

    def evict(self, request_id: int) -> None:
        """The core wants it to end."""
        self.controller.also = [Evict(request_id)]
        self.director.feed(Tick())

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
        ("premium", None, None),
        ("premium", 5.0, 5.0),
        ("premium", 30.0, 20.0),
        ("nobody", 500.0, 60.0),
    ],
)
async def test_a_client_may_shorten_its_wait_but_not_lengthen_it(
    bench: Bench, objective: str, asked_s: float | None, granted_s: float | None
) -> None:
    """The header is cut to what would hold without it: the objective's own budget, else its band's, else the global."""
    facts = msgspec.structs.replace(FACTS, objective=objective, ttl_s=asked_s)
    assert bench.director.ttl_s(facts, OBJECTIVES.get(objective)) == granted_s


@pytest.mark.parametrize(
    ("longest_s", "objective", "asked_s", "granted_s"),
    [
        (120.0, "", 500.0, 120.0),
        (120.0, "premium", 100.0, 100.0),
        (120.0, "patient", 500.0, 120.0),
        (120.0, "", 5.0, 5.0),
        (120.0, "patient", None, 600.0),
        (120.0, "premium", None, None),
        (0.0, "", 5000.0, 5000.0),
    ],
)
async def test_an_operator_may_grant_more_or_less(
    longest_s: float, objective: str, asked_s: float | None, granted_s: float | None
) -> None:
    """With a maximum of its own the header is cut to that and nothing else; without the header nothing changes."""
    bench = Bench(max_request_ttl_s=longest_s)
    facts = msgspec.structs.replace(FACTS, objective=objective, ttl_s=asked_s)
    assert bench.director.ttl_s(facts, OBJECTIVES.get(objective)) == granted_s


@pytest.mark.parametrize(
    ("objective", "asked_s", "granted_s"),
    [("", None, 15.0), ("", 500.0, 15.0), ("", 5.0, 5.0), ("premium", None, 15.0), ("patient", None, 15.0)],
)
async def test_nobody_waits_longer_than_the_gateway(
    objective: str, asked_s: float | None, granted_s: float | None
) -> None:
    """The gateway's patience cuts every budget, wherever it comes from."""
    bench = Bench(wait_cap_s=15.0, max_request_ttl_s=0.0)
    facts = msgspec.structs.replace(FACTS, objective=objective, ttl_s=asked_s)
    assert bench.director.ttl_s(facts, OBJECTIVES.get(objective)) == granted_s


async def test_the_core_learns_what_it_estimates_and_weighs_by(bench: Bench) -> None:
    """Sizes, caps and deadlines go to the core as the request gave them, under the model that it is sent on with."""
    bench.submit(
        model="alias",
        target_model="llama",
        body_bytes=400,
        max_output_tokens=64,
        slo_s=0.25,
        objective="heavy",
    )
    arrived = bench.controller.last(Arrived)
    assert (arrived.model, arrived.body_bytes, arrived.max_output_tokens) == ("llama", 400, 64)
    assert (arrived.slo_s, arrived.weight, arrived.input_tokens) == (0.25, 3.0, None)


async def test_a_configured_weight_beats_the_objectives() -> None:
    """Where the operator says nothing of a tenant its objective's weight holds, and 1 without one."""
    bench = Bench(weights=Weights(by_id={"tenant": 4.0}))
    told = []
    for changes in (
        {"objective": "heavy"},
        {"fairness_id": "other", "objective": "heavy"},
        {"fairness_id": "x"},
    ):
        bench.submit(**changes)
        told.append(bench.controller.last(Arrived).weight)
    assert told == [4.0, 3.0, 1.0]


@pytest.mark.parametrize(
    ("outcome", "unseen"),
    [
        (ResponseOutcome.COMPLETED, Unseen.BY_TIME),
        (ResponseOutcome.ENDED, Unseen.BY_TIME),
        (ResponseOutcome.ABORTED, Unseen.KEEP),
        (ResponseOutcome.EVICTED, Unseen.KEEP),
    ],
)
@pytest.mark.parametrize("usage", [(None, None), (7, 9)])
async def test_the_core_settles_by_usage_or_knows_why_not(
    bench: Bench, outcome: ResponseOutcome, unseen: Unseen, usage: tuple[int | None, int | None]
) -> None:
    """The last usage seen is told whatever the end; without one, responses that ended well are charged by time."""
    request_id, _ = bench.submit()
    bench.director.ended(request_id, ResponseFacts(outcome, 200, 10, 5, *usage, None, 0.0, 1.0))
    assert bench.controller.last(Ended) == Ended(request_id, *usage, unseen)
    assert bench.state() == (0, 0)


@pytest.mark.parametrize(("policy", "told"), [(POLICY, 0), (EVICTING, 1)])
async def test_first_bytes_are_told_only_to_who_wants_them(policy: FlowControlPolicy, told: int) -> None:
    """A core without use for them isn't bothered, nor is any core with those of requests that are gone."""
    bench = Bench(policy=policy)
    request_id, _ = bench.submit()
    bench.director.first_byte(request_id)
    bench.end(request_id)
    bench.director.first_byte(request_id)
    assert [type(event) for event in bench.controller.events].count(FirstByte) == told


class Onlooker:
    """A witness that wants what it is told to want."""

    def __init__(self, *, wants_first_bytes: bool) -> None:
        self.wants_first_bytes = wants_first_bytes
        self.heard: list[Event] = []

    def hears(self, event: Event, now: float) -> None:
        del now
        self.heard.append(event)

    def decided(self, event: Event, actions: list[Action], now: float) -> None:
        """It has heard of it."""


@pytest.mark.parametrize("wanted", [False, True])
async def test_first_bytes_are_told_if_who_looks_on_wants_them(bench: Bench, wanted: bool) -> None:
    """A policy that is only tried out may go by them where the live one doesn't."""
    onlooker = Onlooker(wants_first_bytes=wanted)
    bench.director._witness = onlooker
    request_id, _ = bench.submit()
    bench.director.first_byte(request_id)
    assert (FirstByte(request_id) in onlooker.heard) is wanted
    bench.end(request_id)
    assert bench.state() == (0, 0)


@pytest.mark.parametrize(("policy", "begun"), [(POLICY, Begun.SPARED), (EVICTING, Begun.EVICTED)])
async def test_an_eviction_goes_to_its_conversation(policy: FlowControlPolicy, begun: Begun) -> None:
    """It says why, when to come back, and what holds for responses that have begun; the end comes from there."""
    bench = Bench(policy=policy)
    request_id, stream = bench.submit()
    bench.evict(request_id)
    assert stream.told[1:] == [(Reason.EVICTED, 1, begun)]
    assert bench.state() == (0, 1)
    bench.director.ended(
        request_id, ResponseFacts(ResponseOutcome.EVICTED, None, 10, 0, None, None, None, None, 1.0)
    )
    assert bench.state() == (0, 0)
    assert b'outcome="evicted"} 1' in bench.metrics.page()


async def test_evictions_are_logged_in_moderation(bench: Bench) -> None:
    """One line for many of the same priority, without anything that a client wrote."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            request_id, _ = bench.submit()
            facts = ResponseFacts(ResponseOutcome.EVICTED, None, 10, 0, None, None, None, None, 1.0)
            bench.director.ended(request_id, facts)
    (line,) = [each for each in lines if each["event"] == "request evicted"]
    assert line["priority"] == 0
    assert FACTS.fairness_id not in map(str, line.values())


async def test_a_request_that_cannot_be_evicted_any_more_has_begun() -> None:
    """The core hears so, and need not wait for an end that doesn't come."""
    bench = Bench(policy=EVICTING)
    request_id, stream = bench.submit()
    stream.gives_way = False
    bench.evict(request_id)
    assert bench.controller.events[-1] == FirstByte(request_id)


@pytest.mark.parametrize(
    ("eviction", "objective", "headers"),
    [
        (EvictionPolicy(), "patient", HeadersPass.WITH_BODY),
        (EvictionPolicy(), "premium", HeadersPass.AT_ONCE),
        (EvictionPolicy(), "", HeadersPass.AT_ONCE),
        (EvictionPolicy(below_priority=1), "", HeadersPass.WITH_BODY),
        (EvictionPolicy(begun=Begun.EVICTED), "patient", HeadersPass.AT_ONCE),
        (None, "patient", HeadersPass.AT_ONCE),
    ],
)
async def test_who_may_be_evicted_stays_evictable(
    eviction: EvictionPolicy | None, objective: str, headers: HeadersPass
) -> None:
    """Where a response that has begun is spared, those whose eviction may come don't begin with bare headers."""
    _, stream = Bench(policy=replace(POLICY, eviction=eviction)).submit(objective=objective)
    assert stream.headers is headers


async def test_embeddings_have_no_output(bench: Bench) -> None:
    """A whole response that tells of input alone is known to have written nothing; of others it isn't known."""
    for outcome, output_tokens in ((ResponseOutcome.COMPLETED, 0), (ResponseOutcome.ABORTED, None)):
        request_id, _ = bench.submit()
        bench.director.ended(request_id, ResponseFacts(outcome, 200, 10, 5, 7, None, None, 0.0, 1.0))
        assert bench.controller.last(Ended)[1:3] == (7, output_tokens)


async def test_an_eviction_that_goes_nowhere_is_no_harm() -> None:
    """Neither one of a request that is gone, nor one that its conversation chokes on, which goes on running."""
    bench = Bench(policy=EVICTING)
    bench.evict(4711)
    request_id, stream = bench.submit()
    stream.is_broken = True
    bench.evict(request_id)
    assert bench.state() == (0, 1)
    bench.end(request_id)
    assert bench.state() == (0, 0)


async def test_decisions_are_explained_only_if_asked_for() -> None:
    """Priority, position and reason go with yes and no alike, from the moment that the settings say so."""
    bench = Bench()
    bench.controller.entry = Entry(3, WaitReason.NO_ROOM)
    _, silent = bench.submit()
    bench.director.adopt(replace(bench.settings, explain=ExplainHeaders.ON))
    _, refused = bench.submit(eligibility=Subset.of(["10.9.9.9:80"]), objective="premium")
    bench.controller.entry = None
    last_id, at_once = bench.submit(need=0)
    assert (silent.explanation, refused.explanation) == (None, Explanation(10, 3, "no_room", 2))
    assert at_once.explanation == Explanation(0, 0, "", last_id)
    at_once.explanation = None
    bench.evict(last_id)
    assert at_once.explanation == Explanation(0, 0, "", last_id)


async def test_adopted_settings_hold_for_the_core_too(bench: Bench) -> None:
    """A new policy reaches the core in the same step, with nothing queued lost; the same one doesn't bother it."""
    bench.submit()
    _, waits = bench.submit()
    roomier = replace(POLICY, capacity=ConcurrencyDetector(max_concurrency=2), ttl_s=7.0)
    bench.director.adopt(replace(bench.settings, policy=roomier))
    assert waits.told[0][0] == "10.0.0.1:80"
    assert bench.director.ttl_s(msgspec.structs.replace(FACTS, ttl_s=100.0), None) == 7.0
    bench.director.adopt(replace(bench.settings, policy=roomier, max_request_ttl_s=9.0))
    assert bench.director.ttl_s(msgspec.structs.replace(FACTS, ttl_s=100.0), None) == 9.0
    assert [type(event) for event in bench.controller.events].count(PolicyChanged) == 1


async def test_subsets_are_ignored_only_on_request() -> None:
    """A foreign subset is refused, unless --disable-endpoint-subset-filter says not to look."""
    foreign = Subset.of(["10.9.9.9:80"])
    _, refused = Bench().submit(eligibility=foreign)
    _, served = Bench(ignore_subsets=True).submit(eligibility=foreign)
    assert refused.told == [Reason.NO_ENDPOINTS]
    assert served.told[0][0] == "10.0.0.1:80"


@pytest.mark.parametrize(
    ("model", "need", "address"),
    [
        ("base", 1, "plain:80"),
        ("lora", 1, "tuned:80"),
        ("", 1, "plain:80"),
        ("", 0, "tuned:80"),
    ],
)
async def test_declared_models_decide_where_a_request_may_go(model: str, need: int, address: str) -> None:
    """Undeclared models go to endpoints that declare none, and what asks no model anything goes anywhere."""
    bench = Bench()
    bench.declared = frozenset(["lora"])
    bench.director.feed(
        EndpointsChanged((EndpointSpec("tuned:80", models=frozenset(["lora"])), EndpointSpec("plain:80")))
    )
    _, stream = bench.submit(model="alias", target_model=model, need=need)
    assert stream.told == [(address, 0.0)]
    if need:
        # One value for all undeclared models, however many clients make up.
        assert bench.controller.last(Arrived).eligibility == Serving(model if model == "lora" else "")


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
