"""The small world of `world`, with its objects in an API server, and one picker or several that follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.apiserver.server import FakeApiServer
from tests.e2e.world import HOST, Setting, World

if TYPE_CHECKING:
    from pathlib import Path

NAMESPACE = "team"
POOL = "pool"
LABELS = {"app": "m"}
OBJECTIVES = "inferenceobjectives.llm-d.ai"
POOLS = "inferencepools"
PODS = "pods"


@dataclass(kw_only=True)
class ClusterSetting(Setting):
    """What a test wants of its world, and of how it is told of pods."""

    selector: str | None = None
    """`--endpoint-selector` instead of a pool."""


class ClusterWorld(World):
    """Envoy, pickers, a model server and the fake API server that the test changes."""

    setting: ClusterSetting

    def __init__(self, setting: ClusterSetting, directory: Path) -> None:
        super().__init__(setting, directory)
        self.api = FakeApiServer()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.api)
        self.kubeconfig = self.api.kubeconfig(self.directory, namespace=NAMESPACE)
        return await super().__aenter__()

    def source_flags(self) -> list[str]:
        """The API server, and what of it is ours."""
        flags = ["--kubeconfig", str(self.kubeconfig), "--metrics-endpoint-auth=false", "-v=4"]
        if self.setting.selector is None:
            return [*flags, "--pool-name", POOL]
        ports = ",".join(map(str, self.ports))
        return [*flags, "--endpoint-selector", self.setting.selector, "--endpoint-target-ports", ports]

    def write_objects(self, ports: object, **priorities: int) -> None:
        """A pool with one pod, `premium` and `batch`."""
        del ports
        if self.setting.selector is None:
            self.create_pool()
        self.create_pod("m")
        for name, priority in ({"premium": 10, "batch": -10} | priorities).items():
            self.create_objective(name, priority)

    def create_pool(self, name: str = POOL) -> None:
        """A pool of the pods with our label, on the model server's ports."""
        self.api.create(
            {
                "apiVersion": "inference.networking.k8s.io/v1",
                "kind": "InferencePool",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "selector": {"matchLabels": LABELS},
                    "targetPorts": [{"number": port} for port in self.ports],
                    "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
                },
            }
        )

    def create_pod(self, name: str, ip: str = HOST, *, labels: dict[str, str] | None = None) -> None:
        """A pod that is ready, or isn't if it has no address."""
        self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels or LABELS},
                "spec": {"containers": [{"name": "server", "image": "server"}]},
                "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
            }
        )

    def create_objective(
        self, name: str, priority: int, *, group: str = "llm-d.ai", pool: str = POOL
    ) -> dict[str, Any]:
        """An objective of the pool."""
        return self.api.create(
            {
                "apiVersion": f"{group}/v1alpha2",
                "kind": "InferenceObjective",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"priority": priority, "poolRef": {"name": pool}},
            }
        )

    def accepted(self, name: str, resource: str = OBJECTIVES) -> tuple[str, str, int] | None:
        """Status, reason and observed generation of an objective's Accepted condition."""
        found = self.api.get(resource, NAMESPACE, name)
        for condition in found.get("status", {}).get("conditions", []):
            if condition["type"] == "Accepted":
                return condition["status"], condition["reason"], condition.get("observedGeneration", 0)
        return None

    async def until_accepted(self, name: str, *expected: object, resource: str = OBJECTIVES) -> None:
        """Wait until an objective's Accepted condition is this."""
        await self.api.until(lambda: self.accepted(name, resource) == expected)
