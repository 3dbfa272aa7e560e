"""Any sequence of changes and troubles: what is handed over is a true history, and in the end everything that is.

The API server is the one in memory, so hours of trouble take no time. Every write makes a state that no other write
makes; so each state that is handed over is known to be of one object, in one version.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.api.changes import Batch
from epp.api.objects import ApiObject, ObjectRef
from epp.api.selector import parse_selector
from epp.api.wire import decode_json, read_meta
from epp.kube.source import ClusterObjects
from epp.kube.standing import State
from tests.apiserver.kinds import PODS, Kind
from tests.apiserver.refusal import Refusal
from tests.apiserver.watches import frame
from tests.kube import objects
from tests.kube.memory import BROKEN, EXPIRED_LINE, HTML, REFUSED, TOO_LONG, MemoryServer, status
from tests.kube.observer import Observer
from tests.kube.virtualloop import quiet, run

NAMES = ("a", "b", "c")
KINDS = (
    ("inferenceobjectives", objects.GROUP),
    ("inferenceobjectives", objects.LEGACY_GROUP),
    ("inferencepools", objects.POOL_GROUP),
)
FOLLOWED = ("InferencePool", "InferenceObjective", "InferenceModelRewrite", "Pod")


class Truth:
    """Every state that any object ever had, in order."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.states: dict[tuple[ObjectRef, str], tuple[str, int]] = {}
        """The uid and the first version of a state."""
        self.frames: dict[Kind, list[bytes]] = {}
        """What watches were ever told."""
        self._seen = 0
        wake = server.store.on_change

        def changed() -> None:
            self._record()
            wake()

        server.store.on_change = changed

    def _record(self) -> None:
        for kind in self.server.store.kinds:
            if kind.kind not in FOLLOWED:
                continue
            for change in self.server.store.changes(kind, after=max(self._seen, self.server.store.compacted)):
                stored = change.new or change.gone
                assert stored is not None
                verb = "DELETED" if change.new is None else "MODIFIED" if change.old else "ADDED"
                self.frames.setdefault(kind, []).append(frame(verb, stored.raw)[:-1])
                if change.new is not None:
                    found = decode_json(stored.raw, api_version=kind.api_version, kind=kind.kind).found
                    assert found is not None, stored.raw
                    meta = read_meta(stored.raw)
                    self.states.setdefault((found.ref, repr(found)), (meta.uid, stored.revision))
        self._seen = self.server.store.revision

    def now(self, selector: Any) -> dict[ObjectRef, ApiObject]:
        """What is there to be known."""
        found = {}
        for kind in self.server.store.kinds:
            if kind.kind not in FOLLOWED:
                continue
            for stored in self.server.store.all(kind):
                if kind is PODS and not selector.matches(stored.obj["metadata"]["labels"]):
                    continue
                if kind.kind == "InferencePool" and stored.obj["metadata"]["name"] != "pool":
                    continue
                each = decode_json(stored.raw, api_version=kind.api_version, kind=kind.kind).found
                assert each is not None
                found[each.ref] = each
        return found


class Historian(Observer):
    """Holds every batch against the truth."""

    def __init__(self, truth: Truth) -> None:
        super().__init__()
        self._truth = truth
        self._latest: dict[str, int] = {}
        """The newest version shown of each uid."""
        self._uids: dict[ObjectRef, str] = {}

    def take(self, batch: Batch) -> None:
        for ref in batch.deletes:
            self._uids.pop(ref, None)
        super().take(batch)
        for found in batch.upserts:
            assert (found.ref, repr(found)) in self._truth.states, f"{found} never was"
            uid, version = self._truth.states[found.ref, repr(found)]
            assert self._uids.get(found.ref, uid) == uid, (
                f"{found.ref} is another object, and was not deleted"
            )
            assert version >= self._latest.get(uid, 0), f"{found.ref} went back"
            self._uids[found.ref], self._latest[uid] = uid, version


