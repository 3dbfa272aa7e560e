"""What a settlement may and may not do to whose turn it is: the traps of refunds, lifts and lanes, one by one."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from benchmarks.fairness.lag import Counted, largest, received
from benchmarks.fairness.pool import controller, servers
from benchmarks.fairness.tenants import Backlogged, ClosedLoop, Tenant, around, scaled, scattered
from epp.core import Controller
from epp.core.actions import Dispatch
from epp.core.eligibility import Subset
from epp.core.events import DeliveryFailed, Ended, EndpointsChanged
from epp.core.fairness import TokenFairness
from tests.core.building import A, B, request
from tests.fairness.worlds import STEPS, run

if TYPE_CHECKING:
    from epp.core.actions import Action
    from epp.core.endpoint import EndpointSpec

ON_A, ON_B = Subset.of([A.address]), Subset.of([B.address])


class Row:
    """A core with one slot per endpoint, in which what runs is ended by hand."""

    def __init__(self, *endpoints: EndpointSpec) -> None:
        self.core: Controller = controller(TokenFairness())
        self.order: list[str] = []
        """Whose turn it was, since the pool was filled."""
        self._whose: dict[int, str] = {}
        self._on: dict[str, int] = {}
        self.core.handle(EndpointsChanged(endpoints), 0.0)

    def send(self, tenant: str, tokens: int, *, on: Subset | None = None) -> int:
        """A request. Returns its number."""
        number = len(self._whose) + 1
        self._whose[number] = tenant
        fields = {} if on is None else {"eligibility": on}
        self._note(self.core.handle(request(number, tenant=tenant, charge_tokens=tokens, **fields), 0.0))
        return number

    def end(self, endpoint: EndpointSpec = A, *, tokens: int | None = None) -> None:
        """What runs there ends, having taken so many tokens, or nobody knows how many."""
        number = self._on.pop(endpoint.address)
        self._note(self.core.handle(Ended(number, tokens, None if tokens is None else 0), 0.0))

    def fail(self, endpoint: EndpointSpec = A) -> None:
        """Its answer can't be delivered."""
        self._note(self.core.handle(DeliveryFailed(self._on.pop(endpoint.address)), 0.0))

    def _note(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Dispatch):
                self._on[action.endpoint.address] = action.request_id
                self.order.append(self._whose[action.request_id])


def test_a_refund_from_before_a_lift_does_not_let_a_flow_jump() -> None:
    """Charged 10,000, away until virtual time had passed that, back in line, and only then found to have taken 10."""
    row = Row(A, B)
    for _ in range(300):
        row.send("bob", 100, on=ON_A)
    row.send("ada", 10_000, on=ON_B)
    for _ in range(150):
        row.end(A)
    for _ in range(10):
        row.send("ada", 100)
    row.order.clear()
    row.end(B, tokens=10)
    for _ in range(9):
        row.end(A)
    assert row.order.count("ada") == 5
    assert "".join(name[0] for name in row.order) in {"ab" * 5, "ba" * 5}


def test_a_refund_brings_a_flow_back_to_where_it_came_in_and_no_further() -> None:
    """Charged 10,000, back when virtual time was 5,000: found to have taken 10, it stands at 5,000, not at 10."""
    row = Row(A, B)
    for _ in range(300):
        row.send("bob", 100, on=ON_A)
    row.send("ada", 10_000, on=ON_B)
    for _ in range(50):
        row.end(A)
    for _ in range(60):
        row.send("ada", 100)
    for _ in range(10):
        row.end(A)
    assert row.order[-10:] == ["bob"] * 10
    row.order.clear()
    row.end(B, tokens=10)
    for _ in range(29):
        row.end(A)
    turns = "".join(name[0] for name in row.order)
    assert turns[:10] == "a" * 10
    assert turns[12:].count("a") in {8, 9, 10}


def test_a_failed_delivery_leaves_the_flow_as_if_nothing_had_been_charged() -> None:
    """The next of the same tenant goes at once, and again: bad luck costs no turn."""
    row = Row(A)
    row.send("bob", 100)
    for _ in range(3):
        row.send("ada", 5000)
    for _ in range(3):
        row.send("bob", 100)
    row.end()
    assert row.order[-1] == "ada"
    row.fail()
    assert row.order[-1] == "ada"
    row.fail()
    assert row.order[-1] == "ada"
    row.end()
    assert row.order[-1] == "bob"


def test_missing_usage_keeps_the_charge() -> None:
    """A stream that is cut off without usage stays charged by its estimate: it was work all the same."""
    row = Row(A)
    row.send("bob", 100)
    for _ in range(4):
        row.send("ada", 1000)
        for _ in range(10):
            row.send("bob", 100)
    row.order.clear()
    for _ in range(22):
        row.end()
    assert row.order.count("ada") == 2


def test_a_short_queue_loses_no_refund() -> None:
    """One request in line, taken for twice its size, or a few, taken for ten times theirs: still half of the tokens."""
    for depth, guess in ((1, scaled(2.0)), (2, scaled(10.0)), (3, scattered(10.0))):
        hasty = Tenant(name="hasty", demand=Backlogged(depth=depth), size=around(200), guess=guess)
        deep = Tenant(name="deep", demand=Backlogged(depth=20), size=around(200))
        world = run([hasty, deep], servers(8, 25.0), seed=depth, steps=STEPS // 2)
        got = received(world.moments, Counted.DELIVERED)
        assert 0.95 <= got["hasty"] / got["deep"] <= 1.05


def test_a_tenant_of_few_endpoints_is_not_starved_by_the_pace_of_others() -> None:
    """Virtual time runs fast on a fast endpoint; who may use the slow one only gets its share there."""
    pool = servers(1, 1.0, 100.0)
    slow, fast = (Subset.of([server.spec.address]) for server in pool)
    anywhere = Tenant(name="anywhere", demand=ClosedLoop(30), size=around(100))
    narrow = Tenant(name="narrow", demand=Backlogged(), size=around(100), eligibility=(slow,))
    equal = Tenant(name="equal", demand=Backlogged(), size=around(100), eligibility=(slow,))
    quick = Tenant(name="quick", demand=Backlogged(), size=around(100), eligibility=(fast,))
    world = run([anywhere, narrow, equal, quick], pool, seed=6)
    lag = largest(world.moments, narrow, equal, Counted.CHARGED)
    assert lag.units <= 1
    assert lag.turns >= 60
    turns = [at_s for at_s, name, _ in world.waits if name == "narrow"]
    assert max(after - before for before, after in pairwise(turns)) < 1000
