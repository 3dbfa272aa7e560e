"""One request at a time through Envoy: the client, the upstream, and how Envoy is configured."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from benchmarks.costs import envoy
from benchmarks.costs.through import ANSWER, AnswerError, Client, Upstream, is_whole, round_of_blocks, whole
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy, validate

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
PORTS = envoy.Ports(listen=10_001, admin=10_002, picker=10_003, upstream=10_004)


@contextlib.asynccontextmanager
async def listening(protocol: type[asyncio.Protocol]) -> AsyncIterator[int]:
    """A server that answers as the protocol does; gives its port."""
    async with await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        # Some connections are still open, and the server waits for them.
        server.close()


@pytest.mark.parametrize(
    "message",
    [
        ANSWER,
        whole("POST / HTTP/1.1", {"host": "a"}, b"{}"),
        ANSWER.replace(b"content-length", b"Content-Length"),
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"1\r\n{\r\n10\r\n" + b" " * 15 + b"}\r\n0\r\n\r\n",
    ],
)
def test_a_message_is_whole_at_its_end_and_not_before(message: bytes) -> None:
    """With its length given or in chunks: else the clock would stop too soon."""
    assert is_whole(message)
    assert not any(is_whole(message[:size]) for size in range(len(message)))


async def test_every_client_is_timed() -> None:
    """More requests than in a block; one median for each, and it is a time."""
    async with listening(Upstream) as port, Client(port) as one, Client(port) as other:
        first, second = await round_of_blocks([one, other], 13)
    assert first > 0
    assert second > 0


class Refusing(Upstream):
    """Has no room."""

    def data_received(self, data: bytes) -> None:
        """Answer with an error."""
        del data
        assert self._transport is not None
        self._transport.write(whole("HTTP/1.1 503 Service Unavailable", {}, b"{}"))


class Leaving(Upstream):
    """Hangs up."""

    def data_received(self, data: bytes) -> None:
        """Say nothing."""
        del data
        assert self._transport is not None
        self._transport.close()


@pytest.mark.parametrize(
    ("protocol", "told"), [(Refusing, "503 Service Unavailable"), (Leaving, "closed the connection")]
)
async def test_another_answer_is_no_quick_one(protocol: type[asyncio.Protocol], told: str) -> None:
    """Errors come soon: they must not count as answers."""
    async with listening(protocol) as port, Client(port) as client:
        with pytest.raises(AnswerError, match=told):
            await client.answered_s(0)


def test_envoy_asks_the_server_and_sends_everything_to_the_upstream() -> None:
    """Nothing depends on a destination that bare servers don't name, and both bodies are shown."""
    document = yaml.safe_load(envoy.config(PORTS))["static_resources"]
    clusters = {cluster["name"]: cluster for cluster in document["clusters"]}
    assert clusters.keys() == {"model_servers", "picker"}
    assert clusters["model_servers"]["type"] == "STATIC"
    assert "transport_socket" not in clusters["picker"]
    for name, port in (("model_servers", PORTS.upstream), ("picker", PORTS.picker)):
        (group,) = clusters[name]["load_assignment"]["endpoints"]
        (each,) = group["lb_endpoints"]
        assert each["endpoint"]["address"]["socket_address"]["port_value"] == port
    manager = document["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (asked, _) = manager["http_filters"]
    modes = asked["typed_config"]["processing_mode"]
    assert modes["request_body_mode"] == modes["response_body_mode"] == "FULL_DUPLEX_STREAMED"


async def test_envoy_accepts_its_configuration(tmp_path: Path) -> None:
    """The real one."""
    try:
        binary = find_envoy()
    except EnvoyNotFoundError as error:
        pytest.skip(str(error))
    config = tmp_path / "envoy.yaml"
    config.write_text(envoy.config(PORTS), encoding="utf-8")
    await validate(binary, config)
