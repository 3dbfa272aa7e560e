"""Everything a picker follows together, in virtual time: first sync, selecting pods, and what the log says."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from epp.api.objects import ObjectRef
from epp.api.selector import Selector, parse_selector
from epp.kube.source import ClusterObjects
from epp.kube.standing import State
from tests.kube import objects
from tests.kube.memory import BROKEN, REFUSED, MemoryServer, status
from tests.kube.observer import Observer
from tests.kube.virtualloop import quiet, virtual

VLLM = Selector.from_labels({"app": "vllm"})
OTHER = Selector.from_labels({"app": "other"})


class World:
    """A cluster, its objects, and who looks at what comes; pods are selected as the pool says, as the shell does it."""

    def __init__(
        self,
        *,
        pool: str | None = "pool",
        crds: list[str] | None = None,
        server: MemoryServer | None = None,
    ) -> None:
        self.server = server or MemoryServer(crds=crds)
        self.observer = Observer()
        self.said: list[str | None] = []
        """What is waited for, after each batch."""
        self.objects = ClusterObjects(
            self.server,
            namespace=objects.NAMESPACE,
            pool=pool,
            pool_group=objects.POOL_GROUP,
            clock=asyncio.get_running_loop().time,
            rng=random.Random(1),
        )

    def take(self, batch) -> None:
        self.observer.take(batch)
        for found in batch.upserts:
            if found.ref.kind == "InferencePool":
                self.objects.select(found.selector)
        self.said.append(self.objects.why_not_synced())

    @asynccontextmanager
    async def running(self):
        """Follows while the block runs."""
        task = asyncio.create_task(self.objects.run(self.take))
        try:
            await quiet()
            yield
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not self.server.streams, "a watch is left open"

    def state(self, resource: str) -> State:
        (found,) = (each for each in self.objects.standings() if each.resource == resource)
        return found.state


@virtual
async def test_everything_is_followed_in_its_namespace():
    """The pool by its name, objectives and rewrites of both groups, and the pods that the pool selects."""
    world = World()
    world.server.create(objects.pool())
    world.server.create(objects.pool("another"))
    world.server.create(objects.objective("a"))
    world.server.create(objects.objective("b", group=objects.LEGACY_GROUP))
    world.server.create(objects.pod("p"))
    world.server.create(objects.pod("q", app="other"))
    assert "reading" in world.objects.why_not_synced()
    async with world.running():
        assert world.observer.names() == ["a", "b", "p", "pool"]
        assert world.objects.why_not_synced() is None
        assert {each.state for each in world.objects.standings()} == {State.FOLLOWING}
        assert len(world.objects.standings()) == 6
        assert all("/namespaces/team/" in each.path for each in world.server.log)
        ref = ObjectRef(objects.LEGACY_GROUP, "InferenceObjective", objects.NAMESPACE, "b")
        assert (
            world.objects.written(ref).uid
            == world.server.get(f"inferenceobjectives.{objects.LEGACY_GROUP}", objects.NAMESPACE, "b")[
                "metadata"
            ]["uid"]
        )
        assert world.objects.written(ObjectRef("", "Pod", objects.NAMESPACE, "p")) is None
        assert [each.name for each in world.observer.seen] == ["a", "b"]


@virtual
async def test_synced_is_said_with_the_last_batch_and_not_before():
    """Whoever looks after each batch misses nothing: readiness needs no other signal."""
    world = World()
    world.server.create(objects.pool())
    async with world.running():
        assert world.said[-1] is None
        assert None not in world.said[:-1]


@virtual
async def test_without_pods_the_sync_is_told_all_the_same():
    """A first list that is empty is a batch too."""
    for crds in (None, ["inferencepools.inference.networking.k8s.io"]):
        world = World(crds=crds)
        async with world.running():
            assert world.objects.why_not_synced() is None
            assert world.said[-1] is None
            assert world.observer.names() == []


@virtual
async def test_absent_and_forbidden_objectives_do_not_hold_up_readiness():
    """Objectives that can't be there are not waited for; a pool or pods that may not be read are."""
    world = World()
    world.server.create(objects.pool())
    world.server.trouble = lambda asked: status(403) if asked.plural == "inferenceobjectives" else None
    async with world.running():
        assert world.objects.why_not_synced() is None
    world = World()
    world.server.create(objects.pool())
    world.server.trouble = lambda asked: status(403, "no pods for you") if asked.plural == "pods" else None
    async with world.running():
        assert "no pods for you" in world.objects.why_not_synced()
        assert "get, list and watch on pods" in world.objects.why_not_synced()
        world.server.trouble = lambda asked: None
        await asyncio.sleep(5)
        assert world.objects.why_not_synced() is None
        assert world.said[-1] is None
    world = World(crds=[])
    async with world.running():
        assert world.objects.why_not_synced() == (
            "the CRD inferencepools.inference.networking.k8s.io is not installed"
        )


