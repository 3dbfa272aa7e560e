"""Contract: writes, alike on the fake and on a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apiserver.crds import kind_like
from tests.apiserver.fixtures import Served
from tests.apiserver.kinds import PODS
from tests.apiserver.patches import JSON, MERGE, STRATEGIC
from tests.apiserver.samples import (
    CONDITION,
    OBJECTIVES,
    SCHEMA_CONDITION,
    lease,
    metadata,
    objective,
    pod,
    pool,
)

REF = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "pool"}
BOTH = pytest.mark.parametrize("make", [pod, objective])


def _path(obj: dict[str, Any], *, subresource: str = "") -> str:
    return kind_like(obj).path(obj["metadata"]["namespace"], obj["metadata"]["name"], subresource)


async def _patch(
    api_server: Served, obj: dict[str, Any], patch: Any, *, subresource: str = "", content_type: str = MERGE
) -> tuple[int, Any]:
    reply = await api_server.client.call(
        "PATCH", _path(obj, subresource=subresource), patch, content_type=content_type
    )
    return reply.status, reply.body


async def _put(api_server: Served, obj: dict[str, Any], *, subresource: str = "") -> tuple[int, Any]:
    reply = await api_server.client.call("PUT", _path(obj, subresource=subresource), obj)
    return reply.status, reply.body


async def test_creation(api_server: Served) -> None:
    """A new object has a uid, a version, a time and generation 1; the schema's defaults are filled in."""
    made = await api_server.client.create(objective("a", api_server.namespace))
    about = made["metadata"]
    assert about["generation"] == 1
    assert about["uid"]
    assert about["creationTimestamp"].endswith("Z")
    assert int(about["resourceVersion"]) > 0
    assert made["spec"] == {"poolRef": REF}


async def test_status_on_creation_is_dropped(api_server: Served) -> None:
    """A status that comes with the creation is not kept, and the schema's default condition is not there yet."""
    obj = objective("a", api_server.namespace) | {"status": {"conditions": [CONDITION]}}
    reply = await api_server.client.call("POST", kind_like(obj).path(api_server.namespace), obj)
    assert (reply.status, "status" in reply.body) == (201, False)
    a_pod = pod("a", api_server.namespace, ip="10.0.0.1")
    reply = await api_server.client.call("POST", PODS.path(api_server.namespace), a_pod)
    assert (reply.body["status"]["phase"], "podIP" in reply.body["status"]) == ("Pending", False)


@pytest.mark.parametrize("status", [{}, {"conditions": None}])
async def test_default_condition(api_server: Served, status: dict[str, Any]) -> None:
    """The schema's condition appears as soon as a status without conditions is written."""
    obj = await api_server.client.create(objective("a", api_server.namespace))
    code, got = await _patch(
        api_server,
        obj,
        [{"op": "add", "path": "/status", "value": status}],
        subresource="status",
        content_type=JSON,
    )
    assert (code, got["status"]) == (200, {"conditions": [SCHEMA_CONDITION]})
    assert await _patch(api_server, obj, {"status": {"conditions": []}}, subresource="status") != (code, got)
    assert (await api_server.client.get(OBJECTIVES, api_server.namespace, "a"))["status"] == {
        "conditions": []
    }


async def test_pool_defaults(api_server: Served) -> None:
    """A pool gets its defaults."""
    made = await api_server.client.create(pool("a", api_server.namespace))
    assert made["spec"]["appProtocol"] == "http"


