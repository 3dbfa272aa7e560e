"""The tables in the docs, between markers: written from the report's JSON and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import marked
from benchmarks.fairness.figures import COURSES, SHARES, WAITS
from benchmarks.fairness.waiting import REGIMES
from benchmarks.fairness.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.fairness.report import Outcome, Report

_COMMAND = "make fairness"


def fill(page: str, part: str) -> str:
    """The page with its generated part replaced. Raises ValueError if it has no markers."""
    return marked.fill(page, part, command=_COMMAND)


def shares(report: Report) -> str:
    """Workloads, the table of who gets how much, and both figures."""
    found = {(each.workload, each.policy): each for each in report.outcomes}
    policies = list(dict.fromkeys(each.policy for each in report.outcomes))
    rows = [
        [
            workload.name,
            *(_jain_cell(found[workload.name, policy]) for policy in policies),
            *(_lag_cell(found[workload.name, policy]) for policy in policies),
            f"{found[workload.name, policies[-1]].bound_units}",
        ]
        for workload in WORKLOADS
    ]
    heads = [
        "workload",
        *(f"Jain: {each}" for each in policies),
        *(f"lag: {each}" for each in policies),
        "promise",
    ]
    about = "\n".join(f"- **{workload.name}**: {workload.about}" for workload in WORKLOADS)
    return (
        f"{about}\n\n{_table(heads, rows)}\n"
        f"{report.steps:,} steps each. Two tenants whose lag is compared both had work queued for at least "
        f"{min(each.turns for each in report.outcomes):,} dispatches of theirs.\n\n"
        f"![Jain's index and largest lag, by policy and workload](images/{SHARES})\n\n"
        f"![How far one tenant gets ahead of another over time](images/{COURSES})\n"
    )


def waits(report: Report) -> str:
    """Regimes, and how right clients were told in each."""
    found = {each.regime: each for each in report.accuracies}
    rows = []
    for regime in REGIMES:
        accuracy = found[regime.name]
        waited = "never, in 120 s" if accuracy.waited_s is None else f"{accuracy.waited_s:.0f} s"
        ratios = ["", "", ""]
        if not accuracy.never:
            low, middle, high = (accuracy.percentile(percent) for percent in (10, 50, 90))
            ratios = [f"{middle:.2f}", f"{low:.2f} to {high:.2f}", f"{accuracy.within:.0%}"]
        rows.append([regime.name, str(accuracy.refusals), f"{accuracy.told_s:.0f} s", waited, *ratios])
    heads = ["regime", "refusals", "told", "would have waited", "ratio", "80 % of ratios", "within 2x"]
    about = "\n".join(f"- **{regime.name}**: {regime.about}" for regime in REGIMES)
    return (
        f"{about}\n\n{_table(heads, rows)}\n"
        f"![What clients were told over what they would have waited](images/{WAITS})\n"
    )


def _jain_cell(outcome: Outcome) -> str:
    return f"{outcome.jain:.3f}"


def _lag_cell(outcome: Outcome) -> str:
    return f"{outcome.lag_units:,.1f}" if outcome.lag_units < 100 else f"{outcome.lag_units:,.0f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
