"""Following over the wire: against the fake API server and, where there is one, a real one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from epp.api.changes import Batch
from epp.kube import reflector
from epp.kube.connection import ApiServer
from epp.kube.source import ClusterObjects
from epp.kube.standing import Standing, State
from tests.apiserver.fixtures import Served
from tests.apiserver.real import RealApiServer
from tests.apiserver.refusal import Refusal
from tests.apiserver.server import Ending, FakeApiServer, where
from tests.kube import objects
from tests.kube.observer import Observer

PATIENCE_S = 40.0
OBJECTIVES = "inferenceobjectives.llm-d.ai"
POOLS = "inferencepools.inference.networking.k8s.io"
REWRITES = "inferencemodelrewrites.inference.networking.x-k8s.io"


@pytest.fixture(autouse=True)
def _half_made_connections() -> Iterator[None]:
    """Asyncio 3.11 forgets the transport of a connection that breaks while it is made; here servers die by design."""
    _collect()
    yield
    _collect()


def _collect() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Follower(Observer):
    """A picker's view of a cluster, and a way to wait for it; the pods are those of the pool."""

    def __init__(self, server: ApiServer, namespace: str, *, haste: float = 1.0) -> None:
        super().__init__()
        self._pulse = asyncio.Event()
        self.objects = ClusterObjects(
            server,
            namespace=namespace,
            pool="pool",
            pool_group=objects.POOL_GROUP,
            clock=asyncio.get_running_loop().time,
            rng=random.Random(1),
            sleep=lambda seconds: asyncio.sleep(seconds / haste),
        )

    def take(self, batch: Batch) -> None:
        super().take(batch)
        pools = [found for ref, found in self.held.items() if ref.kind == "InferencePool"]
        self.objects.select(pools[0].selector if pools else None)
        self._pulse.set()

    async def until(self, predicate: Callable[[], object]) -> None:
        """Wait until what is held is as it should be; looked at after each batch, and now and then."""
        async with asyncio.timeout(PATIENCE_S):
            while not predicate():
                self._pulse.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._pulse.wait(), 0.05)

    def priorities(self) -> dict[str, int | None]:
        """Of the objectives that are held."""
        return {
            ref.name: found.priority for ref, found in self.held.items() if ref.kind == "InferenceObjective"
        }

    def standing(self, resource: str) -> Standing:
        """How well one collection is known."""
        (found,) = (each for each in self.objects.standings() if each.resource == resource)
        return found

    def state(self, resource: str) -> State:
        """The same in a word."""
        return self.standing(resource).state

    @property
    def is_following(self) -> bool:
        """Whether everything is."""
        return {each.state for each in self.objects.standings()} == {State.FOLLOWING}


@asynccontextmanager
async def following(config: Path, namespace: str, *, haste: float = 1.0):
    """A follower, while the block runs; it leaves nothing open."""
    server = await ApiServer.connect(config)
    follower = Follower(server, namespace, haste=haste)
    task = asyncio.create_task(follower.objects.run(follower.take))
    try:
        yield follower
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.close()


def at(namespace: str, obj: dict) -> dict:
    """The same object in another namespace, without a status that the test doesn't care about."""
    return {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}


