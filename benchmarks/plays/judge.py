"""Whether a run kept what its scenario promised, line by line.

Promises:
- A line about timing is judged by the median of the rounds; one about behaviour must hold in every round.
- A bound that is a multiple of another measurement is worked out anew for each round, from that round.
- A time that never came breaks every upper bound. Any other figure that is unknown leaves its line unjudged, and the
  verdict says why: nothing is kept by default. A line about timing is judged by the rounds that have a figure.
- What is asked of `picker` is asked of every picker in the run: in another body mode, or somebody else's; but of none
  that the line holds it against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, assert_never

import msgspec

from benchmarks.plays.measures import MAY_NEVER_COME, Measure
from benchmarks.plays.measuring import measured
from benchmarks.scenarios.scenario import Kind, PassLine
from benchmarks.stage.target import Balancing, Direct, EnvoyAlone, OurPicker

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from benchmarks.plays.play import Play
    from benchmarks.scenarios.scenario import Scenario

_ANY_PICKER = OurPicker().name
_WITHOUT_PICKER = {*(EnvoyAlone(balancing).name for balancing in Balancing), Direct().name}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one line at one target."""

    line: PassLine
    """Its `target` is the one that was judged."""
    rounds: tuple[float | None, ...]
    """What was measured, in the order of the rounds."""
    bounds: tuple[float | None, ...]
    """What that was held against: the same for all rounds, or of each round its own. None: there was nothing."""
    kept: bool | None
    """None: it could not be judged."""
    why: str
    """It could not be judged, or was missed by something that never came; else empty."""


def judge(scenario: Scenario, plays: Iterable[Play], *, kinds: Collection[Kind]) -> tuple[Verdict, ...]:
    """The verdicts on all lines of these kinds, in the order of the scenario."""
    by_target: dict[str, dict[int, Play]] = {}
    for play in plays:
        by_target.setdefault(play.target, {})[play.round] = play
    return tuple(
        _verdict(line, by_target)
        for written in scenario.passes
        if written.kind in kinds
        for line in _asked(written, by_target)
    )


def _asked(line: PassLine, targets: Collection[str]) -> Iterator[PassLine]:
    """The line, once for each target that it is about."""
    played = [line.target] if line.target in targets else []
    if line.target == _ANY_PICKER:
        yardstick = None if line.times is None else line.times.target
        played += [target for target in targets if target not in {_ANY_PICKER, *_WITHOUT_PICKER, yardstick}]
    for target in played or [line.target]:
        yield msgspec.structs.replace(line, target=target)


class _Held(NamedTuple):
    """One round of a line; infinite is what never came."""

    value: float | None
    bound: float | None
    why: str

    @property
    def share(self) -> float | None:
        """The value as a share of its bound; None if one of them is unknown."""
        if self.value is None or self.bound is None:
            return None
        if math.isinf(self.value):
            return math.inf
        if self.bound == 0:
            return 1.0 if self.value == 0 else math.inf
        return self.value / self.bound


def _verdict(line: PassLine, by_target: dict[str, dict[int, Play]]) -> Verdict:
    rounds = by_target.get(line.target, {})
    held = [_held(line, number, by_target) for number in sorted(rounds)]
    kept = _kept(line, [each.share for each in held])
    why = "; ".join(dict.fromkeys(each.why for each in held if each.why))
    if not held:
        why = f"{line.target} was not played"
    return Verdict(
        line=line,
        rounds=tuple(_finite(each.value) for each in held),
        bounds=tuple(_finite(each.bound) for each in held),
        kept=kept,
        why=why if kept is not True else "",
    )


def _held(line: PassLine, number: int, by_target: dict[str, dict[int, Play]]) -> _Held:
    value, why = _figure(by_target[line.target][number], line.measure, line.traffic)
    factor = line.at_most if line.at_most is not None else line.at_least
    assert factor is not None, "checked when the scenario was loaded"
    if line.times is None:
        return _Held(value, factor, why)
    yardstick_target = line.times.target or line.target
    yardstick_play = by_target.get(yardstick_target, {}).get(number)
    if yardstick_play is None:
        return _Held(value, None, f"{yardstick_target} was not played in round {number}")
    yardstick, yardstick_why = _figure(yardstick_play, line.times.measure, line.times.traffic)
    bound = None if yardstick is None else factor * yardstick
    return _Held(value, bound, "; ".join(text for text in (why, yardstick_why) if text))


def _figure(play: Play, measure: Measure, traffic: str | None) -> tuple[float | None, str]:
    """What was measured, infinite for a time that never came; and what there is to say if it is no number."""
    value = measured(play, measure, traffic)
    if value is not None:
        return value, ""
    if measure in MAY_NEVER_COME and measured(play, Measure.SENT, traffic):
        return math.inf, f"round {play.round}, {play.target}: {measure.value} never came"
    return None, f"{play.target} has no {measure.value}"


def _kept(line: PassLine, shares: Sequence[float | None]) -> bool | None:
    known = [share for share in shares if share is not None]
    match line.kind:
        case Kind.TIMING:
            return _holds(line, median(known)) if known else None
        case Kind.BEHAVIOUR:
            if not all(_holds(line, share) for share in known):
                return False
            return True if shares and len(known) == len(shares) else None
        case _:
            assert_never(line.kind)


def _holds(line: PassLine, share: float) -> bool:
    return share <= 1 if line.at_most is not None else share >= 1


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value
