"""An API server with a large namespace, for whoever wants to follow it: the tests' own, with pods as real ones are.

    python -m benchmarks.costs.apiserver --pods N --objectives M --folder PATH

It serves until it is killed, and says where its kubeconfig is.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from benchmarks.program import SERVING, run, say
from tests.apiserver.server import FakeApiServer

NAMESPACE = "bench"
POOL = "pool"
_FILLER = "x" * 4300
"""What a real pod has besides what a picker reads: volumes, probes, tolerations, managed fields. 5.7 kB in all."""


def pod(number: int) -> dict[str, Any]:
    """A pod that is ready, of the usual size."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"llama-{number:05}",
            "namespace": NAMESPACE,
            "labels": {"app": "llama", "pod-template-hash": "6d4b75cb6d", "llm-d.ai/engine-type": "vllm"},
            "annotations": {"prometheus.io/scrape": "true", "filler": _FILLER},
        },
        "spec": {"nodeName": f"node-{number % 500}", "containers": [{"name": "vllm", "image": "vllm"}]},
        "status": {
            "phase": "Running",
            "podIP": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
            ],
        },
    }


def objective(number: int) -> dict[str, Any]:
    """One of many objectives, of sixteen priorities."""
    return {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": f"objective-{number:04}", "namespace": NAMESPACE},
        "spec": {"priority": number % 16, "poolRef": {"name": POOL}},
    }


def pool() -> dict[str, Any]:
    """The pool of those pods."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": POOL, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": "llama"}}, "targetPorts": [{"number": 8000}]},
    }


async def _serve(pods: int, objectives: int, folder: Path) -> None:
    async with FakeApiServer() as server:
        server.create(pool())
        for number in range(objectives):
            server.create(objective(number))
        for number in range(pods):
            server.create(pod(number))
        say(SERVING, url=server.url, kubeconfig=str(server.kubeconfig(folder, namespace=NAMESPACE)))
        await asyncio.Event().wait()


def main(argv: list[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.apiserver")
    parser.add_argument("--pods", type=int, required=True)
    parser.add_argument("--objectives", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args(argv)
    run(_serve(args.pods, args.objectives, args.folder))


if __name__ == "__main__":
    main()
