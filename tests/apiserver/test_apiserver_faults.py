"""The fake's faults: each does what it says to the requests it is meant for, and to no others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.apiserver.client import Client
from tests.apiserver.kinds import PODS
from tests.apiserver.patches import MERGE
from tests.apiserver.samples import OBJECTIVES, objective, pod
from tests.apiserver.server import TOKEN, Ending, FakeApiServer, where

PATH = PODS.path("default")


@pytest.fixture
async def client(fake_api_server: FakeApiServer) -> AsyncIterator[Client]:
    """A client of the fake."""
    async with Client(fake_api_server.url, token=TOKEN) as client:
        yield client


async def test_failing_some_requests(fake_api_server: FakeApiServer, client: Client) -> None:
    """So many requests of the kind that is meant fail, with Retry-After; others, and later ones, do not."""
    fake_api_server.fail(503, where(verb="list", resource="pods"), times=2, retry_after_s=7)
    assert (await client.call("GET", PODS.path("default", "a"))).status == 404
    replies = [await client.call("GET", PATH) for _ in range(3)]
    assert [reply.status for reply in replies] == [503, 503, 200]
    assert replies[0].headers["Retry-After"] == "7"
    assert replies[0].body["reason"] == "ServiceUnavailable"


async def test_forbidding(fake_api_server: FakeApiServer, client: Client) -> None:
    """A verb on a resource is 403 until it is healed, and a subresource can be forbidden alone."""
    fake_api_server.create(objective("a"))
    fault = fake_api_server.forbid("patch", "inferenceobjectives", subresource="status")
    path = "/apis/llm-d.ai/v1alpha2/namespaces/default/inferenceobjectives/a"
    denied = await client.call("PATCH", f"{path}/status", {}, content_type=MERGE)
    assert (denied.status, denied.body["reason"]) == (403, "Forbidden")
    assert 'cannot patch resource "inferenceobjectives" in API group "llm-d.ai"' in denied.body["message"]
    assert (await client.call("PATCH", path, {}, content_type=MERGE)).status == 200
    fake_api_server.heal(fault)
    assert (await client.call("PATCH", f"{path}/status", {}, content_type=MERGE)).status == 200


async def test_html(fake_api_server: FakeApiServer, client: Client) -> None:
    """A proxy's page comes in place of JSON, for watches too."""
    fake_api_server.html(502, times=2)
    assert (await client.call("GET", PATH)).body.startswith("<html>")
    async with client.watch(PATH) as events:
        assert (events.status, (await events.line()).startswith(b"<html>")) == (502, True)


async def test_hanging(fake_api_server: FakeApiServer, client: Client) -> None:
    """A request that hangs is not answered until the fault is healed."""
    fault = fake_api_server.hang(where(verb="list"))
    hanging = asyncio.ensure_future(client.call("GET", PATH))
    await fake_api_server.until(lambda: fault.taken)
    assert (await client.call("GET", "/version")).status == 200
    assert not hanging.done()
    fake_api_server.heal(fault)
    assert (await hanging).status == 503


async def test_resets(fake_api_server: FakeApiServer, client: Client) -> None:
    """A reset comes before the request is carried out, or after it."""
    for done, there in ((False, False), (True, True)):
        fake_api_server.reset(where(verb="create"), done=done)
        with pytest.raises(aiohttp.ClientError):
            await client.call("POST", PATH, pod("a"))
        assert fake_api_server.store.has(PODS, "default", "a") is there


async def test_slow(fake_api_server: FakeApiServer, client: Client) -> None:
    """A slow request is answered all the same."""
    fault = fake_api_server.slow(0.01, where(verb="list"))
    assert (await client.call("GET", PATH)).status == 200
    assert fault.taken == 1


async def test_restart(fake_api_server: FakeApiServer, client: Client) -> None:
    """While it refuses, nothing listens and watches are reset; afterwards the port and the objects are as before."""
    fake_api_server.create(pod("a"))
    url, version = fake_api_server.url, fake_api_server.store.revision
    async with client.watch(PATH, resourceVersion=str(version)) as events:
        await fake_api_server.until_watched("pods")
        await fake_api_server.refuse()
        with pytest.raises(aiohttp.ClientError):
            await events.line()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.call("GET", PATH)
    fake_api_server.create(pod("b"))
    await fake_api_server.resume()
    assert fake_api_server.url == url
    async with client.watch(PATH, resourceVersion=str(version)) as events:
        assert await events.take(1) == [("ADDED", "b")]


