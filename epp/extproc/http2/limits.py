"""How much a peer may ask of us: every limit of the engine and its transport, in one value.

The defaults let any gateway work that means well, at any rate, for as long as it likes, and stop a peer that costs
without asking for anything. Each limit that is passed is an `Offence` (in `guard`), counted by its name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple

from epp.extproc.http2.codes import (
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW_BYTES,
    LARGEST_FRAME_BYTES,
    LARGEST_WINDOW_BYTES,
)

_KIB: Final = 1024
_MIB: Final = 1024 * 1024

FRAGMENT_BYTES: Final = 64
"""DATA with less, that finishes no message, is a fragment."""
OVERSIZE: Final = 4
"""Headers of so many times their limit are not even read to their end."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many at once, and so many per second in the long run (a token bucket)."""

    burst: int
    per_s: float

    def __str__(self) -> str:
        return f"{self.burst}/{self.per_s:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one connection, unless it says otherwise."""

    # What is announced in SETTINGS.
    announced_streams: int = 900
    """What gateways are asked to keep to; for more they open another connection. Fewer than the thousand resets that
    Envoy has waiting at the most: should all clients of a connection hang up at once, it ends the connection beyond."""
    max_streams: int = 10_000
    """Open at once. One more is refused with REFUSED_STREAM. Well above what is announced: a gateway that has just
    connected opens as many as it likes before it has read that."""
    stream_window_bytes: int = 256 * _KIB
    """What a peer may send on a stream before it is told that we took it. At least 65,535."""
    connection_window_bytes: int = 4 * _MIB
    """The same for all streams together. At least 65,535. Envoy lets no more than 10,000 frames wait, and ends the
    connection beyond: where that many tiny ones can be under way, a picker that stops for a while loses its streams."""
    max_frame_bytes: int = 64 * _KIB
    """From 16,384 to 16,777,215."""
    header_table_bytes: int = 4 * _KIB
    max_header_list_bytes: int = 16 * _KIB
    """Names, values and 32 bytes for each header. What is larger is answered with an error; four times that ends the
    connection unread."""

    # Messages.
    max_message_bytes: int = 128 * _MIB
    max_unfinished_bytes: int = 256 * _MIB
    """Of all messages that have begun and not ended. The stream that passes it is ended."""

    # What costs us something and asks for nothing.
    rapid_resets: Allowance = field(default=Allowance(100_000, 10_000.0))
    """Streams that the peer opened and reset within `rapid_s`, before they had got any answer.

    More than can be sent through a gateway: a client of it that hangs up all the time must not end the connection that
    all of its clients share. Each of those streams costs us what any request does, and the gateway as well, which slows
    them down. A peer that sends bare HEADERS and RST_STREAM as fast as it can still finds an end here."""
    rapid_s: float = 1.0
    pings: Allowance = field(default=Allowance(1_000, 200.0))
    """A gateway's keepalive is one ping in a second at the most."""
    settings: Allowance = field(default=Allowance(100, 10.0))
    """SETTINGS frames, not single settings."""
    empty_frames: Allowance = field(default=Allowance(1_000, 100.0))
    """DATA that carries nothing and ends nothing; PRIORITY; frames of unknown types."""
    fragments: Allowance = field(default=Allowance(10_000, 2_000.0))
    """DATA that carries less than 64 bytes of a message and doesn't finish it."""
    window_updates: Allowance = field(default=Allowance(10_000, 2_000.0))
    """WINDOW_UPDATEs beyond ten for each DATA frame that we have sent."""
    max_continuations: int = 32
    """CONTINUATION frames of one header block."""
    max_unsent_replies: int = 1_000
    """Acknowledgements and resets that wait because the peer doesn't read."""

    # Time. 0 means never.
    handshake_s: float = 10.0
    """Until the peer's preface and first SETTINGS have come, TLS included."""
    write_s: float = 60.0
    """How long a peer may take nothing of what is written to it."""
    stall_s: float = 300.0
    """How long a stream may have something to send and no window for it."""
    keepalive_s: float = 60.0
    """A peer that says nothing for so long is pinged, whether it has streams or not."""
    keepalive_timeout_s: float = 20.0
    """How long the answer to that may take."""

    # Of the whole server.
    max_connections: int = 4_096
    """One more is closed at once."""


class Range(NamedTuple):
    """What one limit may be, and the flag that sets it. Of an allowance: its burst, and what it gains per second."""

    flag: str
    least: float
    most: float
    or_never: bool = False
    """0 is allowed as well, and switches the limit off."""


_ANY_NUMBER: Final = 2**31 - 1
_ANY_SIZE: Final = 2**40
_LONGEST_S: Final = 7 * 24 * 3600.0

