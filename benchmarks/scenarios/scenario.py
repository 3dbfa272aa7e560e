"""A situation as data: the shape of a scenario's YAML file.

Promises:
- Unknown fields and wrong types are errors that name the field's path; nothing is guessed.
- `quick` and `smoke` change any field of the file for a shorter run: they are laid over it, mapping by mapping, before
  it is read. A scenario without them runs in full everywhere.
- A scenario says what would count as failing before anything is run: its `pass` lines.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from benchmarks.load.plan import Delivery
from benchmarks.plays.measures import Measure  # noqa: TC001 - as above


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a file have in common."""


# ------------------------------------------------------------------------------------ arrivals and lengths


class Poisson(_Part, frozen=True, kw_only=True, tag="poisson", tag_field="kind"):
    """Independent users: exponential gaps."""

    per_s: float
    from_s: float = 0.0
    until_s: float | None = None
    """None: to the end."""


class Burst(_Part, frozen=True, kw_only=True, tag="burst", tag_field="kind"):
    """So many at once."""

    count: int
    at_s: float = 0.0
    within_s: float = 0.0
    """Spread evenly over so long."""
    every_s: float | None = None
    """Again and again, to the end; None: once."""


class Ramp(_Part, frozen=True, kw_only=True, tag="ramp", tag_field="kind"):
    """Poisson arrivals whose rate changes linearly."""

    from_per_s: float
    to_per_s: float
    from_s: float = 0.0
    until_s: float | None = None


class Recorded(_Part, frozen=True, kw_only=True, tag="trace", tag_field="kind"):
    """The requests of a trace file whose class is this one: arrivals, tenants and lengths come from there."""

    path: str
    """Relative to the scenario's file."""


Arrivals = Poisson | Burst | Ramp | Recorded


class Lognormal(_Part, frozen=True, kw_only=True, tag="lognormal", tag_field="kind"):
    """Most are short, some are long."""

    mean: float
    sigma: float = 0.7
    most: int = 100_000


class Uniform(_Part, frozen=True, kw_only=True, tag="uniform", tag_field="kind"):
    """Anything from `least` to `most`."""

    least: int
    most: int


Length = int | Lognormal | Uniform
"""In tokens."""


class TrafficClass(_Part, frozen=True, kw_only=True):
    """Requests that belong together."""

    arrivals: list[Arrivals]
    objective: str | None = None
    tenants: list[str] = []
    """Each request belongs to one of them, drawn with equal chances; empty: they name none."""
    prompt_tokens: Length = 50
    output_tokens: Length = 24
    delivery: Delivery = Delivery.STREAM
    patience_s: float = 30.0
    headers: dict[str, str] = {}


# --------------------------------------------------------------------------------------- servers and picker


class Servers(_Part, frozen=True, kw_only=True):
    """The simulated model servers."""

    count: int
    engine: dict[str, float] = {}
    """Fields of `epp.sim.model.ServiceModel`, for all of them."""
    different: dict[int, dict[str, float]] = {}
    """The same for single ones, by number from 0, laid over `engine`."""


class Picker(_Part, frozen=True, kw_only=True):
    """How the pickers are configured."""

    objectives: dict[str, int | None] = {}
    """Name to priority; None: an objective without one."""
    config: dict[str, Any]
    """The EndpointPickerConfig, whole."""
    flags: list[str] = []
    """More of them for `epp serve`."""


# ------------------------------------------------------------------------------------------------- events


class Fault(_Part, frozen=True, kw_only=True, tag="fault", tag_field="do"):
    """From now on, some servers do something wrong, or do right again. As `POST /sim/faults` takes it."""

    at_s: float
    servers: list[int]
    metrics: str = "none"
    metrics_delay_s: float = 5.0
    requests: str = "none"


class Scale(_Part, frozen=True, kw_only=True, tag="scale", tag_field="do"):
    """From now on, the pool has the first so many of the servers."""

    at_s: float
    to: int


class SetObjective(_Part, frozen=True, kw_only=True, tag="set-objective", tag_field="do"):
    """An objective gets another priority."""

    at_s: float
    name: str
    priority: int | None


class HangUp(_Part, frozen=True, kw_only=True, tag="hang-up", tag_field="do"):
    """Clients of a class that have not got their whole answer yet close their connections."""

    at_s: float
    traffic: str
    """The class."""
    share: float = 1.0


Event = Fault | Scale | SetObjective | HangUp


# --------------------------------------------------------------------------------------------- pass lines


class Kind(Enum):
    """What a pass line depends on."""

    BEHAVIOUR = "behaviour"
    """It holds on every machine, however slow: counts, order, states."""
    TIMING = "timing"
    """It needs a machine that keeps up."""


class Yardstick(_Part, frozen=True, kw_only=True):
    """Another measurement of the same round, to which a bound is relative."""

    measure: Measure
    traffic: str | None = None
    target: str | None = None
    """None: the same target."""


class PassLine(_Part, frozen=True, kw_only=True):
    """What must hold of a measurement, in the median of the rounds (a behaviour: in every round)."""

    says: str
    """The promise in words."""
    measure: Measure
    traffic: str | None = None
    """The class that is measured; None: the whole round."""
    target: str = "picker"
    at_most: float | None = None
    at_least: float | None = None
    times: Yardstick | None = None
    """The bounds are multiples of this; None: they are absolute."""
    kind: Kind = Kind.TIMING


class Scenario(_Part, frozen=True, kw_only=True):
    """One situation."""

    name: str
    question: str
    """What the run answers."""
    story: str
    """Where it comes from, and what one should see: for people."""
    duration_s: float
    """While requests arrive."""
    servers: Servers
    picker: Picker
    traffic: dict[str, TrafficClass]
    events: list[Event] = []
    targets: list[str] = msgspec.field(default_factory=lambda: ["picker"])
    """What it is run against unless told otherwise, as `--target` takes it."""
    passes: list[PassLine] = msgspec.field(name="pass")
    seed: int = 1
    rounds: int = 3
