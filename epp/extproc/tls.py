"""The certificate of the ext_proc port: made on the spot, or read from a folder.

Gateways that call a picker over TLS do not verify it unless told to, so the default is a certificate of our own making
that lasts as long as the process. A folder with `tls.crt` and `tls.key`, which is how Kubernetes mounts a secret,
replaces it. Whoever can reach the port is served, unless there is a file with the authorities that sign the
certificates of clients. With `CertificateReload.ON` renewed files of either kind are used from the next connection on.

Both transports show what `Certificates` holds; `transports.credentials` and `transports.certificates` say how.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"

_LIFETIME: Final = dt.timedelta(days=3650)
_CLOCK_SKEW: Final = dt.timedelta(days=1)

_log = structlog.get_logger()


class CertificateError(Exception):
    """A certificate can't be used; the message says which file, and why."""


class ClientCaError(CertificateError):
    """The same, of the file against which clients are checked."""


class CertificateReload(Enum):
    """Whether a certificate that changes on disk is taken up."""

    OFF = "off"
    ON = "on"


class KeyPair(NamedTuple):
    """A certificate chain and its private key, as PEM."""

    certificate: bytes
    key: bytes


class Material(NamedTuple):
    """All that a handshake needs."""

    pair: KeyPair
    client_ca: bytes | None
    """Whoever connects needs a certificate signed by one of these; None: nobody needs any."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Where it comes from."""

    folder: Path | None = None
    """None: a certificate is made on the spot."""
    reload: CertificateReload = CertificateReload.OFF
    client_ca: Path | None = None


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


class Certificates:
    """What to show the next peer, and what to ask of it."""

    def __init__(self, settings: TlsSettings) -> None:
        """Raises CertificateError."""
        self._settings = settings
        self._complaint = ""
        self._read = _read_files(settings)
        self.material = _checked(settings, self._read, self_signed() if settings.folder is None else None)

    def renewed(self, use: Callable[[Material], object] | None = None) -> Material | None:
        """What has come since it was last asked for; None if all is as before. Asked once for each connection.

        It counts once `use` has taken it, which may raise CertificateError.
        """
        if self._settings.reload is CertificateReload.OFF:
            return None
        try:
            read = _read_files(self._settings)
            if read == self._read:
                self._complaint = ""
                return None
            material = _checked(self._settings, read, self.material.pair)
            if use is not None and material != self.material:
                use(material)
        except CertificateError as error:
            # In the middle of a renewal the files don't match for a moment: what was good stays good.
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.warning("certificate not reloaded", reason=self._complaint)
            return None
        self._complaint = ""
        self._read = read
        if material == self.material:
            return None
        self.material = material
        _log.info("certificate reloaded", folder=str(self._settings.folder or self._settings.client_ca))
        return material


class _Files(NamedTuple):
    """What is on disk, unchecked."""

    pair: KeyPair | None
    client_ca: bytes | None


def _read_files(settings: TlsSettings) -> _Files:
    folder, client_ca = settings.folder, settings.client_ca
    return _Files(
        None if folder is None else KeyPair(_read(folder / CERTIFICATE_FILE), _read(folder / KEY_FILE)),
        None if client_ca is None else _read(client_ca, ClientCaError),
    )


def _checked(settings: TlsSettings, files: _Files, otherwise: KeyPair | None) -> Material:
    """The files as material, with the pair `otherwise` where they hold none."""
    if settings.folder is not None and files.pair is not None:
        _check_pair(settings.folder, files.pair)
    if settings.client_ca is not None and files.client_ca is not None:
        try:
            x509.load_pem_x509_certificates(files.client_ca)
        except ValueError as error:
            raise ClientCaError(f"{settings.client_ca}: no PEM certificate: {error}") from None
    pair = files.pair or otherwise
    assert pair is not None
    return Material(pair, files.client_ca)


def _check_pair(folder: Path, pair: KeyPair) -> None:
    """Whether the two can be read and belong together."""
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


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _read(path: Path, error_class: type[CertificateError] = CertificateError) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise error_class(f"{path}: cannot be read: {error.strerror}") from None
