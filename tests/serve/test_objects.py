"""What a source hands over, on its way to the core: in order, in bounded steps, and nothing twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.api import InferenceObjective, InferencePool, Pod
from epp.api.changes import Batch, Note
from epp.api.manifest import POOL_GROUP, AppProtocol, PoolRef
from epp.api.pool import PoolReconciler
from epp.api.problem import Problem, Severity
from epp.api.selector import Selector
from epp.core.endpoint import EndpointSpec
from epp.core.events import EndpointsChanged, ObjectivesChanged
from epp.serve.objects import Objects, gradually

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.core.events import Event


class Stub:
    """A source that the test feeds, and everybody who is told."""

    def __init__(self) -> None:
        self.selected: list[str | None] = []
        self.synced = True
        self.judged_refs: list[str] = []
        self.notes: list[str] = []
        self.events: list[Event] = []
        self.take: Callable[[Batch], None] | None = None

    async def run(self, take: Callable[[Batch], None]) -> None:
        self.take = take
        await asyncio.Event().wait()

    def select(self, selector: Selector | None) -> None:
        self.selected.append(None if selector is None else str(selector))

    def why_not_synced(self) -> str | None:
        return None if self.synced else "waiting"

    def locate(self, note: object) -> str:
        return str(note)

    def judged(self, refs: tuple[object, ...]) -> None:
        self.judged_refs += map(str, refs)

    def noted(self, note: Note) -> None:
        self.notes.append(str(note.ref))

    def sizes(self) -> list[int]:
        return [len(each.endpoints) for each in self.events if isinstance(each, EndpointsChanged)]


POOL = InferencePool(
    group=POOL_GROUP,
    namespace="ns",
    name="p",
    terminating=False,
    selector=Selector.from_labels({"app": "x"}),
    target_ports=(8000,),
    app_protocol=AppProtocol.HTTP,
    endpoint_picker=None,
)


def pods(count: int) -> tuple[Pod, ...]:
    """Pods of the pool, all ready."""
    return tuple(
        Pod(
            namespace="ns",
            name=f"pod-{number:05}",
            uid=f"uid-{number}",
            terminating=False,
            labels=(("app", "x"),),
            ip=f"10.0.{number // 250}.{number % 250 + 1}",
            ready=True,
            active_ports=None,
            max_concurrency=None,
        )
        for number in range(count)
    )


def objective(name: str, priority: int | None, pool: str = "p") -> InferenceObjective:
    """An objective of the pool."""
    return InferenceObjective(
        group="llm-d.ai",
        namespace="ns",
        name=name,
        terminating=False,
        pool=PoolRef(name=pool),
        priority=priority,
        queue_ttl_s=None,
        weight=1.0,
    )


@pytest.fixture
def stub() -> Stub:
    """Everything around the objects."""
    return Stub()


def objects(stub: Stub) -> Objects:
    """Objects of pool ns/p, connected."""
    made = Objects(
        stub,
        PoolReconciler(pool_name="p", pool_namespace="ns"),
        admits=lambda _: True,
        label="p",
    )
    made.connect(feed=stub.events.append, scraper=None, changed=lambda: None, owners=stub)
    return made


async def test_a_little_takes_effect_before_take_returns(stub: Stub) -> None:
    """A new priority counts for the very next request: nothing waits for a turn of the loop."""
    followed = objects(stub)
    followed.take(Batch((POOL, *pods(3), objective("premium", 10))))
    assert stub.sizes() == [3]
    assert ObjectivesChanged(frozenset({10})) in stub.events
    found = followed.objective("premium")
    assert found is not None
    assert found.priority == 10
    assert followed.why_not_ready() is None


async def test_much_is_taken_in_by_steps_in_order_and_keeps_the_picker_unready(stub: Stub) -> None:
    """2,000 pods come in bounded steps; what came after them waits its turn, and so does readiness."""
    followed = objects(stub)
    following = asyncio.create_task(followed.follow())
    await asyncio.sleep(0)
    followed.take(Batch((POOL, *pods(2000))))
    assert followed.why_not_ready() == "the pool's objects are being taken in"
    followed.take(Batch(deletes=(pods(1)[0].ref,)))
    async with asyncio.timeout(60):
        while followed.why_not_ready() is not None:  # noqa: ASYNC110 - the loop's turns are what is tested
            await asyncio.sleep(0)
    sizes = stub.sizes()
    assert sizes[-1] == 1999
    assert max(abs(new - old) for old, new in zip([0, *sizes], sizes, strict=False)) <= 250
    assert sorted(sizes[:-1]) == sizes[:-1]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_the_source_is_told_which_pods_are_wanted(stub: Stub) -> None:
    """The pool's selector goes to the source, and so does the news that there is no pool."""
    followed = objects(stub)
    followed.take(Batch((POOL,)))
    followed.take(Batch(deletes=(POOL.ref,)))
    assert stub.selected == ["app=x", None]