@pytest.mark.parametrize("ending", Ending)
async def test_ends_of_watches(fake_api_server: FakeApiServer, client: Client, ending: Ending) -> None:
    """Changes before the end arrive, changes after it do not, and the end is as ordered."""
    version = str(fake_api_server.store.revision)
    async with client.watch(PATH, resourceVersion=version) as events:
        await fake_api_server.until_watched("pods")
        fake_api_server.create(pod("a"))
        fake_api_server.drop_watches(ending)
        fake_api_server.create(pod("b"))
        rest = b""
        broken = False
        try:
            while line := await events.line():
                rest += line
        except aiohttp.ClientError:
            broken = True
    assert b'"name":"b"' not in rest
    assert broken is (ending in {Ending.RESET, Ending.MID_LINE_RESET})
    if not broken:
        assert b'"name":"a"' in rest
        assert rest.endswith(b"\n") is (ending is Ending.CLEAN)
    await fake_api_server.until(lambda: not fake_api_server.watches)


async def test_end_of_some_watches(fake_api_server: FakeApiServer, client: Client) -> None:
    """Only the watches that are meant end."""
    version = str(fake_api_server.store.revision)
    path = "/apis/llm-d.ai/v1alpha2/namespaces/default/inferenceobjectives"
    async with (
        client.watch(PATH, resourceVersion=version) as pods,
        client.watch(path, resourceVersion=version) as objectives,
    ):
        await fake_api_server.until_watched("pods", OBJECTIVES)
        fake_api_server.drop_watches(where=where(resource="pods"))
        assert await pods.line() == b""
        fake_api_server.create(objective("a"))
        assert await objectives.take(1) == [("ADDED", "a")]


async def test_lines_of_watches(fake_api_server: FakeApiServer, client: Client) -> None:
    """Bookmarks on demand, garbage and ERROR events come in the order of the changes around them."""
    version = str(fake_api_server.store.revision)
    async with client.watch(PATH, resourceVersion=version, allowWatchBookmarks="true") as events:
        await fake_api_server.until_watched("pods")
        fake_api_server.create(pod("a"))
        fake_api_server.bookmark()
        marked = str(fake_api_server.store.revision)
        fake_api_server.create(pod("b"))
        fake_api_server.send_line(b"garbage\n")
        fake_api_server.send_error()
        assert await events.take(1) == [("ADDED", "a")]
        kind, mark = await events.next()
        assert (kind, mark["metadata"]["resourceVersion"]) == ("BOOKMARK", marked)
        assert await events.take(1) == [("ADDED", "b")]
        assert await events.line() == b"garbage\n"
        kind, status = await events.next()
        assert (kind, status["code"]) == ("ERROR", 410)
        assert await events.line() == b""


async def test_no_bookmarks_for_those_who_want_none(fake_api_server: FakeApiServer, client: Client) -> None:
    """A bookmark on demand passes by a watch that did not ask for them."""
    async with client.watch(PATH, resourceVersion=str(fake_api_server.store.revision)) as events:
        await fake_api_server.until_watched("pods")
        fake_api_server.bookmark()
        fake_api_server.create(pod("a"))
        assert await events.take(1) == [("ADDED", "a")]


async def test_regular_bookmarks(tmp_path: object) -> None:
    """With an interval, bookmarks come by themselves, again and again."""
    async with FakeApiServer(bookmark_interval_s=0.01) as server, Client(server.url, token=TOKEN) as client:
        version = str(server.store.revision)
        async with client.watch(PATH, resourceVersion=version, allowWatchBookmarks="true") as events:
            assert [kind for kind, _ in await events.take(2)] == ["BOOKMARK", "BOOKMARK"]


