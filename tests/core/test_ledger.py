"""The ledger, through the controller: loads, foreign work, incarnations, knowledge, and asking early."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from epp.core.capacity import ConcurrencyDetector, StalenessPolicy, UtilizationDetector
from epp.core.endpoint import EndpointSpec, EndpointView, Knowledge
from epp.core.events import Cancelled, DeliveryFailed, Ended, EndpointsChanged, PolicyChanged, Scraped, Tick
from epp.core.guard import PolicyGuard
from epp.core.learning import LearnedLimitPolicy, LearnedLimits
from epp.core.ledger import Ledger
from epp.core.limits import LabelLimit, LimitRules
from tests.core.building import (
    A,
    B,
    C,
    asked,
    controller,
    destinations,
    dispatched,
    endpoint,
    policy,
    request,
    sample,
    scraped,
    wake_s,
)
from tests.core.turns import ON_A

if TYPE_CHECKING:
    from epp.core import Controller
    from epp.core.incarnation import Endpoint
    from epp.core.policy import FlowControlPolicy

UTILIZATION = UtilizationDetector()


def view(core: Controller, address: str = A.address, now: float = 0.0) -> EndpointView:
    """What policies see of an endpoint."""
    return next(each.view for each in core.statistics(now).endpoints if each.view.spec.address == address)


# ----------------------------------------------------------------------------------- reservations


def test_a_dispatch_is_a_reservation_in_the_same_step() -> None:
    """Of several newcomers in a row no two take one slot: room is gone before the next is decided."""
    core = controller(A, B)
    sent: dict[int, str] = {}
    for number in range(3):
        sent |= destinations(core.handle(request(number), 0.0))
    assert sent == {0: A.address, 1: B.address}


@pytest.mark.parametrize("end", [Ended, Cancelled, DeliveryFailed])
def test_every_end_gives_the_slot_back_once(end: type[Ended | Cancelled | DeliveryFailed]) -> None:
    """However a running request ends, its slot is free in the same call, and a second end changes nothing."""
    core = controller(A)
    core.handle(request(1, charge_tokens=7), 0.0)
    core.handle(request(2, charge_tokens=3), 0.0)
    assert (view(core).own_requests, view(core).own_tokens) == (1, 7)
    assert dispatched(core.handle(end(1), 1.0)) == [2]
    for again in (Ended(1), Cancelled(1), DeliveryFailed(1)):
        core.handle(again, 2.0)
    assert (view(core).own_requests, view(core).own_tokens) == (1, 3)


def test_a_request_without_a_body_weighs_nothing() -> None:
    """It is dispatched to a full endpoint and counts neither as a request nor as tokens."""
    core = controller(A)
    core.handle(request(1), 0.0)
    assert dispatched(core.handle(request(2, need=0, charge_tokens=9), 0.0)) == [2]
    assert (view(core).own_requests, view(core).own_tokens) == (1, 1)
    core.handle(Ended(2), 0.0)
    assert view(core).own_requests == 1


def test_a_stranger_on_the_same_address_is_another_endpoint() -> None:
    """A pod that is replaced on its address starts empty, and the old one's ends don't touch it."""
    core = controller(endpoint(1, uid="old"))
    core.handle(request(1), 0.0)
    core.handle(EndpointsChanged((endpoint(1, uid="new"),)), 1.0)
    assert view(core).own_requests == 0
    assert dispatched(core.handle(request(2), 1.0)) == [2]
    assert dispatched(core.handle(request(3), 1.0)) == []
    assert dispatched(core.handle(Ended(1), 2.0)) == []
    assert view(core).own_requests == 1
    assert dispatched(core.handle(Ended(2), 3.0)) == [3]


def test_a_flapping_endpoint_keeps_what_runs_on_it() -> None:
    """A pod that is unready for a moment comes back with its reservations, so it isn't filled twice."""
    core = controller(A)
    core.handle(request(1), 0.0)
    core.handle(EndpointsChanged(()), 1.0)
    core.handle(request(2), 1.0)
    assert dispatched(core.handle(EndpointsChanged((A,)), 2.0)) == []
    assert dispatched(core.handle(Ended(1), 3.0)) == [2]


