"""The ext_proc service on our own HTTP/2: listens, lets connections in, and sees them out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from epp.extproc.http2.guard import Ending, Offence, Tally, limit_text
from epp.extproc.http2.limits import Limits
from epp.extproc.listen import listening_socket
from epp.extproc.request import ConversationSettings
from epp.extproc.transports.certificates import Contexts
from epp.extproc.transports.exchanges import NativeExchange
from epp.extproc.transports.peer import Peer
from epp.extproc.transports.service import Complaint, Service, shown_address
from epp.extproc.transports.transport import ServerSettings

if TYPE_CHECKING:
    from epp.extproc.health import HealthService
    from epp.extproc.ingress import Picker
    from epp.extproc.tls import TlsSettings
    from epp.extproc.transports.handler import NewExchange

_AT_ONCE: Final = 64
"""Connections accepted before the loop's other work has its turn."""
_PAUSE_S: Final = 1.0
"""Before accepting is tried again where it failed: mostly for want of files, which others have to give back."""
_FOREVER_S: Final = 7 * 24 * 3600.0
_ANSWER_S: Final = 1.0
"""How long peers may take to hear that they should go elsewhere."""
_PARTING_S: Final = 5.0
"""How long they may take to read the last that we said."""

_log = structlog.get_logger()


class NativeServer:
    """The service. Made and used on one event loop."""

    def __init__(
        self,
        picker: Picker,
        *,
        conversation: ConversationSettings | None = None,
        settings: ServerSettings | None = None,
        tls: TlsSettings | None = None,
        health: HealthService | None = None,
        limits: Limits | None = None,
        tally: Tally | None = None,
        new_exchange: NewExchange = NativeExchange,
    ) -> None:
        """Without `tls` it speaks plaintext; with `health` it answers health checks as well. Raises CertificateError.

        Without `limits` they are the usual ones, with the largest message that `settings` allow.
        """
        self._settings = settings or ServerSettings()
        limits = limits or usual_limits(self._settings)
        self._limits = limits
        self._contexts = None if tls is None else Contexts(tls)
        self._loop = asyncio.get_running_loop()
        self._service = Service(
            picker,
            conversation=conversation or ConversationSettings(),
            health=health,
            limits=limits,
            tally=tally or Tally(),
            loop=self._loop,
            new_exchange=new_exchange,
        )
        self._listening: socket.socket | None = None
        self._resuming: asyncio.TimerHandle | None = None
        self._admissions: set[asyncio.Task[None]] = set()
        """Connections whose TLS handshake is under way."""
        self._port = 0

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        return self._port

    @property
    def streams(self) -> int:
        """How many streams are open: queued, running, or passing a response on."""
        return self._service.exchanges

    async def start(self) -> None:
        """Listen and serve. Raises OSError if the port is taken."""
        settings = self._settings
        self._listening = listening_socket(settings.host, settings.port, shared=settings.port_sharing)
        self._port = self._listening.getsockname()[1]
        self._loop.add_reader(self._listening, self._accept)

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no stream is open, while new ones are still served; whether that came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._service.idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, grace_s: float = 0.0) -> None:
        """Take no new streams, give the open ones `grace_s`, then cut them off."""
        if self._listening is None:
            return
        self._loop.remove_reader(self._listening)
        self._listening.close()
        self._listening = None
        if self._resuming is not None:
            self._resuming.cancel()
        for admission in self._admissions:
            admission.cancel()
        await asyncio.gather(*self._admissions, return_exceptions=True)
        service = self._service
        if grace_s:
            for peer in tuple(service.peers):
                peer.announce_shutdown()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await service.idle.wait()
                    # Once a peer has answered it opens no more streams, so that none is cut off.
                    async with asyncio.timeout(_ANSWER_S):
                        await service.deserted.wait()
        for peer in tuple(service.peers):
            peer.cut_off()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARTING_S):
                await service.deserted.wait()
        for peer in tuple(service.peers):
            peer.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARTING_S):
                await service.deserted.wait()

    # ----------------------------------------------------------------------------- connections

    def _accept(self) -> None:
        """There are connections to be accepted."""
        assert self._listening is not None
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            self._admit(connection, shown_address(address))

    def _pause(self, error: OSError) -> None:
        """Don't try again and again what can't work for now."""
        assert self._listening is not None
        self._service.complain(Complaint.NO_FILES, "", str(error))
        self._loop.remove_reader(self._listening)
        self._resuming = self._loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._listening is not None:
            self._loop.add_reader(self._listening, self._accept)

    def _admit(self, connection: socket.socket, address: str) -> None:
        service = self._service
        service.accepted()
        if service.connections > self._limits.max_connections:
            connection.close()
            service.tally.offended(Offence.CONNECTIONS)
            service.ended(Ending.LIMIT)
            service.complain(
                Complaint.TOO_MANY, address, limit_text(Offence.CONNECTIONS, self._limits).removeprefix("; ")
            )
            return
        admission = self._loop.create_task(self._let_in(connection, address))
        self._admissions.add(admission)
        admission.add_done_callback(self._admissions.discard)

    async def _let_in(self, connection: socket.socket, address: str) -> None:
        """Go through the handshake, if there is one. From its end on the connection is its peer's."""
        service = self._service
        peer = Peer(service)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._contexts is None:
                await self._loop.connect_accepted_socket(lambda: peer, connection)
            else:
                await self._loop.connect_accepted_socket(
                    lambda: peer,
                    connection,
                    ssl=self._contexts.current(),
                    ssl_handshake_timeout=self._limits.handshake_s or _FOREVER_S,
                    ssl_shutdown_timeout=_PARTING_S,
                )
        except (OSError, TimeoutError) as error:
            connection.close()
            service.ended(Ending.HANDSHAKE)
            self._complain(error, address)
        except asyncio.CancelledError:
            connection.close()
            if not peer.has_begun:
                service.ended(Ending.STOPPED)
            raise
        except Exception:
            _log.exception("a connection could not be taken in", peer=address)
            connection.close()
            service.ended(Ending.FAILURE)

    def _complain(self, error: OSError | TimeoutError, address: str) -> None:
        service = self._service
        if isinstance(error, ssl.SSLError):
            is_plaintext = error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}
            service.complain(
                Complaint.PLAINTEXT if is_plaintext else Complaint.HANDSHAKE, address, error.reason or ""
            )
        elif isinstance(error, TimeoutError) or "longer than" in str(error):
            service.tally.offended(Offence.HANDSHAKE)
            service.complain(
                Complaint.HANDSHAKE, address, f"it took too long{limit_text(Offence.HANDSHAKE, self._limits)}"
            )


def usual_limits(settings: ServerSettings) -> Limits:
    """What a server with these settings allows its peers, unless it is told otherwise."""
    limits = Limits()
    return replace(
        limits,
        max_message_bytes=settings.max_receive_bytes,
        max_unfinished_bytes=max(limits.max_unfinished_bytes, settings.max_receive_bytes),
    )
