"""The flags that bound what a gateway's connections may cost: one for each limit of the native transport.

A flag's name, its default and what it may be come from the limit itself, so that neither can say something else than
the other; here is what `--help` says of it, and how it is read. The largest message is `--grpc-max-recv-msg-size`, for
both transports.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from epp.extproc.http2.codes import LARGEST_WINDOW_BYTES
from epp.extproc.http2.limits import RANGES, Allowance, Limits, problems, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

_HELP: Final = {
    "announced_streams": "requests at once that a gateway is told it may have on a connection",
    "max_streams": "those that are served; one more is refused, for the gateway to try elsewhere",
    "stream_window_bytes": "what a gateway may send of a request before we have taken any of it",
    "connection_window_bytes": "the same for all requests of a connection",
    "max_frame_bytes": "largest frame read",
    "header_table_bytes": "what a connection may keep of headers it has seen",
    "max_header_list_bytes": "headers of a request; four times that ends the connection",
    "max_unfinished_bytes": "all messages of a connection that have begun and not ended; default 256Mi, or twice the "
    "largest message",
    "rapid_resets": "requests that are opened and soon reset, unanswered; clients of a gateway must not get so far",
    "rapid_s": "what 'soon' means there",
    "pings": "PINGs; a keepalive is one in a second at the most",
    "settings": "SETTINGS frames",
    "empty_frames": "frames that bring nothing",
    "fragments": "pieces under 64 bytes of messages that they don't finish",
    "window_updates": "WINDOW_UPDATEs beyond ten for each frame that we send",
    "max_continuations": "CONTINUATION frames of one request's headers",
    "max_unsent_replies": "answers to PINGs, SETTINGS and bad requests that a gateway hasn't read",
    "handshake_s": "until TLS and HTTP/2 are set up; 0s: any time, here and in the next four",
    "write_s": "how long a gateway may read nothing of what is sent to it",
    "stall_s": "how long a request may have something to send, and no room for it at the gateway",
    "keepalive_s": "a gateway that says nothing for so long, with requests or without, is asked whether it is there",
    "keepalive_timeout_s": "how long its answer may take",
    "max_connections": "of all gateways together; one more is closed at once",
}
_NOT_HERE: Final = frozenset({"max_message_bytes"})
_DERIVED: Final = frozenset({"max_unfinished_bytes"})
"""Their default follows from another flag."""
_LONGEST: Final = 64
_UNITS: Final = ((1024**2, "Mi"), (1024, "Ki"))


class WireFlag(NamedTuple):
    """One flag as the table of flags needs it."""

    name: str
    """Without the dashes."""
    field: str
    kind: str
    """The value of a `Kind`."""
    default: str
    help: str


def wire_flags() -> list[WireFlag]:
    """All of them, in the order of the limits."""
    defaults = Limits()
    return [
        WireFlag(
            RANGES[name].flag.removeprefix("--"),
            name,
            _kind(name, getattr(defaults, name)),
            "" if name in _DERIVED else _typed(name, defaults),
            _HELP[name],
        )
        for name in (each.name for each in fields(Limits))
        if name not in _NOT_HERE
    ]


def read_limits(values: Mapping[str, object], *, max_message_bytes: int, complaints: list[str]) -> Limits:
    """The limits that were typed, from the flags' values by name. What can't be had goes to `complaints`."""
    typed: dict[str, Any] = {
        each.field: values[each.name] for each in wire_flags() if values[each.name] is not None
    }
    if not 0 < max_message_bytes <= LARGEST_WINDOW_BYTES:
        max_message_bytes = LARGEST_WINDOW_BYTES
    typed.setdefault("max_unfinished_bytes", max(Limits().max_unfinished_bytes, 2 * max_message_bytes))
    limits = Limits(**typed, max_message_bytes=max_message_bytes)
    complaints += problems(limits)
    return limits


def parse_allowance(text: str) -> Allowance:
    """`BURST/PER_SECOND`, such as `1000/200` or `10/0.5`. Raises ValueError with the remedy."""
    burst, _, per_s = text.partition("/") if len(text) <= _LONGEST else ("", "", "")
    try:
        return Allowance(int(burst), float(per_s))
    except ValueError:
        raise ValueError(
            "is not BURST/PER_SECOND: so many at once, and so many per second in the long run, like 1000/200"
        ) from None


def _kind(name: str, value: object) -> str:
    if isinstance(value, Allowance):
        return "BURST/PER_SECOND"
    if name.endswith("_s"):
        return "DURATION"
    return "QUANTITY" if name.endswith("_bytes") else "N"


def _typed(name: str, limits: Limits) -> str:
    if name.endswith("_bytes"):
        for unit, symbol in _UNITS:
            if getattr(limits, name) % unit == 0:
                return f"{getattr(limits, name) // unit}{symbol}"
    return shown(limits, name)