async def test_status_subresource(api_server: Served) -> None:
    """Only /status writes the status, and it writes nothing else; neither bumps the generation for it."""
    client, namespace = api_server.client, api_server.namespace
    obj = await client.create(objective("a", namespace, priority=1))
    patch = {
        "metadata": {"labels": {"x": "y"}},
        "spec": {"priority": 2},
        "status": {"conditions": [CONDITION]},
    }
    _, written = await _patch(api_server, obj, patch, subresource="status")
    assert (written["spec"]["priority"], "labels" in written["metadata"]) == (1, False)
    assert written["status"] == {"conditions": [CONDITION]}
    assert written["metadata"]["generation"] == 1
    assert written["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]
    _, main = await _patch(api_server, obj, patch | {"status": {"conditions": []}})
    assert (main["spec"]["priority"], main["metadata"]["labels"]) == (2, {"x": "y"})
    assert main["status"] == {"conditions": [CONDITION]}
    assert main["metadata"]["generation"] == 2
    main["status"]["conditions"] = []
    main["spec"]["priority"] = 3
    code, put = await _put(api_server, main, subresource="status")
    assert (code, put["spec"]["priority"], put["status"]["conditions"]) == (200, 2, [])


async def test_status_of_pods(api_server: Served) -> None:
    """A pod's status is written apart, too; its spec stays and so does its generation."""
    obj = await api_server.client.create(pod("a", api_server.namespace, ip="10.0.0.1"))
    assert obj["status"]["podIP"] == "10.0.0.1"
    assert obj["status"]["podIPs"] == [{"ip": "10.0.0.1"}]
    patch = {"spec": {"activeDeadlineSeconds": 5}, "status": {"phase": "Failed"}}
    _, written = await _patch(api_server, obj, patch, subresource="status", content_type=STRATEGIC)
    assert ("activeDeadlineSeconds" in written["spec"], written["status"]["phase"]) == (False, "Failed")
    _, main = await _patch(api_server, obj, patch | {"status": {"phase": "Running"}})
    assert (main["spec"]["activeDeadlineSeconds"], main["status"]["phase"]) == (5, "Failed")
    assert (written["metadata"]["generation"], main["metadata"]["generation"]) == (1, 2)


async def test_generation_counts_specs_only(api_server: Served) -> None:
    """Labels and annotations do not bump the generation, the spec does, and nobody can set it."""
    obj = await api_server.client.create(objective("a", api_server.namespace))
    generations = []
    for patch in (
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"spec": {"priority": 1}},
        {"spec": {"priority": 1}, "metadata": {"labels": {"a": "c"}}},
        {"metadata": {"generation": 77}},
        {"spec": {"priority": None}},
    ):
        _, obj = await _patch(api_server, obj, patch)
        generations.append(obj["metadata"]["generation"])
    assert generations == [1, 1, 2, 2, 2, 3]


@BOTH
async def test_nothing_changed(api_server: Served, make: object) -> None:
    """A write that changes nothing makes no new version."""
    obj = await api_server.client.create(make("a", api_server.namespace, labels={"a": "b"}))
    code, got = await _patch(api_server, obj, {"metadata": {"labels": {"a": "b"}}})
    assert (code, got["metadata"]["resourceVersion"]) == (200, obj["metadata"]["resourceVersion"])
    code, got = await _put(api_server, obj)
    assert (code, got["metadata"]["resourceVersion"]) == (200, obj["metadata"]["resourceVersion"])


@BOTH
async def test_conflict(api_server: Served, make: object) -> None:
    """A write that names an older version is refused with 409, by PUT and by PATCH, also on /status."""
    client = api_server.client
    old = await client.create(make("a", api_server.namespace))
    await client.patch(
        kind_like(old).resource, api_server.namespace, "a", {"metadata": {"labels": {"a": "b"}}}
    )
    version = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}}
    replies = [
        await _put(api_server, old),
        await _put(api_server, old | {"status": {}}, subresource="status"),
        await _patch(api_server, old, version | {"spec": {}}),
        await _patch(api_server, old, version | {"status": {}}, subresource="status"),
    ]
    assert [(code, body["reason"]) for code, body in replies] == [(409, "Conflict")] * 4


async def test_put_needs_a_version(api_server: Served) -> None:
    """Custom objects and leases are not replaced blindly; pods are."""
    client, namespace = api_server.client, api_server.namespace
    for obj, code in (
        (objective("a", namespace), 422),
        (lease("a", namespace), 422),
        (pod("a", namespace), 200),
    ):
        made = await client.create(obj)
        blind = made | {"metadata": {k: v for k, v in made["metadata"].items() if k != "resourceVersion"}}
        assert (await _put(api_server, blind))[0] == code


async def test_put_of_what_is_not_there(api_server: Served) -> None:
    """A PUT creates leases; of anything else it is a 404."""
    namespace = api_server.namespace
    codes = [(await _put(api_server, make("a", namespace)))[0] for make in (objective, pod, lease)]
    assert codes == [404, 404, 201]


async def test_put_of_another_life(api_server: Served) -> None:
    """A uid that is not the object's is a 409 in a PUT and a 422 in a PATCH."""
    for make in (pod, objective):
        obj = await api_server.client.create(make("a", api_server.namespace))
        other = obj | {"metadata": obj["metadata"] | {"uid": "11111111-2222-3333-4444-555555555555"}}
        assert (await _put(api_server, other))[0] == 409
        assert (await _patch(api_server, obj, {"metadata": {"uid": "1"}}))[0] == 422


