"""What requests cost: what was charged for them, what they were found to cost, and how good the estimates were.

By tenant it is the usage that model servers reported, aborted and evicted requests included; where the gateway hides
responses nobody reports any, and only the bands' own figures, which are settled by elapsed time, go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.observe.exposition import Distributions, Numbers, Reading, counter, histogram
from epp.observe.histogram import Buckets, Distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.observe.scrape import Scrape
    from epp.observe.table import SeriesTable

CHARGED = counter(
    "epp_charged_tokens_total", "Tokens that requests were charged for by estimate at dispatch."
)
SETTLED = counter(
    "epp_settled_tokens_total",
    "Tokens that requests were found to have cost when they ended; not those that were cut off.",
)
BY_FLOW = counter(
    "epp_flow_tokens_total",
    "Input and output tokens of each tenant's requests, as model servers report them.",
)
RATIOS = histogram(
    "epp_estimate_ratio",
    "Actual size of a request as a multiple of its estimate: 1 is exact, more means it was estimated too low.",
)


def read_tokens(scrape: Scrape, table: SeriesTable) -> Iterator[Reading]:
    """Tokens and estimates."""
    bands = tuple(scrape.bands())
    yield Numbers(CHARGED, [(scrape.by_band(name), band.charged_tokens) for name, band in bands])
    yield Numbers(SETTLED, [(scrape.by_band(name), band.settled_tokens) for name, band in bands])
    yield Numbers(
        BY_FLOW, [(f"{tally.text},{scrape.by_pool}", tally.tokens) for tally in table.tallies if tally.tokens]
    )
    errors = scrape.statistics.estimate_errors
    if errors.bounds:
        buckets = Buckets(*errors.bounds)
        yield Distributions(
            RATIOS,
            [
                (f'{scrape.by_pool},of="{size}"', Distribution.counted(buckets, counts))
                for size, counts in (("input", errors.input), ("output", errors.output))
            ],
        )
