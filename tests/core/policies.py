"""Policies for tests: unusual ones that keep the rules, and ones that break them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf, nan
from random import Random
from typing import TYPE_CHECKING, Any

from epp.core.capacity import ConcurrencyDetector, ConcurrencyMode, UtilizationDetector
from epp.core.endpoint import EndpointView
from epp.core.eviction import Begun, EvictionPolicy
from epp.core.fairness import ProgramAwareFairness, RoundRobinFairness, TokenFairness
from epp.core.limits import LabelLimit, LimitRules
from epp.core.ordering import EdfOrdering, FcfsOrdering, SloDeadlineOrdering
from epp.core.policy import BandPolicy, EarlyRefusal
from tests.core.building import GLOBAL_STRICT, ROUND_ROBIN, LeastLoaded, endpoint, policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epp.core.policy import FlowControlPolicy, ItemView


@dataclass(frozen=True)
class CheapestFirst:
    """An order that isn't that of arrival."""

    name: str = "cheapest-first"

    def key(self, item: ItemView, /) -> float:
        """The charge."""
        return float(item.charge_tokens)


@dataclass(frozen=True)
class RankCeiling:
    """From 1.0 for the highest band down to `lowest`, evenly: it depends on which bands there are."""

    lowest: float = 0.5
    name: str = "rank-ceiling"

    def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
        """One step down per band."""
        steps = max(1, len(priorities) - 1)
        return [1.0 - (1.0 - self.lowest) * rank / steps for rank in range(len(priorities))]


@dataclass(frozen=True)
class SteepCeiling:
    """All for the positive, half for 0, nothing below."""

    name: str = "steep-ceiling"

    def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
        """By sign."""
        return [1.0 if priority > 0 else 0.5 if priority == 0 else 0.0 for priority in priorities]


@dataclass(frozen=True)
class RisingCeiling:
    """What no ceiling policy may do: more for lower bands. The core flattens it."""

    name: str = "rising-ceiling"

    def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
        """0.5 for the highest, 1.0 for the others."""
        return [0.5, *[1.0] * (len(priorities) - 1)]


BY_TOKENS = BandPolicy(TokenFairness(), FcfsOrdering())
BY_DEADLINE = BandPolicy(TokenFairness(output_cost=2.0), EdfOrdering())
ODD_ORDER = BandPolicy(RoundRobinFairness(), CheapestFirst())
TIGHT = BandPolicy(RoundRobinFairness(), FcfsOrdering(), max_requests=6, max_bytes=400)

HONEST: tuple[FlowControlPolicy, ...] = (
    policy(),
    policy(capacity=ConcurrencyDetector(max_concurrency=3), default_band=GLOBAL_STRICT, max_requests=12),
    policy(capacity=UtilizationDetector(queue_depth_threshold=2), staleness_s=0.5),
    policy(
        capacity=UtilizationDetector(kv_cache_util_threshold=0.5), ceiling=RankCeiling(0.25), staleness_s=4.0
    ),
    policy(
        capacity=ConcurrencyDetector(mode=ConcurrencyMode.TOKENS, max_token_concurrency=50), max_bytes=600
    ),
    policy(
        capacity=ConcurrencyDetector(
            mode=ConcurrencyMode.HYBRID, max_concurrency=4, max_token_concurrency=120
        ),
        ceiling=SteepCeiling(),
        default_band=ODD_ORDER,
    ),
    policy(capacity=ConcurrencyDetector(max_concurrency=4), ceiling=RankCeiling(), default_band=TIGHT),
    policy(
        capacity=ConcurrencyDetector(max_concurrency=2),
        ceiling=RisingCeiling(),
        default_band=ODD_ORDER,
        max_flows=2,
        max_lanes=2,
    ),
    policy(
        default_negative_band=TIGHT,
        bands={20: GLOBAL_STRICT, 5: ODD_ORDER},
        ttl_s=0.0,
        hold_s=0.5,
        max_requests=9,
        max_bytes=5200,
    ),
    policy(
        capacity=UtilizationDetector(), default_band=ROUND_ROBIN, ttl_s=0.75, hold_s=0.0, staleness_s=0.25
    ),
    policy(capacity=ConcurrencyDetector(max_concurrency=2), default_band=BY_TOKENS),
    policy(default_band=BY_DEADLINE, bands={5: BY_TOKENS}, max_requests=30),
    policy(
        capacity=ConcurrencyDetector(max_concurrency=3),
        default_band=replace(BY_TOKENS, flow_max_in_flight=2, flow_max_requests=5, ttl_s=4.0, hold_s=1.0),
        bands={5: replace(BY_DEADLINE, max_requests=7, max_bytes=900, flow_max_bytes=600)},
    ),
    policy(
        capacity=ConcurrencyDetector(max_concurrency=2),
        default_band=replace(BY_DEADLINE, flow_max_in_flight=1, max_requests=8, max_bytes=6000),
        early_refusal=EarlyRefusal.WHEN_SURE,
        eviction=EvictionPolicy(below_priority=6, grace_s=0.0625),
        max_flows=3,
    ),
    policy(
        capacity=UtilizationDetector(queue_depth_threshold=3),
        default_band=BandPolicy(ProgramAwareFairness(half_life_s=2.0), SloDeadlineOrdering(), max_requests=9),
        eviction=EvictionPolicy(below_priority=20, begun=Begun.EVICTED, most_at_once=1),
        limits=LimitRules(by_label=(LabelLimit("gpu", "small", 1),)),
    ),
)
"""Configurations that differ in everything, for storms and state machines to change between."""


