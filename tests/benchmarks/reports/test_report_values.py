"""What goes into the report: every measure, ratios, curves and verdicts, and that it survives its file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hdrh.histogram import HdrHistogram
from msgspec.structs import replace

from benchmarks.load.histograms import ClassHistograms
from benchmarks.plays.measures import Measure
from benchmarks.reports import cells
from benchmarks.reports import report as reports
from benchmarks.reports.report import Never, ReportError, Standing, compact, read, write
from benchmarks.scenarios.scenario import Kind
from benchmarks.stage.evidence import Evidence
from tests.benchmarks.plays.played import NOTHING
from tests.benchmarks.reports import sample
from tests.benchmarks.reports.sample import ENVOY, PICKER

TOLD = {
    "usage": {},
    "engines": (),
    "queued_max": 3,
    "queued_at_end": 0,
    "idle_eligible_slot_s": 0.0,
    "streams_at_end": 0,
}
FOREIGN = Evidence(usage={}, engines=(), streams_at_end=0)


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    """Written and read again it is the same, `never` included; people can read it line by line."""
    made = sample.report(sample.situation(tmp_path), sample.troubled(tmp_path))
    path = tmp_path / "out" / reports.FILE_NAME
    write(made, path)
    assert read(path) == made
    assert path.read_text().count("\n") > 100
    assert any(ratio.median is Never.OURS for ratio in made.situations[0].ratios)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "not a report"),
        ("nonsense", "not a report"),
        (
            '{"version": 99, "finished": "", "command": "", "size": "", "machine": {}, "situations": []}',
            "version 99",
        ),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    """By name, with the reason."""
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ReportError, match=says) as refused:
        read(path)
    assert str(path) in str(refused.value)


def test_rounds_have_every_measure_and_decodable_histograms(tmp_path: Path) -> None:
    """Of each class and of the whole; a histogram is one to other libraries too."""
    made = sample.situation(tmp_path)
    assert [(each.target, each.number) for each in made.rounds] == [
        (PICKER, 1),
        (ENVOY, 1),
        (PICKER, 2),
        (ENVOY, 2),
    ]
    first = made.rounds[0]
    assert first.measures.keys() == {measure.value for measure in Measure}
    assert first.measures["sent"] == 60
    assert first.measures["picker_cpu_per_request_s"] == pytest.approx(0.002)
    chat = first.classes["chat"]
    assert chat.measures["completed"] == 20
    assert chat.histograms.keys() == {"ttft", "latency", "gap"}
    assert ClassHistograms.decode(chat.histograms).ttft.get_total_count() == 20
    assert HdrHistogram.decode(chat.histograms["ttft"].encode()).get_total_count() == 20
    assert first.classes["batch"].reasons == {"rejected <ttl>": 20}
    assert first.peak_bytes == {"picker": 90_000_000, "envoy": 80_000_000}


def test_single_requests_are_those_of_one_round_of_each_target(tmp_path: Path) -> None:
    """Enough for a figure; who got no token is among them."""
    made = sample.situation(tmp_path)
    with_points = [(each.target, each.number) for each in made.rounds if each.classes["chat"].points]
    assert with_points == [(PICKER, 1), (ENVOY, 1)]
    batch = made.rounds[0].classes["batch"].points
    assert [ttft_s for _, ttft_s in batch].count(None) == 20


def test_curves_end_where_nobody_got_a_token(tmp_path: Path) -> None:
    """All rounds together, rising, and never beyond the share that was served."""
    curves = {(each.traffic, each.target): each for each in sample.situation(tmp_path).curves}
    batch, chat = curves["batch", PICKER], curves["chat", PICKER]
    assert (batch.requests, batch.served_share) == (80, 0.5)
    assert 0.4 < batch.points[-1][0] <= 0.5
    assert (chat.requests, chat.served_share) == (40, 1.0)
    assert chat.points[-1] == (pytest.approx(1 - 1 / 40), pytest.approx(0.218))
    for curve in curves.values():
        assert curve.points == sorted(curve.points)


def test_ratios_have_both_medians(tmp_path: Path) -> None:
    """The ratio is of rounds, the absolute figures are medians of their own."""
    ratios = {(each.measure, each.traffic): each for each in sample.situation(tmp_path).ratios}
    chat = ratios["ttft_p50_s", "chat"]
    assert (chat.ours, chat.other, chat.better) == (PICKER, ENVOY, "lower")
    assert chat.median == pytest.approx(0.26, abs=0.02)
    assert chat.ours_median == pytest.approx((0.109 + 0.209) / 2, abs=0.002)
    batch = ratios["ttft_p95_s", "batch"]
    assert (batch.median, batch.low, batch.ours_median) == (Never.OURS, Never.OURS, None)


def test_lines_say_what_became_of_them(tmp_path: Path) -> None:
    """Kept, missed by something that never came, and not kept as a whole."""
    made = sample.situation(tmp_path)
    found = {line.says: line for line in made.lines}
    assert [line.standing for line in made.lines] == [
        Standing.KEPT, Standing.KEPT, Standing.MISSED, Standing.KEPT
    ]  # fmt: skip
    assert found["batch is quick as well"].rounds == [None, None]
    assert len(found["chat waits at most half as long as without a picker"].bounds) == 2
    assert not made.kept
    assert not sample.report(made).kept


def test_a_line_is_excused_only_if_its_target_was_not_asked_for(tmp_path: Path) -> None:
    """Without Envoy in the run its line can't be judged, which is nobody's fault; one that broke is no excuse."""
    alone = sample.situation(tmp_path, PICKER)
    line = next(line for line in alone.lines if line.says.startswith("chat waits"))
    assert (line.standing, line.excused) == (Standing.NOT_JUDGED, True)
    broken = sample.troubled(tmp_path)
    assert not any(line.excused for line in broken.lines if line.target == PICKER and "half" not in line.says)
    assert not broken.kept


@pytest.mark.parametrize(
    "line",
    [
        "{measure: queued_max, at_least: 1}",
        "{measure: queued_at_end, at_most: 0}",
        "{measure: idle_eligible_slot_s, at_most: 0.5}",
        "{measure: streams_at_end, at_most: 5, times: {measure: queued_max}}",
    ],
)
def test_what_only_our_picker_tells_is_not_asked_of_a_foreign_one(tmp_path: Path, line: str) -> None:
    """It is excused with its reason, so that a comparison with another picker can be kept."""
    only = [f"{line[:-1]}, kind: behaviour, says: it tells}}"]
    made = sample.told_by(tmp_path, {PICKER: Evidence(**TOLD), "go": FOREIGN}, lines=only)
    assert [(each.target, each.standing, each.excused) for each in made.lines] == [
        (PICKER, Standing.KEPT, False),
        ("go", Standing.NOT_JUDGED, True),
    ]
    assert made.lines[1].why.startswith("only our own picker tells its ")
    assert made.lines[1].why.endswith(", go doesn't")
    assert made.kept


@pytest.mark.parametrize(("target", "about"), [(PICKER, PICKER), ("picker:lean", PICKER), (ENVOY, ENVOY)])
def test_our_own_picker_is_not_excused_from_telling(tmp_path: Path, target: str, about: str) -> None:
    """Nor is it an excuse where a line asks Envoy alone for a queue: somebody has written nonsense."""
    only = [f"{{measure: queued_max, at_most: 9, says: it tells, target: '{about}'}}"]
    made = sample.told_by(tmp_path, {target: FOREIGN}, lines=only)
    assert [(each.standing, each.excused) for each in made.lines] == [(Standing.NOT_JUDGED, False)]
    assert not made.kept


def test_a_foreign_picker_is_not_excused_from_anything_else(tmp_path: Path) -> None:
    """What Envoy should have told of its streams is missing, not untold."""
    only = ["{measure: streams_at_end, at_most: 0, kind: behaviour, says: none is left}"]
    made = sample.told_by(tmp_path, {"go": NOTHING}, lines=only)
    assert [(each.standing, each.excused) for each in made.lines] == [(Standing.NOT_JUDGED, False)]
    assert not made.kept


def test_only_the_kinds_that_were_asked_for_count(tmp_path: Path) -> None:
    """With behaviour alone, a missed time doesn't matter."""
    assert sample.situation(tmp_path, kinds=frozenset({Kind.BEHAVIOUR})).kept


