"""Which pods make which endpoints."""

import time

import pytest

from epp.api import (
    Changes,
    PoolReconciler,
    Severity,
    parse_selector,
)
from epp.core.endpoint import EndpointSpec
from epp.core.events import EndpointsChanged
from tests.api.builders import a_pod, a_pool, addresses, reconciler


def test_every_ready_pod_gives_one_endpoint_per_port():
    """Address, incarnation, name, labels, limit and models are the pod's; the rank is the port's position."""
    pool = reconciler()
    pool.upsert(a_pool(target_ports=(8001, 8000)))
    models = frozenset({"llama"})
    changes = pool.upsert(a_pod(labels=(("app", "vllm"), ("zone", "x")), max_concurrency=32, models=models))
    expected = tuple(
        EndpointSpec(
            address=f"10.0.0.1:{port}",
            uid="uid-a",
            name=f"a-rank-{rank}",
            labels=(("app", "vllm"), ("zone", "x")),
            max_concurrency=32,
            models=models,
        )
        for rank, port in enumerate((8001, 8000))
    )
    assert changes == Changes((EndpointsChanged(expected),), ())
    assert pool.endpoints == expected


def test_an_ipv6_address_stands_in_brackets():
    """The gateway is told `[ip]:port`."""
    assert addresses(reconciler(a_pool(), a_pod(ip="fd00::7"))) == ["[fd00::7]:8000"]


@pytest.mark.parametrize(
    "changed",
    [
        {"ready": False},
        {"ip": ""},
        {"terminating": True},
        {"namespace": "other"},
        {"labels": ()},
        {"labels": (("app", "other"),)},
        {"active_ports": frozenset()},
        {"active_ports": frozenset({9999})},
    ],
)
def test_a_pod_that_can_not_serve_gives_no_endpoint(changed):
    """Not Ready, no address, going, elsewhere, not selected, no active port; and it leaves when it becomes so."""
    assert addresses(reconciler(a_pool(), a_pod(**changed))) == []
    if "namespace" not in changed:
        pool = reconciler(a_pool(), a_pod())
        assert addresses(pool) == ["10.0.0.1:8000"]
        assert pool.upsert(a_pod(**changed)).events == (EndpointsChanged(()),)


def test_all_labels_of_the_selector_must_match():
    """The selector is a conjunction."""
    selector = parse_selector("app=vllm,zone=x")
    both = a_pod("both", "10.0.0.2", labels=(("app", "vllm"), ("tier", "y"), ("zone", "x")))
    assert addresses(reconciler(a_pool(selector=selector), a_pod(), both)) == ["10.0.0.2:8000"]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("", "abc"),
        ("app in (vllm, sglang)", "ab"),
        ("app,!retired", "a"),
        ("app notin (vllm)", "bc"),
        ("nothing=here", ""),
    ],
)
def test_any_selector_can_say_which_pods_are_the_pool(selector, names):
    """A pool that was not read from a manifest may use the whole syntax, and follow it as it changes."""
    pods = [
        a_pod("a", "10.0.0.1"),
        a_pod("b", "10.0.0.2", labels=(("app", "sglang"), ("retired", ""))),
        a_pod("c", "10.0.0.3", labels=()),
    ]
    pool = reconciler(a_pool(), *pods)
    pool.upsert(a_pool(selector=parse_selector(selector)))
    assert [endpoint.name for endpoint in pool.endpoints] == [f"{name}-rank-0" for name in names]
    assert pool.pool.selector == parse_selector(selector)
    assert names or f"3 without the labels {selector}" in pool.why_no_endpoints()


def test_inactive_ports_keep_the_ranks_of_the_others():
    """A rank is the port's position in the pool's list, whatever else is active."""
    pool = reconciler(a_pool(target_ports=(8000, 8001, 8002)), a_pod(active_ports=frozenset({8002, 8000})))
    assert [endpoint.name for endpoint in pool.endpoints] == ["a-rank-0", "a-rank-2"]


def test_a_pod_without_uid_gets_one_that_stays_and_that_its_successor_does_not_share():
    """It is derived from namespace, name and address."""
    first = reconciler(a_pool(), a_pod(uid=""))
    again = reconciler(a_pool(), a_pod(uid="", namespace=""))
    successor = reconciler(a_pool(), a_pod("b", uid=""))
    assert first.endpoints[0].key == again.endpoints[0].key
    assert first.endpoints[0].uid
    assert first.endpoints[0].key != successor.endpoints[0].key


