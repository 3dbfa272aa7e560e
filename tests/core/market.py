"""Tenants who share a few endpoints by tokens, seen from outside: events in, actions out, and a count of who got what.

A request has two sizes: the estimate that it is charged with when it is sent, and the actual one that its end brings.
"""

from __future__ import annotations

from collections import Counter, deque
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from epp.core import Controller
from epp.core.actions import Dispatch
from epp.core.capacity import ConcurrencyDetector
from epp.core.eligibility import ANY
from epp.core.events import Cancelled, DeliveryFailed, Ended, EndpointsChanged
from epp.core.fairness import TokenFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy
from tests.core.building import endpoint, policy, request
from tests.core.oracle import Oracle

if TYPE_CHECKING:
    from epp.core.actions import Action
    from epp.core.eligibility import Eligibility
    from epp.core.endpoint import EndpointSpec
    from epp.core.events import Event
    from epp.core.policy import FairnessPolicy

MOMENT_S = 1 / 1024


class Job(NamedTuple):
    """What a tenant sent."""

    request_id: int
    tenant: str
    estimate: int
    actual: int
    weight: float


class Market:
    """One band, fair by tokens unless said otherwise, with so many slots on each of its endpoints."""

    def __init__(
        self,
        *endpoints: EndpointSpec,
        slots: int = 1,
        fairness: FairnessPolicy | None = None,
        seed: int = 1,
        foresight: bool = False,
        judged: bool = False,
    ) -> None:
        """`foresight`: every request is charged at once with what it will turn out to take; `judged`: by the oracle."""
        band = BandPolicy(fairness or TokenFairness(), FcfsOrdering(), max_requests=100_000)
        rules = policy(capacity=ConcurrencyDetector(max_concurrency=slots), default_band=band, ttl_s=0.0)
        self.core: Controller | Oracle = Controller(rules, now=0.0)
        if judged:
            self.core = Oracle(self.core, rules, audit_every=200)
        self.random = Random(seed)
        self.now = 0.0
        self.order: list[str] = []
        """Whose requests were sent, in order."""
        self.sent: Counter[str] = Counter()
        """Tokens by the estimates, when requests were sent."""
        self.counted: Counter[str] = Counter()
        """The same, corrected by the actual sizes of those that have ended."""
        self.delivered: Counter[str] = Counter()
        """Tokens by the actual sizes, when requests ended."""
        self.queued: dict[str, int] = {}
        self.on: dict[str, deque[Job]] = {}
        """What runs on every address, oldest first."""
        self.out: Counter[str] = Counter()
        """How many requests of each tenant are running."""
        self._foresight = foresight
        self._jobs: dict[int, Job] = {}
        self._tell(EndpointsChanged(endpoints or (endpoint(1),)))

    # ------------------------------------------------------------------------ deeds

    def send(
        self,
        tenant: str,
        estimate: int,
        actual: int | None = None,
        *,
        weight: float = 1.0,
        eligibility: Eligibility = ANY,
        count: int = 1,
    ) -> None:
        """A tenant sends requests; without an actual size the estimate is right."""
        for _ in range(count):
            job = Job(len(self._jobs) + 1, tenant, estimate, estimate if actual is None else actual, weight)
            self._jobs[job.request_id] = job
            self.queued[tenant] = self.queued.get(tenant, 0) + 1
            charge = job.actual if self._foresight else job.estimate
            self._tell(
                request(
                    job.request_id,
                    tenant=tenant,
                    charge_tokens=charge,
                    weight=weight,
                    eligibility=eligibility,
                )
            )

    def occupy(self) -> None:
        """Fill every slot with requests of nobody, so that whoever comes next has to queue."""
        while not self.queued.get("nobody"):
            self.send("nobody", 1)

    def finish(self, address: str = "10.0.0.1:8000") -> Job:
        """The oldest request there ends, with the usage that it had."""
        job = self.on[address].popleft()
        self._settle(job, Ended(job.request_id, job.actual, 0))
        return job

    def finish_unseen(self, address: str = "10.0.0.1:8000") -> Job:
        """The oldest request there ends, and nobody saw what it took."""
        job = self.on[address].popleft()
        self._settle(job, Ended(job.request_id))
        return job

    def finish_someone(self) -> Job:
        """Any request anywhere ends."""
        return self.finish_at(self.random.choice([each for each, jobs in self.on.items() if jobs]))

    def finish_at(self, address: str) -> Job:
        """Any request there ends."""
        self.on[address].rotate(self.random.randrange(len(self.on[address])))
        return self.finish(address)

    def abort(self, address: str = "10.0.0.1:8000") -> Job:
        """The client of the oldest request there goes away in the middle of its response."""
        job = self.on[address].popleft()
        self._settle(job, Cancelled(job.request_id))
        return job

    def fail(self, job: Job, address: str = "10.0.0.1:8000") -> None:
        """The answer to its dispatch can't be given."""
        self.on[address].remove(job)
        self.sent[job.tenant] -= job.estimate
        self.counted[job.tenant] -= job.estimate
        self.out[job.tenant] -= 1
        self._tell(DeliveryFailed(job.request_id))

    def list_endpoints(self, *endpoints: EndpointSpec) -> None:
        """The pool's endpoints are these now."""
        self._tell(EndpointsChanged(endpoints))

    def running(self, tenant: str) -> list[Job]:
        """A tenant's running requests, oldest first."""
        return [job for jobs in self.on.values() for job in jobs if job.tenant == tenant]

    # ------------------------------------------------------------------------ inside

    def _settle(self, job: Job, event: Event) -> None:
        self.counted[job.tenant] += job.actual - job.estimate
        self.delivered[job.tenant] += job.actual
        self.out[job.tenant] -= 1
        self._tell(event)

    def _tell(self, event: Event) -> list[Action]:
        self.now += MOMENT_S
        actions = self.core.handle(event, self.now)
        for action in actions:
            if isinstance(action, Dispatch):
                job = self._jobs[action.request_id]
                self.queued[job.tenant] -= 1
                self.order.append(job.tenant)
                self.out[job.tenant] += 1
                self.sent[job.tenant] += job.estimate
                self.counted[job.tenant] += job.estimate
                self.on.setdefault(action.endpoint.address, deque()).append(job)
        return actions
