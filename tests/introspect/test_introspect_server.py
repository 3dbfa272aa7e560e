"""The introspection service, from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from epp.core.questions import Hashing, Question, Topic
from epp.introspect import server as server_module
from epp.introspect.server import METHODS, IntrospectionServer, IntrospectionSettings
from epp.introspect.wire import introspection_pb2 as wire
from tests.introspect.asking import TENANTS, Picker, busy, serving

LISTS = {
    "ListBands": "bands",
    "ListFlows": "flows",
    "ListQueued": "queued",
    "ListRunning": "running",
    "ListEndpoints": "endpoints",
}


async def everything(client: Any, name: str, **fields: Any) -> list[Any]:
    """All pages of a list."""
    found: list[Any] = []
    token = ""
    while True:
        page = await client.call(name, page_token=token, **fields)
        found += getattr(page, LISTS[name])
        token = page.next_page_token
        if not token:
            return found


def test_every_method_of_the_service_is_answered() -> None:
    """What the .proto names is what the server serves, with the messages that it names."""
    described = wire.DESCRIPTOR.services_by_name["Introspection"]
    assert {
        method.name: (method.input_type.name, method.output_type.name) for method in described.methods
    } == {
        name: (method.request.DESCRIPTOR.name, method.response.DESCRIPTOR.name)
        for name, method in METHODS.items()
    }
    assert described.full_name == server_module.SERVICE
    assert {method.topic for method in METHODS.values()} == set(Topic)


@pytest.mark.parametrize("name", LISTS)
async def test_lists_page_by_page(name: str) -> None:
    """Pages of two put together are the list."""
    async with serving(Picker()) as client:
        whole = await client.call(name, page_size=1000)
        assert await everything(client, name, page_size=2) == list(getattr(whole, LISTS[name]))
        assert (len(getattr(whole, LISTS[name])), whole.next_page_token, whole.now_s) == (
            {"ListBands": 3, "ListFlows": 12, "ListQueued": 28, "ListRunning": 2, "ListEndpoints": 2}[name],
            "",
            20.0,
        )


async def test_a_call_asks_what_it_says() -> None:
    """Every field of a request is one of the question's; a priority of 0 is not the same as none."""
    picker = Picker()
    async with serving(picker) as client:
        await client.call(
            "ListQueued", page_size=7, page_token="queued:3", hash_flow_ids=True, priority=0, fairness_id=""
        )
        await client.call("ListQueued")
        await client.call("GetRequest", request_id=12, hash_flow_ids=True)
    assert picker.asked == [
        (
            Topic.QUEUED,
            Question(page_size=7, page_token="queued:3", hash_flow_ids=True, priority=0, fairness_id=""),
        ),
        (Topic.QUEUED, Question()),
        (Topic.REQUEST, Question(request_id=12, hash_flow_ids=True)),
    ]


async def test_a_story_is_told_as_one_of_three() -> None:
    """Which one, the oneof says."""
    picker = Picker()
    async with serving(picker) as client:
        stories = [await client.call("GetRequest", request_id=number) for number in (1, 2, 30, 31)]
    assert [each.WhichOneof("story") for each in stories] == ["running", "running", "queued", "unknown"]
    assert stories[2].queued.request.wait_reason == "higher_priority"
    assert stories[3].unknown.request_id == 31


async def test_no_limit_is_told_by_leaving_it_out() -> None:
    """A request without a time to live has none left to tell of; one with 0 s left would say 0."""
    async with serving(Picker()) as client:
        queued = {entry.request_id: entry for entry in await everything(client, "ListQueued")}
    assert not queued[30].HasField("ttl_left_s")
    assert queued[29].HasField("ttl_left_s")
    assert queued[29].ttl_left_s == pytest.approx(60.0 - 17.1)


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"page_size": 1001}, "page_size: '1001'"), ({"page_token": "nonsense"}, "page_token: 'nonsense'")],
)
@pytest.mark.parametrize("name", LISTS)
async def test_a_bad_call_is_told_what_to_do(name: str, fields: dict[str, Any], told: str) -> None:
    """An invalid argument is named, with its value and the remedy."""
    async with serving(Picker()) as client:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await client.call(name, **fields)
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = failed.value.details() or ""
    assert details.startswith(told)
    assert len(details) > len(told) + 10


@pytest.mark.parametrize("how", ["asked", "forced"])
async def test_hashed_ids_stay_at_home(how: str) -> None:
    """On request or by the operator's setting, no message holds a flow id."""
    picker = Picker(hashing=Hashing.FORCED if how == "forced" else Hashing.ON_REQUEST)
    fields: dict[str, Any] = {} if how == "forced" else {"hash_flow_ids": True}
    async with serving(picker) as client:
        answers = [
            await client.call("ListFlows", page_size=2, **fields),
            await client.call("ListQueued", **fields),
            await client.call("ListRunning", **fields),
            *[await client.call("GetRequest", request_id=number, **fields) for number in range(1, 31)],
        ]
    sent = b"".join(answer.SerializeToString() for answer in answers)
    assert not [tenant for tenant in TENANTS if len(tenant) > 3 and tenant.encode() in sent]


async def test_the_loop_goes_on_while_a_long_answer_is_written() -> None:
    """Other work gets its turn between any two pieces."""
    picker = Picker(busy(900, ttl_s=0.0))
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    said = picker.ask(Topic.QUEUED, Question(page_size=1000))
    working = asyncio.create_task(other_work())
    response = await server_module._written(said, wire.ListQueuedResponse())
    working.cancel()
    assert len(response.queued) == 500  # type: ignore[attr-defined]
    assert turns >= 5


async def test_more_calls_than_it_takes_on_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking can't crowd out the work: one call too many is told so, and the others are answered."""
    may_go_on = asyncio.Event()

    async def written(said: Any, response: Any) -> Any:
        del said
        await may_go_on.wait()
        return response

    monkeypatch.setattr(server_module, "_written", written)
    async with serving(Picker(), most_calls=2) as client:
        codes = [asyncio.ensure_future(client.call("ListBands").code()) for _ in range(3)]
        done, _ = await asyncio.wait(codes, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        may_go_on.set()
        assert sorted(code.name for code in await asyncio.gather(*codes)) == [
            "OK",
            "OK",
            "RESOURCE_EXHAUSTED",
        ]


async def test_a_call_that_is_too_long_is_refused() -> None:
    """Nobody's message has to be read that no question needs."""
    async with serving(Picker()) as client:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await client.call("ListQueued", page_token="x" * 100_000)
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_port_that_is_taken_names_the_flag() -> None:
    """Whoever starts a second one on the same port is told what to change."""
    first = IntrospectionServer(Picker().ask, settings=IntrospectionSettings(port=0, host="127.0.0.1"))
    await first.start()
    second = IntrospectionServer(
        Picker().ask, settings=IntrospectionSettings(port=first.port, host="127.0.0.1")
    )
    with pytest.raises(OSError, match="--introspection-port"):
        await second.start()
    await second.stop()
    await first.stop()
    await first.stop()
