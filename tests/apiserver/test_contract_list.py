"""Contract: lists, pages and selectors, alike on the fake and on a real API server."""

from __future__ import annotations

import pytest

from tests.apiserver.fixtures import Served
from tests.apiserver.kinds import PODS
from tests.apiserver.samples import OBJECTIVES, objective, pod

BOTH = pytest.mark.parametrize(("resource", "make"), [("pods", pod), (OBJECTIVES, objective)])


def _names(page: dict) -> list[str]:
    return [item["metadata"]["name"] for item in page["items"]]


@BOTH
async def test_pages_are_pinned(api_server: Served, resource: str, make: object) -> None:
    """A continue token shows the objects as they were when the first page was read, whatever happens meanwhile."""
    client, namespace = api_server.client, api_server.namespace
    for name in "abcde":
        await client.create(make(name, namespace))
    first = await client.list(resource, namespace, limit="2")
    await client.delete(resource, namespace, "d")
    await client.create(make("aa", namespace))
    await client.create(make("cc", namespace))
    await client.patch(resource, namespace, "c", {"metadata": {"labels": {"new": "label"}}})
    second = await client.list(resource, namespace, limit="2", **{"continue": first["metadata"]["continue"]})
    rest = await client.list(resource, namespace, **{"continue": first["metadata"]["continue"]})
    assert [_names(page) for page in (first, second, rest)] == [["a", "b"], ["c", "d"], ["c", "d", "e"]]
    assert "labels" not in second["items"][0]["metadata"]
    versions = {page["metadata"]["resourceVersion"] for page in (first, second, rest)}
    assert versions == {first["metadata"]["resourceVersion"]}
    assert [page["metadata"].get("remainingItemCount") for page in (first, second, rest)] == [3, 1, None]
    assert not rest["metadata"].get("continue")
    assert _names(await client.list(resource, namespace)) == ["a", "aa", "b", "c", "cc", "e"]


async def test_end_of_pages(api_server: Served) -> None:
    """The last page has no token: built-in kinds leave it out, custom kinds give an empty one."""
    pods = await api_server.client.list("pods", api_server.namespace, limit="2")
    objectives = await api_server.client.list(OBJECTIVES, api_server.namespace, limit="2")
    assert "continue" not in pods["metadata"]
    assert objectives["metadata"]["continue"] == ""
    assert (pods["kind"], objectives["kind"]) == ("PodList", "InferenceObjectiveList")
    assert pods["items"] == objectives["items"] == []


async def test_items_of_lists(api_server: Served) -> None:
    """Items of built-in kinds do not say what they are; those of custom kinds do."""
    client, namespace = api_server.client, api_server.namespace
    await client.create(pod("a", namespace))
    await client.create(objective("a", namespace))
    (a_pod,) = (await client.list("pods", namespace))["items"]
    (an_objective,) = (await client.list(OBJECTIVES, namespace))["items"]
    assert not {"kind", "apiVersion"} & a_pod.keys()
    assert (an_objective["kind"], an_objective["apiVersion"]) == ("InferenceObjective", "llm-d.ai/v1alpha2")


@BOTH
async def test_version_zero(api_server: Served, resource: str, make: object) -> None:
    """resourceVersion=0 answers from what is at hand, and does not care for a limit."""
    client, namespace = api_server.client, api_server.namespace
    for name in "abc":
        await client.create(make(name, namespace))
    everything = await client.list(resource, namespace)
    version = everything["metadata"]["resourceVersion"]
    at_least = await client.list(resource, namespace, resourceVersion=version)
    page = await client.list(resource, namespace, resourceVersion="0", limit="2")
    assert _names(everything) == _names(at_least) == _names(page) == ["a", "b", "c"]


@BOTH
async def test_exact_version(api_server: Served, resource: str, make: object) -> None:
    """A version together with a limit, or with the match Exact, gives the objects of that version."""
    client, namespace = api_server.client, api_server.namespace
    first = await client.create(make("a", namespace))
    await client.create(make("b", namespace))
    version = first["metadata"]["resourceVersion"]
    with_limit = await client.list(resource, namespace, resourceVersion=version, limit="5")
    exact = await client.list(resource, namespace, resourceVersion=version, resourceVersionMatch="Exact")
    not_older = await client.list(
        resource, namespace, resourceVersion=version, resourceVersionMatch="NotOlderThan"
    )
    assert [_names(page) for page in (with_limit, exact, not_older)] == [["a"], ["a"], ["a", "b"]]
    assert with_limit["metadata"]["resourceVersion"] == version


