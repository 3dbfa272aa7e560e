"""A made-up trace, written as an event log: a picker in virtual time before simulated model servers.

So a trace can be replayed like any recording, and compared under other configurations. Its names are nobody's and stay
as they are; what each request takes, and what its servers are like, is written beside the events.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import msgspec

from epp import __version__
from epp.core import Controller
from epp.core.endpoint import EndpointSpec
from epp.core.events import Arrived, EndpointsChanged, ObjectivesChanged
from epp.core.snapshot import dump
from epp.eventlog.codec import Encoder, Truth
from epp.eventlog.digest import DecisionDigest
from epp.eventlog.header import FORMAT, Engine, Header
from epp.eventlog.pseudonyms import Pseudonyms
from epp.eventlog.recipe import fingerprint
from epp.replay.demand import demands
from epp.replay.engines import EngineService
from epp.whatif.world import World

if TYPE_CHECKING:
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.eventlog.recipe import Recipe
    from epp.replay.spec import TraceSpec

_CHECKPOINT_EVENTS = 1000
_LONGEST_TAIL_S = 3600.0


class _Writing:
    """A controller whose events are written down."""

    def __init__(self, controller: Controller, file: IO[bytes]) -> None:
        self.digest = DecisionDigest()
        self._controller = controller
        self._file = file
        self._encoder = Encoder(Pseudonyms(b""))

    def handle(self, event: Event, now: float, /) -> list[Action]:
        """As the controller's."""
        if self.digest.events and not self.digest.events % _CHECKPOINT_EVENTS:
            self.checkpoint()
        self._line(self._encoder.event(event, now))
        actions = self._controller.handle(event, now)
        self.digest.add(actions)
        return actions

    def truth(self, truth: Truth) -> None:
        """What a request takes."""
        self._line(self._encoder.truth(truth))

    def checkpoint(self) -> None:
        """What was decided so far."""
        self._line(self._encoder.checkpoint(self.digest.checkpoint()))

    def _line(self, line: bytes) -> None:
        self._file.write(line + b"\n")


def generate(spec: TraceSpec, recipe: Recipe, file: IO[bytes]) -> int:
    """Write the trace that `spec` and the recipe's seed describe. Returns the number of its requests."""
    policy = recipe.policy()
    controller = Controller(policy, now=0.0)
    engines = _engines(spec)
    header = Header(
        format=FORMAT,
        version=__version__,
        segment=1,
        events_before=0,
        wall_s=0.0,
        monotonic_s=0.0,
        salt="",
        recipe=recipe,
        fingerprint=fingerprint(policy),
        engines=engines,
    )
    for line in (header, dump(controller)):
        file.write(msgspec.json.encode(line) + b"\n")
    writing = _Writing(controller, file)
    truths: dict[int, Truth] = {}
    service = EngineService(
        engines, truths, scrape_interval_s=policy.scrape_interval_s, first_bytes=policy.wants_first_bytes
    )
    world = World(writing, service)
    world.tell(ObjectivesChanged(frozenset(group.priority for group in spec.tenants)), 0.0)
    world.tell(EndpointsChanged(tuple(EndpointSpec(address) for address in engines)), 0.0)
    service.attach(world, 0.0)
    made = demands(spec, seed=recipe.seed)
    for number, demand in enumerate(made, 1):
        group = demand.group
        truth = truths[number] = Truth(number, demand.input_tokens, demand.output_tokens)
        writing.truth(truth)
        world.tell(
            Arrived(
                number,
                group.priority,
                demand.tenant,
                demand.body_bytes,
                ttl_s=group.ttl_s,
                model=group.model,
                body_bytes=demand.body_bytes,
                max_output_tokens=group.max_output_tokens,
                weight=group.weight,
            ),
            demand.at_s,
        )
    until_s, longest_s = spec.duration_s, spec.duration_s + _LONGEST_TAIL_S
    while (controller.queued_requests or world.running) and until_s < longest_s:
        until_s += 1.0
        world.pass_time(until_s)
    writing.checkpoint()
    return len(made)


def _engines(spec: TraceSpec) -> dict[str, Engine]:
    alike = [servers for servers in spec.servers for _ in range(servers.count)]
    return {
        f"10.0.{number // 250}.{number % 250 + 1}:8000": Engine(
            slots=servers.slots,
            tokens_per_s=servers.tokens_per_s,
            prefill_tokens_per_s=servers.prefill_tokens_per_s,
            cache_tokens=servers.cache_tokens,
        )
        for number, servers in enumerate(alike)
    }
