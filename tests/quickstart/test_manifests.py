"""The files for `epp serve`."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from epp.api import PoolReconciler, decode
from epp.config import build, parse_config
from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from epp.quickstart.address import Address, AddressError, Server, parse_address
from epp.quickstart.manifests import Concurrency, Utilization, render_config, render_objects


def server(text: str, ip: str | None = None) -> Server:
    """A server that needs no resolver."""
    written = parse_address(text)
    return Server(written, Address(ip or written.host, written.port))


def objects(*servers: Server) -> list[dict[str, Any]]:
    """The objects that are written for these servers."""
    return list(yaml.safe_load_all(render_objects("pool-a", servers)))


def pods(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods among them."""
    return [document for document in documents if document["kind"] == "Pod"]


def followed(documents: list[dict[str, Any]]) -> PoolReconciler:
    """What the picker makes of these objects, which it must read without a word of complaint."""
    reconciler = PoolReconciler(pool_name=None, pool_namespace=None)
    for document in documents:
        decoded = decode(document)
        assert decoded.problems == ()
        assert decoded.found is not None
        assert reconciler.upsert(decoded.found).notes == ()
    return reconciler


def endpoints(documents: list[dict[str, Any]]) -> set[str]:
    """The endpoints that these objects stand for."""
    return {endpoint.address for endpoint in followed(documents).endpoints}


def test_the_objects_stand_for_exactly_the_servers() -> None:
    """Whatever the mixture of machines and ports, no server is lost and none is invented."""
    documents = objects(
        server("10.0.0.1:8000"), server("10.0.0.1:8001"), server("10.0.0.2:8001"), server("[fd00::1]:9000")
    )
    assert endpoints(documents) == {"10.0.0.1:8000", "10.0.0.1:8001", "10.0.0.2:8001", "[fd00::1]:9000"}


def test_machines_with_the_same_ports_need_no_annotation() -> None:
    """The simple case looks simple."""
    documents = objects(server("10.0.0.1:8000"), server("10.0.0.2:8000"))
    assert all("annotations" not in pod["metadata"] for pod in pods(documents))
    assert endpoints(documents) == {"10.0.0.1:8000", "10.0.0.2:8000"}


def test_a_pod_is_called_like_its_machine() -> None:
    """Names are valid Kubernetes names, recognisable, and different for different machines."""
    documents = objects(
        server("GPU_1.lab:1", "10.0.0.1"), server("gpu-1-lab:1", "10.0.0.2"), server("10.0.0.3:1")
    )
    names = [pod["metadata"]["name"] for pod in pods(documents)]
    assert names == ["gpu-1-lab", "gpu-1-lab-2", "server-10-0-0-3"]


def test_the_example_objectives_point_at_the_pool() -> None:
    """Premium goes before everything without an objective, batch after it."""
    reconciler = followed(objects(server("10.0.0.1:1")))
    found = {name: reconciler.objective(name) for name in ("premium", "batch")}
    assert {name: each and each.priority for name, each in found.items()} == {"premium": 10, "batch": -10}


def test_one_server_under_two_names_is_refused() -> None:
    """The same address twice would count its room twice."""
    with pytest.raises(AddressError, match=r"'gpu1:8000' is the same server as '10\.0\.0\.1:8000'"):
        objects(server("10.0.0.1:8000"), server("gpu1:8000", "10.0.0.1"))


def test_more_ports_than_a_pool_can_have_are_refused() -> None:
    """Eight different ports are accepted, nine are not."""
    machines = [server(f"10.0.0.{number}:{8000 + number}") for number in range(1, 10)]
    assert len(endpoints(objects(*machines[:8]))) == 8
    with pytest.raises(AddressError, match=r"9 different ports .*at most 8"):
        objects(*machines)


@pytest.mark.parametrize(
    ("room", "detector"),
    [
        (
            Utilization(queue_depth=3, kv_cache=0.7),
            UtilizationDetector(queue_depth_threshold=3, kv_cache_util_threshold=0.7),
        ),
        (Concurrency(8), ConcurrencyDetector(max_concurrency=8)),
    ],
)
def test_the_configuration_says_when_an_endpoint_has_room(
    room: Utilization | Concurrency, detector: UtilizationDetector | ConcurrencyDetector
) -> None:
    """The picker reads the configuration without remarks and uses the limits and the waiting time in it."""
    config = parse_config(render_config(room, ttl="8s"), source="config.yaml")
    runtime = build(config, seed=1, refresh_interval_s=0.2, memory_limit_bytes=None)
    assert runtime.notes == ()
    assert runtime.policy.capacity == detector
    assert runtime.policy.ttl_s == 8.0
