"""Whether a line is kept, missed, or could not be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.plays.judge import Verdict, judge
from benchmarks.plays.measures import Measure
from benchmarks.scenarios.loading import Size, load
from benchmarks.scenarios.scenario import Kind, PassLine, Yardstick
from benchmarks.stage.evidence import Evidence
from tests.benchmarks.plays.played import answered, failed, play

if TYPE_CHECKING:
    from benchmarks.plays.play import Play

TTFT = PassLine(says="chats wait at most a second", measure=Measure.TTFT_P95_S, traffic="chat", at_most=1)
ENVOY = "envoy:least-request"


def verdicts(line: PassLine, *plays: Play, kinds: tuple[Kind, ...] = tuple(Kind)) -> tuple[Verdict, ...]:
    """On a scenario that has only this line."""
    scenario = msgspec.structs.replace(load("overload-by-class", Size.FULL), passes=[line])
    return judge(scenario, plays, kinds=kinds)


def verdict(line: PassLine, *plays: Play) -> Verdict:
    """The only one."""
    (only,) = verdicts(line, *plays)
    return only


def rounds(*ttfts_s: float | None, target: str = "picker", class_name: str = "chat") -> list[Play]:
    """Rounds with one request each; None: it was refused."""
    return [
        play(
            failed(class_name=class_name) if ttft_s is None else answered(ttft_s, class_name=class_name),
            target=target,
            round_number=number,
        )
        for number, ttft_s in enumerate(ttfts_s, start=1)
    ]


def behaviour(line: PassLine) -> PassLine:
    """The same line, about behaviour."""
    return msgspec.structs.replace(line, kind=Kind.BEHAVIOUR)


def times(line: PassLine, *, traffic: str | None = "chat", target: str | None = None) -> PassLine:
    """The same line, relative to another measurement of the same kind."""
    return msgspec.structs.replace(
        line, times=Yardstick(measure=line.measure, traffic=traffic, target=target)
    )


def test_timing_goes_by_the_median_of_the_rounds() -> None:
    """One bad round is noise of the machine, two of three are not."""
    good, bad = verdict(TTFT, *rounds(0.2, 9, 0.4)), verdict(TTFT, *rounds(0.2, 9, 1.1))
    assert good.kept is True
    assert good.rounds == (0.2, 9, 0.4)
    assert good.bounds == (1, 1, 1)
    assert bad.kept is False


def test_behaviour_goes_by_every_round() -> None:
    """What may not happen, may not happen once."""
    assert verdict(behaviour(TTFT), *rounds(0.2, 0.3, 0.4)).kept is True
    assert verdict(behaviour(TTFT), *rounds(0.2, 9, 0.4)).kept is False


def test_the_bound_itself_is_within() -> None:
    """In both directions."""
    assert verdict(TTFT, *rounds(1.0)).kept is True
    at_least = msgspec.structs.replace(TTFT, at_most=None, at_least=1)
    assert verdict(at_least, *rounds(1.0)).kept is True
    assert verdict(at_least, *rounds(0.9)).kept is False


def test_a_bound_of_nothing_holds_for_nothing_only() -> None:
    """Zero is a bound like any other."""
    none = PassLine(says="nothing breaks", measure=Measure.REFUSED, at_most=0, kind=Kind.BEHAVIOUR)
    assert verdict(none, *rounds(0.1)).kept is True
    assert verdict(none, *rounds(0.1, None)).kept is False


def test_rounds_are_told_in_their_order() -> None:
    """Whatever the order in which they were played."""
    assert verdict(TTFT, *reversed(rounds(0.1, 0.2, 0.3))).rounds == (0.1, 0.2, 0.3)


def test_a_time_that_never_came_breaks_an_upper_bound() -> None:
    """And the verdict says so."""
    missed = verdict(behaviour(TTFT), *rounds(0.1, None))
    assert missed.kept is False
    assert missed.rounds == (0.1, None)
    assert missed.why == "round 2, picker: ttft_p95_s never came"


def test_a_time_that_never_came_is_longer_than_any_lower_bound() -> None:
    """So what is to wait, may wait for ever."""
    line = msgspec.structs.replace(TTFT, at_most=None, at_least=1)
    assert verdict(line, *rounds(None)).kept is True


def test_a_class_that_sent_nothing_can_not_be_judged() -> None:
    """Nothing came because nothing was asked for."""
    unknown = verdict(TTFT, *rounds(0.1, class_name="batch"))
    assert unknown.kept is None
    assert unknown.why == "picker has no ttft_p95_s"


def test_a_yardstick_is_measured_in_the_same_round_at_its_own_target() -> None:
    """Each round has its own bound."""
    line = times(msgspec.structs.replace(TTFT, at_most=0.5), target=ENVOY)
    plays = [*rounds(0.1, 0.9, 2.0), *rounds(1.0, 2.0, 3.0, target=ENVOY)]
    result = verdict(line, *plays)
    assert result.rounds == (0.1, 0.9, 2.0)
    assert result.bounds == (0.5, 1.0, 1.5)
    assert result.kept is True
    assert verdict(behaviour(line), *plays).kept is False


def test_a_yardstick_without_a_target_is_of_the_same_play() -> None:
    """One class against another."""
    line = times(msgspec.structs.replace(TTFT, at_most=0.5), traffic="batch")
    both = play(answered(0.2), answered(1.0, class_name="batch"))
    result = verdict(line, both)
    assert result.bounds == (0.5,)
    assert result.kept is True


def test_whoever_comes_is_sooner_than_a_yardstick_that_never_does() -> None:
    """If neither comes, nothing is kept."""
    line = times(TTFT, target=ENVOY)
    assert verdict(line, *rounds(5.0), *rounds(None, target=ENVOY)).kept is True
    assert verdict(line, *rounds(5.0), *rounds(None, target=ENVOY)).bounds == (None,)
    assert verdict(line, *rounds(None), *rounds(None, target=ENVOY)).kept is False


def test_a_yardstick_that_was_not_played_leaves_its_round_out() -> None:
    """A line about timing goes by the rounds that are there, one about behaviour needs all."""
    line = times(TTFT, target=ENVOY)
    plays = [*rounds(0.1, 0.2), *rounds(1.0, target=ENVOY)]
    assert verdict(line, *plays).kept is True
    missing = verdict(behaviour(line), *plays)
    assert missing.kept is None
    assert missing.why == "envoy:least-request was not played in round 2"
    assert verdict(behaviour(line), *rounds(1.1, 0.2), *rounds(1.0, target=ENVOY)).kept is False
    assert verdict(line, *rounds(0.1)).kept is None


def test_a_target_that_was_not_played_is_not_judged() -> None:
    """Nothing is kept by default."""
    result = verdict(TTFT, *rounds(0.1, target=ENVOY))
    assert result == Verdict(line=TTFT, rounds=(), bounds=(), kept=None, why="picker was not played")


def test_what_a_foreign_picker_does_not_tell_is_not_judged() -> None:
    """Its own account exists in its own words only."""
    line = PassLine(says="the queue is empty", measure=Measure.QUEUED_AT_END, at_most=0, kind=Kind.BEHAVIOUR)
    result = verdict(line, *rounds(0.1, target="go"))
    assert result.kept is None
    assert result.line.target == "go"
    assert result.why == "go has no queued_at_end"


def test_what_is_asked_of_the_picker_is_asked_of_every_picker() -> None:
    """Another body mode and somebody else's, but not Envoy alone."""
    plays = [
        *rounds(0.1),
        *rounds(0.2, target="picker:lean"),
        *rounds(3, target="go"),
        *rounds(4, target=ENVOY),
    ]
    kept = {result.line.target: result.kept for result in verdicts(TTFT, *plays, *rounds(5, target="direct"))}
    assert kept == {"picker": True, "picker:lean": True, "go": False}


