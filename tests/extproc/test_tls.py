"""The certificate of the ext_proc port."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse

from epp.extproc.server import ExtProcServer, ServerSettings
from epp.extproc.tls import (
    CertificateError,
    CertificateReload,
    KeyPair,
    _Reloader,
    load,
    self_signed,
    server_credentials,
)
from tests.extproc import gateway
from tests.extproc.fakes import FakePicker
from tests.extproc.frames import PATH


def write(folder: Path, pair: KeyPair) -> None:
    """As a secret is mounted."""
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)


async def answers(port: int, trusted: KeyPair) -> bool:
    """Whether a client that trusts only this certificate gets an answer."""
    credentials = grpc.ssl_channel_credentials(trusted.certificate)
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


async def test_the_server_speaks_tls() -> None:
    """With its self-signed certificate a client that trusts it is served, and one that doesn't is not."""
    pair = self_signed()
    credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)])
    server = ExtProcServer(
        FakePicker(), settings=ServerSettings(port=0, host="127.0.0.1"), credentials=credentials
    )
    await server.start()
    assert await answers(server.port, pair)
    assert not await answers(server.port, self_signed())
    await server.stop()


async def test_a_certificate_is_reloaded_when_both_files_fit(tmp_path: Path) -> None:
    """A renewed pair is used from the next connection on; half a renewal changes nothing."""
    old, new = self_signed(), self_signed()
    write(tmp_path, old)
    server = ExtProcServer(
        FakePicker(),
        settings=ServerSettings(port=0, host="127.0.0.1"),
        credentials=server_credentials(tmp_path, reload=CertificateReload.ON),
    )
    await server.start()
    assert await answers(server.port, old)
    (tmp_path / "tls.key").write_bytes(new.key)
    assert await answers(server.port, old)
    write(tmp_path, new)
    assert await answers(server.port, new)
    await server.stop()


def test_a_reload_happens_once(tmp_path: Path) -> None:
    """A pair that is in use already is not taken up again with every connection."""
    pair = self_signed()
    write(tmp_path, pair)
    reloader = _Reloader(tmp_path, pair)
    assert reloader() is None
    write(tmp_path, self_signed())
    assert reloader() is not None
    assert reloader() is None


async def test_without_reloading_the_first_certificate_stays(tmp_path: Path) -> None:
    """A picker that wasn't asked to reload keeps what it started with."""
    old, new = self_signed(), self_signed()
    write(tmp_path, old)
    server = ExtProcServer(
        FakePicker(),
        settings=ServerSettings(port=0, host="127.0.0.1"),
        credentials=server_credentials(tmp_path),
    )
    await server.start()
    write(tmp_path, new)
    assert await answers(server.port, old)
    await server.stop()


async def test_the_default_certificate_serves() -> None:
    """Without a folder there is a certificate all the same."""
    server = ExtProcServer(
        FakePicker(), settings=ServerSettings(port=0, host="127.0.0.1"), credentials=server_credentials()
    )
    await server.start()
    text = ssl.get_server_certificate(("127.0.0.1", server.port))
    certificate = x509.load_pem_x509_certificate(text.encode())
    assert certificate.issuer == certificate.subject
    await server.stop()


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
    assert load(tmp_path) == pair


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
        server_credentials(tmp_path)
