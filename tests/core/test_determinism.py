"""Promise 9: the same events give the same actions, in this process and in another with another hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from epp.core import Controller
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy
from tests.core.building import policy
from tests.core.policies import HONEST, BrokenCapacity, BrokenCeiling, BrokenChoice, BrokenFairness
from tests.core.storm import Storm, Weather

if TYPE_CHECKING:
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy

ROOT = Path(__file__).resolve().parents[2]
PRINT_DIGEST = "from tests.core.test_determinism import digest; print(digest(seed=5))"


def digest(*, seed: int) -> str:
    """What two storms made the core do, action by action, as one number."""
    total = sha256()
    broken = policy(
        capacity=BrokenCapacity(),
        ceiling=BrokenCeiling(),
        choice=BrokenChoice(),
        default_band=BandPolicy(BrokenFairness(), FcfsOrdering()),
    )
    for rules in (HONEST[3], broken):
        total.update(_storm(rules, seed))
    return total.hexdigest()


def _storm(rules: FlowControlPolicy, seed: int) -> bytes:
    total = sha256()
    core = Controller(rules, now=0.0)

    def handle(event: Event, now: float) -> list[Action]:
        actions = core.handle(event, now)
        total.update(repr((now, actions)).encode())
        return actions

    policies = HONEST if rules in HONEST else ()
    weather = Weather(policies=policies, tenants=tuple(f"tenant-{n}" for n in range(30)), subset_share=0.5)
    Storm(handle, seed=seed, weather=weather).run(1200)
    statistics = core.statistics(1e6)
    total.update(repr((statistics.bands, statistics.endpoints, statistics.queued_requests)).encode())
    return total.digest()


def replays(*hash_seeds: str, program: str = PRINT_DIGEST) -> list[str]:
    """The digests of other processes, each with a hash seed of its own."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in hash_seeds
    ]
    return [child.communicate(timeout=110)[0].strip() for child in children]


def test_another_process_with_another_hash_seed_decides_the_same() -> None:
    """Two storms, replayed under two other hash seeds, give bit for bit the same actions."""
    here = digest(seed=5)
    assert replays("1", "4242") == [here, here]


def test_an_order_that_depends_on_hashes_is_noticed() -> None:
    """The control: were endpoints kept in the order of a set, two hash seeds would tell."""
    program = f"""
from epp.core.ledger import Ledger
enlist = Ledger.enlist
Ledger.enlist = lambda self, specs, now: enlist(self, tuple(set(specs)), now)
{PRINT_DIGEST}
"""
    one, other = replays("1", "4242", program=program)
    assert one != other


def test_other_events_give_other_actions() -> None:
    """The digest tells different storms apart: it isn't constant."""
    assert digest(seed=5) != digest(seed=6)
