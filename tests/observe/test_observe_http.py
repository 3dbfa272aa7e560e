"""The metrics port, through a real client."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import socket

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from structlog.testing import capture_logs

from epp.observe import http
from epp.observe.exposition import Format
from epp.observe.http import Access, ListenError, ObserveServer, negotiated
from tests.observe.surroundings import World, band, flow

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


class Site:
    """A running server and a client of it."""

    def __init__(self, world, server, client):
        self.world, self.server, self.client = world, server, client
        self.not_ready = None

    async def get(self, path, **headers):
        """Status, headers and text of one answer."""
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with self.client.get(url, headers=headers) as response:
            return response.status, response.headers, await response.text()


@contextlib.asynccontextmanager
async def serving(world=None, authorizer=None):
    """A server on a free port of this machine."""
    world = world or World()
    site = None
    server = ObserveServer(
        metrics=world.metrics,
        statistics=lambda: world.statistics,
        why_not_ready=lambda: site.not_ready,
        port=0,
        host="127.0.0.1",
        authorizer=authorizer,
    )
    await server.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as client:
            site = Site(world, server, client)
            yield site
    finally:
        await server.close()


async def test_metrics_as_plain_text():
    """What a client gets that asks for nothing in particular."""
    async with serving() as site:
        site.world.served()
        status, headers, text = await site.get("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "llm_d_epp_request_total" in text
    assert list(parse_text(text))


async def test_metrics_as_openmetrics():
    """What Prometheus asks for, complete up to its last line."""
    async with serving() as site:
        site.world.served()
        status, headers, text = await site.get("/metrics", Accept=PROMETHEUS_3)
    assert status == 200
    assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith("# EOF\n")
    assert list(parse_openmetrics(text))


@pytest.mark.parametrize(
    ("accept", "page_format"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html", Format.TEXT),
        ("text/plain;version=0.0.4", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", Format.TEXT),
        (PROMETHEUS_3, Format.OPENMETRICS),
    ],
)
def test_negotiation(accept, page_format):
    """OpenMetrics 1.0 for those who know it, the plain format for everybody else."""
    assert negotiated(accept) is page_format


async def test_a_client_that_takes_gzip_gets_it():
    """And it is the same page, in far fewer bytes."""
    async with serving() as site:
        for number in range(30):
            site.world.served(fairness_id=f"tenant-{number}")
        site.client._auto_decompress = False
        url = f"http://127.0.0.1:{site.server.port}/metrics"
        async with site.client.get(url, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            packed = await response.read()
        async with site.client.get(url, headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers
            plain = await response.read()
    assert len(packed) < len(plain) / 5
    unpacked = gzip.decompress(packed)
    assert [line for line in unpacked.splitlines() if line.startswith(b"llm_d_")] == [
        line for line in plain.splitlines() if line.startswith(b"llm_d_")
    ]


async def test_the_loop_goes_on_while_a_page_is_written(monkeypatch):
    """Other work gets its turn between any two pieces."""
    async with serving() as site:
        for number in range(100):
            site.world.served(fairness_id=f"tenant-{number}")
        turns, turns_at = 0, []
        pieces = site.world.metrics.pieces

        def watched(page_format):
            for piece in pieces(page_format):
                turns_at.append(turns)
                yield piece

        async def other_work():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        monkeypatch.setattr(site.world.metrics, "pieces", watched)
        working = asyncio.create_task(other_work())
        await site.get("/metrics")
        working.cancel()
    assert len(turns_at) > 30
    assert all(later > earlier for earlier, later in itertools.pairwise(turns_at))


async def test_liveness_is_unconditional_and_readiness_gives_its_reason():
    """200 when ready, 503 and why when not."""
    async with serving() as site:
        assert await answer(site, "/healthz") == (200, "ok\n")
        assert await answer(site, "/readyz") == (200, "ok\n")
        site.not_ready = "no InferencePool 'x' yet"
        assert await answer(site, "/readyz") == (503, "not ready: no InferencePool 'x' yet\n")
        assert await answer(site, "/healthz") == (200, "ok\n")


async def answer(site, path, **headers):
    """Status and text."""
    status, _, text = await site.get(path, **headers)
    return status, text


async def test_the_state_is_json_without_names_of_tenants():
    """The snapshot, for people and scripts."""
    async with serving() as site:
        site.world.set(bands=(band(0, requests=1, flows=(flow("alice"),)),))
        status, headers, text = await site.get("/debug/state")
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(text)["bands"][0]["queued_requests"] == 1
    assert json.loads(text)["pool"] == "pool"
    assert "alice" not in text


async def test_other_paths_and_methods_are_refused():
    """404 and 405, as HTTP has it."""
    async with serving() as site:
        assert (await site.get("/"))[0] == 404
        async with site.client.post(f"http://127.0.0.1:{site.server.port}/metrics") as response:
            assert response.status == 405


@pytest.mark.parametrize("path", ["/metrics", "/debug/state"])
async def test_the_authorizer_decides(path):
    """It sees the bearer's token and the path; only what it allows is shown, and 401 says how to log in."""
    asked = []

    async def authorizer(token, path):
        asked.append((token, path))
        return {"good": Access.ALLOWED, "": Access.UNAUTHENTICATED}.get(token, Access.FORBIDDEN)

    async with serving(authorizer=authorizer) as site:
        status, headers, _ = await site.get(path)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await site.get(path, Authorization="Basic good"))[0] == 401
        assert (await site.get(path, Authorization="Bearer bad"))[0] == 403
        assert (await site.get(path, Authorization="bearer good"))[0] == 200
        assert (await site.get("/healthz"))[0] == 200
        assert (await site.get("/readyz"))[0] == 200
    assert asked == [("", path), ("", path), ("bad", path), ("good", path)]


