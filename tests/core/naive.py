"""A naive second opinion: what is queued, running and known, kept in plain tables and recomputed at every question.

Nothing here has an index, a heap, a version or a shortcut, and nothing is shared with the implementation but its
values (events, samples, policies) and the definitions in the design.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from math import inf
from sys import float_info
from typing import TYPE_CHECKING, Any

from epp.core.capacity import ConcurrencyDetector, ConcurrencyMode, UtilizationDetector
from epp.core.endpoint import NO_SAMPLE, EndpointView, EngineSample, Knowledge
from epp.core.incarnation import PROVEN_S
from epp.core.policy import ItemView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.core.endpoint import EndpointSpec
    from epp.core.events import Arrived, Scraped
    from epp.core.policy import BandPolicy, CeilingPolicy, FlowControlPolicy
    from tests.core.tags import LaneKey

MOST_REMEMBERED = 4096
"""Dispatches since the last sample, that are remembered one by one."""
HUGE = float_info.max
"""Beyond it a number is no float any more."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A queued request, and what the two clocks may show before it expires."""

    request: Arrived
    sequence: int
    arrived_s: float
    flow: str
    lane: LaneKey
    view: ItemView
    order_key: float
    busy_until_s: float
    empty_until_s: float


@dataclass(slots=True, eq=False)
class Site:
    """One incarnation of an endpoint, with all that ever ran there since it is known."""

    spec: EndpointSpec
    since_s: float
    stated: int | None = None
    """The operator's limit on its requests."""
    listed: bool = True
    refuses: bool = False
    """Nobody listened there when it was last scraped."""
    holds: dict[int, tuple[int, int]] = field(default_factory=dict)
    """(need, tokens) of every request of ours there."""
    history: list[tuple[float, int]] = field(default_factory=list)
    """(from when, how many of ours were in flight), oldest first."""
    sample: EngineSample | None = None
    sample_sent_s: float = -inf
    sample_received_s: float = -inf
    is_stale: bool = False
    foreign: int = 0
    shown: list[tuple[float, int]] = field(default_factory=list)
    """(when, how many of ours were in flight) of every dispatch with fresh knowledge."""
    proven: int = 0
    asked_s: float = -inf
    sent_log: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.history.append((self.since_s, 0))

    @property
    def own(self) -> int:
        """Our requests there, those without a body aside."""
        return sum([need for need, _ in self.holds.values()])

    @property
    def tokens(self) -> int:
        """Their charges."""
        return sum([tokens for need, tokens in self.holds.values() if need])

    @property
    def is_fresh(self) -> bool:
        """Whether its sample can be believed."""
        return self.sample is not None and not self.is_stale

    @property
    def load(self) -> int:
        """Ours, and the foreign ones as far as they are known."""
        return self.own + (self.foreign if self.is_fresh else 0)

    def most_since(self, moment_s: float) -> int:
        """The most of ours that were in flight at any instant from then on."""
        ends = [start for start, _ in self.history[1:]] + [inf]
        return max(count for (_, count), end in zip(self.history, ends, strict=True) if end >= moment_s)

    def take(self, request: Arrived, tokens: int, now: float) -> None:
        """One of ours is sent there."""
        self.holds[request.request_id] = (request.need, tokens)
        if request.need:
            self.history.append((now, self.own))
            self.sent_log.append(now)
            if self.is_fresh:
                self.shown.append((now, self.own))
                self.proven = max([own for at_s, own in self.shown if at_s > now - PROVEN_S])

    def go_stale(self) -> None:
        """Its sample is believed no more."""
        since_s = self.sample_received_s - PROVEN_S
        self.proven = max([self.own, *(own for at_s, own in self.shown if at_s > since_s)])
        self.is_stale = True

    def give_back(self, request_id: int, now: float) -> None:
        """One of ours has ended."""
        del self.holds[request_id]
        self.history.append((now, self.own))

    def learn(self, scrape: Scraped, now: float) -> None:
        """Believe a scrape, unless it failed or was sent no later than the last one."""
        if scrape.sample is None or scrape.sent_s <= self.sample_sent_s:
            return
        shown = scrape.sample.waiting + scrape.sample.running
        self.foreign = max(0, shown - self.most_since(scrape.sent_s))
        self.sample, self.is_stale = scrape.sample, False
        self.sample_sent_s, self.sample_received_s = scrape.sent_s, min(scrape.received_s, now)
        ends = [start for start, _ in self.history[1:]] + [inf]
        self.history = [e for e, end in zip(self.history, ends, strict=True) if end >= scrape.sent_s]
        self.sent_log = [sent for sent in self.sent_log if sent > scrape.sent_s]

    def view(self) -> EndpointView:
        """What policies ought to be shown."""
        knowledge = (
            Knowledge.FRESH if self.is_fresh else Knowledge.STALE if self.sample else Knowledge.UNKNOWN
        )
        return EndpointView(
            self.spec,
            self.own,
            self.tokens,
            self.load - self.own,
            knowledge,
            self.sample or NO_SAMPLE,
            self.proven,
            min(len(self.sent_log), MOST_REMEMBERED),
            self.stated,
        )


