"""The native server on real sockets: who is let in, on which addresses, and how everybody leaves."""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import uvloop
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse

from epp.extproc.http2.guard import Ending, Offence, Tally
from epp.extproc.http2.limits import Limits
from epp.extproc.tls import TlsSettings
from epp.extproc.transports import native
from epp.extproc.transports.native import NativeServer
from epp.extproc.transports.transport import PortSharing, ServerSettings
from tests.extproc import gateway
from tests.extproc.fakes import FakePicker
from tests.extproc.frames import PATH, RawConnection

HOST = "127.0.0.1"
CHAT = (gateway.request_headers(), gateway.request_body())

pytestmark = pytest.mark.timeout(60)


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run it on the standard library's loop, and on the one that serves in production: their transports differ."""

    @pytest.mark.parametrize(
        "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    @functools.wraps(test)
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**arguments))

    signature = inspect.signature(test)
    parameters = [
        *signature.parameters.values(),
        inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY),
    ]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


@asynccontextmanager
async def serving(
    picker: FakePicker | None = None,
    *,
    host: str = HOST,
    tls: TlsSettings | None = None,
    sharing: PortSharing = PortSharing.OFF,
    **limits: Any,
) -> AsyncIterator[tuple[NativeServer, Tally]]:
    """A server on a free port; afterwards no task of it is left, and each of its connections has been counted twice."""
    before = asyncio.all_tasks()
    tally = Tally()
    server = NativeServer(
        picker or FakePicker(),
        settings=ServerSettings(port=0, host=host, port_sharing=sharing),
        tls=tls,
        limits=replace(Limits(), **limits),
        tally=tally,
    )
    await server.start()
    try:
        yield server, tally
    finally:
        await server.stop()
    assert asyncio.all_tasks() <= before
    assert sum(tally.connections_ended.values()) == tally.connections_opened


async def until(condition: Callable[[], bool]) -> None:
    """Let others work until it is so; the test's timeout is the deadline."""
    while not condition():  # noqa: ASYNC110 - what is waited for raises no event
        await asyncio.sleep(0.001)


async def chat(address: str, credentials: grpc.ChannelCredentials | None = None) -> list[str]:
    """One whole exchange of a client of its own; gives the kinds of its answers."""
    channel = (
        grpc.aio.insecure_channel(address)
        if credentials is None
        else grpc.aio.secure_channel(
            address, credentials, options=[("grpc.ssl_target_name_override", "localhost")]
        )
    )
    async with channel:
        call: Any = channel.stream_stream(
            PATH, request_serializer=bytes, response_deserializer=ProcessingResponse.parse
        )()
        for message in (*CHAT, gateway.response_headers(end=True)):
            await call.write(message)
        await call.done_writing()
        answers = [answer async for answer in call]
        assert await call.code() is grpc.StatusCode.OK
    return gateway.kinds(answers)


WHOLE = ["request_headers", "request_body", "response_headers"]


@pytest.mark.parametrize("tls", [None, TlsSettings()], ids=["plaintext", "TLS"])
@on_both_loops
async def test_a_whole_exchange_is_counted(tls: TlsSettings | None) -> None:
    """One connection, one stream, three messages each way."""
    picker = FakePicker()
    async with serving(picker, tls=tls) as (server, tally):
        credentials = None
        if tls is not None:
            text = await asyncio.to_thread(ssl.get_server_certificate, (HOST, server.port))
            credentials = grpc.ssl_channel_credentials(text.encode())
        assert await chat(f"{HOST}:{server.port}", credentials) == WHOLE
        await until(lambda: server.streams == 0)
    assert picker.heard == {"submit": 1, "ended": 1}
    assert tally.messages_in == tally.messages_out == 3
    assert tally.streams_opened == tally.streams_ended == 1
    assert tally.bytes_in > 300
    assert tally.bytes_out > 200


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@on_both_loops
async def test_every_address_of_both_families() -> None:
    """The default is reached by IPv4 and by IPv6; an address of one's own is that one only."""
    async with serving(host="[::]") as (server, _):
        assert await chat(f"{HOST}:{server.port}") == WHOLE
        assert await chat(f"[::1]:{server.port}") == WHOLE
    async with serving(host="[::1]") as (server, _):
        assert await chat(f"[::1]:{server.port}") == WHOLE
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, server.port)).close()


