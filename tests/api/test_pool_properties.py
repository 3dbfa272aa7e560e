"""Whatever the order and the grouping of changes: the same objects give the same endpoints and objectives."""

import itertools
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from epp.api import (
    POOL_GROUP,
    Acceptance,
    Batch,
    Changes,
    InferenceModelRewrite,
    InferenceObjective,
    InferencePool,
    Pod,
    PoolReconciler,
    parse_selector,
)
from epp.api.manifest import PoolRef
from epp.core.events import EndpointsChanged, ObjectivesChanged
from tests.api.builders import LEGACY_GROUP, a_pod, a_pool, a_rewrite, a_rule, an_objective

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
    selector=mostly("app=vllm", "app=vllm,zone=x", "app,!zone", "").map(parse_selector),
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
    models=mostly(frozenset(), frozenset({"llama", "llama-sql"})),
)
groups = st.sampled_from(["llm-d.ai", LEGACY_GROUP])
pool_refs = st.builds(
    PoolRef,
    name=mostly("pool", "second"),
    kind=mostly("InferencePool", "Service"),
    group=mostly(POOL_GROUP, LEGACY_GROUP),
)
objectives = st.builds(
    an_objective,
    name=mostly("premium", "batch"),
    priority=st.sampled_from([None, -10, 0, 10]),
    namespace=namespaces,
    group=groups,
    terminating=going,
    pool=pool_refs,
    queue_ttl_s=mostly(None, 5.0),
)
rules = st.builds(
    a_rule, st.sampled_from(["x", "y", "z"]), models=mostly(("chat",), (), ("chat", "base"), ("base",))
)
rewrites = st.builds(
    lambda name, some, **rest: a_rewrite(name, *some, **rest),
    name=st.sampled_from(["r", "s", "t"]),
    some=st.lists(rules, min_size=1, max_size=2),
    namespace=namespaces,
    group=groups,
    terminating=going,
    pool=pool_refs,
    created=mostly("", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
)
objects = st.one_of(pools, pods, pods, objectives, rewrites)
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
            if pod is None or not pod.ready or not pod.ip or not self.selects(pool, dict(pod.labels)):
                continue
            for rank, port in enumerate(pool.target_ports):
                if pod.active_ports is not None and port not in pod.active_ports:
                    continue
                address = f"[{pod.ip}]:{port}" if ":" in pod.ip else f"{pod.ip}:{port}"
                uid = pod.uid or f"{namespace}/{name}/{pod.ip}"
                result.setdefault(
                    address,
                    (address, uid, f"{name}-rank-{rank}", pod.labels, pod.max_concurrency, pod.models),
                )
        return list(result.values())

    def selects(self, pool, labels):
        """The four selectors that pools have here, written out."""
        return {
            "": True,
            "app=vllm": labels.get("app") == "vllm",
            "app=vllm,zone=x": labels.get("app") == "vllm" and labels.get("zone") == "x",
            "app,!zone": "app" in labels and "zone" not in labels,
        }[str(pool.selector)]

    def named(self):
        """Which pool objects have to name: namespace and name, or None."""
        if self.current is not None:
            return self.current
        return (self.namespace or "default", self.name) if self.name is not None else None

    def counted(self, kind):
        """The objects of a kind that count, by name."""
        if self.named() is None:
            return {}
        namespace, name = self.named()
        result = {}
        for group in (LEGACY_GROUP, "llm-d.ai"):
            for stated in (False, True):
                for obj in self.of(kind):
                    if (
                        obj.group == group
                        and bool(obj.namespace) is stated
                        and obj.namespace in {"", namespace}
                        and obj.pool == PoolRef(name=name)
                    ):
                        result[obj.name] = obj
        return result

    def objectives(self):
        """Priority and TTL by name."""
        return {
            name: (obj.priority or 0, obj.queue_ttl_s)
            for name, obj in self.counted(InferenceObjective).items()
        }

    def rewritings(self):
        """The name of the rewrite and the first target, by model."""
        ranked = sorted(
            self.counted(InferenceModelRewrite).values(),
            key=lambda one: (one.created or "9999", one.name),
        )
        result = {}
        for model in ("chat", "base", "other"):
            flat = [(rewrite.name, rule) for rewrite in ranked for rule in rewrite.rules]
            exact = [one for one in flat if model in [match.model.value for match in one[1].matches]]
            for name, rule in (exact + [one for one in flat if not one[1].matches])[:1]:
                result[model] = (name, rule.targets[0].model_rewrite)
        return result

    def verdicts(self):
        """The reason by object; only of those that name our pool."""
        result = {}
        for kind in (InferenceObjective, InferenceModelRewrite):
            counted = self.counted(kind)
            for obj in self.of(kind):
                if self.named() is None:
                    continue
                namespace, name = self.named()
                if obj.namespace not in {"", namespace} or obj.pool.name != name:
                    continue
                if obj.pool != PoolRef(name=name):
                    result[obj.ref] = Acceptance.INVALID_POOL_REF
                elif self.current is None:
                    result[obj.ref] = Acceptance.POOL_NOT_FOUND
                elif counted[obj.name] is not obj:
                    result[obj.ref] = Acceptance.SUPERSEDED
                else:
                    result[obj.ref] = Acceptance.ACCEPTED
        return result


def seen_endpoints(pool):
    """What a reconciler has, in the shape of the naive computation."""
    return [
        (one.address, one.uid, one.name, one.labels, one.max_concurrency, one.models)
        for one in pool.endpoints
    ]


def seen_objectives(pool):
    """What a reconciler answers for every name, in the shape of the naive computation."""
    found = {name: pool.objective(name) for name in ("premium", "batch")}
    return {name: (one.priority, one.queue_ttl_s) for name, one in found.items() if one is not None}


def seen_rewritings(pool):
    """What a reconciler answers for every model, in the shape of the naive computation."""
    found = {model: pool.rewriting(model) for model in ("chat", "base", "other")}
    return {model: (one.name, one.targets[0][0]) for model, one in found.items() if one is not None}


def seen_verdicts(pool, refs):
    """What a reconciler answers for every object that ever was."""
    found = {ref: pool.verdict(ref) for ref in refs}
    return {ref: verdict for ref, verdict in found.items() if verdict is not None}


@settings(max_examples=300, deadline=None)
@given(wanted=wanted, history=histories)
def test_after_every_batch_the_result_is_that_of_a_computation_from_scratch(wanted, history):
    """The brute-force rules and the incremental tables agree, and events tell exactly what changed."""
    pool, naive = serve(*wanted), Naive(*wanted)
    ever, verdicts = set(), {}
    for batch in history:
        before = (pool.endpoints, frozenset(one[0] for one in seen_objectives(pool).values()) - {0})
        result, last = play(pool, batch)
        naive.play(last)
        assert seen_endpoints(pool) == naive.endpoints()
        assert seen_objectives(pool) == naive.objectives()
        assert seen_rewritings(pool) == naive.rewritings()
        ever.update(last)
        before_verdicts, verdicts = verdicts, seen_verdicts(pool, ever)
        assert {ref: verdict.reason for ref, verdict in verdicts.items()} == naive.verdicts()
        assert len(result.judged) == len(set(result.judged))
        assert set(result.judged) == {ref for ref in ever if verdicts.get(ref) != before_verdicts.get(ref)}
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
        assert seen_rewritings(other) == seen_rewritings(pool)
        assert seen_verdicts(other, existing) == seen_verdicts(pool, existing)
        assert other.pool_note == pool.pool_note


@settings(max_examples=150, deadline=None)
@given(wanted=wanted, history=histories, data=st.data())
def test_small_steps_come_to_the_same_as_one(wanted, history, data):
    """The last step tells what `apply` tells; before it nobody sees anything, and another batch may come between."""
    pool, other = serve(*wanted), serve(*wanted)
    for batch in history:
        expected, last = play(pool, batch)
        before = answers(other)
        steps = other.steps(as_batch(last), size=data.draw(st.integers(1, 3)))
        *quiet, told = [(changes, answers(other)) for changes in steps]
        assert told == (expected, answers(pool))
        assert all(step == (Changes(), before) for step in quiet)


def answers(pool):
    """What requests get."""
    return pool.endpoints, seen_objectives(pool), seen_rewritings(pool)


def as_batch(last):
    """Changes as a source hands them over."""
    return Batch(
        upserts=tuple(what for kind, what in last.values() if kind == "upsert"),
        deletes=tuple(what for kind, what in last.values() if kind == "delete"),
    )


@settings(max_examples=100, deadline=None)
@given(history=histories, cut=st.integers(0, 6))
def test_a_batch_between_two_steps_loses_nothing(history, cut):
    """Some of the steps, another batch, the rest: the result is that of the objects alone."""
    pool, other = serve("pool", "team"), serve("pool", "team")
    for first, second in itertools.pairwise(history):
        play(pool, first)
        _, between = play(pool, second)
        _, last = play(serve("pool", "team"), first)
        steps = other.steps(
            as_batch({ref: change for ref, change in last.items() if ref not in between}), size=1
        )
        deque(itertools.islice(steps, cut), maxlen=0)
        play(other, second)
        deque(steps, maxlen=0)
        assert answers(other) == answers(pool)
        assert other.pool == pool.pool


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
