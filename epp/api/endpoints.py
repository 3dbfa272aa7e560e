"""The pool's endpoints, kept up to date as pods and the pool change.

Every Ready pod of the pool's namespace that carries the pool's labels gives one endpoint per active target port. The
result depends on the pods and the pool only, never on the order in which they came. Changes are collected, and `flush`
works off only the pods that were touched: one pod among ten thousand costs its own endpoints and a new tuple.

Two pods with one address can't be told apart by the gateway: the first by name keeps it, the other gets a note.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from epp.api.changes import Note, PoolInfo
from epp.api.objects import ObjectRef, Pod
from epp.api.problem import Problem, Severity, describe
from epp.core.endpoint import EndpointSpec

_Rank = tuple[str, int]
"""The order of endpoints: name of the pod, then the port's position in the pool's list."""

_FEW = 100
"""Up to so many endpoints are put into the order one by one; for more it is sorted anew."""


class EndpointTable:
    """Pods in, endpoints out."""

    def __init__(self) -> None:
        self._pool: PoolInfo | None = None
        self._pods: dict[ObjectRef, Pod] = {}
        self._dirty: set[str] = set()
        """Names of the pods whose endpoints have to be worked out again."""
        self._specs: dict[_Rank, EndpointSpec] = {}
        self._order: list[tuple[str, int, EndpointSpec]] = []
        """`_specs`, sorted, as of the last flush."""
        self._ranks: dict[str, tuple[_Rank, ...]] = {}
        """The keys of `_specs` by pod."""
        self._holders: dict[str, _Rank] = {}
        """Who has each address: the only one, or one of those in `_contested`."""
        self._contested: dict[str, set[_Rank]] = {}
        """Addresses that more than one endpoint claims."""
        self._twins: dict[str, ObjectRef] = {}
        """Pods that are given with and without a namespace, by name: the one that is not used."""
        self._told: frozenset[Note] = frozenset()
        self.endpoints: tuple[EndpointSpec, ...] = ()

    def put(self, pod: Pod) -> None:
        """A pod is new, or different."""
        self._pods[pod.ref] = pod
        self._dirty.add(pod.name)

    def remove(self, ref: ObjectRef) -> None:
        """A pod is gone; one that was never there is no error."""
        if self._pods.pop(ref, None) is not None:
            self._dirty.add(ref.name)

    def retarget(self, pool: PoolInfo | None) -> None:
        """The pool is new, different or gone."""
        if pool != self._pool:
            self._pool = pool
            self._dirty.update(ref.name for ref in self._pods)

    def flush(self) -> tuple[Note, ...]:
        """Bring `endpoints` up to date, and say what is noteworthy now and was not before."""
        if not self._dirty:
            return ()
        came: list[_Rank] = []
        left: list[_Rank] = []
        for name in self._dirty:
            new, old = self._endpoints_of(name), self._ranks.pop(name, ())
            outdated = [rank for rank in old if new.get(rank) != self._specs[rank]]
            for rank in outdated:
                self._drop(rank)
            left += outdated
            for rank, spec in new.items():
                if rank not in self._specs:
                    self._add(rank, spec)
                    came.append(rank)
            if new:
                self._ranks[name] = tuple(new)
        self._dirty.clear()
        losers = self._losers()
        if came or left:
            self._reorder(came, left)
            order = [entry for entry in self._order if entry[:2] not in losers] if losers else self._order
            endpoints = tuple([entry[2] for entry in order])
            if endpoints != self.endpoints:
                self.endpoints = endpoints
        return self._tell(losers)

    def why_empty(self) -> str:
        """What keeps the pods from being endpoints, in numbers; for a pool that has none."""
        pool = self._pool
        if pool is None or not self._pods:
            return "there is no pod"
        near = [pod for pod in self._pods.values() if pod.namespace in {"", pool.namespace}]
        selected = [pod for pod in near if _selects(pool, pod)]
        reasons = (
            (len(self._pods) - len(near), f"in another namespace than {pool.namespace}"),
            (len(near) - len(selected), f"without the labels {_labels_text(pool.selector)}"),
            (sum(not pod.ready for pod in selected), "not Ready"),
            (sum(not pod.ip for pod in selected), "without status.podIP"),
            (
                sum(pod.active_ports is not None for pod in selected),
                "with an annotation that restricts its ports",
            ),
        )
        counted = ", ".join(f"{count} {reason}" for count, reason in reasons if count)
        return f"of {len(self._pods)} pods: {counted}"

    def _endpoints_of(self, name: str) -> dict[_Rank, EndpointSpec]:
        """The endpoints of the pod that is called `name` in the pool's namespace."""
        self._twins.pop(name, None)
        pool = self._pool
        if pool is None:
            return {}
        pod = self._pods.get(_pod_ref(pool.namespace, name))
        unplaced = self._pods.get(_pod_ref("", name))
        if pod is None:
            pod = unplaced
        elif unplaced is not None:
            self._twins[name] = unplaced.ref
        if pod is None or not pod.ready or not pod.ip or not _selects(pool, pod):
            return {}
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        uid = pod.uid or f"{pool.namespace}/{name}/{pod.ip}"
        return {
            (name, index): EndpointSpec(
                address=f"{host}:{port}",
                uid=uid,
                name=f"{name}-rank-{index}",
                labels=pod.labels,
                max_concurrency=pod.max_concurrency,
            )
            for index, port in enumerate(pool.target_ports)
            if pod.active_ports is None or port in pod.active_ports
        }

    def _reorder(self, came: list[_Rank], left: list[_Rank]) -> None:
        if len(came) + len(left) > _FEW:
            self._order = sorted((*rank, spec) for rank, spec in self._specs.items())
            return
        for rank in left:
            del self._order[bisect_left(self._order, rank)]
        for rank in came:
            insort(self._order, (*rank, self._specs[rank]))

    def _add(self, rank: _Rank, spec: EndpointSpec) -> None:
        self._specs[rank] = spec
        holder = self._holders.setdefault(spec.address, rank)
        if holder != rank:
            self._contested.setdefault(spec.address, {holder}).add(rank)

    def _drop(self, rank: _Rank) -> None:
        address = self._specs.pop(rank).address
        claims = self._contested.get(address)
        if claims is None:
            del self._holders[address]
            return
        claims.remove(rank)
        self._holders[address] = min(claims)
        if len(claims) == 1:
            del self._contested[address]

    def _losers(self) -> dict[_Rank, _Rank]:
        """Endpoints whose address another one has, and that other one."""
        return {
            rank: min(claims) for claims in self._contested.values() for rank in claims if rank != min(claims)
        }

    def _tell(self, losers: dict[_Rank, _Rank]) -> tuple[Note, ...]:
        notes = {_twin(ref) for ref in self._twins.values()}
        for loser, holder in losers.items():
            notes.add(self._clash(loser=loser[0], holder=holder[0], address=self._specs[loser].address))
        fresh, self._told = notes - self._told, frozenset(notes)
        return tuple(sorted(fresh, key=str))

    def _clash(self, *, loser: str, holder: str, address: str) -> Note:
        pool = self._pool
        assert pool is not None, "there are endpoints, so there is a pool"
        ref = _pod_ref(pool.namespace, loser)
        message = f"is an address of pod {holder} too, which keeps it; give every pod an address of its own"
        problem = Problem(Severity.WARNING, ("status", "podIP"), describe(address), message)
        return Note(ref if ref in self._pods else _pod_ref("", loser), problem)


def _pod_ref(namespace: str, name: str) -> ObjectRef:
    return ObjectRef("", "Pod", namespace, name)


def _selects(pool: PoolInfo, pod: Pod) -> bool:
    return all(label in pod.labels for label in pool.selector)


def _labels_text(labels: tuple[tuple[str, str], ...]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels)


def _twin(ref: ObjectRef) -> Note:
    message = "the pool's namespace has a pod of this name already, which is used; remove one of the two"
    return Note(ref, Problem(Severity.WARNING, ("metadata", "name"), describe(ref.name), message))
