"""The reflector, in virtual time, against an API server in memory that fails in every way that one can."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from epp.kube.connection import Reply
from epp.kube.reflector import STEP_OBJECTS, Reflector
from epp.kube.resource import Resource
from epp.kube.standing import State
from tests.apiserver.asked import Asked
from tests.apiserver.watches import bookmark_line, frame
from tests.kube import objects
from tests.kube.memory import (
    BROKEN,
    EXPIRED_LINE,
    HTML,
    REFUSED,
    TOO_LONG,
    MemoryServer,
    Trouble,
    status,
)
from tests.kube.observer import Observer
from tests.kube.virtualloop import quiet, virtual

PODS = Resource("", "v1", "pods", "Pod", objects.NAMESPACE, label_selector="app=vllm")
OBJECTIVES = Resource(
    objects.GROUP, "v1alpha2", "inferenceobjectives", "InferenceObjective", objects.NAMESPACE
)
KIND = "inferenceobjectives.llm-d.ai"


class World:
    """A server, a reflector of it, and who looks at what comes."""

    def __init__(self, resource: Resource = OBJECTIVES, *, server: MemoryServer | None = None) -> None:
        self.server = server or MemoryServer()
        self.observer = Observer()
        self.states: list[State] = []
        self._news = asyncio.Event()
        self.reflector = Reflector(
            self.server,
            resource,
            take=self.observer.take,
            told=self._told,
            clock=asyncio.get_running_loop().time,
            rng=random.Random(1),
        )

    @asynccontextmanager
    async def running(self):
        """Follows while the block runs."""
        task = asyncio.create_task(self.reflector.run())
        try:
            await quiet()
            yield
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not self.server.streams, "a watch is left open"

    async def until_following(self) -> None:
        """Waits, for as long as it takes."""
        while self.reflector.state is not State.FOLLOWING:
            self._news.clear()
            await self._news.wait()

    def _told(self, reflector: Reflector) -> None:
        self.states.append(reflector.state)
        self._news.set()

    def failures(self, kind: str) -> int:
        return self.reflector.standing().failures[kind]

    def relists(self, reason: str) -> int:
        return self.reflector.standing().relists[reason]

    def same(self) -> bool:
        """Whether what is held is what the server has."""
        return self.observer.names() == sorted(
            each["metadata"]["name"] for each in self.server.list(str(self.reflector.resource))
        )


def line(type_: str, obj: object) -> bytes:
    """A line of a watch."""
    return frame(type_, msgspec.json.encode(obj))[:-1]


# ------------------------------------------------------------------------------------------ the good days


@virtual
async def test_what_is_there_comes_at_once_and_in_one_batch():
    """The first list is one batch, and the watch goes on from its version, with bookmarks and a random end."""
    world = World()
    world.server.create(objects.objective("a"))
    world.server.create(objects.objective("b"))
    version = world.server.store.revision
    async with world.running():
        assert world.observer.names() == ["a", "b"]
        assert len(world.observer.batches) == 1
        (watch,) = world.server.asked("watch")
        assert watch.query["resourceVersion"] == str(version)
        assert watch.query["allowWatchBookmarks"] == "true"
        assert 290 <= int(watch.query["timeoutSeconds"]) <= 590
        assert "resourceVersion" not in world.server.asked("list")[0].query
        assert world.reflector.state is State.FOLLOWING


@virtual
async def test_changes_come_one_by_one():
    """What is created, changed and deleted comes as such, and a change that makes no difference is only seen."""
    world = World()
    async with world.running():
        world.server.create(objects.objective("a", 1))
        await quiet()
        world.server.patch(KIND, objects.NAMESPACE, "a", {"spec": {"priority": 2}})
        await quiet()
        (ref,) = world.observer.held
        assert world.observer.held[ref].priority == 2
        seen = len(world.observer.seen)
        world.server.patch_status(KIND, objects.NAMESPACE, "a", {"conditions": []})
        await quiet()
        assert len(world.observer.seen) == seen + 1
        assert world.observer.batches[-1].upserts == ()
        world.server.delete(KIND, objects.NAMESPACE, "a")
        await quiet()
        assert [each and each.priority for each in world.observer.history[ref]] == [1, 2, None]
        assert world.reflector.written(ref) is None


@virtual
async def test_what_is_written_is_known():
    """The status as it stands in the API server is there for whoever writes it."""
    world = World()
    condition = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    async with world.running():
        world.server.create(objects.objective("a"))
        world.server.patch_status(KIND, objects.NAMESPACE, "a", {"conditions": [condition]})
        await quiet()
        (ref,) = world.observer.held
        written = world.reflector.written(ref)
        assert written.resource_version == str(world.server.store.revision)
        assert [each.type for each in written.conditions] == ["Accepted"]


@virtual
async def test_many_changes_at_once_come_as_what_is_left_of_them():
    """Lines that are there together make one batch, in which a short life leaves no trace."""
    world = World()
    world.server.create(objects.objective("stays"))
    world.server.create(objects.objective("again"))
    async with world.running():
        world.server.create(objects.objective("short"))
        world.server.delete(KIND, objects.NAMESPACE, "short")
        world.server.delete(KIND, objects.NAMESPACE, "again")
        world.server.create(objects.objective("again", 5))
        await quiet()
        assert len(world.observer.batches) == 2
        assert [ref.name for ref in world.observer.batches[-1].deletes] == ["again"]
        assert [found.name for found in world.observer.batches[-1].upserts] == ["again"]
        assert world.same()


@virtual
async def test_a_list_of_many_pages_leaves_the_loop_its_turns():
    """3,000 pods come in pages of one version, and between any two steps others may run."""
    world = World(PODS)
    for number in range(3000):
        world.server.create(objects.pod(f"p{number:05}", ip=f"10.0.{number // 250}.{number % 250 + 1}"))
    read, since_turn, most = world.reflector._cache.read, 0, 0

    def counted(meta, raw):
        nonlocal since_turn, most
        since_turn += 1
        most = max(most, since_turn)
        return read(meta, raw)

    async def others() -> None:
        nonlocal since_turn
        while True:
            since_turn = 0
            await asyncio.sleep(0)

    world.reflector._cache.read = counted
    task = asyncio.create_task(others())
    async with world.running():
        assert len(world.observer.held) == 3000
    task.cancel()
    await asyncio.sleep(0)
    assert [each.query.get("limit") for each in world.server.asked("list")] == ["500"] * 6
    assert most == STEP_OBJECTS
    assert len(world.observer.batches) == 1


@virtual
async def test_a_burst_of_changes_leaves_the_loop_its_turns():
    """A thousand changes that are there at once are taken in by the dozen."""
    world = World(PODS)
    async with world.running():
        for number in range(1000):
            world.server.create(objects.pod(f"p{number:05}"))
        for turn in range(3):
            await asyncio.sleep(0)
            assert len(world.observer.held) <= STEP_OBJECTS * (turn + 1)
        await quiet()
        assert [len(batch.upserts) for batch in world.observer.batches[1:]] == [STEP_OBJECTS] * (
            1000 // STEP_OBJECTS
        )


@virtual
async def test_pages_of_large_objects_become_smaller():
    """Pages that would take long to take apart are asked for in smaller pieces."""
    world = World(PODS)
    for number in range(1200):
        made = objects.pod(f"p{number:05}")
        made["metadata"]["annotations"] = {"big": "x" * 10_000}
        world.server.create(made)
    async with world.running():
        assert len(world.observer.held) == 1200
        limits = [int(each.query["limit"]) for each in world.server.asked("list")]
        assert limits[0] == 500
        assert all(150 < limit < 200 for limit in limits[1:])


@virtual
async def test_changes_between_pages_are_not_lost():
    """A list shows one version; what changes while it is read comes by the watch."""
    world = World(PODS)
    for number in range(700):
        world.server.create(objects.pod(f"p{number:05}"))

    def meanwhile(asked):
        if "continue" in asked.query:
            world.server.delete("pods", objects.NAMESPACE, "p00699")
            world.server.create(objects.pod("early"))
            world.server.before_page = lambda asked: None

    world.server.before_page = meanwhile
    async with world.running():
        assert world.same()
        assert world.relists("start") == 1


@virtual
async def test_quiet_hours_cost_a_watch_each_five_to_ten_minutes():
    """While nothing happens nothing is listed again, and bookmarks move the place to go on from."""
    world = World()
    async with world.running():
        for _ in range(60):
            await asyncio.sleep(60)
            world.server.create(objects.pod("x"))  # of another kind: only the version grows
            world.server.delete("pods", objects.NAMESPACE, "x")
        assert len(world.server.asked("list")) == 1
        watches = world.server.asked("watch")
        assert 6 <= len(watches) <= 13
        assert int(watches[-1].query["resourceVersion"]) > int(watches[0].query["resourceVersion"])
        assert world.reflector.standing().contact_age_s <= 61
        assert not any(world.reflector.standing().failures.values())


# --------------------------------------------------------------------------------------------- hot loops


def of(verb: str, instead: Trouble, otherwise: Trouble = None) -> Callable[[Asked], Trouble]:
    """This instead of the answer to a verb."""
    return lambda asked: instead if asked.verb == verb else otherwise


TROUBLES = {
    "refused": lambda asked: REFUSED,
    "unavailable": lambda asked: status(503),
    "html": lambda asked: HTML,
    "forbidden": lambda asked: status(403),
    "unauthorized": lambda asked: status(401),
    "expired": lambda asked: status(410),
    "expired watches": of("watch", status(410)),
    "throttled": lambda asked: status(429),
    "bad request": lambda asked: status(400),
    "unwatchable": of("watch", status(400)),
    "nonsense": of("list", Reply(200, b"null", None), status(410)),
    "closing": None,
}


@pytest.mark.parametrize("name", TROUBLES)
@virtual
async def test_no_trouble_makes_a_hot_loop(name):
    """Ten minutes of any trouble cost a few dozen requests, and after it all is well within one pause."""
    world = World()
    world.server.create(objects.objective("a"))
    async with world.running():
        trouble = TROUBLES[name]
        if trouble is None:
            world.server.close_at_once = True
        else:
            world.server.trouble = trouble
        world.server.break_watches(None if trouble is None else BROKEN)
        began = len(world.server.log)
        await asyncio.sleep(600)
        assert 15 <= len(world.server.log) - began <= 70
        first_second = [
            each for each in world.server.log[began:] if each.at_s - world.server.log[began].at_s < 1
        ]
        assert len(first_second) <= 12
        assert world.observer.names() == ["a"], "the last state stays"
        world.server.create(objects.objective("b"))
        world.server.trouble = lambda asked: None
        world.server.close_at_once = False
        await asyncio.sleep(31)
        assert world.same()
        assert world.reflector.state is State.FOLLOWING


@pytest.mark.parametrize(
    "say",
    [
        lambda server: server.say(b"no json at all"),
        lambda server: server.say(b"<html>"),
        lambda server: server.say(line("ADDED", {"metadata": 7})),
        lambda server: server.say(line("ADDED", {"metadata": {}})),
        lambda server: server.say(line("SURPRISE", {"metadata": {"name": "a"}})),
        lambda server: server.say(line("ERROR", ["what"])),
        lambda server: server.break_watches(TOO_LONG),
    ],
)
@virtual
async def test_a_watch_that_makes_no_sense_leads_to_a_list(say):
    """Nobody guesses what a line meant: everything is looked at again, at a bounded rate if that goes on."""
    world = World()
    world.server.create(objects.objective("a"))
    async with world.running():
        say(world.server)
        await asyncio.sleep(0.3)
        assert world.relists("unreadable") == 1
        assert world.reflector.state is State.FOLLOWING
        world.server.create(objects.objective("b"))
        await quiet()
        assert world.same()
        began = len(world.server.log)
        end_s = asyncio.get_running_loop().time() + 600
        while asyncio.get_running_loop().time() < end_s:
            say(world.server)
            await asyncio.sleep(0.05)
        assert len(world.server.log) - began <= 2 * 70


@virtual
async def test_useful_changes_do_not_make_short_watches_cheap():
    """A server that closes each watch after one change is asked ten times a second at most."""
    world = World()
    world.server.create(objects.objective("a", 0))
    async with world.running():
        began = len(world.server.log)
        for number in range(1, 1001):
            world.server.patch(KIND, objects.NAMESPACE, "a", {"spec": {"priority": number}})
            world.server.break_watches(None)
            await asyncio.sleep(0.01)
        assert len(world.server.log) - began <= 110
        await asyncio.sleep(1)
        assert [each.priority for each in world.observer.held.values()] == [1000]


@pytest.mark.parametrize("what", ["news", "age"])
@virtual
async def test_what_works_again_is_asked_fast_again(what):
    """After a long trouble, a watch that brought something or lived for a while makes the next pause short."""
    world = World()
    async with world.running():
        world.server.trouble = lambda asked: REFUSED
        world.server.break_watches()
        await asyncio.sleep(300)
        world.server.trouble = lambda asked: None
        await world.until_following()
        if what == "news":
            world.server.create(objects.objective("a"))
        else:
            await asyncio.sleep(2)
        await quiet()
        world.server.break_watches()
        await asyncio.sleep(0.21)
        assert world.reflector.state is State.FOLLOWING


@virtual
async def test_what_did_not_work_is_not_asked_fast_again():
    """A watch that only opened and broke is no reason to begin again with short pauses."""
    world = World()
    async with world.running():
        world.server.trouble = lambda asked: REFUSED
        world.server.break_watches()
        await asyncio.sleep(300)
        world.server.trouble = lambda asked: None
        await world.until_following()
        world.server.break_watches()
        await asyncio.sleep(10)
        assert world.reflector.state is State.BEHIND


# ----------------------------------------------------------------------------------------- what is behind


@virtual
async def test_a_break_goes_on_where_it_stood():
    """A watch that breaks costs no list, and what happened meanwhile comes as it happened."""
    world = World()
    world.server.create(objects.objective("a"))
    async with world.running():
        world.server.break_watches()
        world.server.delete(KIND, objects.NAMESPACE, "a")
        world.server.create(objects.objective("b"))
        await asyncio.sleep(0.3)
        assert world.same()
        assert len(world.server.asked("list")) == 1


@virtual
async def test_what_the_server_has_forgotten_is_listed_at_once():
    """After a 410 the difference is found by looking: deleted, replaced under the same name, changed, new."""
    world = World()
    for name in ("gone", "again", "changed", "same"):
        world.server.create(objects.objective(name, 1))
    async with world.running():
        world.server.trouble = lambda asked: REFUSED
        world.server.break_watches()
        await asyncio.sleep(5)
        world.server.delete(KIND, objects.NAMESPACE, "gone")
        world.server.delete(KIND, objects.NAMESPACE, "again")
        world.server.create(objects.objective("again", 1))
        world.server.patch(KIND, objects.NAMESPACE, "changed", {"spec": {"priority": 2}})
        world.server.create(objects.objective("new", 1))
        world.server.compact()
        world.server.trouble = lambda asked: None
        await asyncio.sleep(31)
        batch = world.observer.batches[-1]
        assert sorted(ref.name for ref in batch.deletes) == ["again", "gone"]
        assert sorted(found.name for found in batch.upserts) == ["again", "changed", "new"]
        assert sorted(ref.name for ref in batch.seen) == ["again", "changed", "new"]
        assert world.relists("expired") == 1
        first = [each.at_s for each in world.server.log if each.verb == "list"][-1]
        assert first == world.server.asked("watch")[-2].at_s, "no pause between the 410 and the list"


@pytest.mark.parametrize("how", ["event", "answer"])
@virtual
async def test_a_second_410_in_a_row_pauses(how):
    """The first 410 costs no pause, those that follow at once do."""
    world = World()
    async with world.running():
        began_s = asyncio.get_running_loop().time()
        if how == "event":
            for _ in range(3):
                world.server.say(EXPIRED_LINE)
                await quiet()
                await asyncio.sleep(0.0001)
        else:
            world.server.mishaps += [status(410), None, status(410), None, status(410), None]
            world.server.break_watches()
        await asyncio.sleep(5)
        lists = [each.at_s - began_s for each in world.server.asked("list")[1:]]
        assert len(lists) >= 2
        assert lists[1] - lists[0] >= 0.09
        assert world.reflector.state is State.FOLLOWING


@virtual
async def test_news_before_each_410_are_no_reason_to_list_without_pause():
    """Only a watch that lived for a second has shown that the next 410 is another one."""
    world = World()
    world.server.create(objects.objective("a", 0))
    async with world.running():
        began_s = asyncio.get_running_loop().time()
        number = 0
        while asyncio.get_running_loop().time() - began_s < 60:
            number += 1
            if world.server.streams:
                world.server.patch(KIND, objects.NAMESPACE, "a", {"spec": {"priority": number}})
                world.server.say(EXPIRED_LINE)
            await quiet()
            await asyncio.sleep(0.01)
        assert 3 <= len(world.server.asked("list")) <= 12
        await asyncio.sleep(40)
        assert world.reflector.state is State.FOLLOWING
        world.server.say(EXPIRED_LINE)
        await quiet()
        assert world.reflector.state is State.FOLLOWING, (
            "after a watch that lived the first 410 costs no pause"
        )


@virtual
async def test_an_expired_page_begins_the_list_anew():
    """A continue token that has expired is not used to go on inconsistently."""
    world = World(PODS)
    for number in range(700):
        world.server.create(objects.pod(f"p{number:05}"))

    def forget(asked):
        if "continue" in asked.query and len(world.server.asked("list")) < 4:
            world.server.create(objects.pod(f"new{len(world.server.log)}"))
            world.server.store.compact()

    world.server.before_page = forget
    async with world.running():
        await asyncio.sleep(1)
        assert world.same()
        assert world.failures("expired") == 1
        assert len(world.observer.batches) == 1
        assert world.reflector.state is State.FOLLOWING


@virtual
async def test_pages_of_several_versions_are_no_list():
    """What is put together from different times never was."""
    world = World(PODS)
    for number in range(700):
        world.server.create(objects.pod(f"p{number:05}"))
    page = {"metadata": {"resourceVersion": "101"}, "items": []}
    world.server.mishaps += [None, Reply(200, msgspec.json.encode(page), None)]
    async with world.running():
        assert world.observer.batches == []
        assert world.failures("unreadable") == 1
        await asyncio.sleep(1)
        assert world.same()


@virtual
async def test_retry_after_is_obeyed():
    """A server that asks to be left alone for twenty seconds is."""
    for code in (429, 503):
        world = World()
        world.server.mishaps.append(status(code, retry_after_s=20))
        async with world.running():
            began_s = world.server.log[0].at_s
            await asyncio.sleep(30)
            assert 20 <= world.server.log[1].at_s - began_s <= 22.1
            assert world.reflector.state is State.FOLLOWING


@virtual
async def test_a_silent_watch_is_begun_anew():
    """A connection on which not even bookmarks come is dead after two minutes, and twice in a row leads to a list."""
    world = World()
    async with world.running():
        world.server.silent = True
        world.server.create(objects.objective("a"))
        await asyncio.sleep(115)
        assert len(world.server.asked("watch")) == 1
        await asyncio.sleep(10)
        assert len(world.server.asked("watch")) == 2
        assert world.failures("silent") == 1
        assert world.relists("silent") == 0
        await asyncio.sleep(125)
        assert world.relists("silent") == 1
        assert world.same(), "the list showed what the watch did not"
        world.server.silent = False
        await asyncio.sleep(300)
        assert world.failures("silent") <= 3
        assert world.reflector.state is State.FOLLOWING


@virtual
async def test_bookmarks_keep_a_watch_alive():
    """Every line re-arms the limit: a quiet watch lives as long as the server lets it."""
    world = World()
    async with world.running():
        await asyncio.sleep(289)
        assert len(world.server.asked("watch")) == 1


@virtual
async def test_a_server_that_hangs_is_behind_and_its_age_shows():
    """While nothing answers, the age of what is held grows, and what is held stays."""
    world = World()
    world.server.create(objects.objective("a"))
    async with world.running():
        await asyncio.sleep(1)
        world.server.hanging = True
        await asyncio.sleep(400)
        standing = world.reflector.standing()
        assert standing.state is State.BEHIND
        assert standing.contact_age_s == pytest.approx(401, abs=1)
        assert "no answer within" in standing.message
        assert standing.objects == 1
        assert len(world.server.asked("watch")) <= 15, "a watch that never opened is no reason to hurry"
        world.server.hanging = False
        await asyncio.sleep(46)
        assert world.reflector.state is State.FOLLOWING
        assert world.reflector.standing().message == ""


# ------------------------------------------------------------------------------------------- out of order


@virtual
async def test_what_is_older_than_what_is_held_is_passed_over():
    """Events that come again, or late, change nothing: neither changes, nor deletions, nor resurrections."""
    world = World()
    old = world.server.create(objects.objective("a", 1))
    dead = world.server.create(objects.objective("dead"))
    world.server.delete(KIND, objects.NAMESPACE, "dead")
    world.server.patch(KIND, objects.NAMESPACE, "a", {"spec": {"priority": 2}})
    async with world.running():
        world.server.say(
            line("ADDED", old),
            line("MODIFIED", old),
            line("DELETED", old),
            line("ADDED", dead),
            line("DELETED", dead),
        )
        await quiet()
        assert [each.priority for each in world.observer.held.values()] == [2]
        assert len(world.observer.batches) == 1
        assert world.reflector.state is State.FOLLOWING


@virtual
async def test_what_comes_again_is_no_news():
    """A server that repeats itself and closes is not asked faster than one that just closes."""
    world = World()
    again = line("ADDED", world.server.create(objects.objective("a")))
    async with world.running():
        began = len(world.server.log)
        end_s = asyncio.get_running_loop().time() + 600
        while asyncio.get_running_loop().time() < end_s:
            world.server.say(again)
            await quiet(5)
            world.server.break_watches(None)
            await asyncio.sleep(0.05)
        assert len(world.server.log) - began <= 70
        assert len(world.observer.batches) == 1


@virtual
async def test_a_deletion_with_the_last_states_version_counts():
    """Servers that show the deleted object with its own version are understood."""
    world = World()
    stored = world.server.create(objects.objective("a"))
    async with world.running():
        world.server.say(line("DELETED", stored), line("DELETED", stored))
        await quiet()
        assert world.observer.names() == []


@virtual
async def test_a_bookmark_never_overtakes_what_came_before_it():
    """A run that is cut off anywhere in a burst goes on behind what was taken in, not behind the bookmark."""
    for cut in range(12):
        world = World()
        async with world.running():
            for number in range(250):
                world.server.create(objects.objective(f"o{number:03}"))
            stream = world.server.streams[0]
            world.server.say(bookmark_line(stream.kind, world.server.store.revision)[:-1])
            for _ in range(cut):
                await asyncio.sleep(0)
            names = set(world.observer.names())
            resume = int(world.reflector._cache.resume_at)
            missing = [each for each in world.server.list(KIND) if each["metadata"]["name"] not in names]
            assert all(int(each["metadata"]["resourceVersion"]) > resume for each in missing)


@virtual
async def test_versions_that_go_back_lead_to_a_list():
    """A server restored from a backup says so by its bookmarks; then everything is looked at again."""
    world = World()
    world.server.create(objects.objective("a"))
    async with world.running():
        world.server.say(bookmark_line(world.server.streams[0].kind, 5)[:-1])
        await asyncio.sleep(0.3)
        assert world.relists("rewound") == 1
        assert world.reflector.state is State.FOLLOWING


@virtual
async def test_a_version_that_has_not_come_leads_to_a_list():
    """A server that does not know the version any more, or not yet, is not asked for it for ever."""
    world = World()
    async with world.running():
        world.server.mishaps.append(status(504, "Timeout: Too large resource version: 500, current: 90"))
        world.server.break_watches()
        await asyncio.sleep(1)
        assert world.relists("refused") == 1
        assert world.reflector.state is State.FOLLOWING


# ------------------------------------------------------------------------------------- kinds and access


@virtual
async def test_a_kind_that_is_installed_later_is_picked_up():
    """Without its CRD there is nothing, which is known at once; with it there is, within ten seconds."""
    world = World()
    world.server.uninstall(objects.GROUP, "inferenceobjectives")
    async with world.running():
        assert world.reflector.state is State.ABSENT
        assert world.reflector.is_settled
        assert world.observer.batches, "whoever waits for the first look is told"
        await asyncio.sleep(600)
        assert 60 <= len(world.server.log) <= 121
        world.server.install(objects.GROUP, "inferenceobjectives")
        world.server.create(objects.objective("a"))
        await asyncio.sleep(10)
        assert world.same()
        assert world.reflector.state is State.FOLLOWING


@virtual
async def test_a_kind_that_is_gone_takes_its_objects_along():
    """When a CRD is deleted its objects are, whether or not the watch could say so."""
    for told in (True, False):
        world = World()
        world.server.create(objects.objective("a"))
        async with world.running():
            if not told:
                world.server.trouble = lambda asked: REFUSED
                world.server.break_watches()
                await asyncio.sleep(1)
            world.server.uninstall(objects.GROUP, "inferenceobjectives")
            world.server.trouble = lambda asked: None
            await asyncio.sleep(60)
            assert world.observer.names() == []
            assert world.reflector.state is State.ABSENT
            world.server.install(objects.GROUP, "inferenceobjectives")
            world.server.create(objects.objective("a"))
            await asyncio.sleep(10)
            assert world.observer.names() == ["a"]


@virtual
async def test_a_404_of_a_moment_takes_nothing_away():
    """An API server that starts may not know its kinds yet: that is no reason to forget the objects."""
    world = World()
    world.server.create(objects.objective("a"))
    async with world.running():
        for _ in range(3):
            world.server.trouble = lambda asked: status(404)
            world.server.break_watches()
            await asyncio.sleep(8)
            assert world.reflector.state is State.BEHIND
            world.server.trouble = lambda asked: None
            await asyncio.sleep(10)
            assert world.reflector.state is State.FOLLOWING
        assert all(None not in states for states in world.observer.history.values())


@pytest.mark.parametrize("between", [REFUSED, status(503), status(410), status(403), HTML])
@virtual
async def test_404s_with_something_else_in_between_take_nothing_away(between):
    """A kind counts as gone only when every answer said so for ten seconds."""
    world = World()
    world.server.create(objects.objective("a"))
    async with world.running():
        world.server.mishaps += [status(404), *[between] * 8, status(404)]
        world.server.break_watches()
        await asyncio.sleep(120)
        assert not world.server.mishaps
        assert world.failures("not_found") == 2
        assert world.reflector.state is State.FOLLOWING
        assert all(None not in states for states in world.observer.history.values())


@virtual
async def test_a_404_on_a_later_page_takes_nothing_away():
    """Of two API servers one may not know the kind yet: what the other answers counts, too."""
    world = World()
    for number in range(600):
        world.server.create(objects.objective(f"a{number:03}"))
    async with world.running():
        world.server.trouble = lambda asked: status(404) if "continue" in asked.query else None
        world.server.compact()
        world.server.say(EXPIRED_LINE)
        await asyncio.sleep(60)
        assert world.failures("not_found") > 10
        assert len(world.observer.names()) == 600


@virtual
async def test_a_404_before_it_was_stopped_does_not_count():
    """While it doesn't run nobody looks, so nothing is known of that time."""
    world = World()
    world.server.create(objects.objective("a"))
    async with world.running():
        world.server.trouble = lambda asked: status(404)
        world.server.break_watches()
        await asyncio.sleep(1)
    await asyncio.sleep(3600)
    async with world.running():
        assert world.failures("not_found") == 2
        assert world.observer.names() == ["a"]


