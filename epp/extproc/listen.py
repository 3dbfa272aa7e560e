"""Where services of ours listen, and what the one of the gateways is called."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from epp.extproc.transports.transport import PortSharing

if TYPE_CHECKING:
    import grpc
    import grpc.aio

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
"""Envoy's name for what we serve."""
METHOD: Final = f"/{SERVICE}/Process"
"""The only method that it has."""

_BACKLOG: Final = 1024
"""Connections that may wait to be accepted: all gateways of a large installation come at once after a restart."""


def bind(
    server: grpc.aio.Server, host: str, port: int, *, credentials: grpc.ServerCredentials | None = None
) -> int:
    """Open a port and return its number. Raises OSError with what to do about it."""
    address = f"{host}:{port}"
    try:
        if credentials is None:
            opened = server.add_insecure_port(address)
        else:
            opened = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise _cannot_listen(address, error) from error
    return int(opened)


def listening_socket(host: str, port: int, *, shared: PortSharing = PortSharing.OFF) -> socket.socket:
    """Open a port for ourselves. Raises OSError with what to do about it.

    `host` is a name or an address, in brackets if it is one of IPv6. `[::]` is every address, those of IPv4 too.
    """
    name = host.removeprefix("[").removesuffix("]")
    if name == "::" and not socket.has_dualstack_ipv6():
        # Where the kernel has no IPv6 all that is left is IPv4.
        name = "0.0.0.0"
    try:
        family, *_, address = socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.create_server(
            (str(address[0]), port),
            family=family,
            backlog=_BACKLOG,
            reuse_port=shared is PortSharing.ON,
            dualstack_ipv6=name == "::",
        )
    except OSError as error:
        raise _cannot_listen(f"{host}:{port}", error) from error
    opened.setblocking(False)
    return opened


def _cannot_listen(address: str, error: Exception) -> OSError:
    return OSError(
        f"cannot listen on {address}: the port is taken, not permitted, or the address is not one of this "
        f"host's; choose another ({error})"
    )
