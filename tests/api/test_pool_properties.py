"""Whatever the order and the grouping of changes: the same objects give the same endpoints and objectives."""

from hypothesis import given, settings
from hypothesis import strategies as st

from epp.api import POOL_GROUP, InferenceObjective, InferencePool, Pod, PoolReconciler
from epp.api.manifest import PoolRef
from epp.core.events import EndpointsChanged, ObjectivesChanged
from tests.api.builders import LEGACY_GROUP, a_pod, a_pool, an_objective

APP = ("app", "vllm")
ZONE = ("zone", "x")


def mostly(usual, *unusual):
    """Values that are usual most of the time: only objects that count can clash with each other."""
    return st.sampled_from([usual] * 2 * len(unusual) + list(unusual))


namespaces = mostly("team", "", "other")
going = mostly(False, True)
pools = st.builds(
    a_pool,
    name=mostly("pool", "second"),
    namespace=namespaces,
    terminating=going,
    selector=mostly((APP,), (APP, ZONE)),
    target_ports=mostly((8000, 8001), (8000,), (8001, 8000)),
)
pods = st.builds(
    a_pod,
    name=st.sampled_from("abc"),
    ip=mostly("10.0.0.1", "", "10.0.0.2", "fd00::7"),
    namespace=namespaces,
    uid=mostly("u1", "", "u2"),
    labels=mostly((APP, ZONE), (), (APP,)),
    ready=mostly(True, False),
    terminating=going,
    active_ports=mostly(None, frozenset(), frozenset({8001})),
    max_concurrency=mostly(None, 4),
)
objectives = st.builds(
    an_objective,
    name=mostly("premium", "batch"),
    priority=st.sampled_from([None, -10, 0, 10]),
    namespace=namespaces,
    group=st.sampled_from(["llm-d.ai", LEGACY_GROUP]),
    terminating=going,
    pool=st.builds(
        PoolRef,
        name=mostly("pool", "second"),
        kind=mostly("InferencePool", "Service"),
        group=mostly(POOL_GROUP, LEGACY_GROUP),
    ),
    queue_ttl_s=mostly(None, 5.0),
)
objects = st.one_of(pools, pods, pods, objectives)
upserts = objects.map(lambda obj: ("upsert", obj))
changes = st.one_of(upserts, upserts, objects.map(lambda obj: ("delete", obj.ref)))
START = [("upsert", a_pool())]
histories = st.lists(st.lists(changes, min_size=1, max_size=4), max_size=12).map(lambda rest: [START, *rest])
"""Batches of changes."""
wanted = st.sampled_from([("pool", "team"), ("pool", None), (None, None), (None, "team")])


def serve(name, namespace):
    """A new reconciler."""
    return PoolReconciler(pool_name=name, pool_namespace=namespace)


def play(pool, batch):
    """Apply one batch; of several changes to one object the last counts."""
    last = {(what if kind == "delete" else what.ref): (kind, what) for kind, what in batch}
    return pool.apply(
        upserts=[what for kind, what in last.values() if kind == "upsert"],
        deletes=[what for kind, what in last.values() if kind == "delete"],
    ), last


class Naive:
    """The rules once more, computed from scratch by brute force over the objects that exist."""

    def __init__(self, name, namespace):
        self.name = name
        self.namespace = namespace
        self.objects = {}
        self.current = None

    def play(self, last):
        """Take in a batch, then choose the pool."""
        for ref, (kind, what) in last.items():
            self.objects.pop(ref, None)
            if kind == "upsert" and not what.terminating:
                self.objects[ref] = what
        candidates = {self.place(pool) for pool in self.of(InferencePool) if self.may_be_served(pool)}
        if len(candidates) == 1:
            (self.current,) = candidates
        elif self.current not in candidates:
            self.current = None

    def of(self, kind):
        """All objects of a kind."""
        return [obj for obj in self.objects.values() if isinstance(obj, kind)]

    def may_be_served(self, pool):
        """Whether a pool is one that the flags allow."""
        return self.name in {None, pool.name} and (
            self.namespace is None or pool.namespace in {"", self.namespace}
        )

    def place(self, pool):
        """Where a pool is once its namespace is settled."""
        return (pool.namespace or self.namespace or "default", pool.name)

    def pool(self):
        """The served pool's object, the one with a stated namespace first."""
        found = [
            pool
            for pool in self.of(InferencePool)
            if self.may_be_served(pool) and self.place(pool) == self.current
        ]
        return max(found, key=lambda pool: bool(pool.namespace), default=None)

    def endpoints(self):
        """Address, incarnation, name, labels and limit of every endpoint."""
        pool = self.pool()
        if pool is None:
            return []
        namespace = self.current[0]
        result = {}
        for name in sorted({pod.name for pod in self.of(Pod)}):
            same = [pod for pod in self.of(Pod) if pod.name == name and pod.namespace in {"", namespace}]
            pod = max(same, key=lambda pod: bool(pod.namespace), default=None)
            if pod is None or not pod.ready or not pod.ip or not set(pool.selector) <= set(pod.labels):
                continue
            for rank, port in enumerate(pool.target_ports):
                if pod.active_ports is not None and port not in pod.active_ports:
                    continue
                address = f"[{pod.ip}]:{port}" if ":" in pod.ip else f"{pod.ip}:{port}"
                uid = pod.uid or f"{namespace}/{name}/{pod.ip}"
                result.setdefault(
                    address, (address, uid, f"{name}-rank-{rank}", pod.labels, pod.max_concurrency)
                )
        return list(result.values())

    def objectives(self):
        """Priority and TTL by name."""
        if self.current is not None:
            namespace, name = self.current
        elif self.name is not None:
            namespace, name = self.namespace or "default", self.name
        else:
            return {}
        result = {}
        for group in (LEGACY_GROUP, "llm-d.ai"):
            for stated in (False, True):
                for obj in self.of(InferenceObjective):
                    if (
                        obj.group == group
                        and bool(obj.namespace) is stated
                        and obj.namespace in {"", namespace}
                        and obj.pool == PoolRef(name=name)
                    ):
                        result[obj.name] = (obj.priority or 0, obj.queue_ttl_s)
        return result


