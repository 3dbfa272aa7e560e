"""The transport that is wanted, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from epp.extproc.transports.grpcio import GrpcioServer
from epp.extproc.transports.native import NativeServer
from epp.extproc.transports.transport import ServerSettings, Transport, TransportName

if TYPE_CHECKING:
    from epp.extproc.health import HealthService
    from epp.extproc.http2.guard import Tally
    from epp.extproc.http2.limits import Limits
    from epp.extproc.ingress import Picker
    from epp.extproc.request import ConversationSettings
    from epp.extproc.tls import TlsSettings


def make_transport(
    name: TransportName,
    picker: Picker,
    *,
    conversation: ConversationSettings | None = None,
    settings: ServerSettings | None = None,
    tls: TlsSettings | None = None,
    health: HealthService | None = None,
    limits: Limits | None = None,
    tally: Tally | None = None,
) -> Transport:
    """One that has not been started. Raises CertificateError.

    Only the native one can be given `limits`, and counts in `tally`.
    """
    match name:
        case TransportName.GRPCIO:
            return GrpcioServer(picker, conversation=conversation, settings=settings, tls=tls, health=health)
        case TransportName.NATIVE:
            return NativeServer(
                picker,
                conversation=conversation,
                settings=settings,
                tls=tls,
                health=health,
                limits=limits,
                tally=tally,
            )
        case _:
            assert_never(name)