@virtual
async def test_what_is_waited_for_is_said_in_words():
    """Nobody has to read a log to know why the picker is not ready."""
    world = World()
    world.server.trouble = lambda asked: REFUSED
    async with world.running():
        assert world.objects.why_not_synced() == "waiting for the API server at memory: connection refused"
        world.server.trouble = lambda asked: status(500, "etcd is on fire")
        await asyncio.sleep(31)
        assert world.objects.why_not_synced() == "waiting for the API server at memory: 500: etcd is on fire"


@virtual
async def test_other_pods_are_listed_at_once():
    """A new selector cuts off the watch of the old one, and only the pods of the new one stay."""
    world = World()
    world.server.create(objects.pool())
    world.server.create(objects.pod("p"))
    world.server.create(objects.pod("q", app="other"))
    async with world.running():
        assert world.observer.names("Pod") == ["p"]
        world.objects.select(OTHER)
        await quiet()
        assert world.observer.names("Pod") == ["q"]
        assert [
            each.asked.query["labelSelector"] for each in world.server.streams if each.kind.plural == "pods"
        ] == ["app=other"]
        assert world.objects.why_not_synced() is None
        world.objects.select(OTHER)
        await quiet()
        assert len(world.server.asked("list", "pods")) == 2, "the same again is no change"


@virtual
async def test_without_a_selector_no_pods_are_held():
    """Nobody watches pods that no pool selects, so they are forgotten: another pool must not begin with old ones."""
    world = World()
    world.server.create(objects.pool())
    world.server.create(objects.pod("p"))
    async with world.running():
        world.objects.select(None)
        await quiet()
        assert world.state("pods") is State.IDLE
        assert not [each for each in world.server.streams if each.kind.plural == "pods"]
        assert world.observer.names("Pod") == []
        world.server.create(objects.pod("new"))
        await asyncio.sleep(100)
        assert world.observer.names("Pod") == []
        world.server.trouble = lambda asked: status(429) if asked.plural == "pods" else None
        world.objects.select(VLLM)
        await quiet()
        assert world.objects.why_not_synced() is not None
        world.server.trouble = lambda asked: None
        await asyncio.sleep(60)
        assert world.objects.why_not_synced() is None
        assert world.observer.names("Pod") == ["new", "p"]


@virtual
async def test_a_selector_may_change_in_the_middle_of_anything():
    """Whenever the selector changes, also from within a batch, what is held in the end is what it selects."""
    server = MemoryServer()
    for number in range(250):
        server.create(objects.pod(f"p{number}"))
        server.create(objects.pod(f"q{number}", app="other"))
    for cut in range(50):
        world = World(pool=None, server=server)
        world.objects.select(VLLM)
        task = asyncio.create_task(world.objects.run(world.take))
        for _ in range(cut):
            await asyncio.sleep(0)
        world.objects.select(OTHER)
        world.objects.select(VLLM)
        world.objects.select(OTHER)
        await quiet()
        names = world.observer.names("Pod")
        assert len(names) == 250
        assert all(name.startswith("q") for name in names)
        assert len([each for each in world.server.streams if each.kind.plural == "pods"]) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not world.server.streams


@virtual
async def test_without_a_pool_pods_are_selected_by_hand():
    """In selector mode no pool is asked for, the full syntax goes to the server, and objectives are read as ever."""
    world = World(pool=None)
    for name, app in (("a", "vllm"), ("b", "other"), ("c", "third")):
        world.server.create(objects.pod(name, app=app))
    world.server.create(objects.objective())
    world.objects.select(parse_selector("app in (vllm, other), !gone"))
    async with world.running():
        assert world.observer.names() == ["a", "b", "premium"]
        assert not world.server.asked(plural="inferencepools")
        assert world.objects.why_not_synced() is None


@virtual
async def test_a_run_can_be_cut_off_and_begun_again():
    """The second run tells the difference, and the state between the runs stays."""
    world = World()
    world.server.create(objects.pool())
    world.server.create(objects.pod("p"))
    async with world.running():
        pass
    assert world.observer.names() == ["p", "pool"]
    world.server.delete("pods", objects.NAMESPACE, "p")
    world.server.create(objects.pod("new"))
    async with world.running():
        assert world.observer.names() == ["new", "pool"]
        assert world.objects.why_not_synced() is None


@virtual
async def test_a_bug_of_the_taker_is_not_hidden():
    """What `take` raises ends the run, pods included."""
    for name in ("pool", "p"):
        world = World()
        world.server.create(objects.pool())
        world.server.create(objects.pod("p"))

        def take(batch, world=world, name=name) -> None:
            if any(found.name == name for found in batch.upserts):
                raise KeyError(name)
            world.take(batch)

        if name == "p":
            world.objects.select(VLLM)
        with pytest.raises(ExceptionGroup) as raised:
            await world.objects.run(take)
        assert raised.group_contains(KeyError)
        assert not world.server.streams


