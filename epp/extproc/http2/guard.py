"""What peers do that costs us without asking for anything: counted, and ended when it is too much.

`Tally` is a server's account of its connections, for the metrics; `Guard` keeps one connection within its limits. Time
comes in as an argument.

| what the peer does | bounded by | counts |
|---|---|---|
| PING, SETTINGS | a bucket each | each frame that is no acknowledgement of ours |
| DATA with nothing in it, PRIORITY, unknown types, acknowledgements of nothing | one bucket | each frame |
| DATA with a little of a message | a bucket | each frame of under 64 bytes that doesn't finish its message |
| resets | a bucket | those within `rapid_s` of a stream's opening and before any answer of ours; those of no stream |
| WINDOW_UPDATE | a bucket | what goes beyond ten for each DATA frame of ours |
| CONTINUATION | a number | those of one header block |
| header blocks | a size | their bytes, compressed as they are |
| not reading | a number | acknowledgements and resets of ours that are still unsent when it sends more |

A bucket holds `burst` and gains `per_s`. It is filled again only when it is found empty, by as much as has been gained
since the last time and never beyond `burst`: a peer that stays under `per_s` never finds it empty, no span of `t`
seconds lets more than `2 * burst + per_s * t` through, and the common case is one subtraction.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from epp.extproc.http2.codes import ConnectionFault, ErrorCode
from epp.extproc.http2.limits import OVERSIZE, RANGES, shown

if TYPE_CHECKING:
    from epp.extproc.http2.limits import Allowance, Limits
    from epp.extproc.http2.stream import Stream

UPDATES_PER_DATA: Final = 10
"""WINDOW_UPDATEs that go with one DATA frame of ours: one for the stream and one for the connection is what the
busiest peers send."""
MOST_UPDATES_BANKED: Final = 1_000_000
"""So that a connection which has carried a lot can't come to be flooded for as long."""


class Offence(Enum):
    """A limit that a peer passed. The values are labels of a metric."""

    RAPID_RESETS = "rapid_resets"
    PINGS = "pings"
    SETTINGS = "settings"
    EMPTY_FRAMES = "empty_frames"
    FRAGMENTS = "fragments"
    WINDOW_UPDATES = "window_updates"
    CONTINUATIONS = "continuations"
    HEADER_LIST = "header_list"
    UNSENT_REPLIES = "unsent_replies"
    UNFINISHED_MESSAGES = "unfinished_messages"
    STREAMS = "streams"
    WINDOW_OVERFLOW = "window_overflow"
    HANDSHAKE = "handshake"
    UNREAD = "unread"
    STALLED = "stalled"
    SILENT = "silent"
    CONNECTIONS = "connections"


class Ending(Enum):
    """Why a connection is no more. The values are labels of a metric."""

    PEER = "peer"
    """The peer closed it, or it was lost."""
    DRAINED = "drained"
    """We asked the peer to go elsewhere, and what was open came to its end."""
    STOPPED = "stopped"
    """We cut it off when we stopped."""
    HANDSHAKE = "handshake"
    """TLS or the preface never came to an end."""
    PROTOCOL = "protocol"
    """The peer broke the protocol."""
    LIMIT = "limit"
    """The peer passed a limit; the offences say which."""
    FAILURE = "failure"
    """We failed."""


