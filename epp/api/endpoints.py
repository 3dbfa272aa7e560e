"""The pool's endpoints, kept up to date as pods and the pool change.

Every Ready pod of the pool's namespace that carries the pool's labels gives one endpoint per active target port. The
result depends on the pods and the pool only, never on the order in which they came. Changes are collected, and `flush`
works off only the pods that were touched: one pod among ten thousand costs its own endpoints and a new tuple. `settle`
works off some of them beforehand, so that ten thousand at once need not be one long breath; nobody sees anything of it
before the flush.

Two pods with one address can't be told apart by the gateway: the first by name keeps it, the other gets a note.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import chain

from epp.api.changes import Note, PoolInfo
from epp.api.objects import ObjectRef, Pod
from epp.api.problem import Problem, Severity, describe
from epp.core.endpoint import EndpointSpec

_FEW = 100
"""Up to so many pods are put into the order one by one; for more it is sorted anew."""


class EndpointTable:
    """Pods in, endpoints out."""

    def __init__(self) -> None:
        self._pool: PoolInfo | None = None
        self._pods: dict[str, dict[str, Pod]] = {}
        """By namespace, then by name."""
        self._dirty: set[str] = set()
        """Names of the pods whose endpoints have to be worked out again."""
        self._specs: dict[str, tuple[EndpointSpec, ...]] = {}
        """The endpoints of every pod that has some, in the order of the pool's ports."""
        self._order: list[str] = []
        """The keys of `_specs`, sorted, but for those in `_moved`."""
        self._moved: set[str] = set()
        """Pods that came to `_specs` or left it since the last flush, or both."""
        self._flushed = True
        """Whether nothing was settled since the last flush."""
        self._holders: dict[str, str] = {}
        """The pod that has each address: the only one, or one of those in `_contested`."""
        self._contested: dict[str, set[str]] = {}
        """Addresses that more than one pod claims."""
        self._twins: dict[str, ObjectRef] = {}
        """Pods that are given with and without a namespace, by name: the one that is not used."""
        self._told: frozenset[Note] = frozenset()
        self.endpoints: tuple[EndpointSpec, ...] = ()

    def put(self, pod: Pod) -> None:
        """A pod is new, or different."""
        self._pods.setdefault(pod.namespace, {})[pod.name] = pod
        self._dirty.add(pod.name)

    def remove(self, ref: ObjectRef) -> None:
        """A pod is gone; one that was never there is no error."""
        if self._pods.get(ref.namespace, {}).pop(ref.name, None) is not None:
            self._dirty.add(ref.name)

    def retarget(self, pool: PoolInfo | None) -> None:
        """The pool is new, different or gone."""
        if pool != self._pool:
            self._pool = pool
            for pods in self._pods.values():
                self._dirty.update(pods)

    def settle(self, at_most: int) -> bool:
        """Work off so many of the pods that were touched, and then their order; whether there is more to do."""
        if not self._dirty:
            self._reorder()
        for _ in range(min(at_most, len(self._dirty))):
            self._settle(self._dirty.pop())
        return bool(self._dirty) or len(self._moved) > _FEW

    def flush(self) -> tuple[Note, ...]:
        """Bring `endpoints` up to date, and say what is noteworthy now and was not before."""
        while self._dirty:
            self._settle(self._dirty.pop())
        if self._flushed:
            return ()
        self._flushed = True
        self._reorder()
        endpoints = tuple(chain.from_iterable(map(self._specs.__getitem__, self._order)))
        losers = self._losers()
        if losers:
            endpoints = tuple(
                [
                    spec
                    for name in self._order
                    for spec in self._specs[name]
                    if (name, spec.address) not in losers
                ]
            )
        if endpoints != self.endpoints:
            self.endpoints = endpoints
        return self._tell(losers)

    def why_empty(self) -> str:
        """What keeps the pods from being endpoints, in numbers; for a pool that has none."""
        pool, total = self._pool, sum(map(len, self._pods.values()))
        if pool is None or not total:
            return "there is no pod"
        near = [pod for namespace in {"", pool.namespace} for pod in self._pods.get(namespace, {}).values()]
        selected = [pod for pod in near if pool.selector.matches(pod.labels)]
        reasons = (
            (total - len(near), f"in another namespace than {pool.namespace}"),
            (len(near) - len(selected), f"without the labels {pool.selector}"),
            (sum(not pod.ready for pod in selected), "not Ready"),
            (sum(not pod.ip for pod in selected), "without status.podIP"),
            (
                sum(pod.active_ports is not None for pod in selected),
                "with an annotation that restricts its ports",
            ),
        )
        counted = ", ".join(f"{count} {reason}" for count, reason in reasons if count)
        return f"of {total} pods: {counted}"

    def _settle(self, name: str) -> None:
        """Make `_specs` what the pod of that name gives now."""
        self._flushed = False
        new, old = self._endpoints_of(name), self._specs.get(name, ())
        if new == old:
            return
        for spec in old:
            self._release(spec.address, name)
        for spec in new:
            self._claim(spec.address, name)
        if new:
            self._specs[name] = new
        else:
            del self._specs[name]
        if not (new and old):
            self._moved.add(name)

    def _endpoints_of(self, name: str) -> tuple[EndpointSpec, ...]:
        """The endpoints of the pod that is called `name` in the pool's namespace."""
        self._twins.pop(name, None)
        pool = self._pool
        if pool is None:
            return ()
        pod = self._pods.get(pool.namespace, {}).get(name)
        unplaced = self._pods.get("", {}).get(name)
        if pod is None:
            pod = unplaced
        elif unplaced is not None:
            self._twins[name] = unplaced.ref
        if pod is None or not pod.ready or not pod.ip or not pool.selector.matches(pod.labels):
            return ()
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        uid = pod.uid or f"{pool.namespace}/{name}/{pod.ip}"
        return tuple(
            [
                EndpointSpec(
                    address=f"{host}:{port}",
                    uid=uid,
                    name=f"{name}-rank-{index}",
                    labels=pod.labels,
                    max_concurrency=pod.max_concurrency,
                    models=pod.models,
                )
                for index, port in enumerate(pool.target_ports)
                if pod.active_ports is None or port in pod.active_ports
            ]
        )

    def _reorder(self) -> None:
        moved, self._moved = self._moved, set()
        if len(moved) > _FEW:
            self._order = sorted(self._specs)
            return
        for name in moved:
            place = bisect_left(self._order, name)
            stands = self._order[place : place + 1] == [name]
            if stands and name not in self._specs:
                del self._order[place]
            elif not stands and name in self._specs:
                insort(self._order, name)

    def _claim(self, address: str, name: str) -> None:
        holder = self._holders.setdefault(address, name)
        if holder != name:
            self._contested.setdefault(address, {holder}).add(name)

    def _release(self, address: str, name: str) -> None:
        claims = self._contested.get(address)
        if claims is None:
            del self._holders[address]
            return
        claims.remove(name)
        self._holders[address] = min(claims)
        if len(claims) == 1:
            del self._contested[address]

    def _losers(self) -> dict[tuple[str, str], str]:
        """Pods and an address of theirs that another pod has, and that other pod."""
        return {
            (name, address): min(claims)
            for address, claims in self._contested.items()
            for name in claims
            if name != min(claims)
        }

    def _tell(self, losers: dict[tuple[str, str], str]) -> tuple[Note, ...]:
        notes = {_twin(ref) for ref in self._twins.values()}
        for (loser, address), holder in losers.items():
            notes.add(self._clash(loser=loser, holder=holder, address=address))
        fresh, self._told = notes - self._told, frozenset(notes)
        return tuple(sorted(fresh, key=str))

    def _clash(self, *, loser: str, holder: str, address: str) -> Note:
        pool = self._pool
        assert pool is not None, "there are endpoints, so there is a pool"
        message = f"is an address of pod {holder} too, which keeps it; give every pod an address of its own"
        problem = Problem(Severity.WARNING, ("status", "podIP"), describe(address), message)
        placed = loser in self._pods.get(pool.namespace, {})
        return Note(_pod_ref(pool.namespace if placed else "", loser), problem)


def _pod_ref(namespace: str, name: str) -> ObjectRef:
    return ObjectRef("", "Pod", namespace, name)


def _twin(ref: ObjectRef) -> Note:
    message = "the pool's namespace has a pod of this name already, which is used; remove one of the two"
    return Note(ref, Problem(Severity.WARNING, ("metadata", "name"), describe(ref.name), message))
