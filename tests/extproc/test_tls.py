"""The certificate of the ext_proc port."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse

from epp.extproc.tls import (
    CertificateError,
    CertificateReload,
    Certificates,
    ClientCaError,
    KeyPair,
    TlsSettings,
    self_signed,
)
from epp.extproc.transports.choice import make_transport
from epp.extproc.transports.transport import ServerSettings, Transport, TransportName
from tests.extproc import gateway
from tests.extproc.fakes import FakePicker
from tests.extproc.frames import PATH

Serving = Callable[[TlsSettings], AbstractAsyncContextManager[Transport]]


def write(folder: Path, pair: KeyPair) -> None:
    """As a secret is mounted."""
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)


@pytest.fixture
def serving(transport: TransportName) -> Serving:
    """A server with such certificates, on each transport."""

    @asynccontextmanager
    async def serve(tls: TlsSettings) -> AsyncIterator[Transport]:
        server = make_transport(
            transport, FakePicker(), settings=ServerSettings(port=0, host="127.0.0.1"), tls=tls
        )
        await server.start()
        try:
            yield server
        finally:
            await server.stop()

    return serve


async def answers(port: int, trusted: KeyPair, ours: KeyPair | None = None) -> bool:
    """Whether a client that trusts only this certificate gets an answer, with its own one if it has any."""
    credentials = grpc.ssl_channel_credentials(
        trusted.certificate, ours and ours.key, ours and ours.certificate
    )
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        call: Any = channel.stream_stream(
            PATH, request_serializer=bytes, response_deserializer=ProcessingResponse.parse
        )()
        try:
            await call.write(gateway.request_headers(end=True))
            answer = await call.read()
        except grpc.aio.AioRpcError:
            return False
        await call.done_writing()
        return answer is not grpc.aio.EOF


def test_a_self_signed_certificate_is_complete() -> None:
    """It names where we are reached, may serve TLS, and its key is the one that comes with it."""
    pair = self_signed(("picker.pool.svc", "10.0.0.9", "fd00::9"))
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["picker.pool.svc"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.9", "fd00::9"]
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days > 3650
    ssl.create_default_context(cadata=pair.certificate.decode())
    assert self_signed().key != self_signed().key


async def test_the_server_speaks_tls(serving: Serving, tmp_path: Path) -> None:
    """A client that trusts its certificate is served, and one that doesn't is not."""
    pair = self_signed()
    write(tmp_path, pair)
    async with serving(TlsSettings(tmp_path)) as server:
        assert await answers(server.port, pair)
        assert not await answers(server.port, self_signed())


async def test_a_certificate_is_reloaded_when_both_files_fit(serving: Serving, tmp_path: Path) -> None:
    """A renewed pair is used from the next connection on; half a renewal changes nothing."""
    old, new = self_signed(), self_signed()
    write(tmp_path, old)
    async with serving(TlsSettings(tmp_path, CertificateReload.ON)) as server:
        assert await answers(server.port, old)
        (tmp_path / "tls.key").write_bytes(new.key)
        assert await answers(server.port, old)
        write(tmp_path, new)
        assert await answers(server.port, new)
        assert not await answers(server.port, old)


def test_a_reload_happens_once(tmp_path: Path) -> None:
    """A pair that is in use already is not taken up again with every connection."""
    write(tmp_path, self_signed())
    certificates = Certificates(TlsSettings(tmp_path, CertificateReload.ON))
    assert certificates.renewed() is None
    write(tmp_path, new := self_signed())
    assert certificates.renewed() == (new, None)
    assert certificates.renewed() is None


def test_half_a_renewal_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However many connect in the meantime; and again when it happens again."""
    old, new = self_signed(), self_signed()
    write(tmp_path, old)
    certificates = Certificates(TlsSettings(tmp_path, CertificateReload.ON))
    for _ in range(2):
        (tmp_path / "tls.key").write_bytes(new.key)
        assert certificates.renewed() is None
        assert certificates.renewed() is None
        assert capsys.readouterr().out.count("certificate not reloaded") == 1
        write(tmp_path, old)
        assert certificates.renewed() is None
    write(tmp_path, new)
    assert certificates.renewed() == (new, None)
    assert "certificate reloaded" in capsys.readouterr().out


async def test_without_reloading_the_first_certificate_stays(serving: Serving, tmp_path: Path) -> None:
    """A picker that wasn't asked to reload keeps what it started with."""
    old, new = self_signed(), self_signed()
    write(tmp_path, old)
    async with serving(TlsSettings(tmp_path)) as server:
        write(tmp_path, new)
        assert await answers(server.port, old)


async def test_the_default_certificate_serves(serving: Serving) -> None:
    """Without a folder there is a certificate all the same, for a client that speaks of no protocol as well."""
    async with serving(TlsSettings()) as server:
        text = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", server.port))
        certificate = x509.load_pem_x509_certificate(text.encode())
        assert certificate.issuer == certificate.subject


