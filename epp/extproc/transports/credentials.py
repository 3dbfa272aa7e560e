"""Certificates for gRPC's own server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from epp.extproc.tls import CertificateReload, Certificates

if TYPE_CHECKING:
    from epp.extproc.tls import Material, TlsSettings


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials:
    """Credentials that change with the files, if they should. Raises CertificateError."""
    certificates = Certificates(settings)
    material = certificates.material
    asks_clients = settings.client_ca is not None
    if settings.reload is CertificateReload.OFF:
        return grpc.ssl_server_credentials(
            [(material.pair.key, material.pair.certificate)],
            root_certificates=material.client_ca,
            require_client_auth=asks_clients,
        )

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        # Asked at every handshake, on a thread of grpc's.
        fresh = certificates.renewed()
        return None if fresh is None else _configuration(fresh)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(material), renewed, require_client_authentication=asks_clients
    )


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.pair.key, material.pair.certificate)], root_certificates=material.client_ca
    )
