"""Two replicas and one Lease: one serves, and when it goes, the other one does."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clusterworld import NAMESPACE, ClusterSetting, ClusterWorld

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.world import Replica

LEASE = f"epp-{NAMESPACE}-pool.llm-d.ai"


def setting(*flags: str) -> ClusterSetting:
    """Two replicas with a short lease."""
    return ClusterSetting(
        replicas=2,
        max_concurrency=8,
        flags=("--ha-enable-leader-election", "--lease-duration=3s", *flags),
    )


@pytest.fixture
def world(tmp_path: Path) -> Callable[[ClusterSetting], ClusterWorld]:
    """Make a world, which is to be entered with `async with`."""
    return lambda wanted: ClusterWorld(wanted, tmp_path)


class Load:
    """Requests one after the other, and how each ended."""

    def __init__(self, it: ClusterWorld) -> None:
        self._it = it
        self.statuses: list[int] = []

    async def __aenter__(self) -> Load:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def more(self, count: int, status: int = 200) -> None:
        """Wait until so many more requests have ended with that status."""
        wanted = self.statuses.count(status) + count

        async def seen() -> bool:
            return self.statuses.count(status) >= wanted

        await self._it.until(seen)

    async def _run(self) -> None:
        while True:
            async with self._it.client.post(f"{self._it.url}/v1/echo", data=b"x") as response:
                self.statuses.append(response.status)
            await asyncio.sleep(0.01)


async def leaders(it: ClusterWorld) -> list[Replica]:
    """The replicas that say that they lead."""
    return [each for each in it.replicas if await it.metric("epp_leader", of=each) == 1]


async def ready(it: ClusterWorld, replica: Replica) -> bool:
    """Whether a replica's readiness says yes."""
    async with it.client.get(f"{replica.metrics_url}/readyz") as response:
        return response.status == 200


async def until_leading(it: ClusterWorld, replica: Replica) -> None:
    """Wait until a replica leads and is ready."""

    async def leads() -> bool:
        return await it.metric("epp_leader", of=replica) == 1 and await ready(it, replica)

    await it.until(leads)


async def test_a_standby_is_warm_and_not_ready(world: Callable[[ClusterSetting], ClusterWorld]) -> None:
    """One replica leads; the other one knows all objects, and tells its probes to stay away."""
    async with world(setting()) as it:
        first, second = it.replicas
        assert await leaders(it) == [first]
        await it.until_metric("epp_objects", 1, of=second, resource="pods")
        assert not await ready(it, second)
        async with it.client.get(f"{second.metrics_url}/readyz") as response:
            assert "standby" in await response.text()
        async with it.client.get(f"{second.metrics_url}/healthz") as response:
            assert response.status == 200


async def test_a_leader_that_is_killed_is_succeeded(world: Callable[[ClusterSetting], ClusterWorld]) -> None:
    """After its lease has run out the standby serves; until then requests fail, and none hangs."""
    async with world(setting()) as it, Load(it) as load:
        first, second = it.replicas
        await load.more(20)
        first.child.send(signal.SIGKILL)
        await until_leading(it, second)
        await load.more(50)
        assert it.api.get("leases", NAMESPACE, LEASE)["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_stops_hands_over_first(
    world: Callable[[ClusterSetting], ClusterWorld],
) -> None:
    """A rollout costs no request: the standby leads while the old leader still serves what it gets."""
    async with world(setting("--drain-timeout=9s")) as it, Load(it) as load:
        first, second = it.replicas
        await load.more(20)
        first.child.send(signal.SIGTERM)
        await until_leading(it, second)
        await load.more(20)
        await first.child.ended
        await load.more(20)
        assert set(load.statuses) == {200}


@pytest.fixture(params=["keep", "stop"])
def loss(request: pytest.FixtureRequest) -> str:
    """Both ways to lose a lease."""
    return str(request.param)


async def test_a_leader_without_api_server(
    world: Callable[[ClusterSetting], ClusterWorld], loss: str
) -> None:
    """It can't renew: with `keep` it serves on, with `stop` it refuses; both lead again when the server is back."""
    async with world(setting(f"--lease-loss={loss}")) as it:
        first, _ = it.replicas
        async with Load(it) as load:
            await load.more(5)
            await it.api.refuse()
            standing = {"keep": "unconfirmed", "stop": "fenced"}[loss]
            await it.until_metric("epp_lease_standing", 1, of=first, standing=standing)
            if loss == "keep":
                load.statuses.clear()
                await load.more(50)
                assert set(load.statuses) == {200}
            else:
                await load.more(10, status=503)
                assert not await ready(it, first)
            await it.api.resume()
            async with asyncio.timeout(60):
                while len(await leaders(it)) != 1:  # noqa: ASYNC110 - other processes have no event to wait for
                    await asyncio.sleep(0.05)
            await load.more(20)


async def test_a_leader_that_reads_another_holder_steps_down(
    world: Callable[[ClusterSetting], ClusterWorld],
) -> None:
    """Whoever takes the Lease away is obeyed at once, whatever the leader thinks of its own term."""
    async with world(setting()) as it:
        first, _ = it.replicas
        it.api.patch(
            "leases", NAMESPACE, LEASE, {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 60}}
        )
        await it.until_metric("epp_leader", 0, of=first)
        assert not await ready(it, first)
