"""A dumped and restored controller is the same controller: every further decision, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.core import Controller
from epp.core.actions import Dispatch
from epp.core.capacity import ConcurrencyDetector
from epp.core.eligibility import Subset
from epp.core.events import Ended, EndpointsChanged, FirstByte, PolicyChanged
from epp.core.eviction import Begun, EvictionPolicy
from epp.core.fairness import TokenFairness
from epp.core.learning import LearnedLimitPolicy, LearnedLimits
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy, EarlyRefusal
from epp.core.snapshot import SnapshotError, dump, restore
from tests.core.building import A, B, controller, policy, request
from tests.core.policies import HONEST, TIGHT
from tests.core.storm import Storm, Weather
from tests.core.test_determinism import replays

if TYPE_CHECKING:
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy


def _is_own(rules: FlowControlPolicy) -> bool:
    """Whether all of it is the core's: a policy that was replaced, and still counts, is part of the state."""
    bands = [rules.default_band, rules.default_negative_band, *rules.bands.values()]
    parts = [part for band in bands if band is not None for part in (band.fairness, band.ordering)]
    return all(
        type(part).__module__.startswith("epp.core.") for part in (*parts, rules.capacity, rules.ceiling)
    )


OWN = tuple(rules for rules in HONEST if _is_own(rules))
CALM = {"policy": 0.0}
WEATHER = Weather(
    policies=OWN,
    tenants=tuple(f"tenant-{n}" for n in range(12)),
    subset_share=0.4,
    shares=(1.0, 2.5, 0.5),
    actuals=(1, 40, 300),
    refusals=0.1,
    longest_step_s=0.05,
)
PRINT_DIGEST = "from tests.core.test_snapshot import digest; print(digest(seed=3))"


class Twins:
    """Two controllers that hear the same: one from the beginning, one restored again and again."""

    def __init__(self, rules: FlowControlPolicy, *, cuts: frozenset[int] = frozenset()) -> None:
        self.one = Controller(rules, now=0.0)
        self.other = Controller(rules, now=0.0)
        self.cuts = cuts
        self.events = 0
        self.total = sha256()

    def handle(self, event: Event, now: float) -> list[Action]:
        """Both decide, and decide the same."""
        self.events += 1
        if self.events in self.cuts:
            self.other = reborn(self.other)
        actions = self._both(event, now)
        for action in list(actions):
            if isinstance(action, Dispatch) and action.request_id % 3:
                actions += self._both(FirstByte(action.request_id), now)
        return actions

    def _both(self, event: Event, now: float) -> list[Action]:
        actions = self.one.handle(event, now)
        assert repr(self.other.handle(event, now)) == repr(actions)
        self.total.update(repr(actions).encode())
        return actions


def reborn(core: Controller) -> Controller:
    """Out to text and back in."""
    return restore(json.loads(json.dumps(dump(core), allow_nan=False)), core.policy)


def digest(*, seed: int) -> str:
    """What a storm makes two controllers do, one of which is restored on the way, and what they are at the end."""
    twins = Twins(OWN[2], cuts=frozenset({100, 400, 401, 900}))
    Storm(twins.handle, seed=seed, weather=WEATHER).run(900)
    twins.total.update(json.dumps(dump(twins.other)).encode())
    return twins.total.hexdigest()


@pytest.mark.parametrize("number", range(len(HONEST)))
def test_a_storm_cut_anywhere_goes_on_the_same(number: int) -> None:
    """Whatever the configuration, restoring every few events changes no action, and no bit of the state at the end."""
    weather = WEATHER if _is_own(HONEST[number]) else replace(WEATHER, weights=CALM)
    random = Random(number)
    cuts = frozenset(random.sample(range(1, 700), 40))
    twins = Twins(HONEST[number], cuts=cuts)
    Storm(twins.handle, seed=number, weather=weather).run(400)
    assert twins.events > 400
    assert json.dumps(dump(twins.other)) == json.dumps(dump(twins.one))
    twins.other.check()


