"""Who gets how many turns: small runs with tenants that always have work, that come back, or that fail."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from epp.core import Controller
from epp.core.actions import Dispatch
from epp.core.capacity import ConcurrencyDetector
from epp.core.eligibility import ANY, Subset
from epp.core.events import DeliveryFailed, Ended, EndpointsChanged
from tests.core.building import A, B, C, endpoint, policy, request
from tests.core.oracle import Oracle

if TYPE_CHECKING:
    from epp.core.eligibility import Eligibility
    from epp.core.endpoint import EndpointSpec
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy

ON_A = Subset.of([A.address])
ON_B = Subset.of([B.address])
ON_AB = Subset.of([A.address, B.address])
ON_BC = Subset.of([B.address, C.address])


class Turns:
    """A judged controller whose tenants refill their queues, and a count of their turns."""

    def __init__(self, *endpoints: EndpointSpec, rules: FlowControlPolicy | None = None) -> None:
        rules = rules or policy(capacity=ConcurrencyDetector(max_concurrency=1), ttl_s=0.0)
        self.oracle = Oracle(Controller(rules, now=0.0), rules, audit_every=25)
        self.now = 0.0
        self.turns: Counter[str] = Counter()
        self.queued: Counter[str] = Counter()
        self.on: dict[str, list[tuple[int, str]]] = {}
        """What runs on every endpoint, oldest first."""
        self._tenants: dict[int, str] = {}
        self.do(EndpointsChanged(endpoints))

    def do(self, event: Event) -> list[str]:
        """Let something happen; returns whose turns followed."""
        self.now += 1 / 1024
        followed = []
        for action in self.oracle.handle(event, self.now):
            if isinstance(action, Dispatch):
                tenant = self._tenants[action.request_id]
                self.turns[tenant] += 1
                self.queued[tenant] -= 1
                self.on.setdefault(action.endpoint.address, []).append((action.request_id, tenant))
                followed.append(tenant)
        return followed

    def send(self, tenant: str, eligibility: Eligibility = ANY, *, count: int = 1) -> None:
        """A tenant sends requests."""
        for _ in range(count):
            request_id = len(self._tenants) + 1
            self._tenants[request_id] = tenant
            self.queued[tenant] += 1
            self.do(request(request_id, tenant=tenant, eligibility=eligibility))

    def keep(self, tenant: str, eligibility: Eligibility = ANY, *, depth: int = 3) -> None:
        """Refill a tenant's queue."""
        self.send(tenant, eligibility, count=depth - self.queued[tenant])

    def finish(self, spec: EndpointSpec) -> tuple[str, list[str]]:
        """The oldest request on an endpoint ends; returns whose it was, and whose turns followed."""
        request_id, tenant = self.on[spec.address].pop(0)
        return tenant, self.do(Ended(request_id))

    def fill(self, *endpoints: EndpointSpec) -> None:
        """Occupy the endpoints, so that whoever comes next has to queue."""
        for number, spec in enumerate(endpoints):
            self.send(f"occupant-{number}", Subset.of([spec.address]))


def backlogged(*, seed: int, turns: int = 600) -> None:
    """Tenants that always have work, in several lanes over shared endpoints of random speed.

    Between two of the same eligibility the difference is never more than one turn.
    """
    random = Random(seed)
    run = Turns(A, B, C)
    run.fill(A, B, C)
    tenants: dict[str, Eligibility] = {
        "any-1": ANY,
        "any-2": ANY,
        "any-3": ANY,
        "ab-1": ON_AB,
        "ab-2": ON_AB,
        "bc-1": ON_BC,
        "bc-2": ON_BC,
        "a-1": ON_A,
        "a-2": ON_A,
    }
    for tenant, eligibility in tenants.items():
        run.keep(tenant, eligibility, depth=random.randint(2, 6))
    for _ in range(turns):
        run.finish(random.choices((A, B, C), (1, 3, 9))[0])
        for tenant, eligibility in tenants.items():
            if run.queued[tenant] < 2:
                run.keep(tenant, eligibility, depth=random.randint(2, 6))
        for tenant, eligibility in tenants.items():
            for other, its in tenants.items():
                if eligibility == its:
                    gap = run.turns[tenant] - run.turns[other]
                    assert gap <= 1, f"{tenant} is {gap} turns ahead of {other}"