async def test_what_happens_is_followed(api_server: Served, tmp_path):
    """Objects come, change and go as they do in the cluster, each in its order."""
    client, namespace = api_server.client, api_server.namespace
    await client.create(at(namespace, objects.objective("a", 1)))
    await client.create(at(namespace, objects.pool()))
    await client.create(at(namespace, objects.pod("p")))
    await client.create(at(namespace, objects.pod("q", app="other")))
    async with following(api_server.kubeconfig(tmp_path), namespace) as follower:
        await follower.until(lambda: follower.objects.why_not_synced() is None)
        assert follower.names() == ["a", "p", "pool"]
        await follower.until(lambda: follower.is_following)
        ref = next(ref for ref in follower.held if ref.name == "a")
        await client.patch(OBJECTIVES, namespace, "a", {"spec": {"priority": 2}})
        await client.patch_status(OBJECTIVES, namespace, "a", {"conditions": []})
        await client.delete(OBJECTIVES, namespace, "a")
        made = await client.create(at(namespace, objects.objective("a", 3)))
        await follower.until(lambda: follower.priorities() == {"a": 3})
        states = [each and each.priority for each in follower.history[ref]]
        assert states[0] == 1
        assert states[-2:] == [None, 3]
        assert states[1:-2] in ([2], [])
        assert follower.objects.written(ref).uid == made["metadata"]["uid"]
        await client.patch("pods", namespace, "q", {"metadata": {"labels": {"app": "vllm"}}})
        await follower.until(lambda: follower.names("Pod") == ["p", "q"])
        selector = {"matchLabels": {"app": "third"}}
        await client.patch(POOLS, namespace, "pool", {"spec": {"selector": selector}})
        await follower.until(lambda: follower.names("Pod") == [])
        await client.create(at(namespace, objects.pod("r", app="third")))
        await follower.until(lambda: follower.names("Pod") == ["r"])
        await client.delete(POOLS, namespace, "pool")
        await follower.until(lambda: follower.names("InferencePool") == [])
        await follower.until(lambda: follower.state("pods") is State.IDLE)


async def test_pages_show_one_version(api_server: Served, tmp_path, monkeypatch):
    """A list in small pages, while objects come and go between them, and the watch behind it miss nothing."""
    monkeypatch.setattr(reflector, "PAGE_OBJECTS", 4)
    monkeypatch.setattr(reflector, "STEP_OBJECTS", 3)
    client, namespace = api_server.client, api_server.namespace
    await client.create(at(namespace, objects.pool()))
    for number in range(18):
        await client.create(at(namespace, objects.pod(f"p{number:02}")))
    async with following(api_server.kubeconfig(tmp_path), namespace) as follower:
        for number in range(17, 5, -2):
            await client.delete("pods", namespace, f"p{number:02}")
            await client.create(at(namespace, objects.pod(f"n{number:02}")))
        wanted = sorted(each["metadata"]["name"] for each in (await client.list("pods", namespace))["items"])
        await follower.until(lambda: follower.names("Pod") == wanted)
        assert follower.objects.standings()[-1].relists["start"] == 1


class BackFromTheDead(ApiServer):
    """A connection whose first watch of each collection asks for what nobody remembers."""

    def watch(self, path, *, query, connect_timeout_s):
        self.__dict__.setdefault("asked", set())
        if path not in self.asked:
            self.asked.add(path)
            query = {**query, "resourceVersion": "1"}
        return super().watch(path, query=query, connect_timeout_s=connect_timeout_s)


async def test_a_version_from_before_memory_is_a_410(api_server: Served, tmp_path, monkeypatch):
    """Whoever comes back after a long time is told so by either server, looks again, and is up to date."""
    client, namespace = api_server.client, api_server.namespace
    await client.create(at(namespace, objects.objective("a", 1)))
    if api_server.fake is not None:
        api_server.fake.compact()
    monkeypatch.setattr("tests.kube.test_kube_following.ApiServer", BackFromTheDead)
    async with following(api_server.kubeconfig(tmp_path), namespace) as follower:
        await follower.until(lambda: follower.standing(OBJECTIVES).relists["expired"] == 1)
        await client.patch(OBJECTIVES, namespace, "a", {"spec": {"priority": 2}})
        await follower.until(lambda: follower.priorities() == {"a": 2})
        assert follower.standing(OBJECTIVES).relists["start"] == 1