async def test_owners_hear_of_verdicts_and_of_statuses_seen(stub: Stub) -> None:
    """An objective that is judged, and one whose status changed in the cluster, are both looked at."""
    followed = objects(stub)
    followed.take(Batch((POOL, objective("premium", 10))))
    assert stub.judged_refs == ["InferenceObjective.llm-d.ai ns/premium"]
    followed.take(Batch(seen=(objective("premium", 10).ref,)))
    assert len(stub.judged_refs) == 2


async def test_readiness_waits_for_the_source_and_for_the_pool(stub: Stub) -> None:
    """Each obstacle is named, one after the other."""
    followed = objects(stub)
    stub.synced = False
    assert followed.why_not_ready() == "waiting"
    stub.synced = True
    reason = followed.why_not_ready()
    assert reason is not None
    assert "there is no InferencePool" in reason
    followed.take(Batch((POOL,)))
    assert followed.why_not_ready() is None


def specs(numbers: dict[int, int]) -> tuple[EndpointSpec, ...]:
    """Endpoints by number, in one of two versions each."""
    return tuple(
        EndpointSpec(f"10.0.0.{key}:80", str(key), max_concurrency=seen) for key, seen in numbers.items()
    )


SPECS = st.dictionaries(st.integers(0, 40), st.integers(0, 1)).map(specs)


@given(old=SPECS, new=SPECS, most=st.integers(2, 12))
def test_gradual_steps_are_bounded_and_end_at_the_goal(
    old: tuple[EndpointSpec, ...], new: tuple[EndpointSpec, ...], most: int
) -> None:
    """Every step changes at most so many endpoints and keeps those that stay; a pool that is replaced never shrinks."""
    steps = list(gradually(old, new, most=most))
    assert steps[-1] is new
    staying = {each.key for each in old} & {each.key for each in new}
    before = old
    for step in steps:
        touched = {each.key for each in set(before) ^ set(step)}
        assert len(touched) <= most
        assert staying <= {each.key for each in step}
        assert min(len(old), len(new)) <= len(step) <= max(len(old), len(new))
        before = step


async def test_owners_hear_only_when_everything_has_been_taken_in(stub: Stub) -> None:
    """While pods are still being taken in, verdicts lag behind the source: nobody is to write them."""
    followed = objects(stub)
    following = asyncio.create_task(followed.follow())
    await asyncio.sleep(0)
    followed.take(Batch((POOL, *pods(2000))))
    followed.take(Batch((objective("premium", 10),)))
    assert not followed.is_settled
    assert stub.judged_refs == []
    async with asyncio.timeout(60):
        while not followed.is_settled:  # noqa: ASYNC110 - the loop's turns are what is tested
            await asyncio.sleep(0)
    assert stub.judged_refs == ["InferenceObjective.llm-d.ai ns/premium"]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_picker_that_serves_stays_ready_whatever_comes(stub: Stub) -> None:
    """Once everything was there, a large change is news like any other: gateways are not sent away for it."""
    followed = objects(stub)
    following = asyncio.create_task(followed.follow())
    await asyncio.sleep(0)
    followed.take(Batch((POOL, *pods(3))))
    assert followed.why_not_ready() is None
    followed.take(Batch(pods(2000)))
    assert not followed.is_settled
    assert followed.why_not_ready() is None
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_what_is_wrong_with_another_pools_objects_is_that_pools_business(stub: Stub) -> None:
    """Of several pickers in a namespace, one tells an owner; of what nobody can read, each does."""
    followed = objects(stub)
    problem = Problem(Severity.WARNING, ("metadata", "annotations", "epp/weight"), "x", "is ignored")
    ours, theirs = objective("ours", 1), objective("theirs", 1, pool="other")
    unread = objective("unread", 1).ref
    notes = tuple(Note(ref, problem) for ref in (ours.ref, theirs.ref, unread))
    followed.take(Batch((POOL, ours, theirs), notes=notes))
    assert stub.notes == ["InferenceObjective.llm-d.ai ns/ours", "InferenceObjective.llm-d.ai ns/unread"]
