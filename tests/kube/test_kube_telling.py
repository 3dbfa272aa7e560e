"""Statuses and Events on API servers: the fake one, and a real one where there is one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from epp.api.objects import ObjectRef
from epp.api.verdict import Acceptance, Verdict
from epp.api.wire import read_written
from epp.api.written import Written
from epp.kube.connection import ApiServer
from epp.kube.notices import NoticeKind, Notices
from epp.kube.status import StatusFailure, StatusWriter
from tests.apiserver.fixtures import Served
from tests.apiserver.real import RealApiServer
from tests.apiserver.samples import CONDITION, SCHEMA_CONDITION, objective
from tests.kube.virtual import running

GROUPS = ["llm-d.ai", "inference.networking.x-k8s.io"]
KINDS = {"InferenceObjective": "inferenceobjectives", "InferenceModelRewrite": "inferencemodelrewrites"}
YES = Verdict(Acceptance.ACCEPTED, "accepted")
PATIENCE_S = 30.0
KUBECTL = shutil.which("kubectl", path=os.environ.get("KUBEBUILDER_ASSETS", ""))


async def until(true: Callable[[], bool]) -> None:
    """Returns as soon as something is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.005)


class Counted:
    """An API server's methods, with the requests counted."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.asked: list[str] = []
        self.created: list[str] = []
        """The names of what was created."""

    async def request(self, method, path, **arguments):
        self.asked.append(method)
        if method == "POST":
            self.created.append(arguments["body"]["metadata"]["name"])
        return await self._server.request(method, path, **arguments)


class Picker:
    """A picker's judgement, a view that is brought up to date when the test says so, and a writer."""

    def __init__(self, connection: ApiServer, served: Served) -> None:
        self.server = Counted(connection)
        self.served = served
        self.verdicts: dict[ObjectRef, Verdict] = {}
        self.view: dict[ObjectRef, Written] = {}
        self.writer = StatusWriter(
            self.server,
            pool=lambda: "InferencePool pool",
            verdict=self.verdicts.get,
            written=self.view.get,
            leading=lambda: True,
            clock=time.monotonic,
            wall_clock=time.time,
        )

    async def see(self, ref: ObjectRef) -> None:
        """The view has the object as it is now."""
        self.view[ref] = read_written(json.dumps(await self.read(ref)).encode())
        self.writer.touch([ref])

    async def read(self, ref: ObjectRef):
        """The object."""
        return await self.served.client.get(f"{KINDS[ref.kind]}.{ref.group}", ref.namespace, ref.name)

    async def create(
        self, group="llm-d.ai", kind="InferenceObjective", name="premium", verdict=YES
    ) -> ObjectRef:
        """An object that is to be judged, and was seen but not told of yet."""
        obj = objective(name, self.served.namespace, group=group)
        if kind == "InferenceModelRewrite":
            rules = [{"targets": [{"modelRewrite": "real"}]}]
            obj |= {"kind": kind, "spec": {"poolRef": {"name": "pool"}, "rules": rules}}
        await self.served.client.create(obj)
        ref = ObjectRef(group, kind, self.served.namespace, name)
        self.view[ref] = read_written(json.dumps(await self.read(ref)).encode())
        self.verdicts[ref] = verdict
        return ref


