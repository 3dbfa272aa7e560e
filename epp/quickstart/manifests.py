"""The two files that `epp serve` reads, written for a list of servers: the pool's objects and its configuration.

The objects are what `kubectl get -o yaml` would show of such a pool, as far as the picker looks at them, so they
can be moved into a cluster one day. A pod stands for one machine (one IP address); its servers are its ports. A
pool has the same target ports for all of its pods, so a pod that doesn't use all of them says which it does.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import yaml

from epp.quickstart.address import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from epp.quickstart.address import Server

ACTIVE_PORTS = "llm-d.ai/active-ports"
"""The annotation by which a pod names the target ports that it serves."""
MAX_TARGET_PORTS = 8
"""As many as an InferencePool may have."""
EXAMPLE_OBJECTIVES: Mapping[str, int] = {"premium": 10, "batch": -10}
"""Name and priority of the objectives that every new pool starts with."""

_MAX_NAME_LENGTH = 50


@dataclass(frozen=True, slots=True)
class Utilization:
    """An endpoint has room while its engine's own queue and KV cache are below these."""

    queue_depth: int = 5
    kv_cache: float = 0.8


@dataclass(frozen=True, slots=True)
class Concurrency:
    """An endpoint has room while fewer requests than this are running on it."""

    max_requests: int


@dataclass(frozen=True, slots=True)
class _Pod:
    name: str
    ip: str
    ports: tuple[int, ...]


def render_objects(pool_name: str, servers: Iterable[Server]) -> str:
    """An InferencePool, a Pod for every machine, and the example objectives.

    AddressError if one pool cannot hold these servers.
    """
    pods = _pods(tuple(servers))
    target_ports = sorted({port for pod in pods for port in pod.ports})
    if len(target_ports) > MAX_TARGET_PORTS:
        raise AddressError(
            f"the servers use {len(target_ports)} different ports ({', '.join(map(str, target_ports))}); a pool "
            f"has at most {MAX_TARGET_PORTS}: give the servers of different machines the same ports"
        )
    return (
        _OBJECTS_INTRO
        + _document(_pool(pool_name, target_ports))
        + _PODS_INTRO
        + "---\n".join(_document(_pod_object(pod, pool_name, target_ports)) for pod in pods)
        + _OBJECTIVES_INTRO
        + "---\n".join(
            _document(_objective(name, priority, pool_name)) for name, priority in EXAMPLE_OBJECTIVES.items()
        )
    )


def render_config(room: Utilization | Concurrency, *, ttl: str = "60s") -> str:
    """An EndpointPickerConfig; `ttl` is how long a request may wait, as a Go duration."""
    match room:
        case Utilization():
            detector = _UTILIZATION.format(queue_depth=room.queue_depth, kv_cache=room.kv_cache)
            reference = "utilization-detector"
        case Concurrency():
            detector = _CONCURRENCY.format(max_requests=room.max_requests)
            reference = "concurrency-detector"
        case _:
            assert_never(room)
    return _CONFIG.format(detector=detector, reference=reference, ttl=ttl)


def _pods(servers: tuple[Server, ...]) -> tuple[_Pod, ...]:
    names: dict[str, str] = {}
    ports: dict[str, dict[int, Server]] = {}
    for server in servers:
        ip, port = server.address.host, server.address.port
        if ip not in names:
            names[ip] = _unique(_pod_name(server.written.host), names.values())
        earlier = ports.setdefault(ip, {}).setdefault(port, server)
        if earlier is not server:
            raise AddressError(f"'{server.written}' is the same server as '{earlier.written}'; give it once")
    return tuple(_Pod(name, ip, tuple(sorted(ports[ip]))) for ip, name in names.items())


def _pod_name(host: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:_MAX_NAME_LENGTH].strip("-") or "server"
    return words if words[0].isalpha() else f"server-{words}"


def _unique(name: str, taken: Iterable[str]) -> str:
    taken = set(taken)
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([name], numbered) if candidate not in taken)


def _pool(name: str, target_ports: list[int]) -> dict[str, object]:
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "targetPorts": [{"number": port} for port in target_ports],
        },
    }


def _pod_object(pod: _Pod, pool_name: str, target_ports: list[int]) -> dict[str, object]:
    metadata: dict[str, object] = {"name": pod.name, "labels": {"app": pool_name}}
    if list(pod.ports) != target_ports:
        metadata["annotations"] = {ACTIVE_PORTS: ",".join(map(str, pod.ports))}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"podIP": pod.ip}}


def _objective(name: str, priority: int, pool_name: str) -> dict[str, object]:
    return {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": name},
        "spec": {"priority": priority, "poolRef": {"name": pool_name}},
    }


def _document(value: dict[str, object]) -> str:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=False)


_OBJECTS_INTRO = """\
# The pool, its model servers and its objectives, for `epp serve --objects`. Changes are noticed while it runs.
"""

_PODS_INTRO = """\
---
# The model servers: one Pod per machine, its status.podIP and the pool's target ports make the endpoints.
"""

_OBJECTIVES_INTRO = """\
---
# A request names its objective in the header x-llm-d-inference-objective; without one its priority is 0.
# Higher goes first, always.
"""

_CONFIG = """\
# What the picker decides by, for `epp serve --config-file`.
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]

plugins:
{detector}
# Among the endpoints with room, the one that scores best gets the request.
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: running-requests-size-scorer
- type: max-score-picker

schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
    weight: 2
  - pluginRef: kv-cache-utilization-scorer
    weight: 2
  - pluginRef: running-requests-size-scorer
    weight: 1
  - pluginRef: max-score-picker

flowControl:
  # How long a request may wait for room before it is refused; header x-llm-d-inference-ttl asks for another time.
  defaultRequestTTL: {ttl}
  saturationDetector:
    pluginRef: {reference}
"""

_UTILIZATION = """\
# An endpoint has room while fewer than {queue_depth} requests wait in its engine, and less of its KV cache is in use
# than this share.
- type: utilization-detector
  parameters:
    queueDepthThreshold: {queue_depth}
    kvCacheUtilThreshold: {kv_cache}
"""

_CONCURRENCY = """\
# An endpoint has room while fewer than {max_requests} requests are running on it.
- type: concurrency-detector
  parameters:
    maxConcurrency: {max_requests}
"""
