"""The simulated server, over real connections and with a real client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import openai
import pytest

from epp.sim.faults import FaultError, Faults, MetricsFault, RequestFault
from epp.sim.model import ServiceModel
from epp.sim.server import SERVER_HEADER, SimServer

FAST = ServiceModel(step_s=0.001, sequence_s=0.0, prefill_token_s=0.000001)
SLOW = ServiceModel(step_s=0.02, max_sequences=2)
CHAT = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def server() -> AsyncIterator[SimServer]:
    """A quick server."""
    async with SimServer(model=FAST, seed=5) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


def client_of(server: SimServer) -> openai.AsyncOpenAI:
    """OpenAI's client, with no retries to hide behind."""
    return openai.AsyncOpenAI(base_url=f"http://{server.address}/v1", api_key="none", max_retries=0)


async def eventually(true: Callable[[], bool]) -> None:
    """Returns as soon as something is true; fails after ten seconds."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is awaited happens in a server that has no event for it
            await asyncio.sleep(0.005)


async def test_openais_client_gets_a_whole_answer(server: SimServer) -> None:
    """A chat and a completion have the length asked for, their usage, and the server's name."""
    async with client_of(server) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="sim-model",
            messages=[{"role": "user", "content": "hello"}],
            max_tokens=7,
            extra_body={"ignore_eos": True},
        )
        chat = raw.parse()
        completion = await client.completions.create(model="sim-model", prompt="hello", max_tokens=3)
    assert raw.headers[SERVER_HEADER] == server.address
    assert chat.choices[0].finish_reason == "length"
    assert len((chat.choices[0].message.content or "").split()) == 7
    assert chat.usage is not None
    assert (chat.usage.prompt_tokens, chat.usage.completion_tokens, chat.usage.total_tokens) == (2, 7, 9)
    assert len(completion.choices[0].text.split()) == 3


async def test_openais_client_gets_a_stream(server: SimServer) -> None:
    """Streamed, an answer comes in one chunk per token, and usage comes last when asked for."""
    async with client_of(server) as client:
        stream = await client.chat.completions.create(
            model="sim-model",
            messages=[{"role": "user", "content": "hello"}],
            max_completion_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        chunks = [chunk async for chunk in stream]
        text = [
            chunk.choices[0].delta.content
            async for chunk in await client.chat.completions.create(
                model="sim-model", messages=[{"role": "user", "content": "hello"}], stream=True
            )
        ]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) == 20
    assert chunks[-2].choices[0].finish_reason == "length"
    assert len(text) > 1
    assert server.truth().output_tokens == 20 + len(text) - 1


async def test_many_streams_at_once_all_get_their_tokens(server: SimServer) -> None:
    """Sixty streams share 32 places: every one is complete, and the engine never ran more."""
    async with client_of(server) as client:

        async def one(tokens: int) -> int:
            stream = await client.completions.create(
                model="sim-model", prompt="x", max_tokens=tokens, stream=True, extra_body={"ignore_eos": True}
            )
            return len([chunk async for chunk in stream])

        server.set_faults(Faults(requests=RequestFault.STALL))
        streams = asyncio.gather(*(one(number) for number in range(1, 61)))
        await eventually(lambda: server.truth().submitted == 60)
        server.set_faults(Faults())
        assert await streams == list(range(1, 61))
    truth = server.truth()
    assert (truth.finished, truth.max_running, truth.aborted) == (60, 32, 0)


async def test_a_client_that_goes_away_frees_its_place(http: aiohttp.ClientSession) -> None:
    """Hanging up aborts the request in the engine, running or waiting, streamed or not."""
    async with SimServer(model=SLOW) as server:
        url = f"http://{server.address}/v1/chat/completions"

        async def ask(*, stream: bool) -> None:
            body = {**CHAT, "max_tokens": 8000, "ignore_eos": True, "stream": stream}
            async with http.post(url, json=body) as response:
                await response.read()

        asks = [asyncio.create_task(ask(stream=number % 2 == 0)) for number in range(6)]
        await eventually(
            lambda: server.truth().timeline[-1:] != () and server.truth().timeline[-1][1:] == (4, 2)
        )
        for task in asks:
            task.cancel()
        await eventually(lambda: server.truth().aborted == 6)
        await asyncio.gather(*asks, return_exceptions=True)
        assert server.truth().timeline[-1][1:] == (0, 0)


