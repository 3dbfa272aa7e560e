"""Contract: leases, events, definitions, discovery and reviews, alike on the fake and on a real API server."""

from __future__ import annotations

import asyncio

import pytest

from tests.apiserver.crds import kind_like
from tests.apiserver.fixtures import Served
from tests.apiserver.patches import MERGE
from tests.apiserver.real import ADMIN_TOKEN
from tests.apiserver.samples import LEASES, MICRO_TIME, event, lease, objective

OTHER_GROUP = "inference.networking.x-k8s.io"
OTHER_OBJECTIVES = f"inferenceobjectives.{OTHER_GROUP}"


async def test_lease_changes_hands_once(api_server: Served) -> None:
    """Of two who read the same version of a lease and write it, one succeeds and the other gets 409."""
    client, namespace = api_server.client, api_server.namespace
    made = await client.create(lease("a", namespace))
    assert "generation" not in made["metadata"]
    taken = made | {"spec": made["spec"] | {"holderIdentity": "b", "leaseTransitions": 1}}
    path = kind_like(made).path(namespace, "a")
    codes = [(await client.call("PUT", path, taken)).status for _ in range(2)]
    assert codes == [200, 409]
    assert (await client.get(LEASES, namespace, "a"))["spec"]["holderIdentity"] == "b"


@pytest.mark.parametrize(
    "spec",
    [
        {"leaseDurationSeconds": 0},
        {"leaseTransitions": -1},
        {"renewTime": "2026-01-01T00:00:00Z"},
        {"acquireTime": "2026-01-01T00:00:00.000Z"},
    ],
)
async def test_lease_rules(api_server: Served, spec: dict[str, object]) -> None:
    """Times need exactly six digits of fraction, the duration must be positive; a patch that breaks this is 422."""
    client, namespace = api_server.client, api_server.namespace
    made = await client.create(lease("a", namespace))
    path = kind_like(made).path(namespace, "a")
    reply = await client.call("PATCH", path, {"spec": spec}, content_type=MERGE)
    assert (reply.status, reply.body["reason"]) == (422, "Invalid")


async def test_lease_released(api_server: Served) -> None:
    """A lease may have an empty holder, and no times at all."""
    client, namespace = api_server.client, api_server.namespace
    made = await client.create(lease("a", namespace))
    spec = {"holderIdentity": "", "renewTime": None, "acquireTime": None}
    released = await client.patch(LEASES, namespace, "a", {"spec": spec})
    assert released["spec"]["holderIdentity"] == ""
    assert "renewTime" not in released["spec"]
    assert kind_like(made).resource == LEASES


async def test_events(api_server: Served) -> None:
    """Events are created, counted up by a patch, and found by what they are about."""
    client, namespace = api_server.client, api_server.namespace
    await client.create(event("a", namespace, about="x"))
    await client.create(event("b", namespace, about="y"))
    await client.patch("events", namespace, "a", {"count": 2, "lastTimestamp": "2026-01-01T00:00:05Z"})
    selector = "involvedObject.kind=InferenceObjective,involvedObject.name=x"
    (found,) = (await client.list("events", namespace, fieldSelector=selector))["items"]
    assert (found["count"], found["lastTimestamp"]) == (2, "2026-01-01T00:00:05Z")
    assert (found["eventTime"], found["reportingComponent"]) == (None, "")


async def test_event_rules(api_server: Served) -> None:
    """An event is in the namespace of what it is about; eventTime needs a reporter and an action, and six digits."""
    client, namespace = api_server.client, api_server.namespace
    good = event("good", namespace)
    path = kind_like(good).path(namespace)
    elsewhere = event("a", namespace) | {"involvedObject": {"namespace": "elsewhere", "name": "x"}}
    timed = event("b", namespace) | {"eventTime": MICRO_TIME}
    reporter = {"reportingComponent": "example.com/epp", "reportingInstance": "epp-0", "action": "Accept"}
    codes = [
        (await client.call("POST", path, obj | {"metadata": {"generateName": "event-"}})).status
        for obj in (
            good,
            elsewhere,
            timed,
            timed | reporter,
            timed | reporter | {"eventTime": "2026-01-01T00:00:00Z"},
        )
    ]
    assert codes == [201, 422, 422, 201, 400]