class Tally:
    """What a server's connections have come to, since it started. Plain numbers, to be added to where it happens."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "connections_ended",
        "connections_opened",
        "messages_in",
        "messages_out",
        "offences",
        "pings_received",
        "resets_received",
        "resets_sent",
        "streams_ended",
        "streams_opened",
    )

    def __init__(self) -> None:
        self.connections_opened = 0
        """Accepted, those that were closed at once included."""
        self.connections_ended = dict.fromkeys(Ending, 0)
        self.offences = dict.fromkeys(Offence, 0)
        self.streams_opened = 0
        """Those that were not refused."""
        self.streams_ended = 0
        """Of those, by whatever way."""
        self.resets_received = 0
        self.resets_sent = 0
        self.pings_received = 0
        """Acknowledgements aside."""
        self.bytes_in = 0
        """As the engine saw them: without TLS."""
        self.bytes_out = 0
        self.messages_in = 0
        self.messages_out = 0

    def offended(self, offence: Offence) -> None:
        """A peer passed a limit."""
        self.offences[offence] += 1

    def ended(self, ending: Ending) -> None:
        """A connection is no more."""
        self.connections_ended[ending] += 1

    def endings(self) -> dict[str, int]:
        """Connections that are no more, by the label for why."""
        return {ending.value: count for ending, count in self.connections_ended.items()}

    @property
    def streams_refused(self) -> int:
        """With REFUSED_STREAM."""
        return self.offences[Offence.STREAMS]

    def offences_by_name(self) -> dict[str, int]:
        """How often each limit was passed, by the label for which."""
        return {offence.value: count for offence, count in self.offences.items()}


class Guard:
    """Keeps one connection within its limits: raises `ConnectionFault` where the peer passes one."""

    __slots__ = (
        "_allowances",
        "_empty_frames_left",
        "_filled_s",
        "_fragments_left",
        "_limits",
        "_pings_left",
        "_rapid_resets_left",
        "_settings_left",
        "_updates_banked",
        "_window_updates_left",
        "tally",
        "unsent_replies",
    )

    def __init__(self, limits: Limits, tally: Tally, *, now: float) -> None:
        self.tally = tally
        self.unsent_replies = 0
        self._limits = limits
        self._allowances: dict[Offence, Allowance] = {
            Offence.RAPID_RESETS: limits.rapid_resets,
            Offence.PINGS: limits.pings,
            Offence.SETTINGS: limits.settings,
            Offence.EMPTY_FRAMES: limits.empty_frames,
            Offence.FRAGMENTS: limits.fragments,
            Offence.WINDOW_UPDATES: limits.window_updates,
        }
        self._filled_s = dict.fromkeys(self._allowances, now)
        self._rapid_resets_left = limits.rapid_resets.burst
        self._pings_left = limits.pings.burst
        self._settings_left = limits.settings.burst
        self._empty_frames_left = limits.empty_frames.burst
        self._fragments_left = limits.fragments.burst
        self._window_updates_left = limits.window_updates.burst
        self._updates_banked = 0

    # ------------------------------------------------------------------- what the peer sends

    def ping(self, now: float) -> None:
        """A PING that asks for an answer."""
        self._pings_left -= 1
        if self._pings_left < 0:
            self._pings_left = self._filled(Offence.PINGS, now) - 1

    def settings(self, now: float) -> None:
        """A SETTINGS frame that asks for an acknowledgement."""
        self._settings_left -= 1
        if self._settings_left < 0:
            self._settings_left = self._filled(Offence.SETTINGS, now) - 1

    def empty_frame(self, now: float) -> None:
        """A frame that brings nothing and ends nothing."""
        self._empty_frames_left -= 1
        if self._empty_frames_left < 0:
            self._empty_frames_left = self._filled(Offence.EMPTY_FRAMES, now) - 1

    def fragment(self, now: float) -> None:
        """DATA with a little of a message."""
        self._fragments_left -= 1
        if self._fragments_left < 0:
            self._fragments_left = self._filled(Offence.FRAGMENTS, now) - 1

    def reset(self, stream: Stream, now: float) -> None:
        """A stream was reset: by the peer, or by us because of what the peer did on it.

        The second costs the same: a peer that opens streams and breaks each of them makes us do its resetting.
        """
        if not stream.answered and now - stream.opened_s <= self._limits.rapid_s:
            self.late_reset(now)

    def late_reset(self, now: float) -> None:
        """A reset of a stream that isn't open: one may cross an end of ours, and so may thousands at once."""
        self._rapid_resets_left -= 1
        if self._rapid_resets_left < 0:
            self._rapid_resets_left = self._filled(Offence.RAPID_RESETS, now) - 1

    def window_update(self, now: float) -> None:
        """A WINDOW_UPDATE, of a stream or of the connection."""
        if self._updates_banked:
            self._updates_banked -= 1
            return
        self._window_updates_left -= 1
        if self._window_updates_left < 0:
            self._window_updates_left = self._filled(Offence.WINDOW_UPDATES, now) - 1

    def continuation(self, count: int) -> None:
        """The `count`th CONTINUATION of a header block."""
        if count > self._limits.max_continuations:
            raise self.offended(Offence.CONTINUATIONS, f"{count} CONTINUATION frames in one header block")

    def header_block(self, size_bytes: int) -> None:
        """So much of a header block has come, compressed as it is."""
        if size_bytes > OVERSIZE * self._limits.max_header_list_bytes:
            raise self.offended(Offence.HEADER_LIST, f"a header block of over {size_bytes} bytes")

    # ------------------------------------------------------------------------ what we send

    def data_sent(self) -> None:
        """A DATA frame of ours: the peer will have its windows to update."""
        if self._updates_banked < MOST_UPDATES_BANKED:
            self._updates_banked += UPDATES_PER_DATA

    def reply_queued(self) -> None:
        """An acknowledgement of a PING or of SETTINGS, or a reset of ours, waits to be written."""
        self.unsent_replies += 1

    def replies_written(self) -> None:
        """Everything has gone to the peer."""
        self.unsent_replies = 0

    def reading(self) -> None:
        """More has come from the peer, and is about to be looked at.

        Here and not at `reply_queued`: however many replies one read calls for, they can't have been written before
        its end, and the read bounds them.
        """
        if self.unsent_replies > self._limits.max_unsent_replies:
            raise self.offended(
                Offence.UNSENT_REPLIES, f"{self.unsent_replies} replies that the peer doesn't read"
            )

    # -------------------------------------------------------------------------- what comes of it

    def offended(
        self, offence: Offence, what: str, code: ErrorCode = ErrorCode.ENHANCE_YOUR_CALM
    ) -> ConnectionFault:
        """The fault with which the connection is to end, after counting it. It names the limit."""
        self.tally.offended(offence)
        return ConnectionFault(code, f"{what}{limit_text(offence, self._limits)}")

    def _filled(self, offence: Offence, now: float) -> int:
        """What an empty bucket has gained, at least 1."""
        allowance = self._allowances[offence]
        gained = (now - self._filled_s[offence]) * allowance.per_s
        if gained >= allowance.burst:
            self._filled_s[offence] = now
            return allowance.burst
        whole = int(gained)
        if whole < 1:
            raise self.offended(offence, f"too many {_COUNTED[offence]}")
        # What is left of the time counts on: whoever sends just under `per_s` must never find the bucket empty.
        self._filled_s[offence] += whole / allowance.per_s
        return whole