def test_a_bodiless_request_that_outlives_a_flap_does_not_hurt_the_endpoint() -> None:
    """An end that belongs to the forgotten incarnation's life leaves the new one known and its load right."""
    core = controller(A)
    core.handle(request(1, need=0), 0.0)
    core.handle(EndpointsChanged(()), 1.0)
    core.handle(EndpointsChanged((A,)), 2.0)
    core.handle(Ended(1), 3.0)
    core.handle(request(2), 3.0)
    core.check()
    core.handle(EndpointsChanged(()), 4.0)
    core.handle(EndpointsChanged((A,)), 5.0)
    assert view(core).own_requests == 1


def test_nothing_is_sent_to_an_endpoint_that_has_left() -> None:
    """The choice is made among the listed, and work for the gone one alone waits."""
    core = controller(A, B)
    core.handle(EndpointsChanged((B,)), 0.0)
    assert destinations(core.handle(request(1), 0.0)) == {1: B.address}
    core.handle(Ended(1), 0.0)
    assert dispatched(core.handle(request(2), 0.0)) == [2]


def test_a_pods_new_limit_counts_at_once() -> None:
    """An endpoint that states another limit is described anew: more may run there, or nothing until it has drained."""
    core = controller(endpoint(1, max_concurrency=1))
    for number in range(4):
        core.handle(request(number), 0.0)
    assert dispatched(core.handle(EndpointsChanged((endpoint(1, max_concurrency=3),)), 1.0)) == [1, 2]
    core.handle(EndpointsChanged((endpoint(1, max_concurrency=1),)), 2.0)
    assert dispatched(core.handle(Ended(0), 3.0)) == []
    assert dispatched(core.handle(Ended(1), 3.0)) == []
    assert dispatched(core.handle(Ended(2), 3.0)) == [3]


# ------------------------------------------------------------------------------------------- limits


def labelled(number: int, max_concurrency: int | None = None, **labels: str) -> EndpointSpec:
    """An endpoint whose pod has these labels."""
    return EndpointSpec(
        f"10.0.0.{number}:8000", labels=tuple(sorted(labels.items())), max_concurrency=max_concurrency
    )


RULES = LimitRules(label="limit", by_label=(LabelLimit("gpu", "big", 4), LabelLimit("gpu", "small", 1)))


def test_labels_state_limits() -> None:
    """Unlike machines take unlike numbers of requests: by the annotation, else the label, else the first rule."""
    pool = (
        labelled(1, gpu="big"),
        labelled(2, gpu="small"),
        labelled(3, gpu="small", limit="3"),
        labelled(4, 6, gpu="small", limit="3"),
        labelled(5, gpu="none"),
    )
    core = controller(*pool, capacity=ConcurrencyDetector(max_concurrency=2), limits=RULES)
    sent: dict[int, str] = {}
    for number in range(30):
        sent |= destinations(core.handle(request(number), 0.0))
    assert [list(sent.values()).count(each.address) for each in pool] == [4, 1, 3, 6, 2]
    assert [each.stated_limit for each in core.statistics(0.0).endpoints] == [4, 1, 3, 6, None]


def test_other_labels_and_other_rules_count_at_once() -> None:
    """A pod that is labelled anew, and rules that are written anew, change what fits with nothing else happening."""
    core = controller(labelled(1, gpu="small"), limits=RULES)
    for number in range(9):
        core.handle(request(number), 0.0)
    assert dispatched(core.handle(EndpointsChanged((labelled(1, gpu="big"),)), 1.0)) == [1, 2, 3]
    raised = LimitRules(by_label=(LabelLimit("gpu", "big", 6),))
    assert dispatched(core.handle(PolicyChanged(policy(limits=raised)), 2.0)) == [4, 5]
    core.handle(PolicyChanged(policy()), 3.0)
    assert view(core).stated_limit is None