# ------------------------------------------------------------------------------ the broken


class PolicyCrashError(RuntimeError):
    """What a broken policy raises."""


def _crash() -> object:
    raise PolicyCrashError


GARBAGE: tuple[Callable[[], object], ...] = (
    _crash,
    lambda: None,
    lambda: nan,
    lambda: inf,
    lambda: -inf,
    lambda: "much",
    lambda: -3.5,
    lambda: 10**400,
    lambda: [1.0],
    object,
    lambda: 1 / 0,
)
"""One of everything that a policy should not answer."""


@dataclass
class Grumbler:
    """A policy that answers garbage for one in `every` questions.

    Which question gets which garbage depends on nothing but the question (`seed` aside), so an oracle may ask as well.
    """

    every: int = 3
    seed: int = 0
    only: int | None = None
    """If set, always this kind of garbage."""

    def garbage(self, question: int) -> Callable[[], object] | None:
        """What to answer instead; None: behave this time."""
        dice = (question + 1) * 2654435761 + self.seed * 40503
        if (dice >> 7) % self.every:
            return None
        return GARBAGE[self.only if self.only is not None else (dice >> 11) % len(GARBAGE)]


@dataclass
class BrokenOrdering(Grumbler):
    """An order that fails for some requests."""

    name: str = "broken-ordering"

    def key(self, item: ItemView, /) -> Any:
        """FCFS, or garbage."""
        wrong = self.garbage(int(item.arrived_s * 1024) + item.charge_tokens)
        return item.arrived_s if wrong is None else wrong()


@dataclass
class BrokenFairness(Grumbler):
    """Round robin that fails for some heads, and charges garbage for some dispatches."""

    name: str = "broken-fairness"

    def key(self, tag: float, order_key: float, head: ItemView, /) -> Any:
        """The tag, or garbage."""
        del order_key
        wrong = self.garbage(head.sequence)
        return tag if wrong is None else wrong()

    def cost(self, item: ItemView, /) -> Any:
        """One turn, or garbage."""
        wrong = self.garbage(item.sequence + 7)
        return 1.0 if wrong is None else wrong()


@dataclass
class BrokenCapacity(Grumbler):
    """A limit of three that fails for some loads at some ceilings."""

    name: str = "broken-capacity"

    def _wrong(self, view: EndpointView, ceiling: float) -> Callable[[], object] | None:
        return self.garbage(view.own_requests * 31 + int(ceiling * 97) + int(view.spec.address[-6]))

    def has_room(self, view: EndpointView, ceiling: float, /) -> Any:
        """Below three, or garbage."""
        wrong = self._wrong(view, ceiling)
        return view.load < 3 * ceiling if wrong is None else wrong()

    def saturation(self, view: EndpointView, /) -> Any:
        """A third each, or garbage."""
        wrong = self._wrong(view, 1.0)
        return view.load / 3 if wrong is None else wrong()

    def renewable(self, view: EndpointView, /) -> Any:
        """Never, or garbage."""
        wrong = self._wrong(view, 0.5)
        return False if wrong is None else wrong()


@dataclass
class BrokenCeiling(Grumbler):
    """Ceilings that are garbage, too few, too many, or hold garbage."""

    name: str = "broken-ceiling"

    def ceilings(self, priorities: tuple[int, ...], /) -> Any:
        """All open, or something wrong with it."""
        right: list[object] = [1.0] * len(priorities)
        question = sum(priorities) + 17 * len(priorities)
        wrong = self.garbage(question)
        if wrong is None:
            return right
        match question % 4:
            case 0:
                return right[1:]
            case 1:
                return [*right, 1.0, 1.0]
            case 2:
                return [wrong(), *right[1:]]
            case _:
                return wrong()


@dataclass
class BrokenChoice:
    """A choice that fails in every way there is, at random, and scribbles on what it is given."""

    share: float = 0.5
    random: Random = field(default_factory=lambda: Random(7))
    name: str = "broken-choice"

    def choose(self, candidates: Sequence[EndpointView], facts: object, /) -> Any:
        """A member, a stranger, a copy or garbage."""
        if isinstance(facts, dict):
            facts.clear()
        if self.random.random() >= self.share:
            return LeastLoaded().choose(candidates, facts)
        match self.random.randrange(5):
            case 0:
                return candidates[0]._replace(spec=endpoint(99))
            case 1:
                return candidates[0].spec
            case 2:
                candidates.clear()  # type: ignore[attr-defined]  # a tuple can't be cleared: that's the point
            case 3:
                candidates[0].own_requests = 0  # type: ignore[misc]  # nor a named tuple be written to
            case _:
                pass
        return self.random.choice(GARBAGE)()
