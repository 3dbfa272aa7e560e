"""What takes too long on a connection: its beginning, our writes, its silence. Looked at now and then, time given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from epp.extproc.http2.guard import Offence

if TYPE_CHECKING:
    from epp.extproc.http2.calls import Calls
    from epp.extproc.http2.limits import Limits

_LONGEST_TICK_S: Final = 5.0
_TICKS_PER_LIMIT: Final = 4
"""How exact the limits on time are."""


class Vigil:
    """Over one connection, from when it was accepted."""

    __slots__ = ("_began_s", "_gone_bytes", "_gone_s", "_limits", "_pinged_s", "tick_s")

    def __init__(self, limits: Limits, now: float) -> None:
        self.tick_s = _tick_s(limits.handshake_s, limits.write_s, limits.stall_s, limits.keepalive_s)
        """How often to look."""
        self._limits = limits
        self._began_s = now
        self._gone_bytes = 0
        """How much of what we wrote had left our buffer when it was last looked at."""
        self._gone_s = now
        self._pinged_s = now

    def overdue(self, calls: Calls, now: float, *, written_bytes: int, waiting_bytes: int) -> Offence | None:
        """What the peer should have done by now; None if there is nothing. Asks a silent one whether it is there."""
        limits = self._limits
        if not calls.is_greeted:
            is_late = limits.handshake_s and now - self._began_s >= limits.handshake_s
            return Offence.HANDSHAKE if is_late else None
        gone_bytes = written_bytes - waiting_bytes
        if not waiting_bytes or gone_bytes != self._gone_bytes:
            self._gone_bytes = gone_bytes
            self._gone_s = now
        elif limits.write_s and now - self._gone_s >= limits.write_s:
            return Offence.UNREAD
        silent_s = now - calls.last_heard_s
        if calls.is_ping_unanswered:
            # Whatever has come since shows that it lives.
            asked_s = min(silent_s, now - self._pinged_s)
            if limits.keepalive_timeout_s and asked_s >= limits.keepalive_timeout_s:
                return Offence.SILENT
        elif limits.keepalive_s and silent_s >= limits.keepalive_s:
            self._pinged_s = now
            calls.ping()
        return None


OVERDUE: Final = {
    Offence.HANDSHAKE: "it hasn't said what HTTP/2 begins with",
    Offence.UNREAD: "it doesn't read",
    Offence.SILENT: "it doesn't answer a PING",
}


def _tick_s(*limits_s: float) -> float:
    """How often to look, for limits of which 0 means never."""
    shortest_s = min((each for each in limits_s if each), default=_LONGEST_TICK_S)
    return min(shortest_s / _TICKS_PER_LIMIT, _LONGEST_TICK_S)
