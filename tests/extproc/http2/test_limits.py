"""Limits and what they may be."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from epp.extproc.http2.limits import RANGES, Allowance, Limits, problems, shown


def test_the_defaults_can_be_had_and_each_has_a_range_and_a_flag() -> None:
    """No limit is without a flag, and no flag sets two."""
    assert problems(Limits()) == []
    assert list(RANGES) == [each.name for each in fields(Limits)]
    assert len({each.flag for each in RANGES.values()}) == len(RANGES)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("announced_streams", 0, "--http2-announced-streams: 0 can't be had: from 1 to 2147483647"),
        (
            "max_streams",
            100,
            (
                "--http2-max-streams: 100 is less than what is announced: "
                "raise it, or lower --http2-announced-streams (900)"
            ),
        ),
        (
            "max_frame_bytes",
            16383,
            "--http2-max-frame: 16383 can't be had: from 16384 to 16777215",
        ),
        (
            "stall_s",
            -1.0,
            "--http2-stall-timeout: -1s can't be had: 0s for never, or from 0.1s to 604800s",
        ),
        ("rapid_s", 0.0, "--http2-rapid-time: 0s can't be had: from 0.001s to 604800s"),
        (
            "pings",
            Allowance(0, 1.0),
            (
                "--http2-pings: 0/1 can't be had: "
                "BURST/PER_SECOND, the burst from 1 to 2147483647, and more than 0 per second"
            ),
        ),
        (
            "pings",
            Allowance(5, 0.0),
            (
                "--http2-pings: 5/0 can't be had: "
                "BURST/PER_SECOND, the burst from 1 to 2147483647, and more than 0 per second"
            ),
        ),
        (
            "connection_window_bytes",
            100_000,
            (
                "--http2-connection-window: 100000 is less than one stream's window: "
                "raise it, or lower --http2-stream-window (262144)"
            ),
        ),
        (
            "max_message_bytes",
            2**30,
            (
                "--http2-max-unfinished: 268435456 is less than one message may have: "
                "raise it, or lower --grpc-max-recv-msg-size (1073741824)"
            ),
        ),
    ],
)
def test_what_cant_be_had_is_told_by_flag_value_and_remedy(
    name: str, value: int | float | Allowance, line: str
) -> None:
    """One line, of one problem."""
    assert problems(replace(Limits(), **{name: value})) == [line]


@pytest.mark.parametrize("name", list(RANGES))
def test_both_ends_of_each_range_can_be_had_and_what_is_beyond_cant(name: str) -> None:
    """A range is what it says, for every limit."""
    allowed = RANGES[name]
    is_allowance = isinstance(getattr(Limits(), name), Allowance)

    def complained(value: float) -> bool:
        typed = Allowance(int(value), 1.0) if is_allowance else value
        flag = f"{allowed.flag}: "
        return any(
            line.startswith(flag) and "can't be had" in line
            for line in problems(replace(Limits(), **{name: typed}))
        )

    assert not complained(allowed.least)
    assert not complained(allowed.most)
    assert complained(allowed.least - 1)
    assert complained(allowed.most + 1)
    if allowed.or_never:
        assert not complained(0)


def test_never_is_a_time_only_where_it_makes_sense() -> None:
    """0 switches the timeouts off, and nothing else."""
    assert [name for name, each in RANGES.items() if each.or_never] == [
        "handshake_s",
        "write_s",
        "stall_s",
        "keepalive_s",
        "keepalive_timeout_s",
    ]


def test_values_are_shown_as_they_are_typed() -> None:
    """Units and allowances."""
    limits = Limits(rapid_s=0.25, pings=Allowance(7, 0.5))
    assert shown(limits, "rapid_s") == "0.25s"
    assert shown(limits, "pings") == "7/0.5"
    assert shown(limits, "max_streams") == "10000"
