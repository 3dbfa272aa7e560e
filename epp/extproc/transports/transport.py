"""What a transport is: the service of the gateways, listening on one port, whatever moves its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class TransportName(Enum):
    """Which one. The values are what a person types."""

    NATIVE = "native"
    """Our own HTTP/2, in `epp.extproc.http2`."""
    GRPCIO = "grpcio"
    """gRPC's own server."""


class PortSharing(Enum):
    """Whether other processes may listen on the same port, and get some of its connections."""

    OFF = "off"
    """Two pickers on one port would each believe to be the only one."""
    ON = "on"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the service listens, and what it takes."""

    port: int = 9002
    """0 means any free one."""
    host: str = "[::]"
    max_receive_bytes: int = 128 * 1024 * 1024
    """Of one message. Well above the largest request body, so that what is too large can be told so: some gateways
    send a whole body in one message."""
    max_send_bytes: int = 128 * 1024 * 1024
    port_sharing: PortSharing = PortSharing.OFF


class Transport(Protocol):
    """The service. Made and used on one event loop."""

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""

    @property
    def streams(self) -> int:
        """How many streams are open: queued, running, or passing a response on."""

    async def start(self) -> None:
        """Listen and serve. Raises OSError if the port is taken."""

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no stream is open, while new ones are still served; whether that came in time."""

    async def stop(self, grace_s: float = 0.0) -> None:
        """Take no new streams, give the open ones `grace_s`, then cut them off."""