async def test_an_authorizer_that_fails_lets_nobody_in():
    """503, one line in the log, and no token in it."""

    async def authorizer(token, path):
        raise ConnectionError("the API server is gone")

    async with serving(authorizer=authorizer) as site:
        with capture_logs() as logged:
            assert await answer(site, "/metrics", Authorization="Bearer s3cr3t") == (
                503,
                "authorization can't be checked\n",
            )
    assert [line["path"] for line in logged] == ["/metrics"]
    assert "s3cr3t" not in str(logged)


async def test_a_snapshot_that_fails_is_an_error_and_no_half_page():
    """Prometheus sees a failed scrape, not a page without bands."""
    world = World()
    async with serving(world) as site:
        del world.statistics
        status, _, text = await site.get("/metrics")
        assert status == 500
        assert "llm_d_epp" not in text
        world.statistics = World().statistics
        assert (await site.get("/metrics"))[0] == 200


async def test_a_reader_who_does_not_read_is_given_up(monkeypatch):
    """His connection ends, nothing of him stays, and others are served meanwhile."""
    monkeypatch.setattr(http, "WRITE_TIMEOUT_S", 0.3)
    async with serving() as site:
        for number in range(200):
            site.world.served(fairness_id=f"tenant-{number}")
        # With this little room the kernel can't take the page on the reader's behalf.
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", site.server.port))
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: identity\r\n\r\n"
        await loop.sock_sendall(sock, request)
        assert (await site.get("/healthz"))[0] == 200
        received = 0
        async with asyncio.timeout(60):
            # The client's own connection stays.
            while len(site.server._runner.server.connections) > 1:  # noqa: ASYNC110 - aiohttp has no event for it
                await asyncio.sleep(0.02)
            with contextlib.suppress(ConnectionError):
                while chunk := await loop.sock_recv(sock, 65536):
                    received += len(chunk)
        sock.close()
        assert received < len(site.world.metrics.page())
        assert (await site.get("/healthz"))[0] == 200


async def test_a_reader_who_goes_away_leaves_no_trace(caplog):
    """No error in the log, and the server goes on."""
    async with serving() as site:
        for number in range(200):
            site.world.served(fairness_id=f"tenant-{number}")
        with capture_logs() as logged:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readexactly(100)
            writer.transport.abort()
            assert (await site.get("/metrics"))[0] == 200
    assert logged == []
    assert caplog.records == []


async def test_a_port_in_use_is_named_with_its_flag():
    """Whoever starts the picker learns which port, which flag, and what to do."""
    async with serving() as site:
        second = ObserveServer(
            metrics=site.world.metrics,
            statistics=lambda: site.world.statistics,
            why_not_ready=lambda: None,
            port=site.server.port,
            host="127.0.0.1",
        )
        with pytest.raises(ListenError) as caught:
            await second.start()
        await second.close()
        message = str(caught.value)
        assert f"127.0.0.1:{site.server.port}" in message
        assert "--metrics-port" in message
        assert "in use" in message


async def test_every_address_is_listened_on_and_the_port_is_free_afterwards():
    """IPv4 in any case; and what `close` gives back can be taken again at once."""
    world = World()
    server = ObserveServer(
        metrics=world.metrics, statistics=lambda: world.statistics, why_not_ready=lambda: None, port=0
    )
    assert server.port == 0
    await server.start()
    port = server.port
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/healthz") as response:
        assert response.status == 200
    await server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    socket.create_server(("127.0.0.1", port)).close()


async def test_without_ipv6_ipv4_is_enough(monkeypatch):
    """As in containers whose kernel has it turned off."""
    real = socket.create_server

    def create_server(address, *, family=socket.AF_INET, **options):
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(address, family=family, **options)

    monkeypatch.setattr(socket, "create_server", create_server)
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: True)
    world = World()
    server = ObserveServer(
        metrics=world.metrics, statistics=lambda: world.statistics, why_not_ready=lambda: None, port=0
    )
    await server.start()
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{server.port}/healthz") as response,
    ):
        assert response.status == 200
    await server.close()
