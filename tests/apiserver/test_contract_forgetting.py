"""Contract: what a server says once it has forgotten its history, alike on the fake and on a real API server.

The real one is compacted through etcd's API and then started anew, since its watch cache would serve old versions.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.apiserver.crds import kind_named
from tests.apiserver.fixtures import Served
from tests.apiserver.samples import OBJECTIVES, objective, pod

RESOURCES = ("pods", OBJECTIVES)


@dataclass(frozen=True)
class Before:
    """What a client holds from the time before."""

    resource: str
    path: str
    version: str
    token: str


async def _before(api_server: Served, resource: str) -> Before:
    """Read the first page of three objects, of which two are then deleted."""
    client, namespace = api_server.client, api_server.namespace
    make = pod if resource == "pods" else objective
    for name in "abc":
        await client.create(make(name, namespace))
    first = (await client.list(resource, namespace, limit="1"))["metadata"]
    for name in "ab":
        await client.delete(resource, namespace, name)
    path = kind_named(resource).path(namespace)
    return Before(resource, path, first["resourceVersion"], first["continue"])


def _names(page: dict) -> list[str]:
    return [item["metadata"]["name"] for item in page["items"]]


async def test_forgotten_history(api_server: Served) -> None:
    """Watches from old versions get 200 and an ERROR event of 410, and end; pages and exact lists get 410 at once."""
    client, namespace = api_server.client, api_server.namespace
    befores = [await _before(api_server, resource) for resource in RESOURCES]
    await api_server.forget()
    for before in befores:
        async with client.watch(before.path, resourceVersion=before.version) as events:
            assert events.status == 200
            kind, status = await events.next()
            assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
            assert status["message"].startswith(f"too old resource version: {before.version} (")
            assert await events.line() == b""

        page = await client.call("GET", before.path, limit="1", **{"continue": before.token})
        assert (page.status, page.body["code"], page.body["reason"]) == (410, 410, "Expired")
        token = page.body["metadata"]["continue"]
        rest = await client.list(before.resource, namespace, limit="1", **{"continue": token})
        assert _names(rest) == ["c"]

        exact = {"resourceVersion": before.version, "resourceVersionMatch": "Exact"}
        refused = await client.call("GET", before.path, **exact)
        assert (refused.status, refused.body["reason"]) == (410, "Expired")
        assert _names(await client.list(before.resource, namespace, resourceVersion=before.version)) == ["c"]

        now = await client.list(before.resource, namespace)
        async with client.watch(before.path, resourceVersion=now["metadata"]["resourceVersion"]) as events:
            await client.patch(before.resource, namespace, "c", {"metadata": {"labels": {"a": "b"}}})
            assert await events.take(1) == [("MODIFIED", "c")]