def returning(*, away: int = 100) -> None:
    """A tenant that was away for long comes back: it gets its share from now on, and nothing for the past."""
    run = Turns(A)
    run.fill(A)
    for tenant in ("early", "busy"):
        run.send(tenant)
    run.keep("busy")
    run.keep("steady")
    for _ in range(away):
        run.finish(A)
        run.keep("busy")
        run.keep("steady")
    before = run.turns.copy()
    run.keep("early", depth=50)
    for _ in range(30):
        run.finish(A)
        run.keep("busy")
        run.keep("steady")
    gained = run.turns - before
    assert 9 <= gained["early"] <= 11, f"of 30 turns among three the returning one got {gained['early']}"


def one_at_a_time(*, turns: int = 90) -> None:
    """A tenant that always sends its next request when the last one has gone gets its share, not everything."""
    run = Turns(A)
    run.fill(A)
    for tenant in ("deep-1", "deep-2", "shallow"):
        run.send(tenant)
    for _ in range(turns):
        run.finish(A)
        run.keep("deep-1")
        run.keep("deep-2")
        run.keep("shallow", depth=1)
    assert run.turns["shallow"] <= turns / 3 + 2, f"{run.turns}"
    assert run.turns["shallow"] >= turns / 3 - 2, f"{run.turns}"


def narrow(*, turns: int = 60) -> None:
    """A fast endpoint that a tenant may not use doesn't age it: on the slow one it shares with its equals."""
    run = Turns(A, B)
    run.fill(A, B)
    run.keep("wide")
    run.keep("narrow-deep", ON_A)
    for _ in range(turns):
        for _ in range(20):
            run.finish(B)
            run.keep("wide")
        run.keep("narrow-shallow", ON_A, depth=1)
        run.finish(A)
        run.keep("narrow-deep", ON_A)
        run.keep("wide")
    assert run.turns["narrow-shallow"] >= turns / 2 - 2, f"{run.turns}"


def failing(*, turns: int = 120) -> None:
    """A delivery that fails costs no turn: whose every second delivery fails is still delivered his share."""
    run = Turns(A)
    run.fill(A)
    delivered: Counter[str] = Counter()
    failed_last = False
    for _ in range(turns):
        run.keep("lucky")
        run.keep("unlucky")
        request_id, tenant = run.on[A.address].pop(0)
        if tenant == "unlucky" and not failed_last:
            failed_last = True
            run.do(DeliveryFailed(request_id))
            continue
        if tenant == "unlucky":
            failed_last = False
        delivered[tenant] += 1
        run.do(Ended(request_id))
    assert abs(delivered["lucky"] - delivered["unlucky"]) <= 2, f"{delivered}"


def joining_endpoint(*, turns: int = 60) -> None:
    """An endpoint that joins starts at the band's present: newcomers on it aren't put before everybody."""
    run = Turns(A, B)
    run.fill(A, B)
    run.keep("old")
    for _ in range(turns):
        run.finish(A)
        run.keep("old")
    run.keep("old", depth=20)
    run.do(EndpointsChanged((A,)))
    run.do(EndpointsChanged((A, B)))
    before = run.turns.copy()
    run.send("new", ON_B, count=20)
    for _ in range(16):
        run.finish(B)
    gained = run.turns - before
    assert abs(gained["new"] - gained["old"]) <= 2, f"{gained}"


def lifted(*, turns: int = 10) -> None:
    """Refunds for charges from before a flow's last lift move nothing: the lift has already forgiven them."""
    roomy = endpoint(2, max_concurrency=6)
    run = Turns(A, roomy)
    run.fill(A, roomy)
    run.keep("bob", ON_A)
    run.send("ada", ON_B, count=5)
    on_b = [request_id for request_id, tenant in run.on[B.address] if tenant == "ada"]
    for _ in range(20):
        run.keep("bob", ON_A)
        run.finish(A)
    run.keep("bob", ON_A, depth=20)
    run.send("ada", ON_A, count=20)
    for request_id in on_b:
        run.do(DeliveryFailed(request_id))
    before = run.turns.copy()
    for _ in range(turns):
        run.finish(A)
    gained = run.turns - before
    assert abs(gained["ada"] - gained["bob"]) <= 2, f"{gained}"
