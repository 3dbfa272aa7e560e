"""A picker that is looked at, and a client that looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from epp.core import Controller
from epp.core.events import ObjectivesChanged
from epp.core.policy import BandPolicy
from epp.core.questions import Answer, Hashing, Inspector, Question, Topic
from epp.introspect.server import METHODS, SERVICE, IntrospectionServer, IntrospectionSettings
from tests.core.building import ROUND_ROBIN, A, B, controller, request, scraped

TENANTS = ("alice@example.com", "bob", "Ünïcode", "dee")


class Picker:
    """A controller with work queued, and what answers questions about it."""

    def __init__(self, core: Controller | None = None, *, hashing: Hashing = Hashing.ON_REQUEST) -> None:
        self.core = core or busy()
        self.now = 20.0
        self.asked: list[tuple[Topic, Question]] = []
        self._inspector = Inspector(self.core, salt=b"salt", hashing=hashing)

    def ask(self, topic: Topic, question: Question) -> Answer:
        """What adapters call."""
        self.asked.append((topic, question))
        return self._inspector.answer(topic, question, self.now)


def busy(requests: int = 30, **changes: Any) -> Controller:
    """Three bands, four tenants, one endpoint with metrics and one without."""
    core = controller(
        A, B, bands={5: BandPolicy(ROUND_ROBIN.fairness, ROUND_ROBIN.ordering, max_requests=999)}, **changes
    )
    core.handle(ObjectivesChanged(frozenset({5, -5})), 0.0)
    core.handle(scraped(A, 0.0, waiting=2, running=3), 0.0)
    for number in range(1, requests + 1):
        core.handle(
            request(
                number, 5 * (number % 3 - 1), TENANTS[number % 4], ttl_s=0.0 if number % 5 == 0 else None
            ),
            number / 10,
        )
    return core


class Client:
    """Calls by name."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def call(self, name: str, **fields: Any) -> Any:
        """One call, to be awaited."""
        method = METHODS[name]
        rpc: Any = self._channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return rpc(method.request(**fields))


@asynccontextmanager
async def serving(picker: Any, **settings: Any) -> AsyncIterator[Client]:
    """The service on a free port, and a client of it."""
    server = IntrospectionServer(
        picker.ask, settings=IntrospectionSettings(port=0, host="127.0.0.1", **settings)
    )
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Client(channel)
    finally:
        await server.stop()
