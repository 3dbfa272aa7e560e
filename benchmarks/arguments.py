"""What a person types after `python -m benchmarks`, as values. Mistakes end with status 2 and name what was meant."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchmarks.scenarios.loading import Size
from epp.config.problems import nearest, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = Path(__file__).parents[1]
_OUT = Path("bench-report")
_COMMANDS = ("run", "list", "trace", "page")


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """The cost table and all shipped scenarios, or the quick choice of both."""

    quick: bool
    out: Path
    envoy: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSome:
    """Some scenarios."""

    scenarios: tuple[str, ...]
    targets: tuple[str, ...]
    """Empty: those that each scenario names."""
    rounds: int | None
    size: Size
    seed: int | None
    behaviour_only: bool
    server_port: int | None
    out: Path
    envoy: Path | None


@dataclass(frozen=True, slots=True)
class ListAll:
    """What scenarios there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTrace:
    """A scenario's plan as a trace file."""

    scenario: str
    size: Size
    seed: int | None
    out: Path | None
    """None: named after the scenario."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WritePages:
    """The docs' generated parts and figures."""

    report: Path | None
    """A new report to show from now on; None: the committed one."""
    root: Path


Command = Everything | RunSome | ListAll | WriteTrace | WritePages


def parse(argv: Sequence[str]) -> Command:
    """The command; exits with status 2 if there is no such command."""
    first = next(iter(argv), "")
    if first in _COMMANDS or (first and not first.startswith("-")):
        return _subcommand(argv)
    return _everything(argv)


class _Parser(argparse.ArgumentParser):
    """One that says which option was probably meant."""

    def error(self, message: str) -> NoReturn:
        _, _, unknown = message.partition("unrecognized arguments: ")
        options = [option for action in self._actions for option in action.option_strings]
        near = [nearest(word, options) for word in unknown.split() if word.startswith("-")]
        meant = ", ".join(word for word in near if word is not None)
        super().error(f"{message}; did you mean {meant}?" if meant else message)


def _everything(argv: Sequence[str]) -> Everything:
    parser = _Parser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure the picker: the cost table beside a bare server, and all scenarios. Exit status 1 if a "
        "bound or a\npass line is missed, or something could not be measured.",
        epilog="Single scenarios and more: python -m benchmarks {run,list,trace,page} --help",
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="a choice of both, within two minutes")
    _add_common(parser)
    typed = parser.parse_args(argv)
    return Everything(quick=typed.quick, out=typed.out, envoy=typed.envoy)


def _subcommand(argv: Sequence[str]) -> Command:
    name, *rest = argv
    match name:
        case "run":
            return _run(rest)
        case "list":
            _parser(name, "Show the shipped scenarios, what each asks, and its targets.").parse_args(rest)
            return ListAll()
        case "trace":
            return _trace(rest)
        case "page":
            return _page(rest)
        case _:
            return _no_such(name)


def _no_such(name: str) -> NoReturn:
    parser = _Parser(
        prog="python -m benchmarks", usage="python -m benchmarks [--quick | run | list | trace | page] ..."
    )
    parser.error(
        f"{name!r} is no command{suggest(name, _COMMANDS)} Scenarios are played with: python -m benchmarks run {name}"
    )


def _run(argv: Sequence[str]) -> RunSome:
    parser = _parser("run", "Play scenarios: shipped ones by name, your own by file.")
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO|FILE")
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="TARGET",
        help="picker, picker:lean, picker:native, picker:grpcio, envoy:least-request, envoy:round-robin, direct, or "
        "extproc=HOST:PORT[,lean][,tls][,pid=N][,name=NAME]; again for more (default: what the scenario names)",
    )
    parser.add_argument(
        "--rounds", type=_at_least_one, metavar="N", help="of each target (default: the scenario's)"
    )
    _add_size(parser)
    parser.add_argument("--behaviour-only", action="store_true", help="judge no pass line that is about time")
    parser.add_argument(
        "--server-port",
        type=_port,
        metavar="N",
        help="fixed ports for the simulated servers, for a picker that must know them: see docs/performance.md",
    )
    _add_common(parser)
    typed = parser.parse_args(argv)
    return RunSome(
        scenarios=tuple(typed.scenarios),
        targets=tuple(typed.target),
        rounds=typed.rounds,
        size=Size(typed.size),
        seed=typed.seed,
        behaviour_only=typed.behaviour_only,
        server_port=typed.server_port,
        out=typed.out,
        envoy=typed.envoy,
    )


def _trace(argv: Sequence[str]) -> WriteTrace:
    parser = _parser("trace", "Write a scenario's requests as a trace file (JSONL), to be read or changed.")
    parser.add_argument("scenario", metavar="SCENARIO|FILE")
    _add_size(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="(default: NAME.jsonl)")
    typed = parser.parse_args(argv)
    return WriteTrace(scenario=typed.scenario, size=Size(typed.size), seed=typed.seed, out=typed.out)


def _page(argv: Sequence[str]) -> WritePages:
    parser = _parser(
        "page",
        "Write docs/performance.md's and the README's generated parts, and their figures, from the committed report.",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="commit this report.json first, in its compact form"
    )
    parser.add_argument("--root", type=Path, default=_ROOT, metavar="DIR", help="of the tree (%(default)s)")
    typed = parser.parse_args(argv)
    return WritePages(report=typed.report, root=typed.root)


def _parser(name: str, description: str) -> _Parser:
    return _Parser(prog=f"python -m benchmarks {name}", description=description, allow_abbrev=False)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=_OUT, metavar="DIR", help="where reports go (%(default)s)"
    )
    parser.add_argument("--envoy", type=Path, metavar="PATH", help="use this Envoy, not the wheel's")


def _add_size(parser: argparse.ArgumentParser) -> None:
    sizes = [size.value for size in Size]
    parser.add_argument("--size", choices=sizes, default=Size.FULL.value, help="(default: %(default)s)")
    parser.add_argument("--seed", type=_whole, metavar="N", help="(default: the scenario's)")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def _at_least_one(text: str) -> int:
    number = _whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} rounds measure nothing: give 1 or more")
    return number


def _port(text: str) -> int:
    number = _whole(text)
    if not 1024 <= number <= 65_000:
        raise argparse.ArgumentTypeError(f"{text} is no port for servers: give 1024 to 65000")
    return number
