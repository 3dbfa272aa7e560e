"""Free TCP ports on this machine, for processes that are about to be started.

A port is only *likely* still free when the process binds it. To make that very likely, ports are taken from
below the range from which the kernel serves outgoing connections and `bind(0)`: only somebody who asks for
exactly that port can take it in between.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 10_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_EPHEMERAL_START = 32_768
_TRIES_PER_PORT = 200


class NoFreePortError(OSError):
    """So many ports were tried in vain that there is no point in going on."""


def free_ports(count: int, *, host: str = "127.0.0.1") -> tuple[int, ...]:
    """`count` different ports that nobody listens on at `host`."""
    candidates = range(_LOWEST, max(_ephemeral_start(), _LOWEST + 10_000))
    dice = random.SystemRandom()  # two pickers of ports that start together must not agree
    found: set[int] = set()
    for _ in range(_TRIES_PER_PORT * count):
        if len(found) == count:
            break
        port = dice.choice(candidates)
        if port not in found and _is_free(host, port):
            found.add(port)
    if len(found) < count:
        raise NoFreePortError(f"found {len(found)} of {count} free ports on {host}")
    return tuple(found)


def _ephemeral_start() -> int:
    try:
        return int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_EPHEMERAL_START


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # A server binds with SO_REUSEADDR, so a port with connections in TIME_WAIT is free for it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