@pytest.fixture
async def connection(api_server: Served, tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A connection to each server in turn."""
    connection = await ApiServer.connect(api_server.kubeconfig(tmp_path))
    yield connection
    await connection.close()


def written(picker: Picker) -> int:
    """How many statuses it wrote."""
    return picker.writer.statistics().written


def looked_at(picker: Picker) -> int:
    """How many looks at an object it has finished."""
    statistics = picker.writer.statistics()
    return statistics.written + statistics.unchanged


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("kind", KINDS)
async def test_accepted_appears(api_server: Served, connection: ApiServer, kind: str, group: str) -> None:
    """On both kinds in both groups, where the API server's schema lets it pass, by one request."""
    picker = Picker(connection, api_server)
    ref = await picker.create(group, kind)
    picker.writer.touch([ref])
    async with running(picker.writer.run()):
        await until(lambda: written(picker) == 1)
    (accepted,) = (await picker.read(ref))["status"]["conditions"]
    assert accepted.pop("lastTransitionTime").endswith("Z")
    assert accepted == {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "accepted",
        "observedGeneration": 1,
    }
    assert picker.server.asked == ["PATCH"]


async def test_the_default_goes_and_conditions_of_others_stay(
    api_server: Served, connection: ApiServer
) -> None:
    """The schema's Ready is replaced; what somebody wrote while our view was behind survives, field by field."""
    picker = Picker(connection, api_server)
    ref = await picker.create()
    resource, theirs = "inferenceobjectives.llm-d.ai", CONDITION | {"type": "example.com/Seen", "message": ""}
    await api_server.client.patch_status(resource, ref.namespace, ref.name, {})
    assert (await picker.read(ref))["status"]["conditions"] == [SCHEMA_CONDITION]
    await picker.see(ref)
    both = {"conditions": [SCHEMA_CONDITION, theirs]}
    await api_server.client.patch_status(resource, ref.namespace, ref.name, both)
    async with running(picker.writer.run()):
        await until(lambda: written(picker) == 1)
    kept, ours = (await picker.read(ref))["status"]["conditions"]
    assert (kept, ours["type"]) == (theirs, "Accepted")
    assert picker.server.asked == ["PATCH", "GET", "PATCH"]


async def test_two_writers_end_in_agreement(api_server: Served, connection: ApiServer) -> None:
    """Two pickers that believe that they lead write fifteen objects each: all end right, and there is no storm."""
    first, second = Picker(connection, api_server), Picker(connection, api_server)
    for n in range(15):
        ref = await first.create(name=f"o{n}")
        second.view[ref], second.verdicts[ref] = first.view[ref], YES
    for picker in (first, second):
        picker.writer.touch(tuple(picker.view))
    async with running(first.writer.run()), running(second.writer.run()):
        await until(lambda: looked_at(first) + looked_at(second) == 30)
        for ref in first.view:
            (accepted,) = (await first.read(ref))["status"]["conditions"]
            assert (accepted["status"], accepted["observedGeneration"]) == ("True", 1)
        for picker in (first, second):
            for ref in picker.view:
                await picker.see(ref)  # what the watch brings is no reason to write again
        await until(lambda: looked_at(first) + looked_at(second) == 60)
    asked = first.server.asked + second.server.asked
    assert written(first) + written(second) == 15
    assert asked.count("PATCH") == 30
    assert asked.count("GET") == 15


async def test_one_that_moves_away(api_server: Served, connection: ApiServer) -> None:
    """The API server counts a generation for the new spec, which gets the last word, once."""
    picker = Picker(connection, api_server)
    ref = await picker.create()
    resource = "inferenceobjectives.llm-d.ai"
    async with running(picker.writer.run()):
        picker.writer.touch([ref])
        await until(lambda: written(picker) == 1)
        await api_server.client.patch(
            resource, ref.namespace, ref.name, {"spec": {"poolRef": {"name": "other"}}}
        )
        del picker.verdicts[ref]
        await picker.see(ref)
        await until(lambda: written(picker) == 2)
        await picker.see(ref)
        assert picker.writer.statistics().pending == 0
    (last,) = (await picker.read(ref))["status"]["conditions"]
    assert (last["status"], last["reason"], last["observedGeneration"]) == ("Unknown", "Pending", 2)


async def test_what_the_schema_refuses(api_server: Served, connection: ApiServer) -> None:
    """A status that breaks a rule comes back as 422 and is not tried again."""
    picker = Picker(connection, api_server)
    ref = await picker.create()
    broken = read_written(json.dumps({"metadata": (await picker.read(ref))["metadata"]}).encode())
    bad = {"type": "Seen", "status": "Perhaps", "reason": "Seen", "message": "", "lastTransitionTime": "now"}
    picker.view[ref] = Written(
        uid=broken.uid,
        resource_version=broken.resource_version,
        generation=1,
        conditions=read_written(
            json.dumps({"metadata": {"uid": "u"}, "status": {"conditions": [bad]}}).encode()
        ).conditions,
    )
    async with running(picker.writer.run()):
        for _ in range(3):
            picker.writer.touch([ref])
            await until(lambda: picker.writer.statistics().pending == 0)
        await until(lambda: picker.writer.statistics().failures[StatusFailure.REFUSED] == 1)
    assert picker.server.asked == ["PATCH"]


def notices_on(connection: ApiServer | Counted, namespace: str, clock=time.monotonic) -> Notices:
    """A reporter in that namespace."""
    return Notices(
        connection,
        namespace=namespace,
        reporter="epp",
        instance="epp-7d-x2",
        leading=lambda: True,
        clock=clock,
        wall_clock=time.time,
    )


async def test_events_are_taken(api_server: Served, connection: ApiServer) -> None:
    """The API server takes a new Event as it is, and the raising of a count, also by a successor."""
    picker = Picker(connection, api_server)
    ref = await picker.create()
    now_s = [0.0]
    notices = notices_on(picker.server, ref.namespace, clock=lambda: now_s[0])
    told = {"kind": NoticeKind.WARNING, "reason": "Superseded", "message": "no effect"}
    async with running(notices.run()):
        notices.tell(ref, picker.view[ref].uid, **told)
        await until(lambda: notices.statistics().created == 1)
        now_s[0] = 61.0
        notices.tell(ref, picker.view[ref].uid, **told)
        await until(lambda: notices.statistics().raised == 1)
    event = await api_server.client.get("events", ref.namespace, *picker.server.created)
    assert (event["count"], event["reason"], event["message"]) == (2, "Superseded", "no effect")
    assert event["involvedObject"]["uid"] == picker.view[ref].uid
    successor = notices_on(picker.server, ref.namespace, clock=lambda: now_s[0])
    async with running(successor.run()):
        successor.tell(ref, picker.view[ref].uid, **told)
        await until(lambda: successor.statistics().raised == 1)
        now_s[0] = 122.0
        successor.tell(ref, picker.view[ref].uid, **told)
        await until(lambda: successor.statistics().raised == 2)
    assert len(set(picker.server.created)) == 1
    event = await api_server.client.get("events", ref.namespace, picker.server.created[0])
    assert event["count"] == 3


@pytest.mark.skipif(KUBECTL is None, reason="KUBEBUILDER_ASSETS names no folder with kubectl")
async def test_kubectl_shows_events(real_api_server: RealApiServer, tmp_path: Path) -> None:
    """`kubectl describe` shows the Event under its object, and `kubectl get events` in its list."""
    _, made = await asyncio.to_thread(
        real_api_server.call,
        "POST",
        "/apis/llm-d.ai/v1alpha2/namespaces/default/inferenceobjectives",
        objective("described"),
    )
    ref = ObjectRef("llm-d.ai", "InferenceObjective", "default", "described")
    kubeconfig = real_api_server.kubeconfig(tmp_path)
    connection = await ApiServer.connect(kubeconfig)
    notices = notices_on(connection, "default")
    async with running(notices.run()):
        uid = made["metadata"]["uid"]
        notices.tell(ref, uid, kind=NoticeKind.WARNING, reason="Superseded", message="has no effect")
        await until(lambda: notices.statistics().created == 1)
    await connection.close()
    for command in (["describe", "inferenceobjectives.llm-d.ai/described"], ["get", "events"]):
        process = await asyncio.create_subprocess_exec(
            KUBECTL, f"--kubeconfig={kubeconfig}", *command, stdout=asyncio.subprocess.PIPE
        )
        shown, _ = await process.communicate()
        line = next(line for line in shown.decode().splitlines() if "Superseded" in line)
        assert "Warning" in line
        assert "has no effect" in line
