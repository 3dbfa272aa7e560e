"""Whether the demo has shown what it promises. Pure judgement over two halves.

The promise: under an overload the most important traffic is served as if there were none, the least important
waits or is refused, and keeping requests in order costs no throughput.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from epp.demo.tally import summarize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from epp.demo.tally import ClassSummary, Outcome

FASTER = 3.0
"""The highest class must get its first token at least this many times sooner (p99) than without the picker."""
MIN_THROUGHPUT = 0.9
"""Share of the throughput without the picker that must be reached with it."""
MIN_BOUND_S = 1.0
"""The bound on the highest class's wait is one service time, but not less than this."""


@dataclass(frozen=True, slots=True)
class Half:
    """The figures of one half of the demo: with the picker, or without."""

    classes: Mapping[str, ClassSummary]
    """Highest priority first."""

    @classmethod
    def of(cls, outcomes: Iterable[Outcome], class_names: Sequence[str], *, arrivals_s: float) -> Half:
        """From the outcomes of one half."""
        outcomes = tuple(outcomes)
        return cls(
            {
                name: summarize((each for each in outcomes if each.class_name == name), arrivals_s=arrivals_s)
                for name in class_names
            }
        )

    @property
    def completed_per_s(self) -> float:
        """Over all classes."""
        return sum(summary.completed_per_s for summary in self.classes.values())


class Check(NamedTuple):
    """One promise, and what was measured."""

    promise: str
    kept: bool
    measured: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks; the demo has shown its promise if every one of them was kept."""

    checks: tuple[Check, ...]

    @property
    def kept(self) -> bool:
        """Whether all were."""
        return all(check.kept for check in self.checks)


def judge(*, picked: Half, alone: Half, service_time_s: float, patience_s: float) -> Verdict:
    """Compare the half with the picker to the one without.

    `service_time_s` is how long a request runs on a full server, `patience_s` how long a client waits.
    """
    top = next(iter(picked.classes))
    bottom = tuple(picked.classes)[-1]
    first, last = picked.classes[top], picked.classes[bottom]
    bound_s = max(MIN_BOUND_S, service_time_s)
    with_s = first.p99_ttft_s
    # A client that got no token waited at least as long as its patience, so this is a lower bound.
    without_s = alone.classes[top].p99_ttft_s or patience_s
    lost = first.refused + first.gave_up + first.broken
    broken = sum(summary.broken for summary in picked.classes.values())
    throughput = picked.completed_per_s / alone.completed_per_s if alone.completed_per_s else 0.0
    return Verdict(
        (
            Check(
                f"{top}: 99 of 100 requests get their first token within {bound_s:.1f} s",
                with_s is not None and with_s <= bound_s,
                f"p99 {seconds(with_s)}",
            ),
            Check(
                f"{top}: at least {FASTER:g} times sooner than without the picker",
                with_s is not None and without_s >= FASTER * with_s,
                f"p99 {seconds(with_s)} against {seconds(alone.classes[top].p99_ttft_s)}",
            ),
            Check(f"{top}: not one request is lost", lost == 0 and first.sent > 0, f"{lost} of {first.sent}"),
            Check(
                f"{bottom}: bears the overload instead",
                last.refused + last.gave_up > 0,
                f"{last.refused + last.gave_up} of {last.sent} refused or given up",
            ),
            Check("nothing breaks", broken == 0, f"{broken} broken answers"),
            Check(
                f"order costs no throughput: at least {MIN_THROUGHPUT:.0%} of that without the picker",
                throughput >= MIN_THROUGHPUT,
                f"{picked.completed_per_s:.1f} against {alone.completed_per_s:.1f} requests/s",
            ),
        )
    )


def reasons(summary: ClassSummary) -> str:
    """For people: why requests of a class were refused or broke; '' if none was."""
    return ", ".join(f"{count} x {detail}" for detail, count in summary.details.items())


def seconds(value: float | None) -> str:
    """For people; None is a first token that never came."""
    if value is None:
        return "never"
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.1f} s"