def test_limits_are_worked_out_once() -> None:
    """Labels are read when an endpoint is described or the rules change, never for a decision."""
    asked_of: list[str] = []

    class Counting(LimitRules):
        def limit(self, endpoint: EndpointSpec) -> int | None:
            asked_of.append(endpoint.address)
            return 3

    rules = Counting()
    core = controller(A, B, limits=rules)
    for number in range(20):
        core.handle(request(number), 0.0)
    for number in range(6):
        core.handle(Ended(number), 1.0)
    core.handle(scraped(A, 1.0), 1.0)
    core.handle(EndpointsChanged((A, B)), 2.0)
    core.handle(PolicyChanged(policy(limits=rules, ttl_s=5.0)), 2.0)
    assert asked_of == [A.address, B.address]


# ------------------------------------------------------------------------------------ foreign load


def test_what_a_sample_shows_beyond_our_own_is_foreign() -> None:
    """Five on the engine, two of them ours: three are somebody else's, and take room."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=5))
    core.handle(request(1), 0.0)
    core.handle(request(2), 0.0)
    core.handle(scraped(A, 1.0, running=4, waiting=1), 1.0)
    assert view(core).foreign_requests == 3
    assert dispatched(core.handle(request(3), 1.0)) == []


def test_what_ended_during_the_scrape_is_not_foreign() -> None:
    """Foreign is what goes beyond the most we had between sending and receipt: a sample may show what just ended."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=5))
    for number in range(4):
        core.handle(request(number), 0.0)
    for number in range(4):
        core.handle(Ended(number), 1.1)
    core.handle(Scraped(A.key, 1.0, 1.2, sample(running=4)), 1.2)
    assert view(core).foreign_requests == 0


def test_what_was_sent_during_the_scrape_is_not_foreign_either() -> None:
    """A sample may already show what we sent after the scrape left."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=5))
    for number in range(3):
        core.handle(request(number), 1.1)
    core.handle(Scraped(A.key, 1.0, 1.2, sample(running=3)), 1.2)
    assert view(core).foreign_requests == 0


def test_a_peak_before_the_scrape_does_not_hide_foreign_work() -> None:
    """What had ended before the scrape was sent can't be what the sample shows."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=5))
    for number in range(4):
        core.handle(request(number), 0.0)
    for number in range(4):
        core.handle(Ended(number), 0.9)
    core.handle(Scraped(A.key, 1.0, 1.2, sample(running=4)), 1.2)
    assert view(core).foreign_requests == 4


def test_a_short_peak_within_the_scrape_counts() -> None:
    """The most of the whole interval counts, not its beginning or its end."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=9))
    core.handle(request(0), 0.0)
    for number in range(1, 6):
        core.handle(request(number), 1.1)
    for number in range(1, 6):
        core.handle(Ended(number), 1.2)
    core.handle(request(7), 1.25)
    core.handle(Scraped(A.key, 1.0, 1.3, sample(running=7)), 1.3)
    assert view(core).foreign_requests == 1


def test_what_was_sent_since_the_last_sample_is_load() -> None:
    """Between two scrapes our own dispatches fill the endpoint up: a burst doesn't overshoot the threshold."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=5))
    core.handle(scraped(A, 0.0, running=0, waiting=0), 0.0)
    sent = []
    for number in range(1000):
        sent += dispatched(core.handle(request(number), 0.001))
    assert len(sent) == 5


# --------------------------------------------------------------------------------------- knowledge


def test_knowledge_goes_from_unknown_to_fresh_to_stale() -> None:
    """Never scraped, scraped, and scraped too long ago; going stale is a deadline of its own while work waits."""
    core = controller(A, capacity=UTILIZATION, staleness_s=2.0)
    assert view(core).knowledge is Knowledge.UNKNOWN
    core.handle(scraped(A, 1.0, waiting=9), 1.0)
    assert view(core).knowledge is Knowledge.FRESH
    actions = core.handle(request(1), 1.0)
    while (at_s := wake_s(actions)) is not None and at_s < 3.0:
        actions = core.handle(Tick(), at_s)
        assert dispatched(actions) == []
    assert wake_s(actions) == 3.0
    assert dispatched(core.handle(Tick(), 3.0)) == [1]
    assert view(core).knowledge is Knowledge.STALE
    assert view(core).foreign_requests == 0


