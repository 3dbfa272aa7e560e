"""Behind real Envoy, with everything that matters in an API server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.server import where
from tests.e2e.clusterworld import NAMESPACE, OBJECTIVES, PODS, POOL, POOLS, ClusterSetting, ClusterWorld

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> Callable[[ClusterSetting], ClusterWorld]:
    """Make a world, which is to be entered with `async with`."""
    return lambda setting: ClusterWorld(setting, tmp_path)


async def queue(it: ClusterWorld, *named: tuple[str, str]) -> list[asyncio.Task[tuple[int, str]]]:
    """Occupy the only place, then queue requests of these names and objectives, one after the other."""
    tasks = [it.hold("first")]
    await it.server.until_held(1)
    for name, objective in named:
        tasks.append(it.hold(name, objective))
        await it.until_queued(len(tasks) - 1)
    return tasks


async def order(it: ClusterWorld, tasks: list[asyncio.Task[tuple[int, str]]]) -> list[str]:
    """Let everybody go, and see in which order they went."""
    it.server.order.clear()
    it.server.let_go(len(tasks))
    answers = await asyncio.gather(*tasks)
    assert {status for status, _ in answers} == {200}
    return it.server.order[1:]


async def test_an_objective_from_its_creation_to_its_end(
    world: Callable[[ClusterSetting], ClusterWorld],
) -> None:
    """Created it counts and is accepted, moved it counts no more; deleted, what is queued keeps its priority."""
    async with world(ClusterSetting()) as it:
        await it.until_accepted("premium", "True", "Accepted", 1)
        conditions = it.api.get(OBJECTIVES, NAMESPACE, "premium")["status"]["conditions"]
        assert [each["type"] for each in conditions] == ["Accepted"]

        it.create_objective("urgent", 50)
        await it.until_accepted("urgent", "True", "Accepted", 1)
        assert await order(it, await queue(it, ("a", "premium"), ("b", "urgent"))) == ["b", "a"]

        it.api.patch(OBJECTIVES, NAMESPACE, "urgent", {"spec": {"poolRef": {"name": "elsewhere"}}})
        await it.until_accepted("urgent", "Unknown", "Pending", 2)
        assert await order(it, await queue(it, ("c", "urgent"), ("d", "premium"))) == ["d", "c"]

        tasks = await queue(it, ("e", "batch"), ("f", "premium"))
        it.api.delete(OBJECTIVES, NAMESPACE, "premium")
        await it.until_metric("epp_objects", 2, resource=OBJECTIVES)
        tasks.append(it.hold("g", "premium"))  # a name that nobody knows any more: priority 0
        await it.until_queued(3)
        assert await order(it, tasks) == ["f", "g", "e"]


async def test_a_priority_that_changes_acts_on_the_next_request(
    world: Callable[[ClusterSetting], ClusterWorld],
) -> None:
    """What was queued before keeps its place; what comes after the change has the new priority."""
    async with world(ClusterSetting()) as it:
        tasks = await queue(it, ("old", "batch"))
        it.api.patch(OBJECTIVES, NAMESPACE, "batch", {"spec": {"priority": 99}})
        await it.until_accepted("batch", "True", "Accepted", 2)
        tasks += [it.hold("p", "premium")]
        await it.until_queued(2)
        tasks += [it.hold("new", "batch")]
        await it.until_queued(3)
        assert await order(it, tasks) == ["new", "p", "old"]


async def test_pods_come_and_go(world: Callable[[ClusterSetting], ClusterWorld]) -> None:
    """A pod that isn't ready any more gets nothing, requests are held, and the next ready pod gets them."""
    async with world(ClusterSetting()) as it:
        it.api.patch_status(PODS, NAMESPACE, "m", {"conditions": [{"type": "Ready", "status": "False"}]})
        await it.until_metric("epp_endpoint_knowledge", 0)
        held = it.hold("held")
        await it.until_queued(1)
        it.create_pod("n")
        it.server.let_go(1)
        assert await held == (200, "held")


async def test_a_pool_deleted_and_created_again(world: Callable[[ClusterSetting], ClusterWorld]) -> None:
    """Not ready while it is gone, objectives say PoolNotFound; back again, everything is as before."""
    async with world(ClusterSetting()) as it:
        await it.until_accepted("premium", "True", "Accepted", 1)
        it.api.delete(POOLS, NAMESPACE, POOL)
        await it.until_accepted("premium", "False", "PoolNotFound", 1)
        async with it.client.get(f"{it.metrics_url}/readyz") as response:
            assert response.status == 503
            assert "there is no InferencePool" in await response.text()
        it.create_pool()
        await it.until_accepted("premium", "True", "Accepted", 1)
        assert await order(it, await queue(it, ("b", "batch"), ("p", "premium"))) == ["p", "b"]