async def test_frozen_watches(fake_api_server: FakeApiServer, client: Client) -> None:
    """Frozen watches stay open and are silent; thawed, they tell what they held back."""
    async with client.watch(PATH, resourceVersion=str(fake_api_server.store.revision)) as events:
        await fake_api_server.until_watched("pods")
        fake_api_server.freeze_watches()
        fake_api_server.create(pod("a"))
        waiting = asyncio.ensure_future(events.line())
        assert (await client.call("GET", PATH)).body["items"]
        assert not waiting.done()
        fake_api_server.thaw_watches()
        assert b'"name":"a"' in await waiting


async def test_open_watches_survive_compaction(fake_api_server: FakeApiServer, client: Client) -> None:
    """A watch that is open hears of what came before a compaction, even if its turn has not come yet, and after it."""
    async with client.watch(PATH, resourceVersion=str(fake_api_server.store.revision)) as events:
        await fake_api_server.until_watched("pods")
        fake_api_server.create(pod("a"))
        fake_api_server.compact()
        fake_api_server.create(pod("b"))
        assert await events.take(2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_kinds_are_installed_later(client: Client) -> None:
    """A server without definitions says 404 for their paths until they are installed."""
    async with FakeApiServer(crds=()) as server, Client(server.url, token=TOKEN) as client:
        path = "/apis/llm-d.ai/v1alpha2/inferenceobjectives"
        assert (await client.call("GET", path)).status == 404
        server.install("llm-d.ai", "inferenceobjectives")
        assert (await client.call("GET", path)).status == 200


async def test_log(tmp_path: object) -> None:
    """Every request is logged with what it was about, and when, on the clock that was given."""
    ticks = iter(range(100))
    async with (
        FakeApiServer(clock=lambda: float(next(ticks))) as server,
        Client(server.url, token=TOKEN) as client,
    ):
        await client.call("GET", PATH, limit="5")
        await client.call("PATCH", PODS.path("default", "a", "status"), {"status": {}}, content_type=MERGE)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5), client.watch(PATH):
                await server.until_watched("pods")
        assert [(asked.verb, asked.at_s) for asked in server.log] == [
            ("list", 0.0),
            ("patch", 1.0),
            ("watch", 2.0),
        ]
        assert server.log[0].query == {"limit": "5"}
        (patched,) = server.asked(verb="patch", resource="pods", subresource="status")
        assert (patched.namespace, patched.name, patched.body) == ("default", "a", b'{"status": {}}')
        assert patched.headers["Authorization"] == f"Bearer {TOKEN}"
        assert server.count(resource="pods") == 3


async def test_ten_thousand_pods(fake_api_server: FakeApiServer, client: Client) -> None:
    """10,000 pods are listed in pages of 500, each once."""
    for number in range(10_000):
        fake_api_server.create(pod(f"pod-{number}", ip="10.0.0.1"))
    names: list[str] = []
    token = ""
    while True:
        page = await client.list("pods", "default", limit="500", **{"continue": token})
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert (len(names), len(set(names))) == (10_000, 10_000)
    assert fake_api_server.count(verb="list") == 20


async def test_direct_handling(fake_api_server: FakeApiServer) -> None:
    """Objects are created, replaced, patched and deleted directly, with their status and in any namespace."""
    server = fake_api_server
    server.create(pod("a", "far-away", ip="10.0.0.1"))
    assert server.get("pods", "far-away", "a")["status"]["podIP"] == "10.0.0.1"
    server.replace(pod("a", "far-away", ip="10.0.0.2", labels={"app": "x"}))
    server.patch_status("pods", "far-away", "a", {"phase": "Failed"})
    server.patch("pods", "far-away", "a", {"metadata": {"labels": {"more": "y"}}})
    (found,) = server.list("pods")
    assert (found["status"]["podIP"], found["status"]["phase"]) == ("10.0.0.2", "Failed")
    assert found["metadata"]["labels"] == {"app": "x", "more": "y"}
    server.delete("pods", "far-away", "a")
    assert server.list("pods", "far-away") == []
    with pytest.raises(ValueError, match=r"must name one kind: .*llm-d\.ai"):
        server.list("inferenceobjectives")
