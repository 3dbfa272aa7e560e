"""Where gRPC services of ours listen, and what the one of the gateways is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import grpc
    import grpc.aio

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
"""Envoy's name for what we serve."""


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
        raise OSError(
            f"cannot listen on {address}: the port is taken, not permitted, or the address is not one of this "
            f"host's; choose another ({error})"
        ) from error
    return int(opened)