def test_what_was_proven_lately_counts_in_a_lull_too() -> None:
    """The most that had room there in the last minute, though little ran at its end; then it is forgotten."""
    core = controller(A, capacity=UTILIZATION, staleness_s=1.0)
    for number in range(9):
        core.handle(scraped(A, number / 10, running=number), number / 10)
        core.handle(request(number), number / 10)
    for number in range(9):
        core.handle(Ended(number), 1.0)
    core.handle(scraped(A, 30.0, running=0), 30.0)
    core.handle(request(10), 30.0)
    assert (view(core).own_requests, view(core).proven_requests) == (1, 9)
    core.handle(scraped(A, 60.75, running=1), 60.75)
    core.handle(request(11), 60.75)
    assert view(core).proven_requests == 9
    core.handle(scraped(A, 61.0, running=2), 61.0)
    core.handle(request(12), 61.0)
    assert view(core).proven_requests == 3


def test_what_was_proven_is_forgotten_without_dispatches_too() -> None:
    """An endpoint that served nobody for long, and then can't be asked, had room for nobody lately."""
    core = controller(A, capacity=UTILIZATION, staleness_s=1.0)
    for number in range(9):
        core.handle(request(number), 0.0)
        core.handle(scraped(A, 0.01 * (number + 1), running=number), 0.01 * (number + 1))
    most = view(core).proven_requests
    assert most > 5
    for number in range(9):
        core.handle(Ended(number), 1.0)
    core.handle(scraped(A, 100.0), 100.0)
    core.handle(Tick(), 200.0)
    assert view(core).knowledge is Knowledge.STALE
    assert view(core).proven_requests == 0


def test_what_runs_there_counts_however_long_it_has_run() -> None:
    """Long requests that were sent while there was room still show how many fit when metrics go away."""
    core = controller(A, capacity=UTILIZATION, staleness_s=1.0)
    for number in range(9):
        core.handle(scraped(A, number / 10, running=number), number / 10)
        core.handle(request(number), number / 10)
    core.handle(scraped(A, 100.0, running=9), 100.0)
    core.handle(Tick(), 200.0)
    assert view(core).proven_requests == 9


def test_stale_is_neither_full_nor_free() -> None:
    """Once its sample is stale an endpoint takes what it had with room lately, and no more."""
    core = controller(A, capacity=UTILIZATION, staleness_s=1.0)
    now = 0.0
    for number in range(9):
        core.handle(scraped(A, now, running=number), now)
        core.handle(request(number), now)
        now += 0.1
    assert (view(core).own_requests, view(core).proven_requests) == (9, 9)
    core.handle(Tick(), 10.0)
    assert dispatched(core.handle(request(100), 10.0)) == []
    core.handle(Ended(0), 10.0)
    assert dispatched(core.handle(request(101), 10.0)) == []
    core.handle(Ended(1), 10.0)
    assert view(core).own_requests == 9


def test_a_scrape_that_failed_or_came_out_of_order_changes_nothing() -> None:
    """Only a sample whose scrape was sent after the last one's is believed."""
    core = controller(A, capacity=UTILIZATION)
    core.handle(Scraped(A.key, 1.0, 1.1, sample(waiting=2)), 1.1)
    core.handle(Scraped(A.key, 0.9, 1.2, sample(waiting=7)), 1.2)
    core.handle(Scraped(A.key, 1.0, 1.2, sample(waiting=7)), 1.2)
    core.handle(Scraped(A.key, 1.2, 1.3, None), 1.3)
    core.handle(Scraped(B.key, 1.2, 1.3, sample(waiting=7)), 1.3)
    assert view(core).sample.waiting == 2


