"""`epp`: what a person types. Each command lives in a room of its own and is imported only when it is called."""

from __future__ import annotations

import importlib
import sys

from epp import __version__
from epp.serve.settings import FlagParser

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("epp.serve.command", "run the picker"),
    "demo": ("epp.demo.command", "everything on this machine: Envoy, model servers, an overload, a verdict"),
    "init": ("epp.quickstart.command", "write objects.yaml, config.yaml and envoy.yaml for your own servers"),
    "sim": ("epp.sim.command", "simulated model servers"),
    "replay": ("epp.replay.command", "decide a recording again, or try other configurations on it"),
    "validate": ("epp.validate", "check a configuration and manifests, with line numbers"),
}
ARGUMENTS = {"init": "HOST:PORT... ", "replay": "[LOG] "}
"""What commands take besides flags."""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    parser = FlagParser(
        prog="epp",
        description="An Endpoint Picker for LLM inference pools.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"epp {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=summary.capitalize() + ".",
            usage=f"epp {name} {ARGUMENTS.get(name, '')}[flags]",
            allow_abbrev=False,
        )
        if name in words[:1]:
            importlib.import_module(module).add_arguments(subparser)
    args, unknown = parser.parse_known_args(words)
    if unknown:
        subparsers.choices[args.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        status: int = importlib.import_module(COMMANDS[args.command][0]).run(args)
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
