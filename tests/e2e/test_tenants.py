"""Whose a request is, by what its client can prove: through the real Envoy, with clients that lie."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from epp.quickstart.address import Address
from epp.quickstart.envoy import BodyMode, EnvoySettings, Picked
from epp.quickstart.identity import (
    FAIRNESS_HEADERS,
    ApiKeys,
    ClientCertificates,
    Identity,
    SignedTokens,
)
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import find_envoy, start_envoy
from tests.e2e.world import HOST, Setting
from tests.quickstart.credentials import Authority, TokenIssuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from tests.e2e.world import World

OBJECTIVE = {"x-llm-d-inference-objective": "premium"}
LIES = dict.fromkeys(FAIRNESS_HEADERS, "mallory")
BOTH_MODES = pytest.mark.parametrize("mode", list(BodyMode), ids=lambda mode: mode.value)


@asynccontextmanager
async def gateway(it: World, identity: Identity, mode: BodyMode = BodyMode.DUPLEX) -> AsyncIterator[str]:
    """A second Envoy before the same picker, which goes by what clients prove; gives its address."""
    listen, admin = free_ports(2, host=HOST)
    child = await start_envoy(
        it.children,
        binary=find_envoy(),
        settings=EnvoySettings(
            routing=Picked(picker=it.replicas[0].grpc, identity=identity, body_mode=mode),
            listen=Address(HOST, listen),
            admin=Address(HOST, admin),
        ),
        directory=it.directory,
        name="envoy-tenants",
    )
    yield f"{HOST}:{listen}"
    await it.children.stop(child)


async def send(client: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> int:
    """One request that says it is somebody else's; its status."""
    async with client.post(
        f"{url}/anything", data=b"x", headers={**OBJECTIVE, **LIES, **headers}
    ) as response:
        await response.read()
        return response.status


async def flows(it: World, *names: str) -> dict[str, float]:
    """Requests that were dispatched, by flow."""
    return {
        name: await it.metric("llm_d_epp_request_total", fairness_id=name, priority="10") for name in names
    }


@BOTH_MODES
async def test_an_api_key_says_whose_a_request_is(world: Callable[[Setting], World], mode: BodyMode) -> None:
    """Two keys are two flows, whatever else their clients send; no key is no service; no server sees a key."""
    async with world(Setting(body_mode=mode)) as it:
        keys = ApiKeys(tenants=(("key-a", "alice"), ("key-b", "bob"), ("key-a2", "alice")))
        async with gateway(it, keys, mode) as address:
            url = f"http://{address}"
            for key, status in (("key-a", 200), ("key-b", 200), ("key-a2", 200), ("key-c", 401), ("", 401)):
                assert await send(it.client, url, {"authorization": f"Bearer {key}"}) == status
            assert await send(it.client, url, {}) == 401
            assert await flows(it, "alice", "bob", "mallory") == {"alice": 2, "bob": 1, "mallory": 0}
        assert len(it.server.seen) == 3
        for seen in it.server.seen:
            assert seen.header("authorization") is None
            assert all(seen.header(name) is None for name in FAIRNESS_HEADERS)


async def test_a_signed_token_says_whose_a_request_is(world: Callable[[Setting], World]) -> None:
    """By its claim; another issuer's, an old one or none is 401; one without the claim is nobody's in particular."""
    async with world(Setting()) as it:
        issuer = TokenIssuer("https://issuer")
        jwks = it.directory / "jwks.json"
        jwks.write_text(issuer.jwks())
        identity = SignedTokens(issuer="https://issuer", keys=jwks, claim="org.id", audiences=("models",))
        async with gateway(it, identity) as address:
            url = f"http://{address}"
            for token, status in (
                (issuer.token(aud="models", org={"id": "alice"}), 200),
                (issuer.token(aud="models", org={"id": "bob"}), 200),
                (issuer.token(aud="models"), 200),
                (issuer.token(aud="models", org={"id": "bob"}, exp=1), 401),
                (issuer.token(aud="mail", org={"id": "bob"}), 403),
                (TokenIssuer("https://issuer").token(aud="models", org={"id": "bob"}), 401),
                ("nonsense", 401),
            ):
                assert await send(it.client, url, {"authorization": f"Bearer {token}"}) == status
            assert await flows(it, "alice", "bob", "mallory", "default-flow") == {
                "alice": 1,
                "bob": 1,
                "mallory": 0,
                "default-flow": 1,
            }
        assert all(seen.header("authorization") is None for seen in it.server.seen)


async def test_a_certificate_says_whose_a_request_is(world: Callable[[Setting], World]) -> None:
    """By its URI, without which it is nobody's in particular; who has none of the authority's isn't let in."""
    async with world(Setting()) as it:
        authority = Authority("tenants")
        files = {name: it.directory / name for name in ("ca.pem", "server.pem", "server.key")}
        authority.write(files["ca.pem"])
        authority.issue("gateway").write(files["server.pem"], files["server.key"])
        identity = ClientCertificates(
            certificate=files["server.pem"], private_key=files["server.key"], authority=files["ca.pem"]
        )
        async with gateway(it, identity) as address:
            tenants = [f"spiffe://example/tenant-{number}" for number in (1, 2)]
            for uri in (*tenants, None):
                present(context := trusting(files["ca.pem"]), authority, uri, it.directory)
                assert await send_with(context, f"https://{address}") == 200
            present(stranger := trusting(files["ca.pem"]), Authority("others"), "spiffe://x", it.directory)
            for context in (stranger, trusting(files["ca.pem"])):
                with pytest.raises(aiohttp.ClientError):
                    await send_with(context, f"https://{address}")
            assert await flows(it, *tenants, "default-flow", "mallory") == {
                tenants[0]: 1,
                tenants[1]: 1,
                "default-flow": 1,
                "mallory": 0,
            }


def trusting(authority: Path) -> ssl.SSLContext:
    """A client that knows the gateway by its authority."""
    context = ssl.create_default_context(cafile=str(authority))
    context.check_hostname = False
    return context


def present(context: ssl.SSLContext, authority: Authority, uri: str | None, directory: Path) -> None:
    """The client shows a certificate of this authority."""
    certificate, key = directory / "client.pem", directory / "client.key"
    authority.issue("client", uri).write(certificate, key)
    context.load_cert_chain(certificate, key)


async def send_with(context: ssl.SSLContext, url: str) -> int:
    """One request over a connection of its own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client:
        return await send(client, url, {})
