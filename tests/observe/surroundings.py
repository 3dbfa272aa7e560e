"""A picker's surroundings, as the metrics see them: a clock and a core's snapshot that tests set as they like."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from epp.core.endpoint import NO_SAMPLE, EndpointSpec, EndpointView, EngineSample, Knowledge
from epp.core.statistics import BandStatistics, EndpointStatistics, FlowStatistics, Statistics, WaitReason
from epp.observe.exposition import Format
from epp.observe.labels import RequestLabels
from epp.observe.metrics import Build, DeprecatedNames, Metrics, Sources
from epp.observe.outcomes import ResponseEnd

IDLE = EngineSample(0, 0, 0.0)
PARSERS = {Format.TEXT: parse_text, Format.OPENMETRICS: parse_openmetrics}


def band(
    priority=0,
    *,
    requests=0,
    size_bytes=0,
    oldest_wait_s=0.0,
    ceiling=1.0,
    drain_rate=0.0,
    waits=None,
    flows=(),
    **changes,
):
    """One band's snapshot."""
    wait_s = dict.fromkeys(WaitReason, 0.0) | (waits or {})
    made = BandStatistics(
        priority, requests, size_bytes, 5000, 10**9, ceiling, oldest_wait_s, drain_rate, wait_s, tuple(flows)
    )  # fmt: skip
    return replace(made, **changes)


def flow(fairness_id, priority=0, requests=1, **changes):
    """One flow's snapshot."""
    return replace(FlowStatistics(fairness_id, priority, requests, 10 * requests), **changes)


def endpoint(
    address="10.0.0.1:8000",
    *,
    name="",
    sample=IDLE,
    knowledge=Knowledge.FRESH,
    own_requests=0,
    own_tokens=0,
    foreign_requests=0,
    saturation=0.0,
    has_room=True,
    **changes,
):
    """One endpoint's snapshot."""
    seen = NO_SAMPLE if knowledge is Knowledge.UNKNOWN else sample
    view = EndpointView(
        EndpointSpec(address, name=name), own_requests, own_tokens, foreign_requests, knowledge, seen, 0, 0
    )
    return replace(EndpointStatistics(view, has_room, saturation), **changes)


EMPTY = Statistics(
    bands=(band(0),),
    endpoints=(),
    queued_requests=0,
    queued_bytes=0,
    max_requests=None,
    max_bytes=None,
    running_requests=0,
    lanes=0,
    overflowed_flows=0,
    idle_eligible_slot_s=0.0,
    ceiling_slot_s=0.0,
    policy_faults={},
    retired_wait_s={},
)


class World:
    """What the metrics look at, and a reader of their page."""

    def __init__(self, *, label_limit=1000, deprecated_names=DeprecatedNames.SHOWN):
        self.now = 0.0
        self.pool = "pool"
        self.detector = "utilization-detector"
        self.failures = {}
        self.cluster = None
        self.connections = None
        self.event_log = None
        self.shadows = ()
        self.statistics = EMPTY
        self.metrics = Metrics(
            sources=Sources(
                pool_name=lambda: self.pool,
                detector=lambda: self.detector,
                statistics=lambda: self.statistics,
                scrape_failures=lambda: self.failures,
                cluster=lambda: self.cluster,
                connections=lambda: self.connections,
                event_log=lambda: self.event_log,
                shadows=lambda: self.shadows,
            ),
            build=Build(commit="c0ffee", build_ref="1.2.3"),
            clock=lambda: self.now,
            label_limit=label_limit,
            deprecated_names=deprecated_names,
        )

    def set(self, **changes):
        """Change the core's snapshot."""
        self.statistics = replace(self.statistics, **changes)

    def seen(self, model="llama", fairness_id="alice", priority=0, size_bytes=100):
        """A request arrives."""
        return self.metrics.request_seen(
            RequestLabels(model, model, fairness_id, priority), size_bytes=size_bytes
        )

    def served(self, *, waited_s=0.5, end=ResponseEnd.COMPLETED, **labels):
        """A request arrives, is dispatched and answered."""
        meter = self.seen(**labels)
        meter.dispatched(waited_s=waited_s)
        finish(meter, end)

    def families(self, page_format=Format.TEXT):
        """The page as an independent parser reads it: families by name."""
        page = self.metrics.page(page_format).decode()
        families = {}
        for family in PARSERS[page_format](page):
            assert family.name not in families, f"{family.name} is announced twice"
            families[family.name] = family
        return families

    def samples(self, page_format=Format.TEXT):
        """Every sample by (name, labels), each of which may be there once only."""
        samples = {}
        for family in self.families(page_format).values():
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in samples, f"{sample.name}{sample.labels} is there twice"
                samples[key] = sample.value
        return samples

    def value(self, name, /, **labels):
        """One sample's value; None if it isn't on the page."""
        return self.samples().get((name, frozenset(labels.items())))

    def rows(self, name):
        """All samples of one name: labels and value."""
        return [(dict(labels), value) for (each, labels), value in self.samples().items() if each == name]


def finish(meter, end=ResponseEnd.COMPLETED, **changes):
    """A dispatched request is answered, with usual figures but for `changes`."""
    figures = {
        "status": 200,
        "duration_s": 3.5,
        "ttft_s": 0.5,
        "input_tokens": 30,
        "output_tokens": 11,
        "cached_tokens": 8,
        "response_bytes": 500,
        "streaming": True,
    }
    meter.ended(end, **(figures | changes))