async def test_a_real_server_that_dies(real_api_server: RealApiServer, tmp_path):
    """An API server that is killed and started again is followed again, and what happened meanwhile comes."""
    real, namespace = real_api_server, "dying"
    path = f"/apis/{objects.GROUP}/v1alpha2/namespaces/{namespace}/inferenceobjectives"
    real.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    for name in ("stays", "goes"):
        real.call("POST", path, at(namespace, objects.objective(name, 1)))
    async with following(real.kubeconfig(tmp_path, namespace=namespace), namespace, haste=5) as follower:
        await follower.until(lambda: follower.state(OBJECTIVES) is State.FOLLOWING)
        assert follower.priorities() == {"stays": 1, "goes": 1}
        real._apiserver.kill()
        await follower.until(lambda: follower.state(OBJECTIVES) is State.BEHIND)
        assert follower.priorities() == {"stays": 1, "goes": 1}

        def restart() -> None:
            real.stop_apiserver()
            real.start_apiserver()
            real.call("DELETE", f"{path}/goes")
            real.call("POST", path, at(namespace, objects.objective("new", 3)))

        await asyncio.to_thread(restart)
        await follower.until(lambda: follower.priorities() == {"stays": 1, "new": 3})
        await follower.until(lambda: follower.state(OBJECTIVES) is State.FOLLOWING)


async def test_a_kind_that_comes_and_goes(api_server: Served, tmp_path, monkeypatch):
    """A CRD that is deleted takes its objects along; installed again, it is picked up."""
    monkeypatch.setattr(reflector, "GONE_AFTER_S", 1.0)
    namespace = api_server.namespace
    rewrite = {
        "apiVersion": f"{objects.LEGACY_GROUP}/v1alpha2",
        "kind": "InferenceModelRewrite",
        "metadata": {"name": "r", "namespace": namespace},
        "spec": {"poolRef": {"name": "pool"}, "rules": [{"targets": [{"modelRewrite": "m"}]}]},
    }
    await api_server.client.create(rewrite)
    async with following(api_server.kubeconfig(tmp_path), namespace, haste=10) as follower:
        await follower.until(lambda: follower.names("InferenceModelRewrite") == ["r"])
        try:
            await _serve_rewrites(api_server, installed=False)
            await follower.until(lambda: follower.names("InferenceModelRewrite") == [])
            await follower.until(lambda: follower.state(REWRITES) is State.ABSENT)
        finally:
            await _serve_rewrites(api_server, installed=True)
        await follower.until(lambda: follower.state(REWRITES) is State.FOLLOWING)
        await api_server.client.create(rewrite)
        await follower.until(lambda: follower.names("InferenceModelRewrite") == ["r"])


async def _serve_rewrites(api_server: Served, *, installed: bool) -> None:
    """The real server is talked to in a thread, the fake one only in its loop."""
    if api_server.fake is not None:
        act = api_server.fake.install if installed else api_server.fake.uninstall
        act(objects.LEGACY_GROUP, "inferencemodelrewrites")
    elif api_server.real is not None:
        await asyncio.to_thread(api_server.real.install if installed else api_server.real.uninstall, REWRITES)


