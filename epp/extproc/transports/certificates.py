"""TLS for the native transport, by the standard library: a context for each handshake, from what is on disk by then.

TLS 1.2 at least, with forward secrecy and authenticated encryption only. Peers that ask by ALPN are told `h2`, and
those that don't ask are spoken to in the same way.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from epp.extproc.tls import CertificateError, Certificates, ClientCaError

if TYPE_CHECKING:
    from epp.extproc.tls import Material, TlsSettings

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: those of its suites that HTTP/2 doesn't forbid (RFC 9113, appendix A)."""


class Contexts:
    """Gives the context for the next handshake."""

    def __init__(self, settings: TlsSettings) -> None:
        """Raises CertificateError."""
        self._settings = settings
        self._certificates = Certificates(settings)
        self._context = _context(settings, self._certificates.material)

    def current(self) -> ssl.SSLContext:
        """Asked once for each connection."""
        self._certificates.renewed(self._adopt)
        return self._context

    def _adopt(self, material: Material) -> None:
        self._context = _context(self._settings, material)


def _context(settings: TlsSettings, material: Material) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["h2"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        _load(context, material.pair.certificate + b"\n" + material.pair.key)
    except OSError as error:
        raise CertificateError(f"{settings.folder}: not usable for TLS: {_shown(error)}") from None
    if material.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cadata=_certificates_alone(material.client_ca))
        except (OSError, ValueError) as error:
            raise ClientCaError(f"{settings.client_ca}: not usable for TLS: {error}") from None
    return context


def _certificates_alone(pem: bytes) -> str:
    """Without what people write between them, in whatever encoding."""
    found = x509.load_pem_x509_certificates(pem)
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in found).decode("ascii")


def _shown(error: OSError) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or type(error).__name__


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """The standard library reads certificates from files only: this one is in memory."""
    file = os.memfd_create("certificate")
    try:
        os.write(file, pem)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
