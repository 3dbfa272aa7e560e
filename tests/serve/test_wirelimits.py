"""The flags that bound what gateways' connections may cost."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from epp.extproc.http2.limits import RANGES, Allowance, Limits
from epp.serve.settings import FlagParser, ServeSettings, SettingsError, add_arguments, read_settings
from epp.serve.wirelimits import parse_allowance, wire_flags

PAGE = (Path(__file__).parents[2] / "docs" / "transport.md").read_text(encoding="utf-8")
MIB = 1024 * 1024
TYPED = {
    "N": ("1234", 1234),
    "QUANTITY": ("512Ki", MIB // 2),
    "DURATION": ("1m30s", 90.0),
    "BURST/PER_SECOND": ("77/0.5", Allowance(77, 0.5)),
}


def _read(*words: str) -> ServeSettings:
    parser = FlagParser(prog="epp serve", allow_abbrev=False)
    add_arguments(parser)
    return read_settings(
        parser.parse_args(["--objects", "objects.yaml", "--transport", "native", *words]), {}
    )


def _problems(*words: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        _read(*words)
    return caught.value.problems


def test_every_limit_has_a_flag_and_nothing_else_has() -> None:
    """One flag for each, but for the largest message, which has one for both transports."""
    assert [flag.field for flag in wire_flags()] == [
        each.name for each in fields(Limits) if each.name != "max_message_bytes"
    ]
    assert all(flag.name.startswith("http2-") and flag.help for flag in wire_flags())


def test_without_flags_the_limits_are_the_defaults() -> None:
    """Except for what follows from the largest body: a message may be a mebibyte larger."""
    assert _read().limits == replace(Limits(), max_message_bytes=33 * MIB)


@pytest.mark.parametrize("flag", wire_flags(), ids=lambda flag: flag.name)
def test_each_flag_sets_its_limit_and_no_other(flag) -> None:
    """In the unit that the flag is typed in."""
    typed, value = TYPED[flag.kind]
    if flag.field in {"max_unfinished_bytes", "connection_window_bytes"}:
        typed, value = "64Mi", 64 * MIB
    limits = _read(f"--{flag.name}={typed}").limits
    assert limits == replace(_read().limits, **{flag.field: value})
    assert limits != _read().limits


@pytest.mark.parametrize("flag", wire_flags(), ids=lambda flag: flag.name)
def test_each_flag_is_on_the_page_with_its_default(flag) -> None:
    """Whoever reads of a limit finds the flag and the value in force."""
    default = flag.default or "256Mi"
    assert re.search(rf"`--{flag.name}`[^a-z0-9]*{re.escape(default)}\b", PAGE)


def test_the_largest_message_takes_the_unfinished_ones_along() -> None:
    """Whoever raises the one needn't know of the other; whoever sets both is told if they contradict each other."""
    limits = _read("--grpc-max-recv-msg-size=300Mi").limits
    assert (limits.max_message_bytes, limits.max_unfinished_bytes) == (300 * MIB, 600 * MIB)
    (line,) = _problems("--grpc-max-recv-msg-size=300Mi", "--http2-max-unfinished=299Mi")
    assert line.startswith("--http2-max-unfinished: 313524224 is less than one message may have")


@pytest.mark.parametrize("text", ["", "5", "5/", "/5", "a/b", "1/2/3", "5.5/1", "9" * 70 + "/1"])
def test_what_is_no_allowance_is_told_how_to_write_one(text: str) -> None:
    """With an example."""
    with pytest.raises(ValueError, match=r"BURST/PER_SECOND: .* like 1000/200"):
        parse_allowance(text)
    if text:
        (line,) = _problems(f"--http2-pings={text}")
        assert line.startswith(f"--http2-pings={text}: is not BURST/PER_SECOND")


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("--http2-pings=0/1", f"{RANGES['pings'].flag}: 0/1 can't be had: "),
        ("--http2-pings=10/nan", "--http2-pings: 10/nan can't be had: "),
        ("--http2-pings=10/inf", "--http2-pings: 10/inf can't be had: "),
        ("--http2-max-frame=1Ki", "--http2-max-frame: 1024 can't be had: from 16384 to 16777215"),
        ("--http2-rapid-time=0s", "--http2-rapid-time: 0s can't be had: from 0.001s to 604800s"),
        (
            "--http2-write-timeout=1ms",
            "--http2-write-timeout: 0.001s can't be had: 0s for never, or from 0.1s",
        ),
    ],
)
def test_what_cant_be_had_is_refused_with_what_can(word: str, line: str) -> None:
    """By flag, value and remedy."""
    (said,) = _problems(word)
    assert said.startswith(line)


def test_never_is_zero() -> None:
    """A timeout can be switched off."""
    assert _read("--http2-stall-timeout=0s").limits.stall_s == 0


def test_with_the_other_transport_they_have_no_effect_and_that_is_said() -> None:
    """One line for each flag that was typed."""
    settings = _read("--transport", "grpcio", "--http2-pings=5/5", "--http2-settings=5/5")
    assert [note for note in settings.notes if "http2" in note] == [
        "--http2-pings has no effect with --transport grpcio",
        "--http2-settings has no effect with --transport grpcio",
    ]
    assert not _read("--transport", "grpcio").notes


def test_help_shows_them_in_a_group_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """With what to type and the default."""
    with pytest.raises(SystemExit):
        _read("--help")
    shown = " ".join(capsys.readouterr().out.split())
    group = shown.partition("limits of the native transport:")[2]
    assert (
        "--http2-pings BURST/PER_SECOND PINGs; a keepalive is one in a second at the most (1000/200)" in group
    )
