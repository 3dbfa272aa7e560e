"""What really ends a wait in front of us, shown with Envoy's own word for it: the facts behind the gateway profiles."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING

import aiohttp
import pytest

from epp.extproc.transports.choice import make_transport
from epp.extproc.transports.transport import ServerSettings
from epp.quickstart.address import Address
from epp.quickstart.children import Children
from epp.quickstart.envoy import BodyMode, EnvoySettings, Picked, PickerTransport, render
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import envoy_command, find_envoy, until_answering
from tests.e2e.transport import transport_under_test
from tests.e2e.world import HOST, PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from epp.extproc.ingress import Answer, Refusal, RequestFacts, ResponseFacts

SHORT_S = 0.4
LONG_S = 2.0


class Modes(Enum):
    """How Envoy shows us bodies."""

    DUPLEX = "duplex"
    LEAN = "lean"
    BUFFERED = "buffered"


class EndlessPicker:
    """Lets every request wait, and notes who gave up."""

    def __init__(self) -> None:
        self.queued = 0
        self.cancelled = asyncio.Event()

    def submit(self, facts: RequestFacts, answer: Answer) -> int:
        """Queue it."""
        del facts, answer
        self.queued += 1
        return self.queued

    def cancel(self, request_id: int) -> None:
        """It is gone."""
        del request_id
        self.cancelled.set()

    def delivery_failed(self, request_id: int) -> None:
        raise AssertionError(f"{request_id} was never dispatched")

    def ended(self, request_id: int, response: ResponseFacts) -> None:
        raise AssertionError(f"{request_id} was never dispatched: {response}")

    def rejected(self, facts: RequestFacts | None, refusal: Refusal) -> None:
        raise AssertionError(f"{facts}: {refusal}")


@asynccontextmanager
async def waiting(
    directory: Path, modes: Modes, *, message_timeout_s: float, idle_timeout_s: float
) -> AsyncIterator[tuple[str, EndlessPicker]]:
    """An Envoy with these limits in front of a picker that never decides, and its access log's word of the end."""
    picker = EndlessPicker()
    async with AsyncExitStack() as stack:
        server = make_transport(transport_under_test(), picker, settings=ServerSettings(port=0, host=HOST))
        await server.start()
        stack.push_async_callback(server.stop)
        listen, admin = free_ports(2)
        text = render(
            EnvoySettings(
                routing=Picked(
                    picker=Address(HOST, server.port),
                    body_mode=BodyMode.LEAN if modes is Modes.LEAN else BodyMode.DUPLEX,
                    transport=PickerTransport.PLAINTEXT,
                ),
                listen=Address(HOST, listen),
                admin=Address(HOST, admin),
                access_log=directory / "access.log",
            )
        )
        text = _replaced(text, r"message_timeout: \d+s", f"message_timeout: {message_timeout_s}s")
        text = _replaced(text, r"stream_idle_timeout: \d+s", f"stream_idle_timeout: {idle_timeout_s}s")
        if modes is Modes.BUFFERED:
            text = _replaced(text, r"(request|response)_body_mode: \w+", r"\1_body_mode: BUFFERED")
            text = _replaced(text, r"(request|response)_trailer_mode: \w+", r"\1_trailer_mode: SKIP")
        config = directory / "envoy.yaml"
        config.write_text(text, encoding="utf-8")
        children = await stack.enter_async_context(Children(logs=directory / "logs"))
        child = await children.start("envoy", envoy_command(find_envoy(), config, workers=1))
        await until_answering(child, f"http://{HOST}:{admin}/ready", within_s=PATIENCE_S)
        yield f"http://{HOST}:{listen}", picker


def _replaced(text: str, pattern: str, replacement: str) -> str:
    changed, count = re.subn(pattern, replacement, text)
    assert count, f"nothing in the configuration looks like {pattern}"
    return changed


async def _details(log: Path) -> str:
    """Why Envoy answered, from its access log."""
    async with asyncio.timeout(PATIENCE_S):
        while not (lines := _lines(log)):  # noqa: ASYNC110 - another process writes it, and has no event
            await asyncio.sleep(0.02)
    return str(json.loads(lines[0])["details"])


def _lines(log: Path) -> list[str]:
    """The complete lines of a file that may not be there yet."""
    return log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []


@pytest.mark.parametrize(
    ("modes", "method"), [(Modes.DUPLEX, "POST"), (Modes.DUPLEX, "GET"), (Modes.LEAN, "POST")]
)
async def test_in_full_duplex_only_an_idle_stream_is_given_up(
    tmp_path: Path, modes: Modes, method: str
) -> None:
    """A message timeout five times shorter never fires; the idle timeout answers 504, and our queue hears of it."""
    async with (
        waiting(tmp_path, modes, message_timeout_s=SHORT_S, idle_timeout_s=LONG_S) as (url, picker),
        aiohttp.ClientSession() as client,
        client.request(method, url, data=b"x" if method == "POST" else None) as response,
    ):
        assert (response.status, await response.text()) == (504, "stream timeout")
        await asyncio.wait_for(picker.cancelled.wait(), PATIENCE_S)
        assert await _details(tmp_path / "access.log") == "stream_idle_timeout"


async def test_in_buffered_mode_the_message_timeout_ends_a_wait(tmp_path: Path) -> None:
    """There the filter's own timeout answers 504, long before the stream counts as idle."""
    async with (
        waiting(tmp_path, Modes.BUFFERED, message_timeout_s=SHORT_S, idle_timeout_s=60.0) as (url, picker),
        aiohttp.ClientSession() as client,
        client.post(url, data=b"x") as response,
    ):
        assert response.status == 504
        await asyncio.wait_for(picker.cancelled.wait(), PATIENCE_S)
        details = await _details(tmp_path / "access.log")
        assert details == "ext_proc_error_per-message_timeout_exceeded"