def seen_endpoints(pool):
    """What a reconciler has, in the shape of the naive computation."""
    return [(one.address, one.uid, one.name, one.labels, one.max_concurrency) for one in pool.endpoints]


def seen_objectives(pool):
    """What a reconciler answers for every name, in the shape of the naive computation."""
    found = {name: pool.objective(name) for name in ("premium", "batch")}
    return {name: (one.priority, one.queue_ttl_s) for name, one in found.items() if one is not None}


@settings(max_examples=300, deadline=None)
@given(wanted=wanted, history=histories)
def test_after_every_batch_the_result_is_that_of_a_computation_from_scratch(wanted, history):
    """The brute-force rules and the incremental tables agree, and events tell exactly what changed."""
    pool, naive = serve(*wanted), Naive(*wanted)
    for batch in history:
        before = (pool.endpoints, frozenset(one[0] for one in seen_objectives(pool).values()) - {0})
        result, last = play(pool, batch)
        naive.play(last)
        assert seen_endpoints(pool) == naive.endpoints()
        assert seen_objectives(pool) == naive.objectives()
        priorities = frozenset(one[0] for one in naive.objectives().values()) - {0}
        expected = []
        if priorities != before[1]:
            expected.append(ObjectivesChanged(priorities))
        if pool.endpoints != before[0]:
            expected.append(EndpointsChanged(pool.endpoints))
        assert list(result.events) == expected
        assert len({one.address for one in pool.endpoints}) == len(pool.endpoints)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), history=histories)
def test_the_order_and_the_grouping_do_not_matter(data, history):
    """One by one in any order, or all in one batch: the final objects alone decide."""
    existing = {}
    pool = serve("pool", "team")
    for batch in history:
        _, last = play(pool, batch)
        for ref, (kind, what) in last.items():
            existing.pop(ref, None)
            if kind == "upsert":
                existing[ref] = what
    shuffled = data.draw(st.permutations(list(existing.values())))
    one_by_one = serve("pool", "team")
    for obj in shuffled:
        one_by_one.upsert(obj)
    at_once = serve("pool", "team")
    at_once.apply(upserts=shuffled)
    for other in (one_by_one, at_once):
        assert other.pool == pool.pool
        assert other.endpoints == pool.endpoints
        assert seen_objectives(other) == seen_objectives(pool)
        assert other.pool_note == pool.pool_note


@settings(max_examples=100, deadline=None)
@given(history=histories)
def test_deleting_everything_leaves_nothing(history):
    """No endpoint, no priority and no note outlives the objects."""
    pool = serve("pool", "team")
    refs = set()
    for batch in history:
        _, last = play(pool, batch)
        refs.update(last)
    for ref in sorted(refs):
        pool.delete(ref)
    assert pool.pool is None
    assert pool.endpoints == ()
    assert seen_objectives(pool) == {}
    assert pool.why_no_endpoints() == "there is no pod"
    fresh = serve("pool", "team")
    objects = [a_pool(), a_pod(), a_pod("b"), an_objective(), an_objective(group=LEGACY_GROUP)]
    assert pool.apply(upserts=objects) == fresh.apply(upserts=objects)
