"""What real Envoy makes of an eviction: a picker in this process, which changes its mind when the test says so."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import aiohttp
import pytest
from aiohttp import web

from epp.core.actions import Reason
from epp.core.eviction import Begun
from epp.extproc.exchange import Exchange
from epp.extproc.ingress import (
    Answer,
    HeadersPass,
    Refusal,
    RequestFacts,
    ResponseFacts,
    ResponseOutcome,
)
from epp.extproc.transports.choice import make_transport
from epp.extproc.transports.transport import ServerSettings
from epp.quickstart.address import Address
from epp.quickstart.children import Children
from epp.quickstart.envoy import BodyMode, EnvoySettings, Picked, PickerTransport, UpstreamProtocol
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import find_envoy, start_envoy
from tests.e2e.transport import transport_under_test
from tests.e2e.world import HOST, PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

BOTH_MODES = pytest.mark.parametrize("mode", list(BodyMode), ids=lambda mode: mode.value)
EVICTED = Refusal(Reason.EVICTED, retry_after_s=1, message="", waited_s=0.0)


class Fickle:
    """A picker that sends everything to one endpoint, and remembers what it hears."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.headers = HeadersPass.AT_ONCE
        self.answers: list[Answer] = []
        self.responses: list[ResponseFacts] = []
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    def submit(self, facts: RequestFacts, answer: Answer) -> int:
        """Dispatch at once."""
        del facts
        self.answers.append(answer)
        answer.dispatched(self._address, 0.0, headers=self.headers)
        return len(self.answers)

    def cancel(self, request_id: int) -> None:
        """Nothing is ever queued here."""

    def delivery_failed(self, request_id: int) -> None:
        """Not in these tests."""

    def first_byte(self, request_id: int) -> None:
        """Its response has begun."""
        del request_id
        self.begun.set()

    def ended(self, request_id: int, response: ResponseFacts) -> None:
        """It is over."""
        del request_id
        self.responses.append(response)
        self.over.set()

    def rejected(self, facts: RequestFacts | None, refusal: Refusal) -> None:
        """Not in these tests."""