def test_the_compact_form_is_small_and_says_the_same(tmp_path: Path) -> None:
    """Verdicts, ratios, curves and measures stay, to four digits; requests and histograms go."""
    made = sample.report(sample.situation(tmp_path))
    small = compact(made)
    assert len(msgspec.json.encode(small)) < 0.9 * len(msgspec.json.encode(made))
    (before,), (after,) = made.situations, small.situations
    assert (after.lines, after.ratios) == (before.lines, before.ratios)
    assert [len(each.points) for each in after.curves] == [len(each.points) for each in before.curves]
    assert after.rounds[0].measures["sent"] == 60
    assert after.rounds[0].classes["chat"].measures["ttft_p50_s"] == pytest.approx(0.109, rel=1e-3)
    assert not after.rounds[0].classes["chat"].histograms
    assert not after.rounds[0].classes["chat"].points
    assert compact(small) == small


def test_a_run_is_kept_only_if_everything_was_measured(tmp_path: Path) -> None:
    """An interruption, a scenario that could not be played, a missed cost: each is enough."""
    made = replace(sample.report(), costs=None)
    assert made.kept
    assert not replace(made, interrupted=True).kept
    assert not replace(made, complaints={"sample": "no"}).kept
    assert not sample.report().kept


def test_a_generator_that_lagged_is_a_note(tmp_path: Path) -> None:
    """Above 50 ms (p99) it is part of what is told as the target's; each such round is named, and no other."""
    made = sample.situation(tmp_path)
    lags_s = {(PICKER, 1): 0.05, (ENVOY, 1): 0.051, (PICKER, 2): 1.5, (ENVOY, 2): None}
    lagged = replace(
        made,
        rounds=[
            replace(
                each, notes={}, measures=each.measures | {"send_lag_p99_s": lags_s[each.target, each.number]}
            )
            for each in made.rounds
        ],
    )
    first, second = cells.notes(lagged)
    assert first.startswith(f"{ENVOY}, round 1: the generator was 51 ms behind its plan (p99)")
    assert second.startswith(f"{PICKER}, round 2: the generator was 1.5 s behind its plan (p99)")
    assert not any("generator" in note for note in cells.notes(made))
