"""`epp init HOST:PORT... --out DIR`: everything that one's own model servers need to stand behind the picker.

It writes three files that run as they are, or none at all: a wrong address, or a file that is already there and
was not to be replaced, is found before the first is written.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from epp.quickstart.address import AddressError, parse_address, resolve
from epp.quickstart.envoy import DEFAULT_LISTEN, BodyMode, EnvoySettings, Picked, render
from epp.quickstart.manifests import EXAMPLE_OBJECTIVES, Utilization, render_config, render_objects
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from epp.quickstart.address import Server

_POOL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OBJECTS, _CONFIG, _ENVOY = "objects.yaml", "config.yaml", "envoy.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "servers", nargs="+", metavar="HOST:PORT", help="a model server, as in 10.0.0.5:8000 or gpu1:8000"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where the files go (default: here)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are already there")
    parser.add_argument("--pool-name", default="my-pool", metavar="NAME", help="default: my-pool")
    parser.add_argument(
        "--envoy-profile",
        choices=[mode.value for mode in BodyMode],
        default=BodyMode.DUPLEX.value,
        help="duplex (default): the picker sees responses, and so their token counts; lean: it doesn't, "
        "which costs less",
    )


def run(args: argparse.Namespace) -> int:
    """Write the files and say what to do with them; the exit status."""
    try:
        servers = tuple(resolve(parse_address(text)) for text in args.servers)
        files = _files(servers, pool_name=args.pool_name, mode=BodyMode(args.envoy_profile))
        _write(files, directory=args.out, replace=args.force)
    except (AddressError, _RefusedError) as error:
        sys.stderr.write(f"epp init: {error}\n")
        return 1
    sys.stdout.write(_next_steps(servers, args.out))
    return 0


class _RefusedError(Exception):
    """The command can't be carried out; the message says what to change."""


def _files(servers: tuple[Server, ...], *, pool_name: str, mode: BodyMode) -> dict[str, str]:
    if _POOL_NAME.fullmatch(pool_name) is None:
        raise _RefusedError(
            f"--pool-name {pool_name!r}: at most 63 lower-case letters, digits and hyphens, as in my-pool"
        )
    return {
        _OBJECTS: render_objects(pool_name, servers),
        _CONFIG: render_config(Utilization()),
        _ENVOY: render(EnvoySettings(routing=Picked(body_mode=mode))),
    }


def _write(files: Mapping[str, str], *, directory: Path, replace: bool) -> None:
    present = [name for name in files if (directory / name).exists()]
    if present and not replace:
        raise _RefusedError(
            f"{', '.join(present)} in {directory.absolute()}: already there. "
            "Give another --out, or --force to replace"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise _RefusedError(f"cannot write to {directory.absolute()}: {error.strerror}") from error


def _next_steps(servers: tuple[Server, ...], directory: Path) -> str:
    objects, config, envoy = (shlex.quote(str(directory / name)) for name in (_OBJECTS, _CONFIG, _ENVOY))
    names = {server.written.host: server.address.host for server in servers}
    resolved = "".join(f"  {name} is {ip}\n" for name, ip in names.items() if name != ip)
    try:
        binary, hint = shlex.quote(str(find_envoy())), ""
    except EnvoyNotFoundError as error:
        binary, hint = "envoy", f"\n{error}\n"
    objective = next(iter(EXAMPLE_OBJECTIVES))
    return f"""\
Wrote {_OBJECTS}, {_CONFIG} and {_ENVOY} to {directory.absolute()}
{resolved}
Next, the picker and Envoy, each in a terminal of its own:

  epp serve --objects {objects} --config-file {config}
  {binary} -c {envoy}

and a request, with the name of a model that your servers have:

  curl http://127.0.0.1:{DEFAULT_LISTEN.port}/v1/chat/completions \\
    -H 'content-type: application/json' -H 'x-llm-d-inference-objective: {objective}' \\
    -d '{{"model": "MODEL", "messages": [{{"role": "user", "content": "Hello"}}]}}'
{hint}"""
