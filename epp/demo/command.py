"""`epp demo`: the same overload twice, through the picker and through Envoy alone, and what that shows.

Promises:
- The exit status is 0 if and only if every check of the verdict was kept (130 and 143: stopped by a signal).
- However it ends, no process stays behind.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from epp.quickstart.children import ChildError
from epp.quickstart.envoy import BodyMode
from epp.quickstart.ports import NoFreePortError
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy

if TYPE_CHECKING:
    import argparse
    from collections.abc import Coroutine
    from typing import Any

_T = TypeVar("_T")

_NOT_KEPT, _INTERRUPTED, _TERMINATED = 1, 130, 143


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--duration",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="of traffic in each half (default: 30)",
    )
    parser.add_argument(
        "--overload",
        type=float,
        default=2.5,
        metavar="TIMES",
        help="offered load, in capacities (default: 2.5)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of arrivals and servers (default: 1)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-report"), metavar="DIR", help="default: demo-report"
    )
    parser.add_argument(
        "--hold", action="store_true", help="keep everything up at the end; with --duration 0 at once"
    )
    parser.add_argument("--envoy", type=Path, metavar="PATH", help="use this Envoy, not the wheel's")
    parser.add_argument(
        "--envoy-profile",
        choices=[mode.value for mode in BodyMode],
        default=BodyMode.DUPLEX.value,
        help="whether responses pass through the picker (duplex, the default) or not (lean)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo; the exit status."""
    try:
        from epp.demo.course import Course, CourseError, Options  # noqa: PLC0415 - needs optional packages
    except ModuleNotFoundError as error:
        return _fail(f"the package {error.name} is missing: pip install 'epp[demo]'")
    try:
        options = Options(
            binary=find_envoy(args.envoy),
            directory=args.out,
            duration_s=args.duration,
            overload=args.overload,
            seed=args.seed,
            body_mode=BodyMode(args.envoy_profile),
            hold=args.hold,
        )
        kept = asyncio.run(_until_terminated(Course(options).run()))
    except (CourseError, ChildError, EnvoyNotFoundError, NoFreePortError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except asyncio.CancelledError:
        return _TERMINATED
    return 0 if kept else _NOT_KEPT


async def _until_terminated(work: Coroutine[Any, Any, _T]) -> _T:
    """Let SIGTERM end the work as Ctrl-C does: in order."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def _fail(message: str) -> int:
    sys.stderr.write(f"epp demo: {message}\n")
    return _NOT_KEPT
