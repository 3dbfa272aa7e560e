"""The certificate of the ext_proc port: made on the spot, or read from a folder.

Gateways that call a picker over TLS do not verify it unless told to, so the default is a certificate of our own making
that lasts as long as the process. A folder with `tls.crt` and `tls.key`, which is how Kubernetes mounts a secret,
replaces it; with `CertificateReload.ON` a renewed certificate is used from the next connection on.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"

_LIFETIME: Final = dt.timedelta(days=3650)
_CLOCK_SKEW: Final = dt.timedelta(days=1)

_log = structlog.get_logger()


class CertificateError(Exception):
    """A certificate can't be used; the message says which file, and why."""


class CertificateReload(Enum):
    """Whether a certificate that changes on disk is taken up."""

    OFF = "off"
    ON = "on"


class KeyPair(NamedTuple):
    """A certificate chain and its private key, as PEM."""

    certificate: bytes
    key: bytes


def self_signed(hosts: Sequence[str] = ("localhost", "127.0.0.1", "::1")) -> KeyPair:
    """A new certificate for these host names and addresses, signed by its own key (ECDSA P-256)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "epp"), x509.NameAttribute(NameOID.COMMON_NAME, "epp")]
    )
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def load(folder: Path) -> KeyPair:
    """The certificate and key in `folder`, checked to belong together. Raises CertificateError."""
    pair = KeyPair(_read(folder / CERTIFICATE_FILE), _read(folder / KEY_FILE))
    try:
        certificate = x509.load_pem_x509_certificates(pair.certificate)[0]
    except ValueError as error:
        raise CertificateError(f"{folder / CERTIFICATE_FILE}: no PEM certificate: {error}") from None
    try:
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError) as error:
        # TypeError: the key is encrypted.
        raise CertificateError(f"{folder / KEY_FILE}: no unencrypted PEM private key: {error}") from None
    if key.public_key() != certificate.public_key():
        raise CertificateError(
            f"{folder / KEY_FILE}: is not the key of the certificate in {folder / CERTIFICATE_FILE}"
        )
    return pair


def server_credentials(
    folder: Path | None = None, *, reload: CertificateReload = CertificateReload.OFF
) -> grpc.ServerCredentials:
    """Credentials with the certificate in `folder`, or with a self-signed one. Raises CertificateError."""
    pair = self_signed() if folder is None else load(folder)
    if folder is None or reload is CertificateReload.OFF:
        return grpc.ssl_server_credentials([(pair.key, pair.certificate)])
    return grpc.dynamic_ssl_server_credentials(
        _configuration(pair), _Reloader(folder, pair), require_client_authentication=False
    )


class _Reloader:
    """Asked by grpc at every handshake, on a thread of its own: what to use now, or None for as before."""

    def __init__(self, folder: Path, pair: KeyPair) -> None:
        self._folder = folder
        self._pair = pair
        self._complaint = ""

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            pair = load(self._folder)
        except CertificateError as error:
            # In the middle of a renewal the two files don't match for a moment: the old pair stays good.
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.warning("certificate not reloaded", reason=self._complaint)
            return None
        self._complaint = ""
        if pair == self._pair:
            return None
        self._pair = pair
        _log.info("certificate reloaded", folder=str(self._folder))
        return _configuration(pair)


def _configuration(pair: KeyPair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror}") from None