def share(limit: float, ceiling: float) -> float:
    """A ceiling's share of a limit: nothing of nothing, else at least one."""
    return max(1.0, limit * ceiling) if limit * ceiling > 0 else 0.0


def has_room(policy: FlowControlPolicy, site: Site, ceiling: float) -> bool:
    """Whether one more request fits, by the design's words."""
    detector = policy.capacity
    load = 0 if site.own == 0 and not site.is_fresh else site.load
    if site.stated is not None and load >= share(site.stated, ceiling):
        return False
    match detector:
        case ConcurrencyDetector():
            requests = site.stated is not None or load < share(detector.max_concurrency, ceiling)
            tokens = site.tokens < share(detector.max_token_concurrency, ceiling)
            match detector.mode:
                case ConcurrencyMode.REQUESTS:
                    return requests
                case ConcurrencyMode.TOKENS:
                    return tokens
                case ConcurrencyMode.HYBRID:
                    return requests and tokens
        case UtilizationDetector():
            if not site.is_fresh:
                return site.own < share(max(detector.queue_depth_threshold, site.proven), ceiling)
            assert site.sample is not None
            has_cache = site.sample.kv_utilization < detector.kv_cache_util_threshold * ceiling
            queue = site.load - site.sample.running
            return has_cache and queue < share(detector.queue_depth_threshold, ceiling)
        case _:
            return own_accounting(site, ceiling)


def stated_limit(policy: FlowControlPolicy, spec: EndpointSpec) -> int | None:
    """What the pod's annotation says, else a label that holds the number, else the first rule that matches one."""
    rules, labels = policy.limits, dict(spec.labels)
    if spec.max_concurrency is not None:
        return spec.max_concurrency
    said = labels.get(rules.label, "") if rules.label else ""
    if said.isdecimal() and 0 < int(said) < 10**9:
        return int(said)
    return next((r.max_concurrency for r in rules.by_label if labels.get(r.key) == r.value), None)


def own_accounting(site: Site, ceiling: float) -> bool:
    """What holds where a capacity policy fails."""
    return site.own < share(max(5, site.proven), ceiling)


def ceilings(policy: CeilingPolicy, priorities: Iterable[int]) -> dict[int, float]:
    """Every band's ceiling: the policy's, 1.0 where it fails, and never above that of a higher band."""
    ordered = tuple(sorted(set(priorities), reverse=True))
    try:
        answer: list[Any] = list(islice(policy.ceilings(ordered), len(ordered) + 1))
    except Exception:
        answer = []
    if len(answer) != len(ordered):
        answer = [1.0] * len(ordered)
    result: dict[int, float] = {}
    highest = 1.0
    for priority, value in zip(ordered, answer, strict=True):
        is_usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
        highest = min(highest, float(value) if is_usable else 1.0)
        result[priority] = highest
    return result


def item_view(request: Arrived, sequence: int, now: float, busy_s: float) -> ItemView:
    """What policies ought to be shown of a request, whose size is always known here."""
    assert request.input_tokens is not None
    assert request.max_output_tokens == 0
    return ItemView(
        sequence,
        now,
        now + busy_s if busy_s < inf else None,
        request.size_bytes,
        max(1, request.input_tokens),
        0,
        request.weight,
        None if request.slo_s is None else now + request.slo_s,
    )


def order_key(rules: BandPolicy, view: ItemView) -> float:
    """Its place in its flow: the policy's, or its arrival where the policy fails."""
    try:
        key: Any = rules.ordering.key(view)
    except Exception:
        return view.arrived_s
    if isinstance(key, (int, float)) and not isinstance(key, bool) and -HUGE <= key <= HUGE:
        return key
    return view.arrived_s


def budgets(policy: FlowControlPolicy, rules: BandPolicy, request: Arrived) -> tuple[float, float]:
    """How long it may wait while the pool has endpoints, and while it has none: its own, its band's, the policy's."""
    busy_s = next(ttl_s for ttl_s in (request.ttl_s, rules.ttl_s, policy.ttl_s) if ttl_s is not None)
    empty_s = (policy.hold_s if rules.hold_s is None else rules.hold_s) or inf
    if request.ttl_s:
        empty_s = min(empty_s, request.ttl_s)
    return busy_s or inf, empty_s
