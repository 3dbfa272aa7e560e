"""A comparison as text: one row per run, for each band, its tenants with the most tokens, and all requests together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from epp.replay.summary import RunSummary, Summary

_COLUMNS = ("requests", "sent", "refused", "gave up", "wait p50", "p95", "p99", "tokens", "tokens/s", "Jain")


def render(runs: Sequence[RunSummary], *, flows: int) -> str:
    """The whole table; of each band so many tenants."""
    rows: list[tuple[str, ...]] = [("", *_COLUMNS)]
    rows += _group("all requests", [(run.name, run.total, None) for run in runs])
    for priority in sorted({priority for run in runs for priority in run.bands}, reverse=True):
        rows += _group(
            f"band {priority}",
            [(run.name, run.bands[priority], run.jain[priority]) for run in runs if priority in run.bands],
        )
        for fairness_id in _largest(runs, priority, flows):
            key = (priority, fairness_id)
            rows += _group(
                f"band {priority}, tenant {fairness_id or '(none)'}",
                [(run.name, run.flows[key], None) for run in runs if key in run.flows],
            )
    widths = [max(len(row[column]) for row in rows if len(row) > column) for column in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows if len(row) > 1)
    lines = []
    for row in rows:
        if len(row) == 1:
            lines.append(row[0])
            continue
        cells = [row[0].ljust(widths[0])] + [
            cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n\n" + "\n".join(_reasons(runs)) + "\n"


def _group(title: str, entries: Sequence[tuple[str, Summary, float | None]]) -> Iterator[tuple[str, ...]]:
    yield ("",)
    yield (title,)
    for name, summary, jain in entries:
        yield (
            f"  {name}",
            str(summary.requests),
            str(summary.dispatched),
            str(sum(summary.refused.values())),
            str(summary.gave_up),
            seconds(summary.wait_p50_s),
            seconds(summary.wait_p95_s),
            seconds(summary.wait_p99_s),
            str(summary.tokens),
            f"{summary.tokens_per_s:.0f}",
            "" if jain is None else f"{jain:.3f}",
        )


def _largest(runs: Sequence[RunSummary], priority: int, count: int) -> list[str]:
    """The tenants with the most tokens in any run; none where there is only one, of whom the band tells all."""
    most: dict[str, int] = {}
    for run in runs:
        for (band, fairness_id), summary in run.flows.items():
            if band == priority:
                most[fairness_id] = max(most.get(fairness_id, 0), summary.tokens)
    if len(most) < 2:
        return []
    return sorted(sorted(most, key=lambda each: (-most[each], each))[:count])


def _reasons(runs: Sequence[RunSummary]) -> Iterator[str]:
    width = max(len(run.name) for run in runs)
    for run in runs:
        told = ", ".join(f"{reason} {count}" for reason, count in run.total.refused.items())
        yield f"refused, {run.name.ljust(width)}  {told or 'none'}"


def seconds(wait_s: float | None) -> str:
    """A wait as people read it."""
    if wait_s is None:
        return "-"
    return f"{wait_s * 1000:.0f} ms" if wait_s < 1 else f"{wait_s:.1f} s"