async def test_closing_leaves_nothing_behind() -> None:
    """With streams open, close returns soon, frees the port, and no task of the server is left."""
    before = asyncio.all_tasks()
    server = SimServer(model=SLOW)
    await server.start()
    reader, writer = await asyncio.open_connection(*server.address.split(":"))
    body = json.dumps({**CHAT, "stream": True, "max_tokens": 8000, "ignore_eos": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    await server.close()
    assert b"[DONE]" not in await reader.read()
    writer.close()
    await writer.wait_closed()
    assert asyncio.all_tasks() == before
    with pytest.raises(OSError):  # noqa: PT011 - whatever the system says to a port without a listener
        await asyncio.open_connection(*server.address.split(":"))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/nothing", None, 404, "GET /nothing: Not Found"),
        ("GET", "/v1/chat/completions", None, 405, "Method Not Allowed"),
        ("POST", "/v1/chat/completions", b"{", 400, "not JSON"),
        (
            "POST",
            "/v1/chat/completions",
            json.dumps({**CHAT, "max_tokens": 9000}).encode(),
            400,
            "8192 tokens",
        ),
        ("POST", "/v1/completions", b'{"prompt": "x", "model": "gpt-9"}', 404, "`gpt-9` does not exist"),
        ("POST", "/sim/faults", b"{", 400, "not JSON"),
        ("POST", "/sim/faults", b'{"metrics": "odd"}', 400, "none, garbage, error, slow"),
        ("POST", "/sim/faults", b'{"metric": "none"}', 400, "metrics, metrics_delay_s, requests"),
    ],
)
async def test_errors_have_openais_shape(
    server: SimServer,
    http: aiohttp.ClientSession,
    *,
    method: str,
    path: str,
    body: bytes | None,
    status: int,
    words: str,
) -> None:
    """Whatever is wrong, the answer is JSON with error.message, and carries the server's name."""
    async with http.request(method, f"http://{server.address}{path}", data=body) as response:
        assert response.status == status
        assert response.headers[SERVER_HEADER] == server.address
        error = (await response.json())["error"]
    assert words in error["message"]
    assert error["code"] == status


async def test_models_and_health(http: aiohttp.ClientSession) -> None:
    """The models are listed with their length; health is 503 until the model is loaded."""
    now = 100.0
    async with SimServer(
        model=ServiceModel(startup_s=20.0), model_names=("a", "b"), clock=lambda: now
    ) as server:
        async with http.get(f"http://{server.address}/v1/models") as response:
            listed = (await response.json())["data"]
        assert [(entry["id"], entry["max_model_len"]) for entry in listed] == [("a", 8192), ("b", 8192)]
        async with http.get(f"http://{server.address}/health") as response:
            assert response.status == 503
        now = 120.0
        async with http.get(f"http://{server.address}/health") as response:
            assert response.status == 200


async def test_the_page_and_the_truth_tell_of_the_engine(
    server: SimServer, http: aiohttp.ClientSession
) -> None:
    """After some requests the metrics page and the truth have the same counts."""
    async with client_of(server) as client:
        await asyncio.gather(
            *(client.completions.create(model="sim-model", prompt="x", max_tokens=4) for _ in range(5))
        )
    async with http.get(f"http://{server.address}/metrics") as response:
        page = await response.text()
    async with http.get(f"http://{server.address}/sim/truth") as response:
        truth = await response.json()
    async with http.get(f"http://{server.address}/sim/truth?timeline") as response:
        timeline = (await response.json())["timeline"]
    assert truth["submitted"] == truth["finished"] == 5
    assert truth["idle_slot_s"] > 0
    assert "timeline" not in truth
    assert [tuple(change) for change in timeline] == list(server.truth().timeline)
    labels = 'engine="0",model_name="sim-model"'
    assert f"vllm:generation_tokens_total{{{labels}}} {float(truth['output_tokens'])}\n" in page
    assert f"vllm:e2e_request_latency_seconds_count{{{labels}}} 5.0\n" in page
    assert f"vllm:time_to_first_token_seconds_count{{{labels}}} 5.0\n" in page
    assert f"vllm:num_requests_running{{{labels}}} 0.0\n" in page