@on_both_loops
async def test_without_ipv6_every_address_is_one_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a kernel without it the default still serves."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    async with serving(host="[::]") as (server, _):
        assert await chat(f"{HOST}:{server.port}") == WHOLE


@on_both_loops
async def test_an_address_of_somebody_else_is_an_error() -> None:
    """What is said names the address and what to do."""
    for host in ("192.0.2.1", "no.such.host.invalid"):
        server = NativeServer(FakePicker(), settings=ServerSettings(port=0, host=host))
        with pytest.raises(OSError, match=f"cannot listen on {host}:0: .* choose another"):
            await server.start()
        await server.stop()


@on_both_loops
async def test_one_connection_too_many_is_closed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever is in stays in, whoever is too many is counted, and the place of one that leaves is free again."""
    async with serving(max_connections=2) as (server, tally):
        with RawConnection(server.port) as first, RawConnection(server.port) as second:
            await asyncio.to_thread(first.ping, 1)
            await asyncio.to_thread(second.ping, 1)
            for _ in range(3):
                with RawConnection(server.port) as third:
                    await asyncio.to_thread(third.read_until, lambda: False)
                    assert third.farewell == b"closed"
            await asyncio.to_thread(first.ping, 1)
            assert first.farewell is None
        await until(lambda: tally.connections_ended[Ending.PEER] == 2)
        assert await chat(f"{HOST}:{server.port}") == WHOLE
    assert tally.offences[Offence.CONNECTIONS] == 3
    assert capsys.readouterr().out.count("--http2-max-connections=2") == 1


@on_both_loops
async def test_when_there_are_no_files_left_accepting_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trying again and again would be all that the loop does; a little later it is tried once more."""
    monkeypatch.setattr(native, "_PAUSE_S", 0.05)
    async with serving() as (server, _):

        class Exhausted:
            def __init__(self, real: socket.socket) -> None:
                self.real = real
                self.tries = 0

            def accept(self) -> tuple[socket.socket, Any]:
                self.tries += 1
                if self.tries <= 2:
                    raise OSError(24, "Too many open files")
                return self.real.accept()

            def __getattr__(self, name: str) -> Any:
                return getattr(self.real, name)

        assert server._listening is not None
        server._listening = exhausted = Exhausted(server._listening)  # type: ignore[assignment]
        assert await chat(f"{HOST}:{server.port}") == WHOLE
        assert exhausted.tries >= 3
    assert "Too many open files" in capsys.readouterr().out


@on_both_loops
async def test_plaintext_on_a_tls_port_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """The peer is gone quickly, and one line says what to do."""
    async with serving(tls=TlsSettings()) as (server, tally):
        for _ in range(3):
            with RawConnection(server.port) as connection:
                await asyncio.to_thread(connection.read_until, lambda: False)
        await until(lambda: tally.connections_ended[Ending.HANDSHAKE] == 3)
    said = capsys.readouterr().out
    assert said.count("a gateway speaks plaintext, and this port TLS") == 1
    assert "--secure-serving" in said


def spoken(
    port: int, *, alpn: list[str], latest: ssl.TLSVersion
) -> tuple[str | None, str | None, str, bytes]:
    """What a client of these abilities agrees on: protocol, version, suite; and the first that it hears."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = latest
    if alpn:
        context.set_alpn_protocols(alpn)
    with (
        socket.create_connection((HOST, port), timeout=30) as plain,
        context.wrap_socket(plain) as connection,
    ):
        cipher = connection.cipher()
        assert cipher is not None
        heard = connection.recv(9)
        return connection.selected_alpn_protocol(), connection.version(), cipher[0], heard


@on_both_loops
async def test_tls_is_of_its_day() -> None:
    """1.3, or 1.2 with forward secrecy and nothing older; h2 by ALPN, and to those as well who don't know of it."""
    settings_come = b"\0\0"
    v12, v13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    async with serving(tls=TlsSettings()) as (server, _):
        for alpn, latest, agreed, version in (
            (["h2", "http/1.1"], v13, "h2", "TLSv1.3"),
            (["h2"], v12, "h2", "TLSv1.2"),
            ([], v13, None, "TLSv1.3"),
        ):
            found = await asyncio.to_thread(spoken, server.port, alpn=alpn, latest=latest)
            assert (found[0], found[1]) == (agreed, version)
            assert found[3][:2] == settings_come
            assert found[3][3] == 4
            if latest is v12:
                assert found[2].startswith("ECDHE-")
        context = server._contexts
        assert context is not None
        assert context.current().minimum_version is v12


