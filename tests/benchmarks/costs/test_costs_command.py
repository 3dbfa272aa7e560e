"""The command: what it measures, writes and returns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.costs import __main__ as command
from benchmarks.costs.programs import Programs
from benchmarks.costs.rows import Entry
from benchmarks.costs.scale import Scale
from benchmarks.costs.table import Bound, Line, Skip, Unit

SCALES_SEEN: list[Scale] = []
VARIANTS_SEEN: list[str] = []


def entry(row: str, value: float) -> Entry:
    """A row that always measures `value`, against a bound of 1."""

    async def measure(programs: Programs, scale: Scale) -> list[Line]:
        VARIANTS_SEEN[:] = map(str, programs.variants)
        SCALES_SEEN.append(scale)
        return [
            Line(row=row, what=f"{row} in test", bound=Bound(1.0, Unit.RATIO), rounds=(value,) * scale.rounds)
        ]

    return Entry((row,), measure)


async def _break(programs: Programs, scale: Scale) -> list[Line]:
    del programs, scale
    raise RuntimeError("the child is gone")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows: one is kept, one is missed, one can't be measured."""
    SCALES_SEEN.clear()
    groups = ((entry("request", 0.5),), (Entry(("held",), _break), entry("chunk", 2.0)))
    monkeypatch.setattr(command, "GROUPS", groups)


def report(directory: Path) -> dict[str, object]:
    """What was written."""
    written: dict[str, object] = json.loads((directory / "costs.json").read_text(encoding="utf-8"))
    return written


@pytest.mark.usefixtures("rows")
def test_kept_bounds_give_status_0_and_a_report(tmp_path: Path, tiny: Scale) -> None:
    """The report has every round of the line, and the machine."""
    assert command.main(["--only", "request", "--rounds", "3", "--out", str(tmp_path)], scale=tiny) == 0
    written = report(tmp_path)
    assert written["kept"] is True
    assert written["failures"] == []
    assert isinstance(written["machine"], dict)
    assert {"cpu", "cores", "load", "python", "grpcio"} <= written["machine"].keys()
    assert isinstance(written["lines"], list)
    (line,) = written["lines"]
    assert line["row"] == "request"
    assert line["rounds"] == [0.5, 0.5, 0.5]
    assert (line["median"], line["low"], line["high"], line["kept"]) == (0.5, 0.5, 0.5, True)
    assert line["bound"]["limit"] == 1.0


@pytest.mark.usefixtures("rows")
def test_a_missed_bound_gives_status_1(tmp_path: Path, tiny: Scale) -> None:
    """So that a build can stop there."""
    assert command.main(["--only", "chunk", "--out", str(tmp_path)], scale=tiny) == 1
    assert report(tmp_path)["kept"] is False


@pytest.mark.usefixtures("rows")
def test_a_row_that_breaks_is_told_and_the_others_are_measured(
    tmp_path: Path, tiny: Scale, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, the reason on the screen and in the report, and all other lines."""
    assert command.main(["--out", str(tmp_path)], scale=tiny) == 1
    written = report(tmp_path)
    assert written["failures"] == [{"row": "held", "message": "the child is gone"}]
    assert isinstance(written["lines"], list)
    assert [line["row"] for line in written["lines"]] == ["request", "chunk"]
    assert "the child is gone" in capsys.readouterr().out


def test_what_the_machine_lacks_something_for_is_told_and_misses_nothing(
    tmp_path: Path, tiny: Scale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 0, the reason on the screen, and no line: nobody can say what it would have been."""

    async def lack(programs: Programs, scale: Scale) -> list[Skip]:
        del programs, scale
        return [Skip("latency", "through Envoy", "Envoy is not installed")]

    monkeypatch.setattr(command, "GROUPS", ((Entry(("latency",), lack), entry("request", 0.5)),))
    assert command.main(["--only", "latency", "--only", "request", "--out", str(tmp_path)], scale=tiny) == 0
    written = report(tmp_path)
    assert isinstance(written["lines"], list)
    assert [line["row"] for line in written["lines"]] == ["request"]
    assert written["failures"] == []
    assert "latency: left out: through Envoy: Envoy is not installed" in capsys.readouterr().out


@pytest.mark.usefixtures("rows")
def test_only_measures_the_rows_that_are_asked_for(tmp_path: Path, tiny: Scale) -> None:
    """The others cost no time."""
    command.main(["--only", "request", "--only", "chunk", "--out", str(tmp_path)], scale=tiny)
    assert len(SCALES_SEEN) == 2


@pytest.mark.usefixtures("rows")
def test_quick_is_smaller_and_rounds_can_be_given(tmp_path: Path) -> None:
    """`--quick` takes fewer rounds; `--rounds` has the last word; the sizes that the table names stay."""
    for words in ([], ["--quick"], ["--quick", "--rounds", "9"]):
        command.main([*words, "--only", "request", "--out", str(tmp_path)])
    full, quick, nine = SCALES_SEEN
    assert quick.rounds < full.rounds
    assert nine.rounds == 9
    assert (quick.queued, quick.held) == (full.queued, full.held) == (50_000, 5_000)


@pytest.mark.usefixtures("rows")
def test_a_picker_with_other_flags_is_measured_beside_the_one_without(tmp_path: Path, tiny: Scale) -> None:
    """In the same run, each under the transport and the flags that it has, those without flags first."""
    out = ["--only", "request", "--out", str(tmp_path)]
    command.main(out, scale=tiny)
    assert VARIANTS_SEEN == ["grpcio", "native"]
    command.main(
        [*out, "--picker-flags=--a 1 --transport grpcio --b", "--picker-flags=--v=5 --transport=native"],
        scale=tiny,
    )
    assert VARIANTS_SEEN == ["grpcio", "native", "grpcio --a 1 --b", "native --v=5"]
    command.main([*out, "--picker-flags=--v=5"], scale=tiny)
    assert VARIANTS_SEEN == ["grpcio", "native", "native --v=5"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--only", "speed"], "speed"),
        (["--rounds", "0"], "0 rounds"),
        (["--rounds", "x"], "x"),
        (["--picker-flags", "transport native"], "transport native"),
        (["--picker-flags="], "''"),
        (["--picker-flags=--name 'open"], "--name"),
        (["--picker-flags=--transport carrier-pigeon"], "one of native, grpcio"),
        (["--picker-flags=--transport"], "one of native, grpcio"),
        (["--picker-flags=--transport=native"], "measured in every run"),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err