async def test_version_of_the_future(api_server: Served) -> None:
    """A version that is yet to come is a 504 that says when to ask again."""
    reply = await api_server.client.call("GET", PODS.path(api_server.namespace), resourceVersion="999999999")
    assert (reply.status, reply.body["reason"], reply.headers["Retry-After"]) == (504, "Timeout", "1")


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("app=x", "ab"),
        ("app==x,tier", "b"),
        ("app!=x", "cd"),
        ("app in (x, y)", "abc"),
        ("app notin (x,y)", "d"),
        ("!app", "d"),
        ("tier", "bd"),
        ("size>3", "c"),
        ("size<4", "b"),
        ("app=x,!tier", "a"),
        ("", "abcd"),
    ],
)
async def test_label_selectors(api_server: Served, selector: str, names: str) -> None:
    """Both read the whole syntax of label selectors alike."""
    client, namespace = api_server.client, api_server.namespace
    for name, labels in {
        "a": {"app": "x"},
        "b": {"app": "x", "tier": "1", "size": "3"},
        "c": {"app": "y", "size": "5"},
        "d": {"tier": ""},
    }.items():
        await client.create(objective(name, namespace, labels=labels))
    page = await client.list(OBJECTIVES, namespace, labelSelector=selector)
    assert "".join(_names(page)) == names


async def test_page_of_a_selection(api_server: Served) -> None:
    """A page of a selection is full if there is enough, and does not count what remains."""
    client, namespace = api_server.client, api_server.namespace
    for number in range(6):
        await client.create(pod(f"p{number}", namespace, labels={"odd": str(number % 2)}))
    first = await client.list("pods", namespace, labelSelector="odd=1", limit="2")
    token = first["metadata"]["continue"]
    rest = await client.list("pods", namespace, labelSelector="odd=1", limit="2", **{"continue": token})
    assert (_names(first), _names(rest)) == (["p1", "p3"], ["p5"])
    assert "remainingItemCount" not in first["metadata"]


async def test_field_selectors(api_server: Served) -> None:
    """Objects are selected by their names; pods by their phase, too."""
    client, namespace = api_server.client, api_server.namespace
    await client.create(pod("a", namespace, ip="10.0.0.1"))
    await client.create(pod("b", namespace))
    await client.create(objective("a", namespace))
    await client.create(objective("b", namespace))
    for resource, selector, names in [
        ("pods", "metadata.name=a", ["a"]),
        ("pods", "status.phase!=Running", ["b"]),
        (OBJECTIVES, "metadata.name=b", ["b"]),
        (OBJECTIVES, "metadata.name!=b", ["a"]),
    ]:
        assert _names(await client.list(resource, namespace, fieldSelector=selector)) == names


@pytest.mark.parametrize(
    "query",
    [
        {"labelSelector": "app in ("},
        {"labelSelector": "app=x,"},
        {"labelSelector": "=x"},
        {"fieldSelector": "spec.nope=x"},
        {"limit": "x"},
        {"continue": "nonsense"},
        {"resourceVersion": "x"},
    ],
)
async def test_nonsense(api_server: Served, query: dict[str, str]) -> None:
    """What makes no sense is refused with 400."""
    reply = await api_server.client.call("GET", PODS.path(api_server.namespace), **query)
    assert (reply.status, reply.body["reason"]) == (400, "BadRequest")


async def test_all_namespaces(api_server: Served) -> None:
    """Without a namespace a list holds those of all namespaces, ordered by namespace and name."""
    client, namespace = api_server.client, api_server.namespace
    other = f"{namespace}-other"
    await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    for where in (other, namespace):
        await client.create(pod("b", where))
        await client.create(pod("a", where))
    items = (await client.list("pods"))["items"]
    found = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items]
    expected = [
        (where, name) for where in sorted([namespace, other], key=lambda name: name + "/") for name in "ab"
    ]
    assert [pair for pair in found if pair[0] in {namespace, other}] == expected