@virtual
async def test_forbidden_is_a_state_of_its_own():
    """Without the right to read there is nothing to wait for, and the message is the server's."""
    world = World()
    world.server.trouble = lambda asked: status(403, "may not list")
    async with world.running():
        assert world.reflector.state is State.FORBIDDEN
        assert world.reflector.is_settled
        assert not world.reflector.was_listed
        assert world.reflector.standing().message == "403: may not list"
        assert len(world.observer.batches) == 1
        world.server.trouble = lambda asked: None
        await asyncio.sleep(1)
        assert world.reflector.was_listed
        assert len(world.observer.batches) == 2, "the first list is told even if it is empty"


# ----------------------------------------------------------------------------------------- broken objects


@virtual
async def test_a_broken_object_keeps_its_last_good_version():
    """A bad change is told once and has no effect; nor have lists or changes that leave it as bad as it was."""
    world = World(OBJECTIVES)
    world.server.create(objects.objective("a", 1))
    async with world.running():
        ref = next(iter(world.observer.held))
        stored = dict(world.server.get(KIND, objects.NAMESPACE, "a"))

        def broken(version: int, **metadata: object) -> bytes:
            meta = {**stored["metadata"], **metadata, "resourceVersion": str(version)}
            return line(
                "MODIFIED",
                {**stored, "metadata": meta, "spec": {"priority": "high", "poolRef": {"name": "p"}}},
            )

        version = world.server.store.revision
        world.server.say(broken(version + 1))
        await quiet()
        assert world.observer.held[ref].priority == 1
        assert len(world.observer.notes) == 1
        assert world.observer.notes[0].ref == ref
        world.server.say(broken(version + 2, labels={"a": "b"}))
        await quiet()
        assert len(world.observer.notes) == 1
        assert world.reflector.standing().objects == 1
        world.server.say(broken(version + 3, uid="another"))
        await quiet()
        assert world.observer.names() == [], "it was another object that was good"
        assert world.reflector.standing().objects == 0
        world.server.say(
            line(
                "DELETED",
                {
                    **stored,
                    "metadata": {**stored["metadata"], "uid": "another", "resourceVersion": str(version + 4)},
                },
            )
        )
        await quiet()
        assert world.observer.batches[-1].deletes == (ref,), "what was never good is not deleted"


