"""Hypothesis walks through everything that can happen to a controller, in any order, under the eyes of the oracle."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from epp.core import Controller
from epp.core.eligibility import ANY, Subset
from epp.core.endpoint import Contact, EngineSample
from epp.core.events import (
    Cancelled,
    DeliveryFailed,
    Draining,
    Ended,
    EndpointsChanged,
    FirstByte,
    ObjectivesChanged,
    PolicyChanged,
    Resumed,
    Scraped,
    Tick,
)
from tests.core.building import endpoint, request
from tests.core.leftovers import assert_empty
from tests.core.oracle import Oracle
from tests.core.policies import HONEST

MOMENT_S = 1 / 1024
"""All times are multiples of it, so sums are exact and deadlines are judged to the last bit."""

priorities = st.sampled_from((-10, 0, 0, 5, 10, 2**31 - 1))
tenants = st.sampled_from(("ada", "bob", "cyd", "overflow"))
sizes = st.sampled_from((0, 1, 100, 300))
needs = st.sampled_from((1, 1, 1, 0))
ttls = st.sampled_from((None, None, 0.0, MOMENT_S, 0.5, 4.0))
eligibilities = st.sampled_from(
    (
        ANY,
        ANY,
        ANY,
        Subset.of(["10.0.0.1:8000"]),
        Subset.of(["10.0.0.2"]),
        Subset.of(["10.0.0.1:8000", "10.0.0.3:8000"]),
        Subset.of(["10.0.0.9:8000"]),
        Subset.of([]),
    )
)
listings = st.lists(
    st.tuples(
        st.integers(1, 4), st.sampled_from(("", "", "successor")), st.sampled_from((None, None, 1, 2, 0))
    ),
    max_size=4,
    unique_by=lambda entry: entry[0],
)
picks = st.integers(0, 50)


class ControllerMachine(RuleBasedStateMachine):
    """Every rule is one event, and the oracle judges every decision that follows from it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.last_id = 0
        self.oracle = Oracle(Controller(HONEST[0], now=0.0), HONEST[0])

    @initialize(number=st.integers(0, len(HONEST) - 1), listing=listings)
    def start(self, number: int, listing: list[tuple[int, str, int | None]]) -> None:
        """Some policy, some endpoints."""
        self.oracle = Oracle(Controller(HONEST[number], now=0.0), HONEST[number])
        self.change_endpoints(listing)

    def _someone(self, among: dict[int, object], pick: int) -> int:
        ids = list(among)
        return ids[pick % len(ids)] if ids else self.last_id + 1

    # -------------------------------------------------------------------- requests

    @rule(
        priority=priorities,
        tenant=tenants,
        size=sizes,
        need=needs,
        ttl=ttls,
        eligibility=eligibilities,
        charge=st.sampled_from((1, 10, 60)),
        weight=st.sampled_from((1.0, 1.0, 0.25, 4.0)),
        prefill=st.sampled_from((None, None, None, None, ANY, Subset.of(["10.0.0.2"]))),
        copies=st.sampled_from((1, 1, 1, 2, 5)),
    )
    def arrive(
        self,
        priority: int,
        tenant: str,
        size: int,
        need: int,
        ttl: float | None,
        eligibility: Subset,
        charge: int,
        weight: float,
        prefill: Subset | None,
        copies: int,
    ) -> None:
        """One or a few requests of any kind."""
        for _ in range(copies):
            self.last_id += 1
            self.oracle.handle(
                request(
                    self.last_id,
                    priority,
                    tenant,
                    size_bytes=size,
                    need=need,
                    ttl_s=ttl,
                    eligibility=eligibility,
                    charge_tokens=charge,
                    weight=weight,
                    prefill=prefill,
                ),
                self.now,
            )

    @precondition(lambda self: len(self.oracle.queued) < 100)
    @rule(priority=priorities, ttl=ttls, count=st.integers(65, 90))
    def burst(self, priority: int, ttl: float | None, count: int) -> None:
        """More requests at once than one step decides."""
        for _ in range(count):
            self.arrive(priority, f"tenant-{self.last_id % 7}", 1, 1, ttl, ANY, 1, 1.0, None, 1)

    @rule(pick=picks)
    def cancel_queued(self, pick: int) -> None:
        """A client goes away that waits."""
        self.oracle.handle(Cancelled(self._someone(dict(self.oracle.queued), pick)), self.now)

    @rule(pick=picks)
    def cancel_running(self, pick: int) -> None:
        """A client goes away that is served."""
        self.oracle.handle(Cancelled(self._someone(dict(self.oracle.running), pick)), self.now)

    @rule(
        pick=picks,
        count=st.sampled_from((1, 1, 2, 4)),
        usage=st.sampled_from(((None, None), (1, 0), (10, 2), (7, 200))),
    )
    def end(self, pick: int, count: int, usage: tuple[int | None, int | None]) -> None:
        """Responses come to their end, with or without usage that was seen."""
        for _ in range(count):
            self.oracle.handle(Ended(self._someone(dict(self.oracle.running), pick), *usage), self.now)

    @rule(pick=picks)
    def begin(self, pick: int) -> None:
        """The first byte of a response comes."""
        self.oracle.handle(FirstByte(self._someone(dict(self.oracle.running), pick)), self.now)

    @rule(pick=picks)
    def fail_delivery(self, pick: int) -> None:
        """An answer could not be given."""
        self.oracle.handle(DeliveryFailed(self._someone(dict(self.oracle.running), pick)), self.now)

    @rule(pick=picks, event=st.sampled_from((Cancelled, Ended, DeliveryFailed)))
    def speak_of_the_dead(self, pick: int, event: type[Cancelled | Ended | DeliveryFailed]) -> None:
        """An event about a request that has had its end changes nothing."""
        request_id = self._someone(dict(self.oracle.ends), pick)
        self.oracle.handle(event(request_id), self.oracle.now)

    # ------------------------------------------------------------------- the world

    @rule(listing=listings)
    def change_endpoints(self, listing: list[tuple[int, str, int | None]]) -> None:
        """Endpoints come, go, flap, are replaced, and state limits."""
        specs = tuple(endpoint(number, uid=uid, max_concurrency=most) for number, uid, most in listing)
        self.oracle.handle(EndpointsChanged(specs), self.now)

    @rule(
        number=st.integers(1, 5),
        uid=st.sampled_from(("", "", "successor")),
        age=st.sampled_from((0, 1, 30, 600)),
        waiting=st.sampled_from((0, 0, 1, 3)),
        running=st.integers(0, 4),
        kv=st.sampled_from((0.0, 0.2, 0.6, 1.0)),
        contact=st.sampled_from((Contact.REACHED, Contact.REACHED, Contact.REACHED, None, Contact.REFUSED)),
    )
    def scrape(
        self, number: int, uid: str, age: int, waiting: int, running: int, kv: float, contact: Contact | None
    ) -> None:
        """A scrape: quick or late, in any order, failed (None), refused, or of a stranger."""
        sent_s = self.now - age * MOMENT_S
        seen = EngineSample(waiting, running, kv) if contact is Contact.REACHED else None
        event = Scraped(endpoint(number, uid=uid).key, sent_s, self.now, seen, contact or Contact.REACHED)
        self.oracle.handle(event, self.now)

    @rule(wanted=st.frozensets(priorities, max_size=4))
    def change_objectives(self, wanted: frozenset[int]) -> None:
        """Objectives come and go, with their bands."""
        self.oracle.handle(ObjectivesChanged(wanted), self.now)

    @rule(number=st.integers(0, len(HONEST) - 1))
    def change_policy(self, number: int) -> None:
        """Another configuration: other caps, detectors, ceilings, orders."""
        self.oracle.handle(PolicyChanged(HONEST[number]), self.now)

    @precondition(lambda self: self.oracle.steps > 30)
    @rule(sure=st.sampled_from((False, False, True)))
    def drain(self, *, sure: bool) -> None:
        """The picker is told to stop."""
        if sure:
            self.oracle.handle(Draining(), self.now)

    @precondition(lambda self: self.oracle.draining)
    @rule()
    def resume(self) -> None:
        """The picker may serve again."""
        self.oracle.handle(Resumed(), self.now)

    # -------------------------------------------------------------------- the time

    @rule()
    def obey(self) -> None:
        """The driver sleeps exactly as long as it was asked to."""
        if self.oracle.wake_at_s is not None:
            self.now = max(self.now, self.oracle.wake_at_s)
            self.oracle.handle(Tick(), self.now)

    @rule(moments=st.sampled_from((1, 7, 100)))
    def pass_time(self, moments: int) -> None:
        """A little time passes, without anybody being told."""
        self.now = (int(self.now / MOMENT_S) + moments) * MOMENT_S

    @rule(seconds=st.sampled_from((1, 5, 100)))
    def oversleep(self, seconds: int) -> None:
        """Much time passes, and `WakeAt` is disobeyed."""
        self.now += seconds
        self.oracle.handle(Tick(), self.now)

    @rule()
    def look_back(self) -> None:
        """A clock that runs backwards for once."""
        self.oracle.handle(Tick(), self.now - 1.0)

    def teardown(self) -> None:
        """Everybody goes home, and nothing is left."""
        for request_id in [*self.oracle.queued, *self.oracle.running]:
            self.oracle.handle(Cancelled(request_id), self.now)
        assert_empty(self.oracle)


TestController = ControllerMachine.TestCase
TestController.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
