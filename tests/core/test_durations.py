"""Go durations, as Kubernetes objects, flags and headers write them."""

from __future__ import annotations

import pytest

from epp.core.durations import parse_go_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("+0", 0.0),
        ("30s", 30.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("-2m", -120.0),
        ("+2m", 120.0),
        ("1us", 1e-6),
        ("1\u00b5s", 1e-6),
        ("1\u03bcs", 1e-6),
        ("3ns", 3e-9),
        ("1h1m1s1ms", 3661.001),
        ("2562047h47m16.854775807s", 9223372036.854776),
    ],
)
def test_what_go_reads_is_read(text: str, seconds: float) -> None:
    """Every form of `time.ParseDuration` gives its seconds."""
    assert parse_go_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "-",
        "1",
        "1.5",
        "s",
        ".s",
        "1x",
        "1 s",
        " 1s",
        "1s ",
        "1S",
        "1e3s",
        "--1s",
        "1h-1m",
        "3000000h",
        "9" * 200,
    ],
)
def test_what_go_refuses_is_refused(text: str) -> None:
    """Anything else is an error that says so."""
    with pytest.raises(ValueError, match="invalid duration"):
        parse_go_duration(text)