@virtual
async def test_an_item_without_a_name_is_passed_over():
    """One unreadable item of a list doesn't keep the others from being read."""
    world = World()
    world.server.create(objects.objective("a"))
    good = world.server.get(KIND, objects.NAMESPACE, "a")
    page = {"metadata": {"resourceVersion": "101"}, "items": [{"metadata": 3}, {"metadata": {}}, good]}
    world.server.mishaps.append(Reply(200, msgspec.json.encode(page), None))
    async with world.running():
        assert world.observer.names() == ["a"]
        assert world.failures("unreadable") == 2


# ----------------------------------------------------------------------------------------- being cut off


@virtual
async def test_a_run_can_be_cut_off_anywhere_and_begun_again():
    """No step of a list or a watch leaves anything half done, and the next run tells the difference."""
    server = MemoryServer()
    for number in range(600):
        server.create(objects.pod(f"p{number:05}"))
    for cut in range(40):
        world = World(PODS, server=server)
        task = asyncio.create_task(world.reflector.run())
        for _ in range(cut):
            await asyncio.sleep(0)
        world.server.create(objects.pod(f"late{cut}"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not world.server.streams
        world.server.delete("pods", objects.NAMESPACE, f"p{cut:05}")
        async with world.running():
            assert world.same()


@virtual
async def test_other_pods_are_a_difference():
    """When others are wanted, those that are not wanted any more leave, and those that still are stay untouched."""
    world = World(PODS)
    for name, app in (("a", "vllm"), ("b", "other"), ("both", "vllm")):
        world.server.create(objects.pod(name, app=app, tier="both" if name == "both" else "one"))
    async with world.running():
        assert world.observer.names() == ["a", "both"]
    world.reflector.aim(
        Resource("", "v1", "pods", "Pod", objects.NAMESPACE, label_selector="app in (other,vllm),tier=both")
    )
    assert world.reflector.state is State.STARTING
    async with world.running():
        assert world.observer.names() == ["both"]
        assert [ref.name for ref in world.observer.batches[-1].deletes] == ["a"]
        assert world.observer.batches[-1].upserts == ()


@virtual
async def test_pods_come_and_go_by_their_labels():
    """The server says which pods match; a label that changes makes a pod come or go."""
    world = World(PODS)
    world.server.create(objects.pod("a"))
    world.server.create(objects.pod("b", app="other"))
    async with world.running():
        world.server.patch("pods", objects.NAMESPACE, "a", {"metadata": {"labels": {"app": "other"}}})
        world.server.patch("pods", objects.NAMESPACE, "b", {"metadata": {"labels": {"app": "vllm"}}})
        await quiet()
        assert world.observer.names() == ["b"]
        assert world.server.asked("watch")[0].query["labelSelector"] == "app=vllm"