async def test_clients_show_a_certificate_where_they_must(serving: Serving, tmp_path: Path) -> None:
    """With a file of authorities, whoever has no certificate of theirs is not served, nor is a stranger."""
    write(tmp_path, server_pair := self_signed())
    authority, friend = authority_and_client()
    _, stranger = authority_and_client()
    (tmp_path / "ca.crt").write_bytes(authority)
    async with serving(TlsSettings(tmp_path, client_ca=tmp_path / "ca.crt")) as server:
        assert await answers(server.port, server_pair, friend)
        assert not await answers(server.port, server_pair, stranger)
        assert not await answers(server.port, server_pair)


async def test_other_authorities_are_taken_up_too(serving: Serving, tmp_path: Path) -> None:
    """With reloading, the file that says who is a friend may change; a broken one changes nothing."""
    write(tmp_path, server_pair := self_signed())
    authority, friend = authority_and_client()
    other_authority, other = authority_and_client()
    (tmp_path / "ca.crt").write_bytes(authority)
    tls = TlsSettings(tmp_path, CertificateReload.ON, tmp_path / "ca.crt")
    async with serving(tls) as server:
        assert await answers(server.port, server_pair, friend)
        (tmp_path / "ca.crt").write_bytes(b"half a fi")
        assert await answers(server.port, server_pair, friend)
        (tmp_path / "ca.crt").write_bytes(other_authority)
        assert not await answers(server.port, server_pair, friend)
        assert await answers(server.port, server_pair, other)


async def test_authorities_may_have_comments_in_any_encoding(serving: Serving, tmp_path: Path) -> None:
    """What people write between certificates is theirs."""
    write(tmp_path, server_pair := self_signed())
    authority, friend = authority_and_client()
    (tmp_path / "ca.crt").write_bytes("# Zürich\n".encode("latin-1") + authority)
    async with serving(TlsSettings(tmp_path, client_ca=tmp_path / "ca.crt")) as server:
        assert await answers(server.port, server_pair, friend)


def test_what_cant_be_used_is_not_taken_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pair counts once whoever needs it has taken it; until then it is offered again."""
    write(tmp_path, old := self_signed())
    certificates = Certificates(TlsSettings(tmp_path, CertificateReload.ON))
    write(tmp_path, new := self_signed())

    def refuse(_: object) -> None:
        raise CertificateError("too weak")

    assert certificates.renewed(refuse) is None
    assert certificates.material.pair == old
    printed = capsys.readouterr().out
    assert "too weak" in printed
    assert "certificate reloaded" not in printed
    assert certificates.renewed(lambda _: None) == (new, None)


def authority_and_client() -> tuple[bytes, KeyPair]:
    """A new authority's certificate, and a client's pair that it signed."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{who} {secrets.token_hex(4)}")])
        for who in ("authority", "gateway")
    ]
    now = dt.datetime.now(dt.UTC)
    authority, client = (
        x509.CertificateBuilder()
        .subject_name(names[place])
        .issuer_name(names[0])
        .public_key(keys[place].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=not place, path_length=None), critical=True)
        .sign(keys[0], hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        for place in (0, 1)
    )
    return authority, KeyPair(
        client,
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def test_a_certificate_with_an_rsa_key_is_loaded(tmp_path: Path) -> None:
    """Certificates from elsewhere may have other kinds of keys: what matters is that the two fit."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ours = x509.load_pem_x509_certificate(self_signed().certificate)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(ours.subject)
        .issuer_name(ours.issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(ours.not_valid_before_utc)
        .not_valid_after(ours.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    pair = KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ),
    )
    write(tmp_path, pair)
    assert Certificates(TlsSettings(tmp_path)).material.pair == pair


def encrypted_key() -> bytes:
    """A private key under a password."""
    key = serialization.load_pem_private_key(self_signed().key, password=None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("tls.crt", None, r"tls\.crt: cannot be read: No such file"),
        ("tls.key", None, r"tls\.key: cannot be read: No such file"),
        ("tls.crt", b"no certificate", r"tls\.crt: no PEM certificate"),
        ("tls.key", b"no key", r"tls\.key: no unencrypted PEM private key"),
        ("tls.key", encrypted_key(), r"tls\.key: no unencrypted PEM private key"),
        ("tls.key", self_signed().key, r"tls\.key: is not the key of the certificate"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: bytes | None, complaint: str) -> None:
    """Each way in which a folder can be unusable names the file and the reason."""
    write(tmp_path, self_signed())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CertificateError, match=complaint):
        Certificates(TlsSettings(tmp_path))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, r"ca\.crt: cannot be read: No such file"), (b"x", r"ca\.crt: no PEM certificate")],
)
def test_a_file_of_authorities_that_is_none_is_told(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    """In an error of its own, since another flag names it."""
    if content is not None:
        (tmp_path / "ca.crt").write_bytes(content)
    with pytest.raises(ClientCaError, match=complaint):
        Certificates(TlsSettings(client_ca=tmp_path / "ca.crt"))