@BOTH
async def test_what_is_there_and_what_is_not(api_server: Served, make: object) -> None:
    """Creating twice is 409 AlreadyExists; reading, patching and deleting what is not there is 404."""
    client, namespace = api_server.client, api_server.namespace
    obj = make("a", namespace)
    kind = kind_like(obj)
    replies = [await client.call(method, _path(obj)) for method in ("GET", "DELETE")]
    replies.append(await client.call("PATCH", _path(obj), {}, content_type=MERGE))
    assert {(reply.status, reply.body["reason"]) for reply in replies} == {(404, "NotFound")}
    assert replies[0].body["details"]["kind"] == kind.plural
    await client.create(obj)
    again = await client.call("POST", kind.path(namespace), obj)
    assert (again.status, again.body["reason"]) == (409, "AlreadyExists")
    assert again.body["message"] == f'{kind.resource} "a" already exists'


async def test_json_patch(api_server: Served) -> None:
    """JSON patches add, replace, remove and test; a test that fails, or a path that is not there, is 422."""
    obj = await api_server.client.create(objective("a", api_server.namespace, priority=1))
    operations = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/metadata/labels", "value": {"a/b": "1", "c": "2"}},
        {"op": "remove", "path": "/metadata/labels/c"},
        {"op": "replace", "path": "/spec/priority", "value": 2},
    ]
    code, got = await _patch(api_server, obj, operations, content_type=JSON)
    assert (code, got["metadata"]["labels"], got["spec"]["priority"]) == (200, {"a/b": "1"}, 2)
    for bad in (operations[:1], [{"op": "remove", "path": "/spec/nope"}]):
        assert (await _patch(api_server, obj, bad, content_type=JSON))[0] == 422


