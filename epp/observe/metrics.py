"""The metrics of one picker: what the shell tells them, and the page that they make.

- Events are counted as they come, each in a few microseconds. Whatever the core knows anyway is read from its
  snapshot when somebody asks, so no gauge is ever old.
- Names and labels are upstream's where the meaning is: canonical (`llm_d_epp_*`), and deprecated where upstream still
  has those. Ours start with `epp_`.
- The number of series is bounded, whatever clients send (`table`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_latest_openmetrics

from epp.observe import flowcontrol, pool
from epp.observe.accounts import read_accounts
from epp.observe.cluster import read_cluster
from epp.observe.connections import read_connections
from epp.observe.exposition import Format, Numbers, Reading, counter, gauge, pieces
from epp.observe.flowcontrol import CYCLE_BUCKETS, read_flow_control
from epp.observe.histogram import Distribution
from epp.observe.labels import OTHER, PriorityNames, RequestLabels, clean, label_text
from epp.observe.meter import RequestBook, RequestMeter
from epp.observe.pool import read_deprecated_pool, read_pool, read_scraping
from epp.observe.recording import read_event_log, read_shadows
from epp.observe.requests import read_deprecated_requests, read_requests
from epp.observe.scrape import Scrape
from epp.observe.tokens import read_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from epp.core.actions import Reason
    from epp.core.statistics import Statistics
    from epp.observe.cluster import ClusterStatistics
    from epp.observe.connections import ConnectionFigures
    from epp.observe.recording import EventLogFigures, ShadowFigures

DEFAULT_LABEL_LIMIT = 1000
"""Different models, and fairness ids, that get series of their own. Upstream's."""

INFO = gauge("llm_d_epp_info", "The running build.")
IGNORED_HEADERS = counter("epp_ignored_headers_total", "Control headers whose value was invalid and ignored.")
UNKNOWN_OBJECTIVES = counter(
    "epp_unknown_objectives_total",
    "Requests that named an objective which the pool doesn't have: priority 0.",
)

RELOADS = counter(
    "epp_config_reloads_total", "Changed configurations that were looked at, by what came of it."
)
LAST_RELOAD = gauge(
    "epp_config_last_reload_successful", "1 while the configuration in force is the one in the file, else 0."
)
RELOADED = frozenset({"applied", "unchanged"})
"""What comes of a reload after which the configuration in force is the one in the file."""

REWRITES = counter(
    "llm_d_epp_model_rewrite_decisions_total", "Requests whose model an InferenceModelRewrite chose."
)

TWINS = {
    **flowcontrol.TWINS,
    **pool.TWINS,
    INFO.name: "inference_extension_info",
    REWRITES.name: "inference_extension_model_rewrite_decisions_total",
}