async def test_paths_that_are_not_there(api_server: Served) -> None:
    """Unknown groups and custom kinds are a 404 in plain text; what a built-in group lacks is a 404 with a Status."""
    client = api_server.client
    for path in ("/apis/nope.example.com/v1/things", "/apis/llm-d.ai/v1alpha2/nopes"):
        reply = await client.call("GET", path)
        assert (reply.status, reply.body) == (404, "404 page not found\n")
    for path in ("/api/v1/nopes", "/apis/coordination.k8s.io/v1/nopes"):
        reply = await client.call("GET", path)
        assert (reply.status, reply.body["reason"]) == (404, "NotFound")


async def test_definition_comes_and_goes(api_server: Served) -> None:
    """A custom kind that is taken away ends its watches with DELETED events and is 404; when it returns it is empty."""
    client, namespace = api_server.client, api_server.namespace
    made = await client.create(objective("a", namespace, group=OTHER_GROUP))
    path = kind_like(made).path(namespace)
    async with client.watch(path, resourceVersion=made["metadata"]["resourceVersion"]) as events:
        if api_server.fake is not None:
            api_server.fake.uninstall(OTHER_GROUP, "inferenceobjectives")
        if api_server.real is not None:
            await asyncio.to_thread(api_server.real.uninstall, OTHER_OBJECTIVES)
        kind, obj = await events.next()
        assert (kind, obj["metadata"]["name"]) == ("DELETED", "a")
        assert await events.line() == b""
    for _ in range(100):  # the real server takes its time
        reply = await client.call("GET", path)
        if reply.status == 404:
            break
        await asyncio.sleep(0.1)
    assert reply.body == "404 page not found\n"
    if api_server.fake is not None:
        api_server.fake.install(OTHER_GROUP, "inferenceobjectives")
    if api_server.real is not None:
        await asyncio.to_thread(api_server.real.install, OTHER_OBJECTIVES)
    assert (await client.list(OTHER_OBJECTIVES, namespace))["items"] == []


async def test_groups_are_apart(api_server: Served) -> None:
    """Objectives of the two groups are different objects, whatever their names."""
    client, namespace = api_server.client, api_server.namespace
    await client.create(objective("a", namespace, priority=1))
    await client.create(objective("a", namespace, priority=2, group=OTHER_GROUP))
    (one,) = (await client.list(OTHER_OBJECTIVES, namespace))["items"]
    assert one["spec"]["priority"] == 2


async def test_discovery(api_server: Served) -> None:
    """Groups, and the resources of a group, can be listed."""
    client = api_server.client
    groups = {group["name"] for group in (await client.call("GET", "/apis")).body["groups"]}
    assert {"llm-d.ai", OTHER_GROUP, "inference.networking.k8s.io", "coordination.k8s.io"} <= groups
    listed = (await client.call("GET", "/apis/llm-d.ai/v1alpha2")).body["resources"]
    names = {entry["name"] for entry in listed if entry["namespaced"]}
    assert {"inferenceobjectives", "inferenceobjectives/status", "inferencemodelrewrites"} <= names
    assert "pods" in {entry["name"] for entry in (await client.call("GET", "/api/v1")).body["resources"]}
    assert (await client.call("GET", "/readyz")).body == "ok"
    assert (await client.call("GET", "/version")).body["major"] == "1"


async def test_token_reviews(api_server: Served) -> None:
    """A token that somebody has is authenticated, any other is not; both reviews are answered with 201."""
    if api_server.fake is not None:
        api_server.fake.reviews.tokens[ADMIN_TOKEN] = "admin"
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    known = await api_server.client.call("POST", path, review | {"spec": {"token": ADMIN_TOKEN}})
    unknown = await api_server.client.call("POST", path, review | {"spec": {"token": "nobody's"}})
    assert (known.status, known.body["status"]["authenticated"]) == (201, True)
    assert known.body["status"]["user"]["username"] == "admin"
    assert "system:authenticated" in known.body["status"]["user"]["groups"]
    assert (unknown.status, unknown.body["status"].get("authenticated", False)) == (201, False)
    assert unknown.body["status"]["error"]


async def test_access_reviews(api_server: Served) -> None:
    """What a user may do is allowed."""
    if api_server.fake is not None:
        api_server.fake.reviews.allowed.add(("someone", "get", "/metrics"))
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "someone", "nonResourceAttributes": {"path": "/metrics", "verb": "get"}},
    }
    reply = await api_server.client.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert (reply.status, reply.body["status"]["allowed"]) == (201, True)
