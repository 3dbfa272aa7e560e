"""What the connections of one native server share, and what they tell it."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final

import structlog

from epp.extproc.listen import METHOD
from epp.extproc.transports.checks import HEALTH_METHODS
from epp.extproc.transports.exchanges import NativeExchange

if TYPE_CHECKING:
    from epp.extproc.health import HealthService
    from epp.extproc.http2.guard import Ending, Tally
    from epp.extproc.http2.limits import Limits
    from epp.extproc.ingress import Picker
    from epp.extproc.request import ConversationSettings
    from epp.extproc.transports.handler import NewExchange
    from epp.extproc.transports.peer import Peer

_QUIET_S: Final = 10.0

_log = structlog.get_logger()


class Complaint(Enum):
    """Something about a peer that its operator would like to know. The values are what is logged."""

    PLAINTEXT = "a gateway speaks plaintext, and this port TLS: make both agree (--secure-serving)"
    TLS = "a gateway speaks TLS, and this port plaintext: make both agree (--secure-serving)"
    HANDSHAKE = "a gateway's TLS handshake failed"
    BROKEN = "a gateway's connection was ended: it broke the protocol"
    LIMIT = "a gateway's connection was ended: it passed a limit"
    TOO_MANY = "a gateway's connection was closed at once: there are too many"
    NO_FILES = "connections can't be accepted"


class Service:
    """One of these for each server."""

    def __init__(
        self,
        picker: Picker,
        *,
        conversation: ConversationSettings,
        health: HealthService | None,
        limits: Limits,
        tally: Tally,
        loop: asyncio.AbstractEventLoop,
        new_exchange: NewExchange = NativeExchange,
    ) -> None:
        self.picker = picker
        self.conversation = conversation
        self.health = health
        self.limits = limits
        self.tally = tally
        self.loop = loop
        self.new_exchange = new_exchange
        self.clock = loop.time
        """The same object for all streams, which keep it."""
        self.methods: Final = frozenset({METHOD, *(HEALTH_METHODS if health is not None else ())})
        self.connections = 0
        """How many are accepted and not gone: peers, and those in their TLS handshake."""
        self.peers: set[Peer] = set()
        self.exchanges = 0
        """How many are open on all connections."""
        self.idle = asyncio.Event()
        """Set while there is none."""
        self.idle.set()
        self.deserted = asyncio.Event()
        """Set while there is no connection."""
        self.deserted.set()
        self._complained: dict[Complaint, tuple[float, int]] = {}

    def exchange_opened(self) -> None:
        """One more."""
        self.exchanges += 1
        if self.exchanges == 1:
            self.idle.clear()

    def exchange_ended(self) -> None:
        """One less."""
        self.exchanges -= 1
        if not self.exchanges:
            self.idle.set()

    def joined(self, peer: Peer) -> None:
        """A connection is ready for HTTP/2."""
        self.peers.add(peer)
        self.deserted.clear()

    def left(self, peer: Peer) -> None:
        """It is gone."""
        self.peers.discard(peer)
        if not self.peers:
            self.deserted.set()

    def accepted(self) -> None:
        """There is one more connection."""
        self.connections += 1
        self.tally.connections_opened += 1

    def ended(self, ending: Ending) -> None:
        """There is one less."""
        self.connections -= 1
        self.tally.ended(ending)

    def complain(self, complaint: Complaint, address: str, detail: str) -> None:
        """Say it in the log, each of them at most once in a while. `detail` holds nothing that a peer could write."""
        now = self.clock()
        said_s, kept_back = self._complained.get(complaint, (now - _QUIET_S, 0))
        if now - said_s < _QUIET_S:
            self._complained[complaint] = (said_s, kept_back + 1)
            return
        self._complained[complaint] = (now, 0)
        facts = {"suppressed": kept_back} if kept_back else {}
        _log.warning(complaint.value, peer=address, why=detail, **facts)


def shown_address(address: object) -> str:
    """A peer's address as people write it."""
    if not isinstance(address, tuple):
        return ""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
