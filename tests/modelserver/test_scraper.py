"""The scraper, against servers on this machine: well-behaved and otherwise."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from epp.config.scrape import Scheme, ScrapeConfig
from epp.core.endpoint import Contact, EndpointSpec, EngineSample
from epp.core.events import Scraped
from epp.modelserver import FailureKind, ScrapeNotice, Scraper
from epp.modelserver.connection import MAX_RESPONSE_BYTES
from epp.modelserver.scraper import NOTICE_INTERVAL_S
from epp.sim.server import SimServer

PAGE = b"vllm:num_requests_running 1\nvllm:num_requests_waiting 2\nvllm:kv_cache_usage_perc 0.5\n"
SAMPLE = EngineSample(waiting=2, running=1, kv_utilization=0.5)
NEVER_S = 3600.0
OK = b"HTTP/1.1 200 OK\r\n"


def ok(body: bytes = PAGE) -> bytes:
    """A response with this page."""
    return OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


Answer = Callable[["FakeServer", asyncio.Transport], Awaitable[None]]


class FakeServer:
    """Answers every request by `answer`, and remembers what it saw."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.open_connections = 0
        self.under_way = 0
        self.most_under_way = 0
        self._server: asyncio.Server | None = None
        self._peers: set[_Peer] = set()

    @property
    def spec(self) -> EndpointSpec:
        """The endpoint that it is."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return EndpointSpec(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", name="fake")

    async def start(self, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        """Listens on a free port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Peer(self, self._peers), host, 0, ssl=tls)

    async def close(self) -> None:
        """Hangs up on everybody; returns when all sockets are closed."""
        if self._server is not None:
            self._server.close()
        for peer in tuple(self._peers):
            peer.hang_up()
        await until(lambda: not self._peers)


class _Peer(asyncio.Protocol):
    """One connection to a fake server."""

    def __init__(self, server: FakeServer, peers: set[_Peer]) -> None:
        self._server = server
        self._peers = peers
        self._received = b""
        self._answers: set[asyncio.Task[None]] = set()

    def hang_up(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] - TCP and TLS give a Transport
        self._peers.add(self)
        self._server.connections += 1
        self._server.open_connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            self._server.requests.append(request)
            task = asyncio.get_running_loop().create_task(self._answer())
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        for task in self._answers:
            task.cancel()
        self._server.open_connections -= 1
        self._peers.discard(self)

    async def _answer(self) -> None:
        server = self._server
        server.under_way += 1
        server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            await server.answer(server, self._transport)
        finally:
            server.under_way -= 1


async def until(true: Callable[[], bool]) -> None:
    """Returns as soon as something is true; fails after twenty seconds."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.002)


async def good(server: FakeServer, transport: asyncio.Transport) -> None:
    """The page."""
    del server
    transport.write(ok())


async def hang(server: FakeServer, transport: asyncio.Transport) -> None:
    """Never an answer."""
    del server, transport
    await asyncio.get_running_loop().create_future()


def says(*pieces: bytes, then_hangs_up: bool = False) -> Answer:
    """These bytes, each on its own, and then nothing more, or the end of the connection."""

    async def answer(server: FakeServer, transport: asyncio.Transport) -> None:
        del server
        for piece in pieces:
            transport.write(piece)
            await asyncio.sleep(0)
        if then_hangs_up:
            transport.close()

    return answer


def endlessly(head: bytes, piece: bytes) -> Answer:
    """A response that doesn't end."""

    async def answer(server: FakeServer, transport: asyncio.Transport) -> None:
        del server
        transport.write(head)
        while not transport.is_closing():
            transport.write(piece)
            await asyncio.sleep(0)

    return answer