def test_a_picker_is_not_held_against_itself() -> None:
    """Where a line names another picker as its yardstick, that one is the measure and not what is measured."""
    line = times(msgspec.structs.replace(TTFT, at_most=0.5), target="picker:lean")
    plays = [*rounds(0.1), *rounds(1.0, target="picker:lean"), *rounds(0.9, target="go")]
    kept = {result.line.target: result.kept for result in verdicts(line, *plays)}
    assert kept == {"picker": True, "go": False}


def test_a_line_about_another_target_is_about_that_one_alone() -> None:
    """Lines can be about Envoy, too."""
    line = msgspec.structs.replace(TTFT, target=ENVOY)
    plays = [*rounds(0.1), *rounds(4, target=ENVOY), *rounds(0.1, target="go")]
    assert [result.line.target for result in verdicts(line, *plays)] == [ENVOY]


def test_lines_of_other_kinds_are_left_out() -> None:
    """A machine that is too slow for timing can still judge behaviour."""
    assert verdicts(TTFT, *rounds(9), kinds=(Kind.BEHAVIOUR,)) == ()
    assert len(verdicts(behaviour(TTFT), *rounds(9), kinds=(Kind.BEHAVIOUR,))) == 1


def test_figures_of_the_whole_round_are_judged_like_those_of_traffic() -> None:
    """A line without a class."""
    line = PassLine(says="no stream is left", measure=Measure.STREAMS_AT_END, at_most=0, kind=Kind.BEHAVIOUR)
    left = play(evidence=Evidence(usage={}, engines=(), streams_at_end=1))
    assert verdict(line, left).kept is False
    assert verdict(line, left).rounds == (1,)