def test_failing_scrapes_of_one_endpoint_do_not_stop_the_others() -> None:
    """With one endpoint silent for long, work goes on on both."""
    core = controller(A, B, capacity=UTILIZATION, staleness_s=1.0)
    for step in range(1, 50):
        core.handle(Scraped(A.key, step / 10, step / 10, None), step / 10)
        core.handle(scraped(B, step / 10), step / 10)
    sent: dict[int, str] = {}
    for number in range(10):
        sent |= destinations(core.handle(request(number), 5.0))
    assert sorted(sent.values()) == [A.address] * 5 + [B.address] * 5


def test_a_flap_does_not_make_an_old_sample_young() -> None:
    """An endpoint that was away while its sample went stale comes back with stale knowledge."""
    core = controller(A, capacity=UTILIZATION, staleness_s=2.0)
    core.handle(scraped(A, 0.0, running=3), 0.0)
    core.handle(request(1), 0.1)
    core.handle(EndpointsChanged(()), 1.0)
    core.handle(Tick(), 3.0)
    core.handle(EndpointsChanged((A,)), 50.0)
    assert view(core).knowledge is Knowledge.STALE


@pytest.mark.parametrize(("before_s", "after_s", "stale_at_s"), [(2.0, 5.0, 5.0), (20.0, 3.0, 3.0)])
def test_another_staleness_counts_for_samples_that_are_there(
    before_s: float, after_s: float, stale_at_s: float
) -> None:
    """A configuration that believes samples longer, or shorter, does so at once."""
    core = controller(A, capacity=UTILIZATION, staleness_s=before_s)
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(PolicyChanged(policy(capacity=UTILIZATION, staleness_s=after_s)), 1.0)
    core.handle(Tick(), stale_at_s - 0.001)
    assert view(core).knowledge is Knowledge.FRESH
    core.handle(Tick(), stale_at_s)
    assert view(core).knowledge is Knowledge.STALE


LASTING = ConcurrencyDetector(max_concurrency=5, staleness=StalenessPolicy.LAST_SAMPLE)


def test_a_stale_sample_goes_on_counting_where_that_is_wanted() -> None:
    """Others' requests stay on the endpoint as last seen, ours come on top, and one of ours fits whatever was seen."""
    core = controller(A, capacity=LASTING, staleness_s=2.0)
    core.handle(scraped(A, 0.0, running=3), 0.0)
    core.handle(Tick(), 9.0)
    assert (view(core).knowledge, view(core).load) == (Knowledge.STALE, 3)
    assert [len(dispatched(core.handle(request(number), 9.0))) for number in range(4)] == [1, 1, 0, 0]
    crowded = controller(A, capacity=LASTING, staleness_s=2.0)
    crowded.handle(scraped(A, 0.0, running=40), 0.0)
    assert dispatched(crowded.handle(request(1), 0.0)) == []
    assert dispatched(crowded.handle(Tick(), 2.0)) == [1]
    actions = crowded.handle(request(2), 2.5)
    assert dispatched(actions) == []
    assert asked(actions) or asked(crowded.handle(Tick(), wake_s(actions) or 0.0)) == [A.key]
    assert dispatched(crowded.handle(Ended(1), 3.0)) == [2]