async def test_rights_that_come_later(rbac_api_server: RealApiServer, tmp_path):
    """A service account without any right is told so by a real server, and follows once it has them."""
    real, namespace = rbac_api_server, "rights-later"

    def call(method: str, path: str, body: dict) -> dict:
        status, answer = real.call(method, path, body)
        assert status in {200, 201}, answer
        return answer

    core, rbac = (
        f"/api/v1/namespaces/{namespace}",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}",
    )
    call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    call("POST", f"{core}/serviceaccounts", {"metadata": {"name": "picker"}})
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    token = call("POST", f"{core}/serviceaccounts/picker/token", review)["status"]["token"]
    async with following(real.kubeconfig(tmp_path, namespace=namespace, token=token), namespace) as follower:
        await follower.until(
            lambda: {each.state for each in follower.objects.standings()[:-1]} == {State.FORBIDDEN}
        )
        assert "get, list and watch on inferencepools" in (follower.objects.why_not_synced() or "")
        groups = ["", objects.GROUP, objects.LEGACY_GROUP, objects.POOL_GROUP]
        rule = {"apiGroups": groups, "resources": ["*"], "verbs": ["get", "list", "watch"]}
        role = {"metadata": {"name": "picker"}, "rules": [rule]}
        await asyncio.to_thread(call, "POST", f"{rbac}/roles", role)
        binding = {
            "metadata": {"name": "picker"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "picker"},
            "subjects": [{"kind": "ServiceAccount", "name": "picker", "namespace": namespace}],
        }
        await asyncio.to_thread(call, "POST", f"{rbac}/rolebindings", binding)
        await follower.until(lambda: follower.objects.why_not_synced() is None)
        await asyncio.to_thread(call, "POST", f"{core}/pods", at(namespace, objects.pod("p")))
        pool = at(namespace, objects.pool())
        await asyncio.to_thread(
            call, "POST", f"/apis/{objects.POOL_GROUP}/v1/namespaces/{namespace}/inferencepools", pool
        )
        await follower.until(lambda: follower.names() == ["p", "pool"])


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_wire_does(seed, tmp_path, monkeypatch):
    """Resets, half lines, pages of HTML, silence and a server that is away: in the end all is as it is there."""
    monkeypatch.setattr(reflector, "CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(reflector, "LIST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(reflector, "SILENCE_S", 0.3)
    monkeypatch.setattr(reflector, "PAGE_OBJECTS", 3)
    rng = random.Random(seed)
    async with FakeApiServer(bookmark_interval_s=0.1) as fake:
        fake.create(objects.pool())
        async with following(fake.kubeconfig(tmp_path), objects.NAMESPACE, haste=50) as follower:
            for number in range(120):
                name = rng.choice("abcdef")
                _happen(rng, fake, name, number)
                if rng.random() < 0.1:
                    await fake.refuse()
                    await asyncio.sleep(rng.choice((0, 0.02)))
                    await fake.resume()
                await asyncio.sleep(rng.choice((0, 0, 0.005, 0.02)))
            fake.heal()
            fake.thaw_watches()
            fake.create(objects.objective("last", 1000))
            await follower.until(lambda: follower.is_following and "last" in follower.priorities())
            wanted = {each["metadata"]["name"]: each["spec"]["priority"] for each in fake.list(OBJECTIVES)}
            pods = sorted(each["metadata"]["name"] for each in fake.list("pods"))
            await follower.until(lambda: follower.priorities() == wanted and follower.names("Pod") == pods)
        await fake.until(lambda: not fake.watches)


def _happen(rng: random.Random, fake: FakeApiServer, name: str, number: int) -> None:
    """One change of the cluster, or one thing that goes wrong."""
    with contextlib.suppress(Refusal):
        match rng.randrange(16):
            case 0 | 1 | 2:
                fake.create(objects.objective(name, number))
            case 3 | 4:
                fake.patch(OBJECTIVES, objects.NAMESPACE, name, {"spec": {"priority": number}})
            case 5:
                fake.delete(OBJECTIVES, objects.NAMESPACE, name)
            case 6 | 7:
                fake.create(objects.pod(name))
            case 8:
                fake.delete("pods", objects.NAMESPACE, name)
            case 9:
                fake.drop_watches(rng.choice(list(Ending)))
            case 10:
                fake.send_line(rng.choice((b"<html>\n", b'{"type":"ADDED"\n', b"\n")))
            case 11:
                fake.compact()
            case 12:
                fake.fail(rng.choice((401, 403, 410, 429, 500, 503)), times=rng.randrange(1, 4))
            case 13:
                rng.choice((fake.html, fake.reset, fake.hang))(
                    where=where(verb=rng.choice(("list", "watch", "")))
                )
            case 14:
                fake.heal()
            case _:
                rng.choice((fake.freeze_watches, fake.thaw_watches))()