class DeprecatedNames(Enum):
    """Whether series appear under upstream's deprecated names as well."""

    SHOWN = "shown"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is running."""

    commit: str
    build_ref: str
    """The version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where a scrape reads what others count anyway."""

    pool_name: Callable[[], str]
    detector: Callable[[], str]
    """The type name of the capacity policy in force."""
    statistics: Callable[[], Statistics]
    scrape_failures: Callable[[], Mapping[str, int]]
    """Failed scrapes of model servers, by kind."""
    cluster: Callable[[], ClusterStatistics | None] = lambda: None
    """What is done with the API server; None without one."""
    connections: Callable[[], ConnectionFigures | None] = lambda: None
    """Gateways' connections; None where the transport doesn't count them."""
    event_log: Callable[[], EventLogFigures | None] = lambda: None
    """None without one."""
    shadows: Callable[[], Sequence[ShadowFigures]] = tuple
    """Policies that are tried out beside the live one."""


class Metrics:
    """The metrics of one picker."""

    def __init__(
        self,
        *,
        sources: Sources,
        build: Build,
        clock: Callable[[], float],
        label_limit: int = DEFAULT_LABEL_LIMIT,
        deprecated_names: DeprecatedNames = DeprecatedNames.SHOWN,
    ) -> None:
        self.registry = CollectorRegistry()
        """The process, the platform and its garbage collector; whatever else is registered appears on the page."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._sources = sources
        self._build = build
        self._label_limit = label_limit
        self._deprecated_names = deprecated_names
        self._priorities = PriorityNames(label_limit)
        self._book = RequestBook(clock=clock, label_limit=label_limit, priorities=self._priorities)
        self._cycles = Distribution(CYCLE_BUCKETS)
        self.cycle_ran: Callable[[float], None] = self._cycles.observe
        """The core has handled one event, in so many seconds."""
        self._ignored_headers: dict[str, int] = {}
        self._unknown_objectives = 0
        self._reloads: dict[str, int] = {}
        self._last_reload = "applied"
        self._rewrites: dict[tuple[str, str, str], int] = {}

    @property
    def pool_name(self) -> str:
        """The pool that they are about."""
        return self._sources.pool_name()

    # ------------------------------------------------------------------ what the shell tells

    def request_seen(self, labels: RequestLabels, *, size_bytes: int) -> RequestMeter:
        """A request is about to be submitted to flow control. The rest of its life is told to its meter."""
        return self._book.request_seen(labels, size_bytes)

    def rejected(self, labels: RequestLabels | None, reason: Reason) -> None:
        """A request was refused without flow control: malformed, too large. None if it couldn't be read."""
        self._book.rejected(labels, reason)

    def header_ignored(self, name: str) -> None:
        """A control header's value was invalid."""
        self._ignored_headers[name] = self._ignored_headers.get(name, 0) + 1

    def objective_unknown(self) -> None:
        """A request named an objective that the pool doesn't have."""
        self._unknown_objectives += 1

    def model_rewritten(self, rewrite: str, *, asked: str, target: str) -> None:
        """An InferenceModelRewrite decided which model a request is for."""
        key = (rewrite, asked, target)
        if key not in self._rewrites and len(self._rewrites) >= self._label_limit:
            # A rule for every model meets whatever clients ask for; the names of objects are the operator's.
            key = (rewrite, OTHER, target)
        self._rewrites[key] = self._rewrites.get(key, 0) + 1

    def config_reloaded(self, outcome: str) -> None:
        """The configuration's file had changed: `applied`, `unchanged` in what matters, or e.g. `refused`."""
        self._reloads[outcome] = self._reloads.get(outcome, 0) + 1
        self._last_reload = outcome

    def pieces(self, page_format: Format) -> Iterator[bytes]:
        """The page, in pieces of about half a millisecond's work."""
        for piece in pieces(self._readings(), page_format):
            yield piece.encode()
        match page_format:
            case Format.TEXT:
                yield generate_latest(self.registry)
            case Format.OPENMETRICS:
                yield generate_latest_openmetrics(self.registry)  # type: ignore[no-untyped-call] # it doesn't say

    def page(self, page_format: Format = Format.TEXT) -> bytes:
        """The page in one go."""
        return b"".join(self.pieces(page_format))

    def _readings(self) -> Iterator[Reading]:
        sources = self._sources
        statistics = sources.statistics()
        scrape = Scrape(clean(sources.pool_name()), sources.detector(), statistics, self._priorities)
        for reading in self._canonical(scrape):
            yield reading
            twin = TWINS.get(reading.family.name)
            if twin is not None and self._deprecated_names is DeprecatedNames.SHOWN:
                yield reading._replace(family=reading.family.renamed(twin))
        if self._deprecated_names is DeprecatedNames.SHOWN:
            yield from read_deprecated_pool(scrape)
            yield from read_deprecated_requests(self._book.series)

    def _canonical(self, scrape: Scrape) -> Iterator[Reading]:
        build = label_text(("commit", self._build.commit), ("build_ref", self._build.build_ref))
        yield Numbers(INFO, [(build, 1)])
        yield from read_flow_control(scrape, self._book, self._cycles)
        yield from read_pool(scrape)
        yield from read_scraping(self._sources.scrape_failures())
        yield from read_cluster(self._sources.cluster())
        yield from read_connections(self._sources.connections())
        yield from read_accounts(scrape, self._book, label_limit=self._label_limit)
        yield from read_tokens(scrape, self._book.series)
        yield from read_event_log(self._sources.event_log())
        yield from read_shadows(self._sources.shadows(), self._priorities)
        yield Numbers(
            RELOADS,
            [(label_text(("outcome", outcome)), count) for outcome, count in self._reloads.items()],
        )
        yield Numbers(LAST_RELOAD, [("", int(self._last_reload in RELOADED))])
        yield Numbers(
            IGNORED_HEADERS,
            [(label_text(("header", name)), count) for name, count in self._ignored_headers.items()],
        )
        yield Numbers(UNKNOWN_OBJECTIVES, [("", self._unknown_objectives)])
        yield Numbers(
            REWRITES,
            [
                (
                    label_text(
                        ("model_rewrite_name", clean(rewrite)),
                        ("model_name", clean(asked)),
                        ("target_model", clean(target)),
                    ),
                    count,
                )
                for (rewrite, asked, target), count in self._rewrites.items()
            ],
        )
        yield from read_requests(self._book.series)
