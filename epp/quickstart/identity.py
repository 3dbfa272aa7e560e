"""Whose a request is: where Envoy takes a tenant's fairness id from, if not from the client's own header.

Promises:
- A client's own fairness id, in either spelling, is removed before anything looks at it.
- The id is set before the picker is asked, from something that the client has proven: a key, a signed token, or a
  certificate. Who proves nothing gets 401, or no connection.
- Neither the key nor the token reaches a model server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING, Final, assert_never

if TYPE_CHECKING:
    from pathlib import Path

FAIRNESS_HEADER: Final = "x-llm-d-inference-fairness-id"
"""The spelling that wins."""
FAIRNESS_HEADERS: Final = (FAIRNESS_HEADER, "x-gateway-inference-fairness-id")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeys:
    """By an API key. OpenAI's clients send theirs as `Authorization: Bearer KEY`, which works here."""

    tenants: tuple[tuple[str, str], ...]
    """Key and tenant. A tenant may have several keys."""
    header: str = "authorization"

    def __post_init__(self) -> None:
        keys = [key for key, _ in self.tenants]
        if not keys or len(set(keys)) < len(keys):
            raise ValueError(f"tenants has {len(keys)} keys; give at least one, and each once")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTokens:
    """By a claim of a JSON Web Token, sent as `Authorization: Bearer TOKEN`."""

    issuer: str
    keys: Path
    """The issuer's public keys, a JWKS file."""
    claim: str = "sub"
    """Nested claims are written with dots; the value must be a string, a number or a boolean."""
    audiences: tuple[str, ...] = ()
    """Tokens must be for one of these; empty means that nobody looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificates:
    """By the URI in the client's certificate, such as a SPIFFE id. Clients then speak TLS to Envoy."""

    certificate: Path
    """Envoy's own."""
    private_key: Path
    authority: Path
    """Who signs the clients' certificates."""


Identity = ApiKeys | SignedTokens | ClientCertificates


def early_mutations(identity: Identity) -> str:
    """What happens to headers before any filter looks at them."""
    removals = "".join(f"- remove: {header}\n" for header in FAIRNESS_HEADERS)
    match identity:
        case ApiKeys() | SignedTokens():
            return removals
        case ClientCertificates():
            return removals + CERTIFICATE_MUTATION
        case _:
            assert_never(identity)


def filters(identity: Identity) -> str:
    """The filters that go before the picker's."""
    match identity:
        case ApiKeys():
            credentials = "".join(
                f"    - {{ key: {json.dumps(key)}, client: {json.dumps(tenant)} }}\n"
                for key, tenant in identity.tenants
            )
            return API_KEY_FILTER.substitute(credentials=credentials, header=json.dumps(identity.header))
        case SignedTokens():
            audiences = ""
            if identity.audiences:
                audiences = f"        audiences: {json.dumps(list(identity.audiences))}\n"
            return TOKEN_FILTER.substitute(
                issuer=json.dumps(identity.issuer),
                audiences=audiences,
                keys=json.dumps(str(identity.keys)),
                claim=json.dumps(identity.claim),
            )
        case ClientCertificates():
            return ""
        case _:
            assert_never(identity)


def listener_tls(identity: Identity) -> str:
    """How clients connect; '' in plaintext."""
    match identity:
        case ApiKeys() | SignedTokens():
            return ""
        case ClientCertificates():
            return LISTENER_TLS.substitute(
                certificate=json.dumps(str(identity.certificate)),
                private_key=json.dumps(str(identity.private_key)),
                authority=json.dumps(str(identity.authority)),
            )
        case _:
            assert_never(identity)


API_KEY_FILTER = Template("""\
# Who has none of these keys gets 401. The picker is told whose key it was, and the model server sees neither.
- name: envoy.filters.http.api_key_auth
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth
    credentials:
$credentials    key_sources:
    - header: $header
    forwarding: { header: x-llm-d-inference-fairness-id, hide_credentials: true }
""")

TOKEN_FILTER = Template("""\
# Who has no valid token gets 401. The picker is told the claim, and the token goes no further.
- name: envoy.filters.http.jwt_authn
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    providers:
      tenants:
        issuer: $issuer
$audiences        local_jwks: { filename: $keys }
        claim_to_headers:
        - { header_name: x-llm-d-inference-fairness-id, claim_name: $claim }
    rules:
    - match: { prefix: "/" }
      requires: { provider_name: tenants }
""")

CERTIFICATE_MUTATION = """\
- append:
    header: { key: x-llm-d-inference-fairness-id, value: "%DOWNSTREAM_PEER_URI_SAN%" }
    append_action: OVERWRITE_IF_EXISTS_OR_ADD
"""

LISTENER_TLS = Template("""\
# Who has no certificate of this authority isn't let in at all.
transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
    require_client_certificate: true
    common_tls_context:
      alpn_protocols: [h2, http/1.1]
      tls_certificates:
      - certificate_chain: { filename: $certificate }
        private_key: { filename: $private_key }
      validation_context:
        trusted_ca: { filename: $authority }
""")