def test_another_staleness_policy_counts_for_what_is_stale_already() -> None:
    """What was last seen is neither lost by forgetting it for a while, nor remembered against the policy."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=5), staleness_s=2.0)
    core.handle(scraped(A, 0.0, running=3), 0.0)
    core.handle(Tick(), 9.0)
    assert view(core).load == 0
    core.handle(PolicyChanged(policy(capacity=LASTING)), 10.0)
    assert view(core).load == 3
    core.handle(PolicyChanged(policy()), 11.0)
    assert view(core).load == 0


# --------------------------------------------------------------------------------- learned limits


SHADOW = LearnedLimitPolicy(initial=3, least=2, most=3)
ON = LearnedLimitPolicy(mode=LearnedLimits.ON, initial=3, least=2, most=3)


def a_ledger(rules: FlowControlPolicy, *specs: EndpointSpec) -> Ledger:
    """A ledger of these endpoints, by itself."""
    ledger = Ledger(rules, PolicyGuard())
    ledger.configure(rules, [1.0], 0.0)
    ledger.enlist(specs or (A,), 0.0)
    return ledger


def fill(ledger: Ledger, endpoint: Endpoint, *, at_s: float = 0.0) -> int:
    """Reserve until there is no room. Returns how many fitted."""
    count = 0
    while endpoint in ledger.full_room.views and count < 100:
        ledger.reserve(endpoint, need=1, tokens=1, now=at_s)
        count += 1
    return count


def teach(ledger: Ledger, endpoint: Endpoint, took_s: float, *, samples: int = 1, at_s: float = 1.0) -> float:
    """First bytes that took so long, one a second. Returns when it was over."""
    for _ in range(samples):
        at_s += 1.0
        ledger.first_byte(endpoint, took_s=took_s, input_tokens=100, now=at_s)
    return at_s


def settle(ledger: Ledger, endpoint: Endpoint) -> None:
    """Show it half empty first, a limit of 4 provided, so that it needs no probe."""
    ledger.reserve(endpoint, need=1, tokens=1, now=0.0)
    ledger.reserve(endpoint, need=1, tokens=1, now=0.0)
    teach(ledger, endpoint, 0.1, samples=10)


WIDE = ConcurrencyDetector(max_concurrency=50)


def test_a_learned_limit_that_is_on_decides_room() -> None:
    """From the first request on it replaces the detector's number, and a lower one counts with the next sample."""
    ledger = a_ledger(policy(capacity=WIDE, learning=ON))
    (endpoint,) = ledger.listed.values()
    assert fill(ledger, endpoint) == 3
    teach(ledger, endpoint, 0.1, samples=10)
    for _ in range(2):
        ledger.release(endpoint, need=1, tokens=1, now=20.0)
    teach(ledger, endpoint, 0.1, samples=20, at_s=20.0)
    ledger.reserve(endpoint, need=1, tokens=1, now=50.0)
    ledger.reserve(endpoint, need=1, tokens=1, now=50.0)
    assert endpoint.view.learned_limit == 3
    teach(ledger, endpoint, 9.0, samples=40, at_s=50.0)
    assert endpoint.view.learned_limit == 2
    ledger.release(endpoint, need=1, tokens=1, now=100.0)
    assert endpoint not in ledger.full_room.views
    ledger.release(endpoint, need=1, tokens=1, now=100.0)
    assert endpoint in ledger.full_room.views


def test_a_learned_limit_grows_into_room() -> None:
    """Room appears with the very sample that raises the limit, not with the next change of the endpoint."""
    rules = policy(capacity=WIDE, learning=LearnedLimitPolicy(mode=LearnedLimits.ON, initial=4, most=9))
    ledger = a_ledger(rules)
    (endpoint,) = ledger.listed.values()
    settle(ledger, endpoint)
    fill(ledger, endpoint)
    assert endpoint not in ledger.full_room.views
    teach(ledger, endpoint, 0.1, samples=9, at_s=20.0)
    assert endpoint in ledger.full_room.views
    assert ledger.full_room.views[endpoint] is endpoint.view


def test_in_shadow_a_learned_limit_is_only_shown() -> None:
    """Statistics name it, and nothing follows from it; without a policy nothing is learned or shown."""
    shadow = a_ledger(policy(capacity=WIDE, learning=SHADOW))
    (endpoint,) = shadow.listed.values()
    assert fill(shadow, endpoint) == 50
    assert endpoint.view.learned_limit is None
    assert shadow.statistics()[0].learned_limit == 3
    off = a_ledger(policy(capacity=WIDE))
    (endpoint,) = off.listed.values()
    teach(off, endpoint, 1.0)
    assert endpoint.learned is None
    assert off.statistics()[0].learned_limit is None


