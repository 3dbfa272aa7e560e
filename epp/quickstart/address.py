"""Addresses of servers: what a person writes, and what the picker and Envoy need.

A pod has an IP address, and an ORIGINAL_DST cluster connects to IP addresses only. So a name is resolved
once, when the files are written, and one that does not resolve is refused there instead of failing later.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import NamedTuple


class AddressError(ValueError):
    """An address that cannot be used; the message names it and says what would do."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a server listens: a host (IPv6 without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Server(NamedTuple):
    """A model server: as it was written, and where it is."""

    written: Address
    address: Address
    """The same with the host as an IP address."""


def parse_address(text: str) -> Address:
    """`HOST:PORT`, IPv6 in brackets."""
    if "://" in text or "/" in text:
        raise AddressError(f"{text!r}: give HOST:PORT alone, without a scheme or a path, as in 10.0.0.5:8000")
    if text.count(":") > 1 and not text.startswith("["):
        raise AddressError(f"{text!r}: an IPv6 address needs brackets, as in [fd00::5]:8000")
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", text)
    if match is None:
        raise AddressError(f"{text!r}: give HOST:PORT, as in 10.0.0.5:8000")
    port = int(match[3])
    if not 1 <= port <= 65535:
        raise AddressError(f"{text!r}: port {port} is not between 1 and 65535")
    return Address(match[1] or match[2], port)


def resolve(written: Address) -> Server:
    """The server at `written`; a name with several addresses stands for the lowest, IPv4 before IPv6."""
    ip = _as_ip(written.host) or _look_up(written)
    if ip.is_unspecified or ip.is_multicast:
        raise AddressError(f"'{written}': {ip} is no address that one can connect to; name the server's own")
    return Server(written, Address(str(ip), written.port))


def _as_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _look_up(written: Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        answers = socket.getaddrinfo(written.host, written.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise AddressError(
            f"'{written}': the name {written.host!r} does not resolve on this machine ({reason}); "
            "give the server's IP address"
        ) from error
    found = {ipaddress.ip_address(answer[4][0]) for answer in answers if "%" not in str(answer[4][0])}
    if not found:
        raise AddressError(
            f"'{written}': the name {written.host!r} has no usable address; give the IP address"
        )
    return min(found, key=lambda ip: (ip.version, int(ip)))
