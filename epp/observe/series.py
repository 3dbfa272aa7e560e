"""One series of requests: what was counted of those with the same labels, and in which buckets."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from epp.observe.histogram import Buckets, Distribution
from epp.observe.labels import label_text

SIZE_BUCKETS = Buckets(*(2**power for power in range(6, 31)))
RESPONSE_SIZE_BUCKETS = Buckets(
    1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536
)  # 32778 is upstream's
INPUT_TOKEN_BUCKETS = Buckets(*RESPONSE_SIZE_BUCKETS.bounds, *(2**power for power in range(17, 21)))
OUTPUT_TOKEN_BUCKETS = Buckets(*RESPONSE_SIZE_BUCKETS.bounds[:12])
TTFT_BUCKETS = Buckets(
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2),
    *(3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120),
)  # fmt: skip
DURATION_BUCKETS = Buckets(*TTFT_BUCKETS.bounds, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)
NTPOT_BUCKETS = Buckets(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
TPOT_BUCKETS = Buckets(
    *(0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.125, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 2),
)
WAIT_BUCKETS = Buckets(
    *(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    *(120, 300, 600),  # ours: budgets may be longer than upstream's 60 s
)


class SeriesKey(NamedTuple):
    """The labels of a series as they are shown."""

    model: str
    target_model: str
    fairness_id: str
    priority: str


class FlowTally:
    """What one tenant used in one band, whatever the model; as long-lived as the last of its series."""

    __slots__ = ("series", "text", "tokens")

    def __init__(self, fairness_id: str, priority: str) -> None:
        self.text = label_text(("fairness_id", fairness_id), ("priority", priority))
        self.tokens = 0
        """Input and output, by the usage that model servers reported."""
        self.series = 0
        """How many series of requests count here."""


class RequestSeries:
    """What was counted of the requests with the same labels."""

    __slots__ = (
        "cached_tokens",
        "dispatched",
        "duration_s",
        "errors",
        "input_tokens",
        "key",
        "model_text",
        "ntpot_s",
        "output_tokens",
        "queued",
        "queued_bytes",
        "request_bytes",
        "requests",
        "response_bytes",
        "running",
        "tally",
        "text",
        "tpot_s",
        "ttft_s",
        "ttft_streaming_s",
        "used_s",
        "waits_s",
    )

    text: str
    """The labels, written."""
    model_text: str
    """Only the models."""
    tally: FlowTally
    requests: int
    """All that came."""
    used_s: float
    """When a request last came or ended."""
    queued: int
    queued_bytes: int
    running: int
    dispatched: int
    errors: dict[str, int]
    """By error code."""
    waits_s: dict[str, Distribution]
    """Time queued, by outcome."""

    def __init__(self, key: SeriesKey, tally: FlowTally) -> None:
        self.key = key
        self.tally = tally
        self.model_text = label_text(("model_name", key.model), ("target_model_name", key.target_model))
        rest = label_text(("fairness_id", key.fairness_id), ("priority", key.priority))
        self.text = f"{self.model_text},{rest}"
        self.used_s = -inf
        self.requests = self.queued = self.queued_bytes = self.running = self.dispatched = 0
        self.errors = {}
        self.waits_s = {}
        self.request_bytes = Distribution(SIZE_BUCKETS)
        self.response_bytes = Distribution(RESPONSE_SIZE_BUCKETS)
        self.input_tokens = Distribution(INPUT_TOKEN_BUCKETS)
        self.output_tokens = Distribution(OUTPUT_TOKEN_BUCKETS)
        self.cached_tokens = Distribution(INPUT_TOKEN_BUCKETS)
        self.duration_s = Distribution(DURATION_BUCKETS)
        self.ntpot_s = Distribution(NTPOT_BUCKETS)
        self.ttft_s = Distribution(TTFT_BUCKETS)
        self.ttft_streaming_s = Distribution(TTFT_BUCKETS)
        self.tpot_s = Distribution(TPOT_BUCKETS)

    @property
    def last_use_s(self) -> float:
        """Since when it is idle; never, while a request is queued or running."""
        return inf if self.queued or self.running else self.used_s

    def waited(self, outcome: str, waited_s: float) -> None:
        """A request left the queue."""
        waits = self.waits_s.get(outcome)
        if waits is None:
            waits = self.waits_s[outcome] = Distribution(WAIT_BUCKETS)
        waits.observe(waited_s)

    def failed(self, code: str) -> None:
        """A request went wrong."""
        self.errors[code] = self.errors.get(code, 0) + 1

    def absorb(self, other: RequestSeries) -> None:
        """Count what the idle series `other` has counted in sums over a model."""
        self.dispatched += other.dispatched
        for code, count in other.errors.items():
            self.errors[code] = self.errors.get(code, 0) + count
        self.request_bytes.absorb(other.request_bytes)
        self.response_bytes.absorb(other.response_bytes)
        self.input_tokens.absorb(other.input_tokens)
        self.output_tokens.absorb(other.output_tokens)
        self.cached_tokens.absorb(other.cached_tokens)
        self.duration_s.absorb(other.duration_s)
        self.ntpot_s.absorb(other.ntpot_s)