def test_another_policy_loses_nothing_of_what_was_learned() -> None:
    """Switched off, to shadow and on again, a limit is the one that had been learned, within the bounds of the day."""
    wide = LearnedLimitPolicy(mode=LearnedLimits.ON, initial=4, most=200)
    rules = policy(capacity=WIDE, learning=wide)
    ledger = a_ledger(rules)
    (endpoint,) = ledger.listed.values()
    settle(ledger, endpoint)
    for step in range(5):
        fill(ledger, endpoint)
        teach(ledger, endpoint, 0.1, samples=20, at_s=20.0 * (step + 1))
    learned = endpoint.view.learned_limit
    assert learned is not None
    assert learned > 6
    for learning, in_force in (
        (None, None),
        (LearnedLimitPolicy(most=200), None),
        (LearnedLimitPolicy(mode=LearnedLimits.ON, most=6), 6),
        (wide, learned),
    ):
        ledger.configure(policy(capacity=WIDE, learning=learning), [1.0], 200.0)
        assert endpoint.view.learned_limit == in_force
        assert (endpoint in ledger.full_room.views) is (endpoint.own_requests < (in_force or 50))


def test_an_endpoint_takes_what_was_learned_of_it_along() -> None:
    """Its successor starts anew; one that only flapped, with work on it, goes on where it was."""
    rules = policy(capacity=WIDE, learning=LearnedLimitPolicy(mode=LearnedLimits.ON, initial=4, most=200))
    ledger = a_ledger(rules)
    (endpoint,) = ledger.listed.values()
    settle(ledger, endpoint)
    fill(ledger, endpoint)
    teach(ledger, endpoint, 0.1, samples=20, at_s=20.0)
    learned = endpoint.view.learned_limit
    assert learned is not None
    assert learned > 4
    ledger.enlist((), 30.0)
    ledger.enlist((A,), 31.0)
    assert ledger.listed[A.key].view.learned_limit == learned
    ledger.enlist((), 32.0)
    while endpoint.own_requests:
        ledger.release(endpoint, need=1, tokens=1, now=33.0)
    ledger.enlist((A,), 34.0)
    assert ledger.listed[A.key].view.learned_limit == 4


def test_a_probe_beside_others_work_ends_with_a_scrape() -> None:
    """Halved for a look while others fill the half, an endpoint of which we have nothing would never be looked at."""
    rules = policy(
        capacity=WIDE,
        learning=LearnedLimitPolicy(mode=LearnedLimits.ON, initial=10, most=10),
        staleness_s=1e6,
    )
    ledger = a_ledger(rules)
    (endpoint,) = ledger.listed.values()
    ledger.scraped(scraped(A, 0.0, running=6), 0.0)
    assert fill(ledger, endpoint) == 4
    at_s = 1.0
    while endpoint.view.learned_limit == 10 and at_s < 1000:
        at_s = teach(ledger, endpoint, 0.1, at_s=at_s)
    assert endpoint.view.learned_limit == 5
    for _ in range(4):
        ledger.release(endpoint, need=1, tokens=1, now=at_s)
    assert endpoint not in ledger.full_room.views
    ledger.scraped(scraped(A, at_s + 1, running=6), at_s + 1)
    assert endpoint.view.learned_limit == 5
    assert endpoint not in ledger.full_room.views
    ledger.scraped(scraped(A, at_s + 2, running=4), at_s + 2)
    fill(ledger, endpoint, at_s=at_s + 2)
    at_s = teach(ledger, endpoint, 0.1, samples=8, at_s=at_s + 2)
    assert endpoint.view.learned_limit == 10


# ------------------------------------------------------------------------------------------- order


def test_described_endpoints_keep_their_place() -> None:
    """Order is a matter of joining and of coming to have room: a new description changes neither."""
    ledger = a_ledger(policy(), A, B, C)
    turnover = ledger.enlist((A, EndpointSpec(B.address, max_concurrency=3), C), 1.0)
    assert turnover is not None
    assert [each.spec.address for each in turnover.described] == [B.address]
    assert list(ledger.listed) == [A.key, B.key, C.key]
    assert [each.spec.key for each in ledger.full_room.views] == [A.key, B.key, C.key]