async def test_a_lost_api_server_leaves_the_last_state_serving(
    world: Callable[[ClusterSetting], ClusterWorld],
) -> None:
    """While nobody answers, everything stays as it was; what changed meanwhile counts once the server is back."""
    async with world(ClusterSetting()) as it:
        await it.until_accepted("premium", "True", "Accepted", 1)
        await it.api.refuse()
        await it.until_metric("epp_objects_state", 1, resource="pods", state="behind")
        assert await order(it, await queue(it, ("b", "batch"), ("p", "premium"))) == ["p", "b"]
        async with it.client.get(f"{it.metrics_url}/readyz") as response:
            assert response.status == 200
        it.api.patch(OBJECTIVES, NAMESPACE, "batch", {"spec": {"priority": 99}})
        it.api.compact()
        await it.api.resume()
        await it.until_accepted("batch", "True", "Accepted", 2)
        assert await order(it, await queue(it, ("p", "premium"), ("b", "batch"))) == ["b", "p"]


async def test_pods_by_selector_without_a_pool(world: Callable[[ClusterSetting], ClusterWorld]) -> None:
    """--endpoint-selector takes the full syntax, needs no InferencePool, and still reads objectives."""
    async with world(ClusterSetting(selector="app in (m),!retired")) as it:
        it.create_objective("mine", 20, pool="epp")
        await it.until_accepted("mine", "True", "Accepted", 1)
        assert it.api.count(resource=POOLS) == 0
        assert await order(it, await queue(it, ("a", ""), ("b", "mine"))) == ["b", "a"]
        it.api.patch(PODS, NAMESPACE, "m", {"metadata": {"labels": {"retired": "yes"}}})
        await it.until_metric("epp_objects", 0, resource=PODS)


async def test_the_rights_of_the_conformance_fixture_are_enough(tmp_path: Path) -> None:
    """With nothing but pools and pods to read, the picker serves, and says which rights the rest would need."""
    it = ClusterWorld(ClusterSetting(), tmp_path)
    for kind in ("inferenceobjectives", "inferencemodelrewrites"):
        for group in ("llm-d.ai", "inference.networking.x-k8s.io"):
            for verb in ("list", "watch", "get", "patch"):
                it.api.forbid(verb, f"{kind}.{group}")
    it.api.forbid("create", "events")
    async with it:
        served = it.hold("served", "premium")
        it.server.let_go(1)
        assert await served == (200, "served")
        assert await it.metric("epp_objects_state", resource=OBJECTIVES, state="forbidden") == 1


async def test_an_objective_that_became_unreadable_says_so(
    world: Callable[[ClusterSetting], ClusterWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A priority that is no int32 is not taken; what the objective said before counts on, and its status tells both."""
    async with world(ClusterSetting()) as it:
        await it.until_accepted("premium", "True", "Accepted", 1)
        # Upstream's definitions let this through: nothing enforces a schema's `format: int32`.
        monkeypatch.setattr("tests.apiserver.admission.admitted", lambda _, obj: obj)
        it.api.patch(OBJECTIVES, NAMESPACE, "premium", {"spec": {"priority": 2**40}})
        await it.until_accepted("premium", "False", "Invalid", 2)
        assert await order(it, await queue(it, ("a", "batch"), ("b", "premium"))) == ["b", "a"]
        it.api.patch(OBJECTIVES, NAMESPACE, "premium", {"spec": {"priority": 5}})
        await it.until_accepted("premium", "True", "Accepted", 3)


async def test_a_pool_that_is_not_known_yet_is_not_called_missing(tmp_path: Path) -> None:
    """Objectives that are read before the pool are judged once it is: no status says PoolNotFound on the way."""
    it = ClusterWorld(ClusterSetting(), tmp_path)
    it.api.slow(1.0, where(verb="list", resource="inferencepools"))
    async with it:
        await it.until_accepted("premium", "True", "Accepted", 1)
        written = [each.body for each in it.api.asked(verb="patch", subresource="status")]
        assert written
        assert not [body for body in written if "PoolNotFound" in str(body)]
