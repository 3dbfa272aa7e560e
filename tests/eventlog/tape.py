"""A picker's core with an event log, in virtual time, and threads that are none."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from epp.core import Controller
from epp.core.events import PolicyChanged
from epp.eventlog import EventLog, EventLogSettings, Recipe
from epp.eventlog.spool import Spool
from tests.core.storm import Storm, Weather

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from epp.core.actions import Action
    from epp.core.events import Event

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
CONFIGS = (
    "",
    HEAD
    + """
plugins:
- {type: random-picker}
- {type: concurrency-detector, parameters: {maxConcurrency: 2}}
- {type: token-fairness-policy}
- {type: edf-ordering-policy}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: random-picker}]}
flowControl:
  saturationDetector: {pluginRef: concurrency-detector}
  maxRequests: 40
  defaultPriorityBand: {fairnessPolicyRef: token-fairness-policy, orderingPolicyRef: edf-ordering-policy}
""",
    HEAD
    + """
plugins:
- {type: concurrency-detector, parameters: {maxConcurrency: 3, maxConcurrencyLabel: limit}}
- {type: program-aware-fairness}
flowControl:
  saturationDetector: {pluginRef: concurrency-detector}
  earlyRefusal: when-sure
  enableEviction: true
  learnedLimit: {mode: "on", min: 1, max: 4, initial: 2}
  defaultRequestTTL: 2s
  defaultPriorityBand: {fairnessPolicyRef: program-aware-fairness, maxRequests: 30, maxInFlightPerFlow: 2}
""",
)
WEATHER = Weather(
    tenants=tuple(f"tenant-{n}" for n in range(9)),
    subset_share=0.3,
    shares=(1.0, 2.0, 0.5),
    actuals=(1, 40, 300),
    longest_step_s=0.05,
)

OPEN: list[Taped] = []
"""What is to be closed at the end of a test."""


class AtOnce:
    """A worker that has done it before `submit` returns."""

    def submit(self, task: Callable[..., None], /, *args: object) -> Future[None]:
        """Do it."""
        task(*args)
        return Future()

    def shutdown(self) -> None:
        """There is nothing left to do."""


class Taped:
    """A controller and its log, as a director has them."""

    def __init__(self, path: Path, config: str = "", *, seed: int = 1, **settings: Any) -> None:
        self.recipe = Recipe(config=config, seed=seed)
        self.core = Controller(self.recipe.policy(), now=0.0)
        OPEN.append(self)
        self.warnings: list[str] = []
        self.chances = 0
        keep = settings.pop("keep", 100)
        self.log = EventLog(
            EventLogSettings(path=path, keep=keep, **settings),
            self.core,
            self.recipe,
            warn=self.warnings.append,
            chance=self.chance,
            wall_clock=lambda: 1_700_000_000.0,
            spool=Spool(path, keep=keep, worker=AtOnce()),
        )

    def chance(self, count: int) -> bytes:
        """Other bytes each time, the same in each test."""
        self.chances += 1
        return bytes((self.chances * 37 + place) % 256 for place in range(count))

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take down, decide, take down."""
        self.log.record(event, now)
        actions = self.core.handle(event, now)
        self.log.decided(actions)
        return actions

    def reload(self, config: str, now: float) -> None:
        """Another configuration comes into force."""
        recipe = Recipe(config=config, seed=self.recipe.seed)
        self.log.reloaded(recipe)
        self.handle(PolicyChanged(recipe.policy()), now)


def storm(path: Path, config: str, *, steps: int, seed: int = 1, **settings: Any) -> Taped:
    """A storm, recorded."""
    taped = Taped(path, config, **settings)
    Storm(taped.handle, seed=seed, weather=WEATHER).run(steps)
    taped.log.close()
    return taped