def test_rooms_are_in_the_order_of_having_come_to_have_room() -> None:
    """Who was full and is not any more comes last; another policy goes by the order of joining."""
    ledger = a_ledger(policy(), A, B, C)
    first = ledger.listed[A.key]
    ledger.reserve(first, need=1, tokens=1, now=1.0)
    ledger.release(first, need=1, tokens=1, now=2.0)
    assert [each.spec.key for each in ledger.full_room.views] == [B.key, C.key, A.key]
    ledger.configure(policy(), [1.0], 3.0)
    assert [each.spec.key for each in ledger.full_room.views] == [A.key, B.key, C.key]


# ------------------------------------------------------------------------------------ asking early


def test_a_full_endpoint_is_asked_20_ms_after_it_filled_up() -> None:
    """When credit is spent while work waits, the endpoint is asked at once, as soon as what was sent has arrived."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=1))
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 1.0)
    actions = core.handle(request(2), 1.0)
    assert asked(actions) == []
    assert wake_s(actions) == pytest.approx(1.02)
    assert asked(core.handle(Tick(), wake_s(actions) or 0.0)) == [A.key]


def test_nobody_is_asked_while_nothing_waits() -> None:
    """A full endpoint without anybody waiting for it is left alone."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=1))
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 0.0)
    actions = core.handle(Tick(), 1.0)
    assert (asked(actions), wake_s(actions)) == ([], None)


def test_asking_slows_down_to_the_scrape_interval_while_it_gains_nothing() -> None:
    """Under lasting overload an endpoint is asked ever less often, never more often than every 20 ms."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=1), scrape_interval_s=0.2)
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 0.0)
    actions = core.handle(request(2), 0.0)
    moments: list[float] = []
    while len(moments) < 12:
        now = wake_s(actions)
        assert now is not None
        actions = core.handle(Tick(), now)
        if asked(actions):
            moments.append(now)
            actions = core.handle(scraped(A, now, running=0, waiting=1), now)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert gaps == sorted(gaps)
    assert min(gaps) >= 0.02 - 1e-9
    assert gaps[-1] == pytest.approx(0.2)


def test_asking_never_gets_faster_than_20_ms() -> None:
    """Not even with a scrape interval below that."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=1), scrape_interval_s=0.001)
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 0.0)
    actions = core.handle(request(2), 0.0)
    moments: list[float] = []
    while len(moments) < 5:
        now = wake_s(actions)
        assert now is not None
        actions = core.handle(Tick(), now)
        if asked(actions):
            moments.append(now)
            actions = core.handle(scraped(A, now, running=0, waiting=1), now)
    assert all(b - a >= 0.02 - 1e-9 for a, b in pairwise(moments))


def test_our_own_load_needs_no_asking() -> None:
    """Under the concurrency detector we count ourselves: only foreign load makes asking worthwhile."""
    core = controller(A)
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 0.0)
    assert wake_s(core.handle(request(2), 0.0)) == 2.0  # when the sample goes stale
    core.handle(Ended(1), 0.5)
    core.handle(scraped(A, 1.0, running=3), 1.0)
    actions = core.handle(request(3, eligibility=ON_A), 1.1)
    now = wake_s(actions)
    assert now is not None
    assert asked(actions) or asked(core.handle(Tick(), now)) == [A.key]


def test_superseded_samples_wake_nobody() -> None:
    """Under steady scraping only the newest sample's age is a deadline: no wake-up for each sample that came before."""
    core = controller(A, capacity=UTILIZATION, staleness_s=2.0, scrape_interval_s=10.0)
    for step in range(100):
        core.handle(scraped(A, step / 100, waiting=9), step / 100)
    actions = core.handle(request(1), 1.0)
    wakes = 0
    while (now := wake_s(actions)) is not None and now < 2.9:
        actions = core.handle(Tick(), now)
        wakes += not asked(actions)
    assert wakes <= 2