def test_what_is_learned_and_who_gives_way_goes_on_the_same() -> None:
    """Learned limits, evictions under way and early refusals survive as well, and there are some."""
    rules = policy(
        capacity=ConcurrencyDetector(max_concurrency=3),
        learning=LearnedLimitPolicy(mode=LearnedLimits.ON, most=5, initial=2),
        eviction=EvictionPolicy(below_priority=10, begun=Begun.EVICTED),
        early_refusal=EarlyRefusal.WHEN_SURE,
        ttl_s=1.0,
    )
    twins = Twins(rules, cuts=frozenset(range(7, 900, 13)))
    Storm(twins.handle, seed=2, weather=replace(WEATHER, weights=CALM)).run(600)
    assert json.dumps(dump(twins.other)) == json.dumps(dump(twins.one))
    assert sum(twins.other.statistics(1e3).evictions.issued.values()) > 0


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 250))
def test_any_history_can_be_cut_anywhere(seed: int, cut: int) -> None:
    """No seed and no moment is found at which a restored controller differs later."""
    twins = Twins(OWN[seed % len(OWN)], cuts=frozenset({cut}))
    storm = Storm(twins.handle, seed=seed, weather=WEATHER)
    while twins.events < 300:
        storm.step()
    assert json.dumps(dump(twins.other)) == json.dumps(dump(twins.one))


def test_another_process_with_another_hash_seed_restores_the_same() -> None:
    """Dumps, and what restored controllers do, don't depend on the order of hashes."""
    here = digest(seed=3)
    assert replays("1", "4242", program=PRINT_DIGEST) == [here, here]


def test_what_is_dumped_is_shared_with_nobody() -> None:
    """The controller goes on, and the dump stays what it was."""
    core = controller(A, B)
    data = dump(core)
    before = json.dumps(data)
    for number in range(10):
        core.handle(request(number, eligibility=Subset.of(["10.0.0.1"])), 1.0)
    assert json.dumps(data) == before


def test_facts_are_left_out() -> None:
    """What the shell knows of a request, headers perhaps, is in no dump."""
    core = controller(A)
    for number in range(3):
        core.handle(request(number, facts={"authorization": "secret"}), 0.0)
    assert "secret" not in json.dumps(dump(core))


def test_another_policy_is_refused() -> None:
    """A band that the policy doesn't have can't be referred to."""
    core = Controller(policy(bands={7: TIGHT}), now=0.0)
    with pytest.raises(SnapshotError, match=r"the policy has no bands.7"):
        restore(dump(core), policy())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(format=99),
        lambda data: data.update(root=None),
        lambda data: data.update(root=["r", 10**6]),
        lambda data: data["nodes"].append(["?"]),
        lambda data: data["nodes"].append([0, 1]),
        lambda data: data["classes"].__setitem__(0, ["os.system"]),
        lambda data: data["classes"].__setitem__(0, ["../x.Y"]),
        lambda data: data["nodes"].append(["l", ["f", "1.0"]]),
        lambda data: data["nodes"].append(["l", ["c", "controller", "nothing"]]),
        lambda data: data.pop("nodes"),
    ],
)
def test_nonsense_is_refused(spoil: object) -> None:
    """Data that are no snapshot raise one kind of error, whatever is wrong with them."""
    data = dump(controller(A, capacity=ConcurrencyDetector(max_concurrency=2)))
    spoil(data)  # type: ignore[operator]
    with pytest.raises(SnapshotError):
        restore(data, policy())


def test_a_replaced_policy_that_still_counts_is_kept() -> None:
    """What runs is settled by the policy that it was charged by, after a restore too, whatever holds now."""
    one = Controller(policy(default_band=BandPolicy(TokenFairness(output_cost=3.0), FcfsOrdering())), now=0.0)
    one.handle(EndpointsChanged((A,)), 0.0)
    for number in range(4):
        one.handle(request(number, tenant="ada", charge_tokens=10), 0.0)
    one.handle(PolicyChanged(policy()), 0.0)
    other = reborn(one)
    for core in (one, other):
        core.handle(Ended(0, 10, 500), 1.0)
    assert json.dumps(dump(other)) == json.dumps(dump(one))
    assert other._running.requests[1].fairness == one._running.requests[1].fairness