Serve = Callable[[Answer], Awaitable[FakeServer]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts fake servers, which are closed after the test."""
    servers: list[FakeServer] = []

    async def start(answer: Answer) -> FakeServer:
        server = FakeServer(answer)
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.close()


class Bench:
    """A scraper, and everything that it said."""

    def __init__(
        self,
        *endpoints: EndpointSpec,
        config: ScrapeConfig | None = None,
        interval_s: float = 0.02,
        timeout_s: float = 10.0,
    ) -> None:
        self.scraped: list[Scraped] = []
        self.notices: list[ScrapeNotice] = []
        self.ahead_s = 0.0
        """How far the scraper's clock runs ahead of the loop's."""
        self.scraper = Scraper(
            config=config or ScrapeConfig(),
            on_scraped=self.scraped.append,
            on_notice=self.notices.append,
            clock=self.clock,
            interval_s=interval_s,
            timeout_s=timeout_s,
            seed=3,
        )
        self.scraper.set_endpoints(endpoints)

    def clock(self) -> float:
        """The scraper's."""
        return asyncio.get_running_loop().time() + self.ahead_s

    def samples(self, endpoint: EndpointSpec) -> list[EngineSample | None]:
        """What was reported of an endpoint."""
        return [scraped.sample for scraped in self.scraped if scraped.key == endpoint.key]

    def failures(self) -> dict[FailureKind, int]:
        """The kinds that occurred."""
        return {kind: count for kind, count in self.scraper.statistics().failures.items() if count}

    async def __aenter__(self) -> Bench:
        await self.scraper.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.scraper.close()


async def test_samples_come_again_and_again_over_one_connection(serve: Serve) -> None:
    """A healthy server is asked for its page by HTTP/1.1 on a kept connection, and every page is reported once."""
    server = await serve(good)
    async with Bench(server.spec) as bench:
        await until(lambda: len(bench.scraped) >= 5)
    assert set(bench.samples(server.spec)) == {SAMPLE}
    assert server.connections == 1
    assert len(server.requests) - len(bench.scraped) in {0, 1}
    assert server.requests[0].startswith(
        b"GET /metrics HTTP/1.1\r\nHost: " + server.spec.address.encode() + b"\r\n"
    )
    assert bench.scraper.statistics().scrapes == len(bench.scraped)
    assert bench.failures() == {}
    assert bench.notices == []
    times = [time for scraped in bench.scraped for time in (scraped.sent_s, scraped.received_s)]
    assert times == sorted(times)


async def test_a_page_in_chunks_and_in_pieces_is_read(serve: Serve) -> None:
    """Chunked, and byte by byte, a page is as good as whole."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in PAGE.splitlines(keepends=True))
    response = OK + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
    server = await serve(says(*(response[at : at + 1] for at in range(len(response)))))
    async with Bench(server.spec) as bench:
        await until(lambda: len(bench.scraped) >= 2)
    assert set(bench.samples(server.spec)) == {SAMPLE}
    assert server.connections == 1


async def test_a_server_that_does_not_keep_connections_is_asked_over_new_ones(serve: Serve) -> None:
    """Announced or not, hanging up after an answer is no failure."""
    announced = await serve(says(OK + b"Connection: close\r\n\r\n" + PAGE, then_hangs_up=True))
    unannounced = await serve(says(ok(), then_hangs_up=True))
    async with Bench(announced.spec, unannounced.spec) as bench:
        await until(lambda: min(len(bench.samples(s.spec)) for s in (announced, unannounced)) >= 4)
    assert {scraped.sample for scraped in bench.scraped} == {SAMPLE}
    assert min(announced.connections, unannounced.connections) >= 4


@pytest.mark.parametrize(
    "head", [OK + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE, b"SSH-2.0\r\n"]
)
async def test_a_connection_that_cannot_be_used_again_is_closed_by_us(serve: Serve, head: bytes) -> None:
    """After an announced close, and after garbage, a server that doesn't hang up is hung up on."""
    server = await serve(says(head))
    async with Bench(server.spec) as bench:
        await until(lambda: len(bench.scraped) >= 3)
        await until(lambda: server.open_connections <= 1)
    assert server.connections == len(server.requests) >= 3


async def test_a_kept_connection_that_dies_with_the_request_is_replaced_once(serve: Serve) -> None:
    """A server that hangs up as the next request arrives is asked once more, and the sample is no failure."""

    async def answer(server: FakeServer, transport: asyncio.Transport) -> None:
        if len(server.requests) % 2 == 0:
            transport.abort()
        else:
            transport.write(ok())

    server = await serve(answer)
    async with Bench(server.spec) as bench:
        await until(lambda: len(bench.scraped) >= 4)
    assert set(bench.samples(server.spec)) == {SAMPLE}
    assert len(server.requests) >= 7


ENDLESS_CHUNKS = endlessly(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (says(ok(b"<html>It works!</html>")), FailureKind.METRICS_MISSING, "vllm:num_requests_waiting"),
        (says(ok(b"")), FailureKind.METRICS_MISSING, "vllm:num_requests_running"),
        (says(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"), FailureKind.STATUS, "status 500"),
        (
            says(b"HTTP/1.1 307 Go\r\nLocation: /metrics/\r\nContent-Length: 0\r\n\r\n"),
            FailureKind.STATUS,
            "status 307 to '/metrics/'",
        ),
        (says(b"SSH-2.0-OpenSSH_9.2p1\r\n"), FailureKind.NOT_HTTP, "SSH-2.0"),
        (says(b"", then_hangs_up=True), FailureKind.CLOSED, "hung up"),
        (says(ok()[:-3], then_hangs_up=True), FailureKind.CLOSED, "hung up"),
        (
            says(OK + b"Content-Length: 99999999\r\n\r\n"),
            FailureKind.TOO_LARGE,
            f"{MAX_RESPONSE_BYTES} bytes",
        ),
        (endlessly(OK + b"\r\n", b"x" * 65536), FailureKind.TOO_LARGE, f"{MAX_RESPONSE_BYTES} bytes"),
        (ENDLESS_CHUNKS, FailureKind.TOO_LARGE, f"{MAX_RESPONSE_BYTES} bytes"),
        (endlessly(OK, b"X-Header: y\r\n" * 100), FailureKind.TOO_LARGE, "headers"),
        (hang, FailureKind.TIMEOUT, "0.3 s"),
        (says(ok()[:-3]), FailureKind.TIMEOUT, "0.3 s"),
        (endlessly(OK, b"X"), FailureKind.TIMEOUT, "0.3 s"),
    ],
    ids=range(14),
)
async def test_a_broken_server_is_counted_named_and_tried_again(
    serve: Serve, answer: Answer, kind: FailureKind, words: str
) -> None:
    """Every scrape is reported, without a sample; the kind is counted; one notice names what is wrong."""
    server = await serve(answer)
    timeout_s = 0.3 if kind is FailureKind.TIMEOUT else NEVER_S
    async with Bench(server.spec, timeout_s=timeout_s) as bench:
        if answer == hang or kind is not FailureKind.TIMEOUT:
            await until(lambda: len(bench.scraped) >= 3)
            assert set(bench.failures()) == {kind}
        else:
            await until(lambda: len(bench.scraped) >= 1)
        assert set(bench.samples(server.spec)) == {None}
        assert bench.failures()[kind] >= 1
        assert sum(bench.failures().values()) == bench.scraper.statistics().scrapes == len(bench.scraped)
        assert server.most_under_way == 1
    assert len(bench.notices) == 1
    failure = bench.notices[0].failure
    assert failure is not None
    assert failure.kind is kind
    assert words in failure.detail


async def test_nobody_listening_is_a_failure(serve: Serve) -> None:
    """A refused connection is reported as one, until somebody listens."""
    server = await serve(good)
    spec = server.spec
    await server.close()
    async with Bench(spec) as bench:
        await until(lambda: len(bench.scraped) >= 3)
    assert set(bench.samples(spec)) == {None}
    assert set(bench.failures()) == {FailureKind.REFUSED}
    assert {scraped.contact for scraped in bench.scraped} == {Contact.REFUSED}


async def test_broken_servers_do_not_delay_the_others(serve: Serve) -> None:
    """While eight servers hang or talk without end, two good ones give dozens of samples."""
    bad = [await serve(answer) for answer in (hang, hang, hang, hang, endlessly(OK, b"X"), ENDLESS_CHUNKS)]
    fine = [await serve(good), await serve(good)]
    async with Bench(*(server.spec for server in [*bad, *fine]), timeout_s=NEVER_S) as bench:
        await until(lambda: min(len(bench.samples(server.spec)) for server in fine) >= 30)
    for server in fine:
        assert set(bench.samples(server.spec)) == {SAMPLE}
    assert all(server.connections == 1 for server in bad[:4])


async def test_asking_gets_a_scrape_that_is_sent_afterwards(serve: Serve) -> None:
    """`scrape_now` between two scrapes doesn't wait for the next one that is due."""
    server = await serve(good)
    async with Bench(server.spec, interval_s=NEVER_S) as bench:
        await until(lambda: len(bench.scraped) == 1)
        for number in range(2, 5):
            asked_s = bench.clock()
            bench.scraper.scrape_now(server.spec.key)
            await until(lambda wanted=number: len(bench.scraped) == wanted)  # type: ignore[misc]
            assert bench.scraped[-1].sent_s >= asked_s
            assert bench.scraped[-1].sample == SAMPLE


async def test_asking_during_a_scrape_gets_another_one_right_after_it(serve: Serve) -> None:
    """The one under way may be too old: a second follows, one for any number of askers, and never beside it."""
    release = asyncio.Event()

    async def answer(server: FakeServer, transport: asyncio.Transport) -> None:
        del server
        await release.wait()
        transport.write(ok())

    server = await serve(answer)
    async with Bench(server.spec, interval_s=NEVER_S) as bench:
        await until(lambda: len(server.requests) == 1)
        asked_s = bench.clock()
        for _ in range(3):
            bench.scraper.scrape_now(server.spec.key)
        await asyncio.sleep(0.05)  # time enough for a second request to come too early
        assert len(server.requests) == 1
        release.set()
        await until(lambda: len(bench.scraped) == 2)
        assert bench.scraped[0].sent_s <= asked_s <= bench.scraped[1].sent_s
        await asyncio.sleep(0.05)  # time enough for a third
        assert len(server.requests) == len(bench.scraped) == 2
        assert server.most_under_way == 1


async def test_asking_from_within_a_report_is_answered(serve: Serve) -> None:
    """The core may want the next sample while it looks at this one."""
    server = await serve(good)
    bench = Bench(server.spec, interval_s=NEVER_S)

    def listen(scraped: Scraped) -> None:
        bench.scraped.append(scraped)
        if len(bench.scraped) < 10:
            bench.scraper.scrape_now(scraped.key)
            bench.scraper.scrape_now(scraped.key)

    bench.scraper = Scraper(config=ScrapeConfig(), on_scraped=listen, clock=bench.clock, interval_s=NEVER_S)
    bench.scraper.set_endpoints([server.spec])
    async with bench:
        await until(lambda: len(bench.scraped) == 11)
        assert {scraped.sample for scraped in bench.scraped} == {SAMPLE}
    assert server.most_under_way == 1


async def test_asking_for_an_unknown_endpoint_does_nothing(serve: Serve) -> None:
    """The endpoint may have left, and the scraper may be closed."""
    server = await serve(good)
    async with Bench(interval_s=NEVER_S) as bench:
        bench.scraper.scrape_now(server.spec.key)
        bench.scraper.set_endpoints([server.spec])
    bench.scraper.scrape_now(server.spec.key)
    bench.scraper.set_endpoints([server.spec])
    await asyncio.sleep(0.02)  # time enough for a scrape to be sent
    assert server.requests == []
    assert bench.scraped == []


async def test_endpoints_come_and_go(serve: Serve) -> None:
    """A new endpoint is scraped at once; one that left is not heard of again, and its connection is closed."""
    one, two = await serve(good), await serve(hang)
    async with Bench(one.spec, interval_s=NEVER_S) as bench:
        await until(lambda: bench.samples(one.spec) == [SAMPLE])
        bench.scraper.set_endpoints([one.spec, two.spec])
        await until(lambda: len(two.requests) == 1)
        assert len(one.requests) == 1
        bench.scraper.set_endpoints([])
        await until(lambda: (one.open_connections, two.open_connections) == (0, 0))
        assert bench.samples(two.spec) == []
        assert bench.scraper.statistics().endpoints == 0
        two.answer = good
        successor = EndpointSpec(two.spec.address, uid="another pod")
        bench.scraper.set_endpoints([successor])
        await until(lambda: bench.samples(successor) == [SAMPLE])
        assert bench.samples(two.spec) == []


async def test_the_pods_label_chooses_names_and_path(serve: Serve) -> None:
    """Each endpoint is read as its engine; when the label changes it is read anew, and at once."""
    sglang = b"sglang:num_queue_reqs 4\nsglang:num_running_reqs 5\nsglang:token_usage 0.25\n"
    trtllm = (
        b"trtllm_num_requests_waiting 6\ntrtllm_num_requests_running 7\ntrtllm_kv_cache_utilization 0.75\n"
    )
    server = await serve(says(ok(sglang + trtllm)))
    address = server.spec.address
    async with Bench(interval_s=NEVER_S) as bench:
        for labels, sample, path in (
            ((("llm-d.ai/engine-type", "sglang"),), EngineSample(4, 5, 0.25), b"/metrics"),
            (
                (("inference.networking.k8s.io/engine-type", "trtllm-serve"),),
                EngineSample(6, 7, 0.75),
                b"/prometheus/metrics",
            ),
            ((("llm-d.ai/engine-type", "unheard of"),), None, b"/metrics"),
        ):
            bench.scraped.clear()
            bench.scraper.set_endpoints([EndpointSpec(address, labels=labels)])
            await until(lambda: len(bench.scraped) == 1)
            assert bench.scraped[0].sample == sample
            assert server.requests[-1].startswith(b"GET %s HTTP/1.1\r\n" % path)
        bench.scraper.set_endpoints([EndpointSpec(address, name="renamed")])
        await asyncio.sleep(0.02)  # time enough for a scrape that isn't wanted
        assert len(bench.scraped) == 1


async def test_port_and_path_can_be_overridden(serve: Serve) -> None:
    """The configuration's port and path go before the endpoint's port and the engine's path."""
    server = await serve(good)
    port = int(server.spec.address.rpartition(":")[2])
    elsewhere = EndpointSpec("127.0.0.1:1")
    async with Bench(elsewhere, config=ScrapeConfig(port=port, path="/m?x=1")) as bench:
        await until(lambda: len(bench.scraped) >= 1)
    assert bench.samples(elsewhere)[0] == SAMPLE
    assert server.requests[0].startswith(b"GET /m?x=1 HTTP/1.1\r\n")


async def test_an_ipv6_endpoint_is_scraped() -> None:
    """Brackets belong to the address and the Host header, not to the socket."""
    server = FakeServer(good)
    try:
        await server.start(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with Bench(server.spec) as bench:
        await until(lambda: len(bench.scraped) >= 1)
    assert bench.samples(server.spec)[0] == SAMPLE
    assert b"\r\nHost: [::1]:" in server.requests[0]
    await server.close()


async def test_notices_are_few(serve: Serve) -> None:
    """One notice when metrics are lost, one when they are back; a server that flaps is silent for a while."""
    server = await serve(good)
    broken = says(ok(b""))
    async with Bench(server.spec) as bench:

        async def turn(answer: Answer) -> None:
            server.answer = answer
            seen = len(bench.scraped)
            expected = SAMPLE if answer is good else None
            await until(lambda: bench.samples(server.spec)[seen + 3 :].count(expected) >= 3)

        await until(lambda: len(bench.scraped) >= 1)
        for answer in (broken, good, broken, good, broken):
            await turn(answer)
        assert [notice.failure is None for notice in bench.notices] == [False, True]
        bench.ahead_s += NOTICE_INTERVAL_S
        await turn(broken)
        await turn(good)
        assert [notice.failure is None for notice in bench.notices] == [False, True, False, True]
        assert {notice.endpoint for notice in bench.notices} == {server.spec}


async def test_an_endpoint_that_comes_back_is_noticed_anew(serve: Serve) -> None:
    """What was told of an endpoint is forgotten with it."""
    server = await serve(says(ok(b"")))
    async with Bench(server.spec) as bench:
        await until(lambda: len(bench.notices) == 1)
        bench.scraper.set_endpoints([])
        bench.scraper.set_endpoints([server.spec])
        await until(lambda: len(bench.notices) == 2)


async def test_a_listener_that_raises_does_not_stop_the_scrapes(serve: Serve) -> None:
    """The bug reaches the loop's exception handler, and the samples go on."""
    server = await serve(good)
    caught: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context["exception"]))

    def listen(scraped: Scraped) -> None:
        raise LookupError(scraped.key)

    scraper = Scraper(
        config=ScrapeConfig(), on_scraped=listen, clock=asyncio.get_running_loop().time, interval_s=0.01
    )
    scraper.set_endpoints([server.spec])
    await scraper.start()
    await until(lambda: len(caught) >= 3)
    await scraper.close()
    assert {type(error) for error in caught} == {LookupError}
    assert server.connections == 1


LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


@pytest.mark.parametrize("loop", list(LOOPS))
def test_closing_at_any_moment_leaves_no_task_and_no_socket(loop: str) -> None:
    """However far connecting, asking or reading has come when it is closed, nothing is left on either side."""

    async def scenario() -> None:
        server, silent = FakeServer(good), FakeServer(hang)
        await server.start()
        await silent.start()
        before = asyncio.all_tasks()
        for turns in range(25):
            bench = Bench(server.spec, silent.spec, interval_s=0.0001)
            await bench.scraper.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            await bench.scraper.close()
            told = len(bench.scraped)
            assert asyncio.all_tasks() - before == set()
            ports = {int(one.spec.address.rpartition(":")[2]) for one in (server, silent)}
            sockets = psutil.Process().net_connections("tcp4")
            assert [socket for socket in sockets if socket.raddr and socket.raddr.port in ports] == []
            await until(lambda: server.open_connections == silent.open_connections == 0)
            assert len(bench.scraped) == told
        assert server.connections > 10
        await server.close()
        await silent.close()

    LOOPS[loop](scenario())


@pytest.mark.parametrize("loop", list(LOOPS))
def test_a_simulated_server_is_read_on_either_loop(loop: str) -> None:
    """End to end with a page of real size: the sample is the engine's own truth."""

    async def scenario() -> None:
        async with SimServer() as server:
            spec = EndpointSpec(server.address)
            async with Bench(spec) as bench:
                await until(lambda: len(bench.scraped) >= 3)
            assert set(bench.samples(spec)) == {EngineSample(0, 0, 0.0)}

    LOOPS[loop](scenario())


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("loop", list(LOOPS))
def test_https(tmp_path: Path, loop: str) -> None:
    """A self-signed server is read when certificates aren't verified, and a TLS failure otherwise; http is no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))

    async def scenario() -> None:
        server = FakeServer(good)
        await server.start(tls=context)
        asyncio.get_running_loop().set_exception_handler(lambda _, context: None)  # handshakes that fail
        async with Bench(server.spec, config=ScrapeConfig(scheme=Scheme.HTTPS)) as bench:
            await until(lambda: len(bench.scraped) >= 3)
        assert set(bench.samples(server.spec)) == {SAMPLE}
        assert server.connections == 1
        strict = ScrapeConfig(scheme=Scheme.HTTPS, insecure_skip_verify=False)
        async with Bench(server.spec, config=strict) as bench:
            await until(lambda: len(bench.scraped) >= 2)
        assert set(bench.failures()) == {FailureKind.TLS}
        async with Bench(server.spec) as bench:
            await until(lambda: len(bench.scraped) >= 1)
        assert set(bench.samples(server.spec)) == {None}
        await server.close()

    LOOPS[loop](scenario())