# ------------------------------------------------------------------------------------------------ the log


@virtual
async def test_a_lost_server_is_told_once_and_so_is_its_return():
    """One warning when it is lost and one line when it is back, however many collections and tries there are."""
    world = World()
    world.server.create(objects.pool())
    async with world.running():
        with capture_logs() as logs:
            world.server.trouble = lambda asked: REFUSED
            world.server.break_watches()
            await asyncio.sleep(300)
            assert [each["event"] for each in logs] == ["the API server is lost: the last state is served"]
            assert logs[0]["log_level"] == "warning"
            assert logs[0]["why"] == "connection refused"
            world.server.trouble = lambda asked: None
            await asyncio.sleep(31)
            assert [each["event"] for each in logs[1:]] == ["the API server is back"]
            assert 300 <= logs[1]["away_s"] <= 331


@virtual
async def test_other_pods_in_the_middle_of_trouble_are_no_return():
    """A new selector while pods can't be read begins anew, and says nothing that isn't so."""
    world = World()
    world.server.create(objects.pool())
    async with world.running():
        with capture_logs() as logs:
            world.server.trouble = lambda asked: status(500) if asked.plural == "pods" else None
            world.server.break_watches()
            await asyncio.sleep(60)
            assert len(logs) == 1
            world.objects.select(OTHER)
            await asyncio.sleep(60)
            assert world.state("pods") is State.STARTING
            assert len(logs) == 1


@virtual
async def test_a_short_break_is_not_worth_a_line():
    """Watches that end, and connections that break and come back at once, are everyday life."""
    world = World()
    world.server.create(objects.pool())
    async with world.running():
        with capture_logs() as logs:
            for ending in (None, BROKEN, None, BROKEN):
                world.server.break_watches(ending)
                await asyncio.sleep(5)
            world.server.compact()
            world.server.break_watches()
            await asyncio.sleep(3600)
            assert logs == []


@virtual
async def test_a_server_that_was_never_there_is_told_as_that():
    """Nothing is served yet, so the line says that the picker waits."""
    world = World()
    world.server.trouble = lambda asked: REFUSED
    with capture_logs() as logs:
        async with world.running():
            await asyncio.sleep(60)
            assert [each["event"] for each in logs] == ["waiting for the API server"]
            world.server.trouble = lambda asked: None
            await asyncio.sleep(31)
            assert [each["event"] for each in logs[1:]] == ["the API server is back"]


@virtual
async def test_a_missing_rule_is_named_once():
    """The warning has the verbs, the resource and the namespace; it comes once, and again only after it was mended."""
    world = World()
    world.server.create(objects.pool())
    with capture_logs() as logs:
        world.server.trouble = lambda asked: status(403) if asked.plural == "pods" else None
        async with world.running():
            await asyncio.sleep(600)
            (said,) = logs
            assert said["log_level"] == "warning"
            assert "get, list and watch on pods (the core API group) in namespace team" in said["remedy"]
            world.server.trouble = lambda asked: None
            await asyncio.sleep(31)
            assert [each["event"] for each in logs[1:]] == ["objects can be read now"]


@virtual
async def test_a_kind_that_is_not_installed_is_told_once():
    """One line for each absent CRD, and one when it is there; a missing pool kind is worth a warning."""
    world = World(crds=["inferenceobjectives.llm-d.ai"])
    with capture_logs() as logs:
        async with world.running():
            await asyncio.sleep(600)
            assert sorted((each["resource"], each["log_level"]) for each in logs) == [
                ("inferencemodelrewrites.inference.networking.x-k8s.io", "info"),
                ("inferencemodelrewrites.llm-d.ai", "info"),
                ("inferenceobjectives.inference.networking.x-k8s.io", "info"),
                ("inferencepools.inference.networking.k8s.io", "warning"),
            ]
            del logs[:]
            world.server.install(objects.GROUP, "inferencemodelrewrites")
            await asyncio.sleep(10)
            assert [(each["event"], each["resource"]) for each in logs] == [
                ("objects can be read now", "inferencemodelrewrites.llm-d.ai")
            ]


@virtual
async def test_whoever_reaches_the_api_server_again_tells_the_others():
    """After a long outage pauses are long; the first answer ends all of them, so everything is followed at once."""
    world = World()
    world.server.create(objects.pool())
    async with world.running():
        world.server.trouble = lambda asked: REFUSED
        world.server.break_watches()
        await asyncio.sleep(600)
        world.server.trouble = lambda asked: None
        back_s: dict[str, float] = {}
        while len(back_s) < len(world.objects.standings()):
            for each in world.objects.standings():
                if each.state is State.FOLLOWING:
                    back_s.setdefault(each.resource, asyncio.get_running_loop().time())
            await asyncio.sleep(0.01)
        assert max(back_s.values()) - min(back_s.values()) < 0.5