@on_both_loops
async def test_a_handshake_that_never_ends_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """A peer that connects to a TLS port and says nothing is gone after its time."""
    async with serving(tls=TlsSettings(), handshake_s=0.2) as (server, tally):
        with socket.create_connection((HOST, server.port)) as silent:
            silent.settimeout(30)
            assert await asyncio.to_thread(silent.recv, 1) == b""
        await until(lambda: tally.connections_ended[Ending.HANDSHAKE] == 1)
        assert tally.offences[Offence.HANDSHAKE] == 1
    assert "--http2-handshake-timeout=0.2s" in capsys.readouterr().out


@on_both_loops
async def test_stopping_waits_for_no_handshake() -> None:
    """A peer in the middle of one is cut off with the others."""
    async with serving(tls=TlsSettings()) as (server, tally):
        with socket.create_connection((HOST, server.port)):
            await until(lambda: tally.connections_opened == 1)
            began = time.monotonic()
            await server.stop()
            assert time.monotonic() - began < 5
    assert tally.connections_ended[Ending.STOPPED] == 1


@on_both_loops
async def test_nothing_is_lost_in_a_drain() -> None:
    """A client that goes on and on while one server drains and the next takes its port: every request is answered."""
    picker = FakePicker()
    answered = 0
    enough = asyncio.Event()

    async def ask(port: int) -> None:
        nonlocal answered
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            while not enough.is_set():
                call: Any = channel.stream_stream(
                    PATH, request_serializer=bytes, response_deserializer=ProcessingResponse.parse
                )(wait_for_ready=True)
                for message in (*CHAT, gateway.response_headers(end=True)):
                    await call.write(message)
                await call.done_writing()
                assert gateway.kinds([answer async for answer in call]) == WHOLE
                answered += 1

    async with serving(picker, sharing=PortSharing.ON) as (server, tally):
        asking = [asyncio.create_task(ask(server.port)) for _ in range(4)]
        await until(lambda: answered > 50)
        second = NativeServer(
            picker, settings=ServerSettings(port=server.port, host=HOST, port_sharing=PortSharing.ON)
        )
        await second.start()
        await server.stop(30.0)
        assert server.streams == 0
        before = answered
        await until(lambda: answered > before + 50)
        enough.set()
        await asyncio.gather(*asking)
        await second.stop()
    assert tally.connections_ended[Ending.DRAINED] == tally.connections_opened
    assert picker.heard["ended"] == picker.heard["submit"] == answered


@on_both_loops
async def test_small_answers_are_not_kept_back() -> None:
    """The kernel sends them at once, instead of waiting for more or for an acknowledgement."""
    async with serving() as (server, _):
        with RawConnection(server.port) as connection:
            await asyncio.to_thread(connection.ping, 1)
            (peer,) = server._service.peers
            assert peer._transport is not None
            ours = peer._transport.get_extra_info("socket")
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_both_loops
async def test_what_was_on_its_way_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection stays until its gateway has heard that it should go: until then it may open streams."""
    monkeypatch.setattr(native, "_ANSWER_S", 30.0)
    picker = FakePicker()
    async with serving(picker) as (server, tally):
        with RawConnection(server.port) as connection:
            await asyncio.to_thread(connection.ping, 1)
            stopping = asyncio.create_task(server.stop(30.0))
            assert b"shutting down" in await asyncio.to_thread(connection._socket.recv, 1 << 16)
            connection.open_stream(0, *map(bytes, CHAT))
            await picker.has_heard(submit=1)
            assert not stopping.done()
        await stopping
    assert tally.connections_ended[Ending.PEER] == 1


@on_both_loops
async def test_a_reset_by_the_network_is_an_end_like_any_other(tmp_path: Path) -> None:
    """A connection that breaks under a running stream ends it, and others go on."""
    picker = FakePicker()
    async with serving(picker) as (server, tally):
        with RawConnection(server.port) as connection:
            connection.open_stream(0, *map(bytes, CHAT))
            await picker.has_heard(submit=1)
            connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await picker.has_heard(ended=1)
        await until(lambda: tally.connections_ended[Ending.PEER] == 1)
        assert await chat(f"{HOST}:{server.port}") == WHOLE