def test_endpoints_are_in_the_order_of_pods_and_ports():
    """However the pods came, the order is by name and rank."""
    pool = reconciler(a_pool(target_ports=(8001, 8000)), a_pod("b", "10.0.0.2"))
    pool.upsert(a_pod("c", "10.0.0.3"))
    pool.upsert(a_pod("a", "10.0.0.9"))
    assert [endpoint.name for endpoint in pool.endpoints] == [
        f"{pod}-rank-{n}" for pod in "abc" for n in (0, 1)
    ]


def test_the_selector_and_the_ports_are_followed():
    """A change of the pool re-evaluates every pod."""
    other = a_pod("b", "10.0.0.2", labels=(("app", "new"),))
    pool = reconciler(a_pool(), a_pod(), other)
    pool.upsert(a_pool(selector=parse_selector("app=new")))
    assert addresses(pool) == ["10.0.0.2:8000"]
    pool.upsert(a_pool(target_ports=(8000, 9000)))
    assert addresses(pool) == ["10.0.0.1:8000", "10.0.0.1:9000"]


def test_of_two_pods_with_one_address_the_first_by_name_has_it():
    """The gateway could not tell them apart; the other one gets a note, and the address when it is free."""
    pool = reconciler(a_pool(), a_pod("b"))
    changes = pool.upsert(a_pod("a"))
    assert [endpoint.name for endpoint in pool.endpoints] == ["a-rank-0"]
    (note,) = changes.notes
    assert note.ref == a_pod("b").ref
    assert (note.problem.severity, note.problem.field) == (Severity.WARNING, "status.podIP")
    assert pool.upsert(a_pod("c")).events == ()
    pool.delete(a_pod("a").ref)
    assert [endpoint.name for endpoint in pool.endpoints] == ["b-rank-0"]
    assert pool.delete(a_pod("c").ref) == Changes()
    assert pool.delete(a_pod("b").ref).events == (EndpointsChanged(()),)


def test_an_address_goes_on_to_whoever_is_left():
    """It follows its claimants through any coming and going."""
    pool = reconciler(a_pool(), a_pod("a"), a_pod("b"))
    pool.delete(a_pod("a").ref)
    (note,) = pool.upsert(a_pod("c")).notes
    assert "pod b too" in note.problem.message
    pool.delete(a_pod("b").ref)
    assert [endpoint.name for endpoint in pool.endpoints] == ["c-rank-0"]


def test_pods_that_share_an_address_but_no_port_are_both_used():
    """On one host, every pod can have its own active port."""
    pods = [a_pod("a", active_ports=frozenset({8000})), a_pod("b", active_ports=frozenset({8001}))]
    assert addresses(reconciler(a_pool(target_ports=(8000, 8001)), *pods)) == [
        "10.0.0.1:8000",
        "10.0.0.1:8001",
    ]


def test_a_pod_given_with_and_without_namespace_counts_once():
    """It is one pod: the explicit one is used, and the other gets a note."""
    pool = reconciler(a_pool(), a_pod(namespace="", ip="10.0.0.2"))
    assert addresses(pool) == ["10.0.0.2:8000"]
    changes = pool.upsert(a_pod())
    assert addresses(pool) == ["10.0.0.1:8000"]
    assert [note.ref for note in changes.notes] == [a_pod(namespace="").ref]
    pool.delete(a_pod().ref)
    assert addresses(pool) == ["10.0.0.2:8000"]
    assert pool.upsert(a_pod()).notes == changes.notes


def test_why_there_are_no_endpoints_is_told_in_numbers():
    """A person who wonders learns what keeps the pods out."""
    assert reconciler(a_pool()).why_no_endpoints() == "there is no pod"
    pool = reconciler(
        a_pool(),
        a_pod("a", namespace="other"),
        a_pod("b", labels=()),
        a_pod("c", ready=False),
        a_pod("d", ip=""),
        a_pod("e", active_ports=frozenset()),
    )
    assert pool.why_no_endpoints() == (
        "of 5 pods: 1 in another namespace than team, 1 without the labels app=vllm, 1 not Ready, "
        "1 without status.podIP, 1 with an annotation that restricts its ports"
    )


def test_ten_thousand_pods_are_workable():
    """One pod among many costs its own endpoints and a new tuple: far less than working them all out again."""
    pods = [a_pod(f"pod-{n:05d}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(10_000)]
    pool = PoolReconciler(pool_name="pool", pool_namespace="team")
    before = time.process_time()
    pool.apply(upserts=[a_pool(target_ports=(8000, 8001)), *pods])
    everything_s = time.process_time() - before
    assert len(pool.endpoints) == 20_000
    before = time.process_time()
    for pod in pods[:100]:
        assert len(pool.upsert(a_pod(pod.name, pod.ip, ready=False)).events) == 1
    assert time.process_time() - before < 100 * everything_s / 3
    assert len(pool.endpoints) == 19_800
