"""Contract: watches, alike on the fake and on a real API server."""

from __future__ import annotations

import pytest

from tests.apiserver.fixtures import Served
from tests.apiserver.kinds import PODS
from tests.apiserver.samples import CONDITION, OBJECTIVES, objective, pod

OBJECTIVES_PATH = "/apis/llm-d.ai/v1alpha2/namespaces/{}/inferenceobjectives"
BOTH = pytest.mark.parametrize(
    ("resource", "make", "path"),
    [("pods", pod, "/api/v1/namespaces/{}/pods"), (OBJECTIVES, objective, OBJECTIVES_PATH)],
)


async def _version(api_server: Served, resource: str) -> str:
    version: str = (await api_server.client.list(resource, api_server.namespace))["metadata"][
        "resourceVersion"
    ]
    return version


async def test_changes_from_a_version(api_server: Served) -> None:
    """A watch tells every change since the version of a list, in order, with ascending versions."""
    client, namespace = api_server.client, api_server.namespace
    await client.create(objective("before", namespace))
    version = await _version(api_server, OBJECTIVES)
    await client.create(objective("a", namespace))
    async with client.watch(OBJECTIVES_PATH.format(namespace), resourceVersion=version) as events:
        await client.patch(OBJECTIVES, namespace, "a", {"spec": {"priority": 1}})
        await client.patch_status(OBJECTIVES, namespace, "a", {"conditions": [CONDITION]})
        await client.delete(OBJECTIVES, namespace, "before")
        await client.delete(OBJECTIVES, namespace, "a")
        got = [await events.next() for _ in range(5)]
    assert [(kind, obj["metadata"]["name"]) for kind, obj in got] == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "before"),
        ("DELETED", "a"),
    ]
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in got]
    assert versions == sorted(set(versions))
    assert versions[0] > int(version)
    last = got[-1][1]
    assert (last["spec"]["priority"], last["status"]["conditions"]) == (1, [CONDITION])
    assert all(obj["kind"] == "InferenceObjective" for _, obj in got)


async def test_objects_of_watches_say_what_they_are(api_server: Served) -> None:
    """In a watch, unlike in a list, a pod carries kind and apiVersion."""
    client, namespace = api_server.client, api_server.namespace
    version = await _version(api_server, "pods")
    async with client.watch(PODS.path(namespace), resourceVersion=version) as events:
        await client.create(pod("a", namespace))
        _, obj = await events.next()
    assert (obj["kind"], obj["apiVersion"]) == ("Pod", "v1")


@BOTH
async def test_selector_transitions(api_server: Served, resource: str, make: object, path: str) -> None:
    """What leaves the selector is DELETED, as it was, under the version of the change; what enters is ADDED."""
    client, namespace = api_server.client, api_server.namespace
    version = await _version(api_server, resource)
    async with client.watch(path.format(namespace), resourceVersion=version, labelSelector="app=x") as events:
        await client.create(make("a", namespace, labels={"app": "x"}))
        await client.create(make("never", namespace, labels={"app": "y"}))
        await client.patch(resource, namespace, "a", {"metadata": {"labels": {"more": "1"}}})
        left = await client.patch(
            resource, namespace, "a", {"metadata": {"labels": {"app": "y", "more": "2"}}}
        )
        await client.patch(resource, namespace, "a", {"metadata": {"labels": {"more": "3"}}})
        await client.patch(resource, namespace, "a", {"metadata": {"labels": {"app": "x"}}})
        got = [await events.next() for _ in range(4)]
    assert [(kind, obj["metadata"]["labels"]) for kind, obj in got] == [
        ("ADDED", {"app": "x"}),
        ("MODIFIED", {"app": "x", "more": "1"}),
        ("DELETED", {"app": "x", "more": "1"}),
        ("ADDED", {"app": "x", "more": "3"}),
    ]
    assert got[2][1]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]