class World:
    """A cluster in which anything happens, and a picker that follows it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.server = MemoryServer()
        self.truth = Truth(self.server)
        self.historian = Historian(self.truth)
        self.count = 0
        self.objects = ClusterObjects(
            self.server,
            namespace=objects.NAMESPACE,
            pool="pool",
            pool_group=objects.POOL_GROUP,
            clock=asyncio.get_running_loop().time,
            rng=random.Random(1),
        )
        self.task = asyncio.create_task(self.objects.run(self.take))

    def take(self, batch: Batch) -> None:
        self.historian.take(batch)
        for ref, found in self.historian.held.items():
            if ref.kind == "InferencePool":
                self.objects.select(found.selector)  # type: ignore[union-attr]
                break
        else:
            self.objects.select(None)

    # ------------------------------------------------------------------- what happens in a cluster

    def number(self) -> int:
        """One that was not there before, so that every state is unlike any other."""
        self.count += 1
        return self.count

    def make(self) -> None:
        """Something is created, if its name is free and its kind is there."""
        name = self.rng.choice(NAMES)
        match self.rng.randrange(3):
            case 0:
                made = objects.objective(name, self.number(), group=self.rng.choice(KINDS[:2])[1])
            case 1:
                made = objects.pool(app=self.app(), targetPorts=[{"number": self.number()}])
            case _:
                made = objects.pod(name, app=self.app(), number=str(self.number()))
        self.attempt(lambda: self.server.create(made))

    def make_many(self) -> None:
        """More pods than go into one page or one step."""
        for _ in range(self.rng.choice((30, 120, 600))):
            number = self.number()
            self.server.create(objects.pod(f"many{number}", app=self.app(), number=str(number)))

    def drop_many(self) -> None:
        """Half of the pods."""
        for stored in self.server.store.all(PODS):
            if self.rng.random() < 0.5:
                self.server.delete("pods", objects.NAMESPACE, stored.obj["metadata"]["name"])

    def change(self) -> None:
        """Something is changed, its labels perhaps."""
        name, number = self.rng.choice(NAMES), self.number()
        patch: dict[str, Any]
        match self.rng.randrange(4):
            case 0:
                plural, group = self.rng.choice(KINDS[:2])
                resource, patch = f"{plural}.{group}", {"spec": {"priority": number}}
            case 1:
                resource, name = f"inferencepools.{objects.POOL_GROUP}", "pool"
                selector = {"matchLabels": {"app": self.app()}}
                patch = {"spec": {"selector": selector, "targetPorts": [{"number": number}]}}
            case _:
                labels = {"app": self.app(), "number": str(number)}
                resource, patch = "pods", {"metadata": {"labels": labels}}
        self.attempt(lambda: self.server.patch(resource, objects.NAMESPACE, name, patch))

    def write_status(self) -> None:
        """Another controller writes a status, which makes no difference to anything."""
        plural, group = self.rng.choice(KINDS[:2])
        condition = {
            "type": "Seen",
            "status": "True",
            "reason": f"R{self.number()}",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        name = self.rng.choice(NAMES)
        self.attempt(
            lambda: self.server.patch_status(
                f"{plural}.{group}", objects.NAMESPACE, name, {"conditions": [condition]}
            )
        )

    def drop(self) -> None:
        """Something is deleted."""
        plural, group = self.rng.choice((*KINDS, ("pods", "")))
        name = "pool" if plural == "inferencepools" else self.rng.choice(NAMES)
        resource = f"{plural}.{group}" if group else plural
        self.attempt(lambda: self.server.delete(resource, objects.NAMESPACE, name))

    def again(self) -> None:
        """Something is deleted and created under the same name at once."""
        name, number = self.rng.choice(NAMES), self.number()
        plural, group = KINDS[0]

        def both() -> None:
            self.server.delete(f"{plural}.{group}", objects.NAMESPACE, name)
            self.server.create(objects.objective(name, number, group=group))

        self.attempt(both)

    def toggle_kind(self) -> None:
        """A CRD is deleted, or installed."""
        plural, group = self.rng.choice(KINDS)
        try:
            self.server.kind(f"{plural}.{group}")
        except ValueError:
            self.server.install(group, plural)
        else:
            self.server.uninstall(group, plural)

    def app(self) -> str:
        return self.rng.choice(("vllm", "other"))

    def attempt(self, act: Callable[[], object]) -> None:
        """What the server refuses does not happen, nor what is of a kind that is not there."""
        with contextlib.suppress(Refusal, ValueError):
            act()

    # ------------------------------------------------------------------------- what goes wrong in it

    def break_watches(self) -> None:
        """They end politely, abruptly or with a line without end."""
        self.server.break_watches(self.rng.choice((None, BROKEN, TOO_LONG)))

    def talk_nonsense(self) -> None:
        """What no API server says."""
        lines = (
            b"{",
            b"<html>",
            b'{"type":"ADDED","object":{}}',
            b'{"type":"NEWS","object":{"metadata":{}}}',
        )
        self.server.say(self.rng.choice((*lines, EXPIRED_LINE)))

    def repeat(self) -> None:
        """Something that was said before, once more."""
        for stream in self.server.streams:
            frames = self.truth.frames.get(stream.kind)
            if frames:
                stream.say(tuple(self.rng.choices(frames, k=3)))

    def compact(self) -> None:
        """The past is forgotten, also by watches that did not hear of it yet."""
        if self.rng.random() < 0.5:
            self.server.compact()
        else:
            self.server.store.compact()

    def trouble(self) -> None:
        """For as long as it lasts, this is the answer to some or all requests, or it is over."""
        answer = self.rng.choice(
            (REFUSED, BROKEN, HTML, *map(status, (400, 401, 403, 404, 410, 429, 500, 503)))
        )
        verbs = self.rng.choice((("list",), ("watch",), ("list", "watch"), ()))
        self.server.trouble = lambda asked: answer if asked.verb in verbs else None

    def mishap(self) -> None:
        """The next requests get this."""
        for _ in range(self.rng.randrange(1, 4)):
            self.server.mishaps.append(
                self.rng.choice((BROKEN, HTML, status(410), status(503, retry_after_s=3)))
            )

    def hang(self) -> None:
        """Nothing is answered, or it is again."""
        self.server.hanging = not self.server.hanging

    def silence(self) -> None:
        """Watches say nothing, or do again."""
        self.server.silent = not self.server.silent

    def shut(self) -> None:
        """Watches end as soon as they begin, or don't any more."""
        self.server.close_at_once = not self.server.close_at_once

    # ------------------------------------------------------------------------------------- and time

    async def restart(self) -> None:
        """Following is cut off, and begun again."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        assert not self.server.streams
        self.task = asyncio.create_task(self.objects.run(self.take))

    async def turn(self) -> None:
        """A few turns of the loop, so that things happen in the middle of others."""
        await quiet(self.rng.randrange(1, 12))

    async def wait(self) -> None:
        """Some time."""
        await asyncio.sleep(self.rng.choice((0.01, 0.2, 1.0, 12.0, 130.0)))

    async def step(self, name: str) -> None:
        """One thing that happens."""
        done = getattr(self, name)()
        if asyncio.iscoroutine(done):
            await done
        if self.task.done():
            await self.task

    async def end(self) -> None:
        """All is well again; then everything is known, and nothing else."""
        self.server.trouble = lambda asked: None
        self.server.mishaps.clear()
        self.server.hanging = self.server.silent = self.server.close_at_once = False
        for plural, group in KINDS:
            self.server.install(group, plural)
        self.attempt(lambda: self.server.create(objects.pool(targetPorts=[{"number": self.number()}])))
        await asyncio.sleep(180)
        pool = self.server.get("inferencepools", objects.NAMESPACE, "pool")
        app = pool["spec"]["selector"]["matchLabels"]["app"]
        assert self.historian.held == self.truth.now(parse_selector(f"app={app}"))
        assert {each.state for each in self.objects.standings()} == {State.FOLLOWING}
        assert self.objects.why_not_synced() is None
        self.check_written()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        assert not self.server.streams

    def check_written(self) -> None:
        """The statuses that are held are those of the server."""
        for ref in self.historian.held:
            if ref.kind == "InferenceObjective":
                written = self.objects.written(ref)
                assert written is not None
                stored = self.server.get(f"inferenceobjectives.{ref.group}", ref.namespace, ref.name)
                assert written.resource_version == stored["metadata"]["resourceVersion"]


CHANGES = ("make", "change", "write_status", "drop", "again")
RARE_CHANGES = ("make_many", "drop_many", "toggle_kind")
TROUBLES = (
    "break_watches",
    "talk_nonsense",
    "repeat",
    "compact",
    "trouble",
    "mishap",
    "hang",
    "silence",
    "shut",
    "restart",
)
TIME = ("turn", "turn", "wait")
STEPS = CHANGES * 4 + RARE_CHANGES + TROUBLES * 2 + TIME * 7


async def live_through(rng: random.Random, steps: list[str]) -> None:
    """A world in which these things happen."""
    world = World(rng)
    try:
        world.server.create(objects.pool(targetPorts=[{"number": world.number()}]))
        for step in steps:
            await world.step(step)
        await world.end()
    finally:
        world.task.cancel()
        await asyncio.gather(world.task, return_exceptions=True)


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.sampled_from(STEPS), min_size=5, max_size=60),
)
def test_whatever_happens_what_is_told_is_true(seed, steps):
    """Short histories, made as bad as can be."""
    run(live_through(random.Random(seed), steps))


@pytest.mark.parametrize("seed", range(12))
def test_long_histories_are_true(seed):
    """Long histories, in which troubles meet."""
    rng = random.Random(seed)
    run(live_through(rng, rng.choices(STEPS, k=400)))