async def test_kinds_of_patches(api_server: Served) -> None:
    """Custom objects take no strategic patches; nothing takes a patch of no known kind."""
    obj = await api_server.client.create(objective("a", api_server.namespace))
    assert (await _patch(api_server, obj, {}, content_type=STRATEGIC))[0] == 415
    assert (await _patch(api_server, obj, {}, content_type="application/json"))[0] == 415


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"priority": 2**31}},
        {"spec": {"priority": "high"}},
        {"spec": {"poolRef": {"name": ""}}},
        {"spec": {"poolRef": {"kind": "not a kind"}}},
        {"spec": None},
    ],
)
async def test_schema(api_server: Served, patch: dict[str, Any]) -> None:
    """What the definition's schema forbids is refused with 422."""
    obj = await api_server.client.create(objective("a", api_server.namespace))
    code, body = await _patch(api_server, obj, patch)
    assert (code, body["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(
    "conditions",
    [
        [{"type": "Accepted"}],
        [CONDITION | {"status": "Maybe"}],
        [CONDITION | {"lastTransitionTime": "yesterday"}],
        [CONDITION | {"type": f"T{number}"} for number in range(9)],
        [CONDITION, CONDITION],
    ],
)
async def test_schema_of_conditions(api_server: Served, conditions: list[dict[str, Any]]) -> None:
    """Conditions that are incomplete, malformed, too many or twice of one type are refused with 422."""
    obj = await api_server.client.create(objective("a", api_server.namespace))
    code, _ = await _patch(api_server, obj, {"status": {"conditions": conditions}}, subresource="status")
    assert code == 422


async def test_unknown_fields_are_dropped(api_server: Served) -> None:
    """Fields that a definition does not know are not kept."""
    obj = await api_server.client.create(objective("a", api_server.namespace))
    code, got = await _patch(api_server, obj, {"spec": {"nope": 1, "poolRef": {"nope": 1}}, "nope": 1})
    assert (code, got["spec"]) == (200, {"poolRef": REF})
    assert "nope" not in got


async def test_finalizers(api_server: Served) -> None:
    """A deleted object with finalizers stays, marked, until they are gone; its generation counts the mark."""
    client, namespace = api_server.client, api_server.namespace
    obj = objective("a", namespace)
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    made = await client.create(obj)
    path = kind_like(obj).path(namespace)
    async with client.watch(path, resourceVersion=made["metadata"]["resourceVersion"]) as events:
        reply = await client.call("DELETE", _path(obj))
        again = await client.call("DELETE", _path(obj))
        assert (reply.status, reply.body) == (200, again.body)
        assert reply.body["metadata"]["deletionTimestamp"]
        assert reply.body["metadata"]["generation"] == 2
        code, last = await _patch(
            api_server, obj, {"metadata": {"finalizers": None, "labels": {"last": "1"}}}
        )
        assert (code, last["metadata"]["labels"]) == (200, {"last": "1"})
        kind, marked = await events.next()
        assert (kind, marked["metadata"]["deletionTimestamp"]) == (
            "MODIFIED",
            reply.body["metadata"]["deletionTimestamp"],
        )
        kind, gone = await events.next()
        assert (kind, "labels" in gone["metadata"]) == ("DELETED", False)
    assert (await client.call("GET", _path(obj))).status == 404


async def test_grace_of_pods(api_server: Served) -> None:
    """A pod on a node is marked as going and stays for its grace period; without grace it is gone at once."""
    client, namespace = api_server.client, api_server.namespace
    obj = await client.create(pod("a", namespace, node="node"))
    marked = (await client.call("DELETE", _path(obj))).body
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert marked["metadata"]["generation"] == 2
    assert (await client.get("pods", namespace, "a"))["metadata"] == marked["metadata"]
    assert (await client.call("DELETE", _path(obj), gracePeriodSeconds="0")).status == 200
    assert (await client.call("GET", _path(obj))).status == 404


async def test_preconditions(api_server: Served) -> None:
    """A deletion that means another uid or version is refused with 409."""
    client = api_server.client
    obj = await client.create(objective("a", api_server.namespace))
    about = obj["metadata"]
    for preconditions in ({"uid": "other"}, {"resourceVersion": "1"}):
        assert (await client.call("DELETE", _path(obj), {"preconditions": preconditions})).status == 409
    good = {"preconditions": {"uid": about["uid"], "resourceVersion": about["resourceVersion"]}}
    reply = await client.call("DELETE", _path(obj), good)
    assert (reply.status, reply.body["status"], reply.body["details"]["uid"]) == (
        200,
        "Success",
        about["uid"],
    )


async def test_new_life(api_server: Served) -> None:
    """An object that is deleted and created again has another uid."""
    client, namespace = api_server.client, api_server.namespace
    first = await client.create(objective("a", namespace))
    await client.delete(OBJECTIVES, namespace, "a")
    second = await client.create(objective("a", namespace))
    assert first["metadata"]["uid"] != second["metadata"]["uid"]


async def test_generated_names(api_server: Served) -> None:
    """GenerateName makes names, each another one; neither name nor generateName is 422."""
    client, namespace = api_server.client, api_server.namespace
    obj = pod("a", namespace) | {"metadata": {"namespace": namespace, "generateName": "a-"}}
    names = {(await client.create(obj))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("a-") and len(name) == 7 for name in names)
    reply = await client.call("POST", PODS.path(namespace), pod("a", namespace) | {"metadata": {}})
    assert reply.status == 422


async def test_what_cannot_be_created(api_server: Served) -> None:
    """Unknown namespaces are 404, other namespaces and kinds 400, bad names 422, versions 500, wrong methods 405."""
    client, namespace = api_server.client, api_server.namespace
    path = kind_like(objective("a")).path(namespace)
    anonymous = {k: v for k, v in objective("a", namespace).items() if k not in {"kind", "apiVersion"}}
    versioned = objective("a", namespace) | {"metadata": metadata("a", namespace, resourceVersion="1")}
    replies = [
        await client.call("POST", kind_like(objective("a")).path("nowhere"), objective("a", "nowhere")),
        await client.call("POST", path, objective("a", "default")),
        await client.call("POST", path, pod("a", namespace)),
        await client.call("POST", path, anonymous),
        await client.call("POST", path, objective("Not_a_name", namespace)),
        await client.call("POST", path, versioned),
        await client.call("POST", f"{PODS.path(namespace)}/a", pod("a", namespace)),
        await client.call("PUT", PODS.path(namespace), pod("a", namespace)),
    ]
    assert [reply.status for reply in replies] == [404, 400, 400, 400, 422, 500, 405, 405]
    assert (
        await client.call(
            "POST",
            PODS.path(namespace),
            {k: v for k, v in pod("a", namespace).items() if k not in {"kind", "apiVersion"}},
        )
    ).status == 201
