"""What a request costs while it waits: thousands of them do, each with its stream."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from epp.config.build import build
from epp.config.parse import default_config
from epp.core import Controller
from epp.extproc.exchange import Exchange
from epp.extproc.ingress import Picker
from epp.extproc.request import ConversationSettings
from epp.extproc.wire import ext_proc_pb2 as wire
from epp.observe.limiter import RateLimitedLog
from epp.observe.metrics import Build, Metrics, Sources
from epp.serve.bookkeeping import Bookkeeping
from epp.serve.director import Director, DirectorSettings

BODY = b'{"model":"llama","messages":[{"role":"user","content":"%s"}]}' % (b"hello " * 170)
HELD = 500
MOST_BYTES = 2_400
"""Of 3 KiB that a held stream may take besides its body; the rest is the transport's."""


class Stream(Exchange):
    """A transport without a wire."""

    __slots__ = ()

    def wake(self) -> None:
        """Nobody is ever dispatched here."""


def a_director(loop: asyncio.AbstractEventLoop) -> Director:
    """As `serve` makes it, on a pool without endpoints."""
    policy = build(default_config(), seed=0, refresh_interval_s=0.2, memory_limit_bytes=2**30).policy
    controller = Controller(policy, now=loop.time())
    metrics = Metrics(
        sources=Sources(
            pool_name=lambda: "pool",
            detector=lambda: "detector",
            statistics=lambda: controller.statistics(loop.time()),
            scrape_failures=dict,
        ),
        build=Build(commit="", build_ref="test"),
        clock=loop.time,
    )
    return Director(
        controller,
        settings=DirectorSettings(policy=policy),
        objective=lambda _: None,
        scrape_now=lambda _: None,
        bookkeeping=Bookkeeping(metrics, RateLimitedLog(clock=loop.time), clock=loop.time),
        loop=loop,
    )


def messages(number: int) -> list[bytes]:
    """What Envoy sends of one request, as its own bytes objects."""
    headers = {
        ":path": "/v1/chat/completions",
        ":method": "POST",
        "content-type": "application/json",
        "x-request-id": f"request-{number}",
        "x-llm-d-inference-fairness-id": f"tenant-{number % 10}",
        "user-agent": "a client",
    }
    first = wire.ProcessingRequest()
    for key, value in headers.items():
        first.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    first.protocol_config.request_body_mode = wire.FULL_DUPLEX_STREAMED
    first.protocol_config.response_body_mode = wire.FULL_DUPLEX_STREAMED
    body = wire.ProcessingRequest(request_body=wire.HttpBody(body=BODY))
    end = wire.ProcessingRequest(request_body=wire.HttpBody(end_of_stream=True))
    return [message.SerializeToString() for message in (first, body, end)]


async def test_a_held_request_takes_little_besides_its_body() -> None:
    """From its conversation to the core: what is only wanted to decide whether to queue it is let go."""
    loop = asyncio.get_running_loop()
    director = a_director(loop)
    clock, settings = loop.time, ConversationSettings()
    held = [_hold(director, settings, clock, number) for number in range(50)]
    gc.collect()
    tracemalloc.start()
    try:
        held += [_hold(director, settings, clock, number) for number in range(HELD)]
        gc.collect()
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert director.open_requests == HELD + 50
    assert taken_bytes / HELD - len(BODY) < MOST_BYTES
    for stream in held:
        stream.reset()
    assert director.open_requests == 0
    director.close()


def _hold(director: Picker, settings: ConversationSettings, clock: object, number: int) -> Stream:
    assert callable(clock)
    stream = Stream(settings, picker=director, clock=clock)
    for message in messages(number):
        stream.receive(message)
    assert stream.next_message() is None
    stream.settle()
    return stream