RANGES: Final[dict[str, Range]] = {
    "announced_streams": Range("--http2-announced-streams", 1, _ANY_NUMBER),
    "max_streams": Range("--http2-max-streams", 1, _ANY_NUMBER),
    "stream_window_bytes": Range("--http2-stream-window", DEFAULT_WINDOW_BYTES, LARGEST_WINDOW_BYTES),
    "connection_window_bytes": Range("--http2-connection-window", DEFAULT_WINDOW_BYTES, LARGEST_WINDOW_BYTES),
    "max_frame_bytes": Range("--http2-max-frame", DEFAULT_FRAME_BYTES, LARGEST_FRAME_BYTES),
    "header_table_bytes": Range("--http2-header-table", 0, 1 * _MIB),
    "max_header_list_bytes": Range("--http2-max-header-list", 1 * _KIB, 16 * _MIB),
    "max_message_bytes": Range("--grpc-max-recv-msg-size", 1, LARGEST_WINDOW_BYTES),
    "max_unfinished_bytes": Range("--http2-max-unfinished", 64 * _KIB, _ANY_SIZE),
    "rapid_resets": Range("--http2-rapid-resets", 1, _ANY_NUMBER),
    "rapid_s": Range("--http2-rapid-time", 0.001, _LONGEST_S),
    "pings": Range("--http2-pings", 1, _ANY_NUMBER),
    "settings": Range("--http2-settings", 1, _ANY_NUMBER),
    "empty_frames": Range("--http2-empty-frames", 1, _ANY_NUMBER),
    "fragments": Range("--http2-fragments", 1, _ANY_NUMBER),
    "window_updates": Range("--http2-window-updates", 1, _ANY_NUMBER),
    "max_continuations": Range("--http2-max-continuations", 0, _ANY_NUMBER),
    "max_unsent_replies": Range("--http2-max-unsent-replies", 1, _ANY_NUMBER),
    "handshake_s": Range("--http2-handshake-timeout", 0.1, _LONGEST_S, or_never=True),
    "write_s": Range("--http2-write-timeout", 0.1, _LONGEST_S, or_never=True),
    "stall_s": Range("--http2-stall-timeout", 0.1, _LONGEST_S, or_never=True),
    "keepalive_s": Range("--http2-keepalive-time", 0.1, _LONGEST_S, or_never=True),
    "keepalive_timeout_s": Range("--http2-keepalive-timeout", 0.1, _LONGEST_S, or_never=True),
    "max_connections": Range("--http2-max-connections", 1, _ANY_NUMBER),
}
"""By the field's name."""


def shown(limits: Limits, name: str) -> str:
    """The value of the limit `name`, as a person would type it."""
    value = getattr(limits, name)
    return f"{value:g}s" if name.endswith("_s") else str(value)


def problems(limits: Limits) -> list[str]:
    """What is wrong with the limits, a line for each, by the flags that set them."""
    found = [
        f"{RANGES[each.name].flag}: {shown(limits, each.name)} can't be had: {_allowed(each.name)}"
        for each in fields(Limits)
        if not _is_within(getattr(limits, each.name), RANGES[each.name])
    ]
    if limits.max_streams < limits.announced_streams:
        found.append(
            f"{RANGES['max_streams'].flag}: {limits.max_streams} is less than what is announced: raise it, or lower "
            f"{RANGES['announced_streams'].flag} ({limits.announced_streams})"
        )
    if limits.connection_window_bytes < limits.stream_window_bytes:
        found.append(
            f"{RANGES['connection_window_bytes'].flag}: {limits.connection_window_bytes} is less than one stream's "
            f"window: raise it, or lower {RANGES['stream_window_bytes'].flag} ({limits.stream_window_bytes})"
        )
    if limits.max_unfinished_bytes < limits.max_message_bytes:
        found.append(
            f"{RANGES['max_unfinished_bytes'].flag}: {limits.max_unfinished_bytes} is less than one message may have: "
            f"raise it, or lower {RANGES['max_message_bytes'].flag} ({limits.max_message_bytes})"
        )
    return found


def _is_within(value: float | Allowance, allowed: Range) -> bool:
    if isinstance(value, Allowance):
        return allowed.least <= value.burst <= allowed.most and 0 < value.per_s <= allowed.most
    return (value == 0 and allowed.or_never) or allowed.least <= value <= allowed.most


def _allowed(name: str) -> str:
    allowed = RANGES[name]
    if name.endswith("_s"):
        span = f"from {allowed.least:g}s to {allowed.most:g}s"
        return f"0s for never, or {span}" if allowed.or_never else span
    span = f"from {int(allowed.least)} to {int(allowed.most)}"
    if isinstance(getattr(Limits(), name), Allowance):
        return f"BURST/PER_SECOND, the burst {span}, and more than 0 per second"
    return span
