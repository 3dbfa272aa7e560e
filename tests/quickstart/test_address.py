"""Addresses as people write them."""

from __future__ import annotations

import socket

import pytest

from epp.quickstart.address import Address, AddressError, parse_address, resolve


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.5:8000", Address("10.0.0.5", 8000)),
        ("gpu-1.lab:1", Address("gpu-1.lab", 1)),
        ("[fd00::5]:65535", Address("fd00::5", 65535)),
    ],
)
def test_what_is_written_comes_back(text: str, address: Address) -> None:
    """An address survives parsing and printing, IPv6 with its brackets."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("gpu1", "HOST:PORT"),
        ("gpu1:", "HOST:PORT"),
        (":8000", "HOST:PORT"),
        ("gpu1:http", "HOST:PORT"),
        ("gpu 1:80", "HOST:PORT"),
        ("http://gpu1:8000", "without a scheme"),
        ("gpu1:8000/v1", "without a scheme or a path"),
        ("fd00::5:8000", "brackets"),
        ("[gpu1]:8000", "HOST:PORT"),
        ("gpu1:0", "between 1 and 65535"),
        ("gpu1:65536", "between 1 and 65535"),
    ],
)
def test_a_wrong_address_is_named_with_a_remedy(text: str, advice: str) -> None:
    """What can't be an address is refused with the text itself and what would do."""
    with pytest.raises(AddressError) as refusal:
        parse_address(text)
    assert repr(text) in str(refusal.value)
    assert advice in str(refusal.value)


def test_an_ip_address_resolves_to_itself_in_short_form() -> None:
    """IP addresses need no resolver and are written in one way only."""
    server = resolve(Address("FD00:0::5", 80))
    assert server.address == Address("fd00::5", 80)
    assert server.written == Address("FD00:0::5", 80)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.1"])
def test_an_address_that_is_nobodys_is_refused(host: str) -> None:
    """What a server binds to is not where one connects to."""
    with pytest.raises(AddressError, match="no address that one can connect to"):
        resolve(Address(host, 80))


def _answering(*ips: str):
    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (ip, port)) for ip in ips]

    return getaddrinfo


def test_a_name_with_several_addresses_always_gives_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest IPv4 address wins, in whatever order the resolver answers."""
    monkeypatch.setattr(socket, "getaddrinfo", _answering("fd00::1", "10.0.0.9", "10.0.0.2", "fe80::1%eth0"))
    assert resolve(Address("gpu1", 80)).address == Address("10.0.0.2", 80)


def test_a_name_that_does_not_resolve_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which name, why, and what to give instead."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(
        AddressError, match=r"'gpu1' does not resolve .*Name or service not known.*IP address"
    ):
        resolve(Address("gpu1", 80))


def test_a_name_with_only_link_local_addresses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope id means something on this machine only, so it can't go into a manifest."""
    monkeypatch.setattr(socket, "getaddrinfo", _answering("fe80::1%eth0"))
    with pytest.raises(AddressError, match="no usable address"):
        resolve(Address("gpu1", 80))


def test_a_name_that_is_no_host_name_is_refused() -> None:
    """A label that no resolver takes is an error of the address, not of the program."""
    with pytest.raises(AddressError, match="does not resolve"):
        resolve(Address("a" * 70 + ".invalid", 80))