async def test_field_selector(api_server: Served) -> None:
    """A watch of one name hears of that name only."""
    client, namespace = api_server.client, api_server.namespace
    version = await _version(api_server, OBJECTIVES)
    path = OBJECTIVES_PATH.format(namespace)
    async with client.watch(path, resourceVersion=version, fieldSelector="metadata.name=b") as events:
        for name in "abc":
            await client.create(objective(name, namespace))
        await client.delete(OBJECTIVES, namespace, "b")
        assert await events.take(2) == [("ADDED", "b"), ("DELETED", "b")]


async def test_other_namespaces_are_not_heard_of(api_server: Served) -> None:
    """A watch of one namespace hears of that namespace only."""
    client, namespace = api_server.client, api_server.namespace
    version = await _version(api_server, OBJECTIVES)
    async with client.watch(OBJECTIVES_PATH.format(namespace), resourceVersion=version) as events:
        await client.create(objective(f"not-{namespace}", "default"))
        await client.create(objective("a", namespace))
        assert await events.take(1) == [("ADDED", "a")]


@BOTH
@pytest.mark.parametrize("start", [{}, {"resourceVersion": "0"}])
async def test_initial_events(
    api_server: Served, resource: str, make: object, path: str, start: dict[str, str]
) -> None:
    """Without a version, or from 0, a watch begins with what is there, and marks the end of that if asked to."""
    client, namespace = api_server.client, api_server.namespace
    for name in "ba":
        await client.create(make(name, namespace))
    version = await _version(api_server, resource)
    async with client.watch(path.format(namespace), allowWatchBookmarks="true", **start) as events:
        assert await events.take(2) == [("ADDED", "a"), ("ADDED", "b")]
        kind, mark = await events.next()
        assert kind == "BOOKMARK"
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(mark["metadata"]["resourceVersion"]) >= int(version)
        await client.create(make("c", namespace))
        assert await events.take(1) == [("ADDED", "c")]


async def test_bookmarks_only_on_request(api_server: Served) -> None:
    """A watch that did not ask for bookmarks gets none."""
    client, namespace = api_server.client, api_server.namespace
    await client.create(objective("a", namespace))
    async with client.watch(OBJECTIVES_PATH.format(namespace)) as events:
        assert await events.take(1) == [("ADDED", "a")]
        await client.create(objective("b", namespace))
        assert await events.take(1) == [("ADDED", "b")]


async def test_end_of_time(api_server: Served) -> None:
    """After timeoutSeconds the watch ends cleanly, without an event."""
    client, namespace = api_server.client, api_server.namespace
    version = await _version(api_server, OBJECTIVES)
    path = OBJECTIVES_PATH.format(namespace)
    async with client.watch(path, resourceVersion=version, timeoutSeconds="1") as events:
        assert events.status == 200
        assert await events.line() == b""


async def test_version_of_the_future(api_server: Served) -> None:
    """A watch from a version that is yet to come is accepted, and hears nothing of what comes before it."""
    client, namespace = api_server.client, api_server.namespace
    path = OBJECTIVES_PATH.format(namespace)
    async with client.watch(path, resourceVersion="999999999", timeoutSeconds="1") as events:
        assert events.status == 200
        await client.create(objective("a", namespace))
        assert await events.line() == b""


async def test_bad_selector(api_server: Served) -> None:
    """A selector that makes no sense is refused with 400 before a watch begins."""
    async with api_server.client.watch(PODS.path(api_server.namespace), labelSelector="app in (") as events:
        assert events.status == 400


async def test_two_ends_of_a_pod(api_server: Served) -> None:
    """A pod that is deleted at once is first MODIFIED, with a deletionTimestamp, and then DELETED."""
    client, namespace = api_server.client, api_server.namespace
    await client.create(pod("a", namespace))
    version = await _version(api_server, "pods")
    async with client.watch(PODS.path(namespace), resourceVersion=version) as events:
        await client.delete("pods", namespace, "a")
        got = [await events.next() for _ in range(2)]
    assert [kind for kind, _ in got] == ["MODIFIED", "DELETED"]
    assert all(obj["metadata"]["deletionTimestamp"] for _, obj in got)
