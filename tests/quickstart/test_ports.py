"""Free ports."""

from __future__ import annotations

import socket

import pytest

from epp.quickstart import ports
from epp.quickstart.ports import NoFreePortError, free_ports


def test_the_ports_differ_and_can_be_bound() -> None:
    """Every port that is handed out is free, and no two are the same."""
    found = free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_the_kernel_gives_none_of_them_to_an_outgoing_connection() -> None:
    """They are below the range of ephemeral ports."""
    lowest, _ = map(int, ports._EPHEMERAL_RANGE.read_text().split())
    assert lowest <= 20_000 or max(free_ports(50)) < lowest


def test_a_port_that_is_listened_on_is_not_free() -> None:
    """The look at a port notices a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not ports._is_free("127.0.0.1", listener.getsockname()[1])


def test_when_nothing_is_free_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search ends, with an error that tells how far it came."""
    monkeypatch.setattr(ports, "_is_free", lambda host, port: False)
    with pytest.raises(NoFreePortError, match=r"0 of 2 free ports on 127\.0\.0\.1"):
        free_ports(2)


def test_without_the_kernels_word_the_usual_range_is_assumed(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    """Where /proc has no such file, ports still come."""
    monkeypatch.setattr(ports, "_EPHEMERAL_RANGE", tmp_path / "absent")
    assert all(port < ports._USUAL_EPHEMERAL_START for port in free_ports(5))
