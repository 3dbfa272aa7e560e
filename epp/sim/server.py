"""One simulated model server on a port: OpenAI's API, vLLM's metrics page, and hooks for tests.

    POST /v1/chat/completions   POST /v1/completions   GET /v1/models   GET /health   GET /metrics
    GET  /sim/truth             what really happened in the engine; with `?timeline` every change of its occupancy too
    POST /sim/peaks             the same, after its peaks were forgotten: from now on they are those that come
    GET  /sim/faults            what the server does wrong on purpose
    POST /sim/faults            ... from now on

Every response names the server in `x-sim-server`. A client that goes away takes its request out of the engine. Several
servers in one process know nothing of each other.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Self, assert_never

from aiohttp import web

from epp.sim.driver import EngineDriver
from epp.sim.engine import Engine, TooLongError
from epp.sim.faults import FaultError, Faults, MetricsFault, RequestFault
from epp.sim.model import ServiceModel
from epp.sim.page import CONTENT_TYPE, DEFAULT_PAGE_BYTES, ServerPage
from epp.sim.protocol import Answer, Api, ApiError, Delivery, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from epp.sim.driver import Stream
    from epp.sim.truth import Truth

SERVER_HEADER = "x-sim-server"
DEFAULT_MODEL_NAME = "sim-model"
MAX_BODY_BYTES = 128 * 1024 * 1024
MAX_HEADER_BYTES = 128 * 1024
GARBAGE_PAGE = b"<html><body>It works!</body></html>\n"


class SimServer:
    """A server on one port, from `start` to `close`."""

    def __init__(
        self,
        *,
        model: ServiceModel | None = None,
        model_names: tuple[str, ...] = (DEFAULT_MODEL_NAME,),
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        page_bytes: int = DEFAULT_PAGE_BYTES,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model or ServiceModel()
        self._model_names = model_names
        self._seed = seed
        self._host = host
        self._port = port
        self._clock = clock
        self._ready_s = clock() + self._model.startup_s
        self._faults = Faults()
        self._initial_faults = faults or self._faults
        page = ServerPage(self._model, model_name=model_names[0], page_bytes=page_bytes)
        engine = Engine(self._model, seed=seed, now=clock())
        self._driver = EngineDriver(engine, page=page, clock=clock)
        self._runner: web.AppRunner | None = None
        self._answers = 0

    @property
    def address(self) -> str:
        """`host:port`, IPv6 in brackets; the port is the real one after `start`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    @property
    def faults(self) -> Faults:
        """What it does wrong now."""
        return self._faults

    def truth(self) -> Truth:
        """What really happened in the engine."""
        return self._driver.truth()

    def set_faults(self, faults: Faults) -> None:
        """Does this wrong from now on, and nothing else."""
        self._faults = faults
        if faults.requests is RequestFault.STALL:
            self._driver.stall()
        else:
            self._driver.resume()

    async def start(self) -> None:
        """Listens. Raises `OSError`."""
        self._runner = web.AppRunner(
            self._application(),
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=0.1,
            max_field_size=MAX_HEADER_BYTES,
            max_line_size=MAX_HEADER_BYTES,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=1024)
        try:
            await site.start()
        except BaseException:
            await self.close()
            raise
        self._port = self._runner.addresses[0][1]
        self.set_faults(self._initial_faults)

    async def close(self) -> None:
        """Hangs up on everybody; returns when the port is free."""
        self._driver.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[_errors_as_json], client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(self._sign)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/sim/truth", self._get_truth)
        app.router.add_post("/sim/peaks", self._post_peaks)
        app.router.add_get("/sim/faults", self._get_faults)
        app.router.add_post("/sim/faults", self._post_faults)
        return app

    async def _sign(self, request: web.Request, response: web.StreamResponse) -> None:
        del request
        response.headers[SERVER_HEADER] = self.address

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, Api.CHAT)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, Api.COMPLETIONS)

    async def _answer(self, request: web.Request, api: Api) -> web.StreamResponse:
        raw = await request.read()
        if self._faults.requests is RequestFault.ERROR:
            raise ApiError(500, "The simulated server fails on purpose.", kind="InternalServerError")
        ask = parse(api, raw, models=self._model_names)
        try:
            stream = self._driver.submit(ask)
        except TooLongError as error:
            raise ApiError(400, str(error), param="max_tokens") from error
        self._answers += 1
        answer = Answer(ask, answer_id=f"{self._seed:x}-{self._answers:x}", created_s=int(time.time()))
        try:
            if ask.delivery is Delivery.WHOLE:
                finish = await stream.end()
                return web.Response(body=answer.whole(stream.tokens, finish), content_type="application/json")
            return await _stream(request, stream, answer)
        finally:
            self._driver.abort(stream)

    async def _models(self, request: web.Request) -> web.Response:
        del request
        limit = self._model.max_model_tokens
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "epp-sim", "max_model_len": limit}
            for name in self._model_names
        ]
        return web.json_response({"object": "list", "data": data})

    async def _health(self, request: web.Request) -> web.Response:
        del request
        return web.Response(status=200 if self._clock() >= self._ready_s else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        match self._faults.metrics:
            case MetricsFault.NONE:
                pass
            case MetricsFault.SLOW:
                await asyncio.sleep(self._faults.metrics_delay_s)
            case MetricsFault.GARBAGE:
                return web.Response(body=GARBAGE_PAGE, content_type="text/html")
            case MetricsFault.ERROR:
                raise ApiError(500, "The simulated metrics fail on purpose.", kind="InternalServerError")
            case _:
                assert_never(self._faults.metrics)
        page = self._driver.render_page(wall_s=time.time())
        return web.Response(body=page, headers={"content-type": CONTENT_TYPE})

    async def _get_truth(self, request: web.Request) -> web.Response:
        truth = self.truth()
        told = {field.name: getattr(truth, field.name) for field in fields(truth)}
        if "timeline" not in request.query:
            del told["timeline"]
        return web.json_response({"now_s": self._clock(), **told})

    async def _post_peaks(self, request: web.Request) -> web.Response:
        self._driver.forget_peaks()
        return await self._get_truth(request)

    async def _get_faults(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self._faults.fields())

    async def _post_faults(self, request: web.Request) -> web.Response:
        try:
            faults = Faults.parse(json.loads(await request.read()))
        except FaultError as error:
            raise ApiError(400, str(error)) from error
        except ValueError as error:
            raise ApiError(400, f"The body is not JSON: {error}") from error
        self.set_faults(faults)
        return web.json_response(faults.fields())


async def _stream(request: web.Request, stream: Stream, answer: Answer) -> web.StreamResponse:
    """The answer as server-sent events, one per token; several in one write where the client lags behind."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
    await response.prepare(request)
    sent = 0
    while stream.finish is None or sent < stream.tokens:
        await stream.more(sent)
        pieces = [answer.opening()] if sent == 0 else []
        while sent < stream.tokens:
            sent += 1
            pieces.append(answer.piece(sent, stream.finish if sent == stream.tokens else None))
        if stream.finish is not None:
            pieces.append(answer.closing(sent))
        await response.write(b"".join(pieces))
    await response.write_eof()
    return response


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every error, aiohttp's own too, in the shape that OpenAI's clients understand."""
    try:
        return await handler(request)
    except ApiError as error:
        failure = error
    except web.HTTPException as error:
        kind = "NotFoundError" if error.status == 404 else "BadRequestError"
        failure = ApiError(error.status, f"{request.method} {request.path}: {error.reason}", kind=kind)
    return web.Response(status=failure.status, body=failure.body(), content_type="application/json")