_COUNTED: Final = {
    Offence.RAPID_RESETS: "streams reset before any answer",
    Offence.PINGS: "PINGs",
    Offence.SETTINGS: "SETTINGS frames",
    Offence.EMPTY_FRAMES: "frames that bring nothing",
    Offence.FRAGMENTS: "tiny DATA frames",
    Offence.WINDOW_UPDATES: "WINDOW_UPDATEs",
}
_LIMITS: Final = {
    Offence.RAPID_RESETS: "rapid_resets",
    Offence.PINGS: "pings",
    Offence.SETTINGS: "settings",
    Offence.EMPTY_FRAMES: "empty_frames",
    Offence.FRAGMENTS: "fragments",
    Offence.WINDOW_UPDATES: "window_updates",
    Offence.CONTINUATIONS: "max_continuations",
    Offence.HEADER_LIST: "max_header_list_bytes",
    Offence.UNSENT_REPLIES: "max_unsent_replies",
    Offence.UNFINISHED_MESSAGES: "max_unfinished_bytes",
    Offence.STREAMS: "max_streams",
    Offence.HANDSHAKE: "handshake_s",
    Offence.UNREAD: "write_s",
    Offence.STALLED: "stall_s",
    Offence.SILENT: "keepalive_timeout_s",
    Offence.CONNECTIONS: "max_connections",
}
"""The field of `Limits` that each offence passes. A peer that overflows a window passes none that could be raised."""


def limit_text(offence: Offence, limits: Limits) -> str:
    """The limit as whoever runs the server sets it, to be added to what happened."""
    field = _LIMITS.get(offence)
    return f"; the limit is {RANGES[field].flag}={shown(limits, field)}" if field is not None else ""