class Patient:
    """A model server that never finishes: `/v1/hold` doesn't even begin, `/v1/greet` sends headers, `/v1/begin` more.

    Only `/v1/finish` does, after a while.
    """

    def __init__(self) -> None:
        self.took = asyncio.Event()
        self.left_alone = asyncio.Event()

    async def start(self, stack: AsyncExitStack) -> int:
        """Listen."""
        app = web.Application()
        app.router.add_post("/v1/hold", self._hold)
        app.router.add_post("/v1/greet", self._greet)
        app.router.add_post("/v1/begin", self._begin)
        app.router.add_post("/v1/finish", self._finish)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        (port,) = free_ports(1, host=HOST)
        await web.TCPSite(runner, HOST, port).start()
        return port

    async def _hold(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        return await self._never()

    async def _greet(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        await web.StreamResponse().prepare(request)
        return await self._never()

    async def _finish(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"x-served": "yes"})
        await response.prepare(request)
        for number in range(20):
            await asyncio.sleep(0.001)
            await response.write(f"data: {number}\n\n".encode())
        return response

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        return await self._never()

    async def _never(self) -> web.StreamResponse:
        self.took.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left_alone.set()
        raise AssertionError("nothing ever happens here")


class Stage:
    """Envoy between a client, the picker and the model server."""

    def __init__(self, mode: BodyMode, directory: Path) -> None:
        self._mode = mode
        self._directory = directory
        self._stack = AsyncExitStack()
        self.server = Patient()

    async def __aenter__(self) -> Self:
        stack = self._stack
        try:
            port = await self.server.start(stack)
            self.picker = Fickle(f"{HOST}:{port}")
            service = make_transport(
                transport_under_test(), self.picker, settings=ServerSettings(port=0, host=HOST)
            )
            await service.start()
            stack.push_async_callback(service.stop)
            children = await stack.enter_async_context(Children(logs=self._directory / "logs"))
            listen, admin = free_ports(2)
            self.client = await stack.enter_async_context(aiohttp.ClientSession())
            await start_envoy(
                children,
                binary=find_envoy(),
                settings=EnvoySettings(
                    routing=Picked(
                        picker=Address(HOST, service.port),
                        body_mode=self._mode,
                        transport=PickerTransport.PLAINTEXT,
                    ),
                    listen=Address(HOST, listen),
                    admin=Address(HOST, admin),
                    upstream=UpstreamProtocol.HTTP1,
                ),
                directory=self._directory,
            )
            self.url = f"http://{HOST}:{listen}"
        except BaseException:
            await stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


@BOTH_MODES
async def test_an_evicted_request_is_a_429_and_leaves_the_model_server(
    tmp_path: Path, mode: BodyMode
) -> None:
    """While the server has not answered: the client is told why at once, and the server is left alone."""
    async with asyncio.timeout(PATIENCE_S), Stage(mode, tmp_path) as it:
        asking = asyncio.create_task(it.client.post(f"{it.url}/v1/hold", data=b"x"))
        await it.server.took.wait()
        assert it.picker.answers[0].evicted(EVICTED, Begun.SPARED)
        async with await asking as response:
            assert response.status == 429
            assert response.headers["x-llm-d-request-dropped-reason"] == "evicted"
            assert response.headers["retry-after"] == "1"
            assert json.loads(await response.read())["error"]["code"] == "evicted"
        await it.server.left_alone.wait()
        await it.picker.over.wait()
        assert [each.outcome for each in it.picker.responses] == [ResponseOutcome.EVICTED]


@BOTH_MODES
async def test_a_response_that_has_begun_breaks_off_only_on_request(tmp_path: Path, mode: BodyMode) -> None:
    """Spared it goes on; otherwise the client sees it break off, never end well, and the server is left alone."""
    async with asyncio.timeout(PATIENCE_S), Stage(mode, tmp_path) as it:
        async with it.client.post(f"{it.url}/v1/begin", data=b"x") as response:
            assert response.status == 200
            assert await response.content.readline() == b"data: 1\n"
            await it.picker.begun.wait()
            assert not it.picker.answers[0].evicted(EVICTED, Begun.SPARED)
            assert not it.picker.responses
            assert it.picker.answers[0].evicted(EVICTED, Begun.EVICTED)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
        await it.server.left_alone.wait()
        await it.picker.over.wait()
        assert [each.outcome for each in it.picker.responses] == [ResponseOutcome.EVICTED]


async def test_headers_that_are_held_back_can_still_become_a_429(tmp_path: Path) -> None:
    """The server has begun, the client has got nothing yet: it gets the refusal as a whole answer."""
    async with asyncio.timeout(PATIENCE_S), Stage(BodyMode.DUPLEX, tmp_path) as it:
        it.picker.headers = HeadersPass.WITH_BODY
        asking = asyncio.create_task(it.client.post(f"{it.url}/v1/greet", data=b"x"))
        await it.server.took.wait()
        answer = it.picker.answers[0]
        assert isinstance(answer, Exchange)
        while not answer._conversation._response.begun:  # noqa: ASYNC110 - headers held back raise no event
            await asyncio.sleep(0.001)
        assert answer.evicted(EVICTED, Begun.SPARED)
        async with await asking as response:
            assert response.status == 429
            assert response.headers["x-llm-d-request-dropped-reason"] == "evicted"
            assert json.loads(await response.read())["error"]["code"] == "evicted"
        await it.server.left_alone.wait()


async def test_headers_that_are_held_back_arrive_with_the_body(tmp_path: Path) -> None:
    """A response that is left alone is whole: status, headers, every byte."""
    async with asyncio.timeout(PATIENCE_S), Stage(BodyMode.DUPLEX, tmp_path) as it:
        it.picker.headers = HeadersPass.WITH_BODY
        async with it.client.post(f"{it.url}/v1/finish", data=b"x") as response:
            assert (response.status, response.headers["x-served"]) == (200, "yes")
            assert await response.read() == b"".join(f"data: {number}\n\n".encode() for number in range(20))
        await it.picker.over.wait()
        assert [each.outcome for each in it.picker.responses] == [ResponseOutcome.COMPLETED]
