"""Every shipped scenario, played for some seconds against the picker behind the real Envoy.

Only what must hold on any machine is judged: how long things take is not. Those that are hard on the connection between
the two are played on either transport, whichever is the default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.plays.judge import judge
from benchmarks.plays.runner import run
from benchmarks.scenarios.loading import Size, find, load, shipped
from benchmarks.scenarios.scenario import Kind
from benchmarks.stage.target import OurPicker
from epp.extproc.transports.transport import TransportName
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.load.live import Snapshot
    from benchmarks.plays.play import Play
    from benchmarks.plays.runner import Failed
    from benchmarks.scenarios.scenario import Scenario


class Silent:
    """A watcher that doesn't show anything."""

    def play_begins(self, scenario: Scenario, *, target: str, round_number: int, rounds: int) -> None:
        """Nobody looks."""

    def progress(self, snapshot: Snapshot) -> None:
        """Nobody looks."""

    def play_ended(self, play: Play) -> None:
        """Nobody looks."""

    def play_failed(self, failure: Failed) -> None:
        """The run tells."""


@pytest.fixture(scope="module")
def envoy() -> Path:
    """The real one."""
    try:
        return find_envoy()
    except EnvoyNotFoundError as error:
        pytest.skip(str(error))


HARD_ON_THE_WIRE = ("held-5000", "long-outputs", "long-prompts", "mass-disconnect")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, OurPicker()) for name in shipped() if name not in HARD_ON_THE_WIRE),
        *((name, OurPicker(transport=each)) for name in HARD_ON_THE_WIRE for each in TransportName),
    ],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
async def test_a_shipped_scenario_keeps_what_it_promises_of_behaviour(
    name: str, target: OurPicker, tmp_path: Path, envoy: Path
) -> None:
    """The picker does what the scenario is about, and nothing is lost, broken or left behind."""
    scenario = load(name, Size.SMOKE)
    result = await run(
        scenario,
        [target],
        rounds=1,
        directory=tmp_path,
        folder=find(name).parent,
        binary=envoy,
        watcher=Silent(),
    )
    assert result.failed == []
    assert len(result.plays) == 1
    about_others = {target for target in scenario.targets if target != OurPicker().name}
    verdicts = [
        verdict
        for verdict in judge(scenario, result.plays, kinds={Kind.BEHAVIOUR})
        if verdict.line.target not in about_others
    ]
    missed = [verdict for verdict in verdicts if not verdict.kept]
    assert verdicts
    assert missed == []