async def test_peaks_can_be_forgotten_while_it_runs(server: SimServer, http: aiohttp.ClientSession) -> None:
    """The answer is the truth, with peaks that begin anew; counts go on."""
    async with client_of(server) as client:
        await client.completions.create(model="sim-model", prompt="x", max_tokens=4)
    async with http.get(f"http://{server.address}/sim/truth") as response:
        before = await response.json()
    async with http.post(f"http://{server.address}/sim/peaks") as response:
        after = await response.json()
    assert before["max_running"] == 1
    assert before["max_kv_utilization"] > 0
    assert (after["max_running"], after["max_kv_utilization"], after["submitted"]) == (0, 0.0, 1)
    assert after.keys() == before.keys()


async def test_servers_in_one_process_are_independent(http: aiohttp.ClientSession) -> None:
    """Two servers have two ports, two names and two engines."""
    async with SimServer(model=FAST) as one, SimServer(model=FAST) as two:
        assert one.address != two.address
        async with http.post(f"http://{two.address}/v1/chat/completions", json=CHAT) as response:
            assert response.headers[SERVER_HEADER] == two.address
        assert (one.truth().submitted, two.truth().submitted) == (0, 1)


async def test_a_taken_port_is_an_error(server: SimServer) -> None:
    """A port on which somebody listens can't be had, and nothing is left of the attempt."""
    before = asyncio.all_tasks()
    with pytest.raises(OSError, match="in use"):
        await SimServer(port=int(server.address.rpartition(":")[2])).start()
    assert asyncio.all_tasks() == before


async def test_faults_can_be_switched_while_it_runs(server: SimServer, http: aiohttp.ClientSession) -> None:
    """The page turns to garbage, to an error, late; requests fail; and everything is well again afterwards."""
    base = f"http://{server.address}"

    async def switch(**fields: object) -> None:
        async with http.post(f"{base}/sim/faults", json=fields) as response:
            assert response.status == 200
        async with http.get(f"{base}/sim/faults") as response:
            assert (await response.json()).items() >= fields.items()

    async def get_page() -> tuple[int, bool]:
        async with http.get(f"{base}/metrics") as response:
            return response.status, b"vllm:num_requests_waiting{" in await response.read()

    assert await get_page() == (200, True)
    await switch(metrics="garbage")
    assert await get_page() == (200, False)
    await switch(metrics="error", requests="error")
    assert await get_page() == (500, False)
    async with http.post(f"{base}/v1/chat/completions", json=CHAT) as response:
        assert response.status == 500
    assert server.truth().submitted == 0
    await switch(metrics="slow", metrics_delay_s=0.2)
    begun_s = asyncio.get_running_loop().time()
    assert await get_page() == (200, True)
    assert asyncio.get_running_loop().time() - begun_s > 0.19
    await switch()
    assert server.faults == Faults()
    async with http.post(f"{base}/v1/chat/completions", json=CHAT) as response:
        assert response.status == 200


async def test_a_stalled_server_goes_on_where_it_was(http: aiohttp.ClientSession) -> None:
    """A request to a stalled server gets no token until the stall ends, and then all of them."""
    async with SimServer(model=FAST, faults=Faults(requests=RequestFault.STALL)) as server:
        body = {**CHAT, "max_tokens": 3, "ignore_eos": True}
        asked = asyncio.create_task(
            http.post(f"http://{server.address}/v1/chat/completions", json=body).__aenter__()
        )
        await eventually(lambda: server.truth().submitted == 1)
        await asyncio.sleep(0.05)  # fifty steps of a server that works
        assert server.truth().output_tokens == 0
        server.set_faults(Faults())
        response = await asked
        assert (await response.json())["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    "fields", [[], {"metrics": 1}, {"requests": "slow"}, {"metrics_delay_s": "1"}, {"metrics_delay_s": -1}]
)
def test_faults_that_do_not_exist_are_refused(fields: object) -> None:
    """Unknown faults raise an error rather than doing nothing."""
    with pytest.raises(FaultError, match=r"expected"):
        Faults.parse(fields)


def test_faults_survive_their_own_json() -> None:
    """What `fields` gives, `parse` takes."""
    faults = Faults(metrics=MetricsFault.SLOW, metrics_delay_s=1.5, requests=RequestFault.ERROR)
    assert Faults.parse(json.loads(json.dumps(faults.fields()))) == faults
