"""`epp replay`: a recording decided again, under its own configuration or others; or a made-up one.

Without `--config` the exit status is 0 if every decision came out as recorded, and 1 if one didn't or the log can't be
read. With `--config` it is 0 unless something can't be read.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from epp.config.parse import read_config
from epp.config.problems import ConfigError
from epp.eventlog.reading import LogError
from epp.eventlog.recipe import Recipe, fingerprint
from epp.replay.generate import generate
from epp.replay.presets import PRESETS
from epp.replay.recording import decide_again
from epp.replay.simulation import simulate
from epp.replay.spec import read_spec
from epp.replay.story import tell
from epp.replay.summary import summarize
from epp.replay.table import render
from epp.replay.weights import candidate

if TYPE_CHECKING:
    import argparse

    from epp.replay.course import Course
    from epp.replay.recording import Recording
    from epp.replay.spec import TraceSpec
    from epp.replay.summary import RunSummary

_TRACE = "trace.jsonl"
_SUFFIXES = (".jsonl", ".json", ".log")
RECORDED = "recorded"


class UsageError(Exception):
    """The flags don't go together."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "log",
        nargs="?",
        metavar="LOG",
        help="the file given to --event-log, with its finished segments; one finished segment; or - for standard input",
    )
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an EndpointPickerConfig to compare what was recorded with; repeatable",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="a folder for figures and comparison.json; with --generate, also a .jsonl file for the trace",
    )
    parser.add_argument(
        "--story", type=int, metavar="ID", help="tell what happened to this request, in every run"
    )
    parser.add_argument(
        "--flows",
        type=int,
        default=5,
        metavar="N",
        help="tenants of each band in the table (default %(default)s)",
    )
    parser.add_argument(
        "--generate",
        metavar="SPEC",
        help=f"make a trace up instead, from a file or a preset: {', '.join(PRESETS)}",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the made-up trace (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Do it, and return the exit status."""
    try:
        with ExitStack() as stack:
            return _run(args, stack)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{error.source}:{problem}\n")
    except (LogError, UsageError) as error:
        sys.stderr.write(f"epp replay: {error}\n")
    except OSError as error:
        sys.stderr.write(f"epp replay: {error.filename or ''}: {error.strerror or error}\n")
    return 1


def _run(args: argparse.Namespace, stack: ExitStack) -> int:
    if args.generate is None:
        if args.log is None:
            raise UsageError("LOG is missing: the file given to --event-log, or --generate SPEC")
        log = _standard_input(stack) if args.log == "-" else Path(args.log)
        out = args.out
    else:
        if args.log is not None:
            raise UsageError(f"{args.log}: with --generate there is no LOG: leave one of them out")
        if args.out is None and not args.config and args.story is None:
            generate(_spec(args.generate), Recipe(config="", seed=args.seed), sys.stdout.buffer)
            sys.stdout.flush()
            return 0
        log, out = _generated(args, stack)
        if not args.config and args.story is None:
            return 0
    recording = decide_again(log)
    for note in recording.notes:
        sys.stderr.write(f"note: {note}\n")
    if args.story is not None and args.story not in recording.course.fates:
        raise UsageError(f"--story {args.story}: no request of that number arrives in the log")
    if not args.config:
        if args.story is not None:
            sys.stdout.write(tell(RECORDED, recording.course, args.story) + "\n")
        return _verdict(recording)
    return _compare(args, recording, out)


def _verdict(recording: Recording) -> int:
    if recording.difference is not None:
        sys.stdout.write(f"different: {recording.difference}\n")
        return 1
    behind = ""
    if recording.unchecked_events:
        behind = f"; {recording.unchecked_events} more events are behind the last checkpoint, with nothing to compare"
    checked = recording.events - recording.unchecked_events
    if not checked:
        sys.stdout.write(f"nothing to compare: no checkpoint behind any of {recording.events} events\n")
        return 0
    sys.stdout.write(
        f"identical: {checked} events, {recording.decisions} decisions, "
        f"{recording.segments} {'segment' if recording.segments == 1 else 'segments'}{behind}\n"
    )
    return 0


def _compare(args: argparse.Namespace, recording: Recording, out: Path | None) -> int:
    runs: list[tuple[RunSummary, Course]] = [
        (summarize(RECORDED, recording.course), recording.course),
    ]
    for path, name in zip(args.config, _names(args.config), strict=True):
        tried = candidate(name, read_config(path), recording.header)
        for note in tried.notes:
            sys.stderr.write(f"note: {path}: {note}\n")
        if (
            fingerprint(tried.candidate.policy) == recording.header.fingerprint
            and recording.header.engines is None
        ):
            sys.stderr.write(f"note: {path}: is the configuration that was recorded\n")
        course = simulate(recording, tried.candidate)
        runs.append((summarize(name, course), course))
    sys.stdout.write(render([summary for summary, _ in runs], flows=args.flows))
    if args.story is not None:
        for summary, course in runs:
            sys.stdout.write("\n" + tell(summary.name, course, args.story) + "\n")
    if out is not None:
        _write(runs, out)
    return 0


def _write(runs: list[tuple[RunSummary, Course]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    data = [_plain(summary) for summary, _ in runs]
    (out / "comparison.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    written = [out / "comparison.json"]
    try:
        from epp.replay.figures import save  # noqa: PLC0415 - matplotlib is no dependency of a picker
    except ImportError:
        sys.stderr.write("note: there are no figures, since matplotlib is missing: pip install 'epp[demo]'\n")
    else:
        written += save(runs, out)
    sys.stdout.write("\nwritten: " + ", ".join(map(str, written)) + "\n")


def _plain(run: RunSummary) -> dict[str, object]:
    """A summary as JSON has it."""
    return {
        "name": run.name,
        "duration_s": run.duration_s,
        "total": asdict(run.total),
        "bands": [
            {"priority": priority, "jain": run.jain[priority], **asdict(summary)}
            for priority, summary in run.bands.items()
        ],
        "flows": [
            {
                "priority": priority,
                "fairness_id": fairness_id,
                "weight": run.weights[priority, fairness_id],
                **asdict(summary),
            }
            for (priority, fairness_id), summary in run.flows.items()
        ],
    }


def _names(paths: list[Path]) -> list[str]:
    """What the configurations are called: the file's name, or all of its path where names are alike."""
    names = [path.name for path in paths]
    return [str(path) if names.count(path.name) > 1 else path.name for path in paths]


def _spec(name: str) -> TraceSpec:
    path = PRESETS.get(name)
    if path is None and not Path(name).exists():
        raise UsageError(
            f"--generate {name}: there is no such file, and no such preset; presets are {', '.join(PRESETS)}"
        )
    return read_spec(path or Path(name))


def _generated(args: argparse.Namespace, stack: ExitStack) -> tuple[Path, Path | None]:
    """Make the trace. Where it is, and where the rest goes."""
    spec = _spec(args.generate)
    out: Path | None = args.out
    if out is None:
        trace = Path(stack.enter_context(tempfile.TemporaryDirectory())) / _TRACE
    elif out.suffix in _SUFFIXES:
        trace, out = out, None
    else:
        trace = out / _TRACE
    trace.parent.mkdir(parents=True, exist_ok=True)
    with trace.open("wb") as file:
        count = generate(spec, Recipe(config="", seed=args.seed), file)
    if args.out is not None:
        sys.stdout.write(f"{trace}: {count} requests in {spec.duration_s:g} s\n\n")
    return trace, out


def _standard_input(stack: ExitStack) -> Path:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "standard-input"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path
