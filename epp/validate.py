"""`epp validate`: everything that is wrong with a configuration and with manifests, before anybody serves with them.

One line for each problem, `file:line: field: message`, as editors know it; then one line with the verdict. The exit
status is 0 if nothing needs mending, and 1 otherwise. A problem with which the file would be used all the same begins
with `warning:` behind its place. What is merely worth knowing begins with `note:`, and costs nothing.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from epp.api import PoolReconciler, Severity
from epp.config.command import check_config
from epp.files import ObjectFiles, check_manifests

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from epp.api import ApiObject
    from epp.files import FileProblem

_MEND = (Severity.ERROR, Severity.WARNING)
_MARKS = {Severity.WARNING: "warning: ", Severity.INFO: "note: "}


class _Verdict(NamedTuple):
    """What was found in one place."""

    problems: list[str]
    notes: list[str]
    summary: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "--config-file",
        type=Path,
        metavar="FILE",
        help="an EndpointPickerConfig, YAML or JSON; without it and --objects, the default configuration",
    )
    parser.add_argument(
        "--objects",
        type=Path,
        metavar="PATH",
        help="a file or a folder of manifests: InferencePool, InferenceObjective, InferenceModelRewrite, Pod",
    )
    parser.add_argument(
        "--pool-name", metavar="NAME", help="the InferencePool to check for, if there are several"
    )
    parser.add_argument("--pool-namespace", metavar="NAMESPACE", help="its namespace")


def run(args: argparse.Namespace) -> int:
    """Check what is asked for, print what was found, and return the exit status."""
    verdicts = []
    if args.config_file is not None or args.objects is None:
        check = check_config(args.config_file)
        source = args.config_file or "default configuration"
        verdicts.append(_Verdict(list(check.problems), list(check.notes), f"{source}: {check.summary}"))
    if args.objects is not None:
        verdicts.append(_check_objects(args.objects, args.pool_name, args.pool_namespace))
    problems = [line for verdict in verdicts for line in verdict.problems]
    lines = problems + [line for verdict in verdicts for line in verdict.notes]
    if problems:
        lines.append(f"failed: {_counted(len(problems), 'problem')}")
    else:
        lines += [f"ok: {verdict.summary}" for verdict in verdicts]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if problems else 0


def _check_objects(path: Path, pool_name: str | None, pool_namespace: str | None) -> _Verdict:
    found = check_manifests(path, pool_name=pool_name, pool_namespace=pool_namespace)
    objects = ObjectFiles(path).load().upserts
    reconciler = PoolReconciler(pool_name=pool_name, pool_namespace=pool_namespace)
    reconciler.apply(upserts=objects)
    problems = [_marked(problem) for problem in found if problem.problem.severity in _MEND]
    return _Verdict(
        problems or _useless(path, reconciler),
        [_marked(problem) for problem in found if problem.problem.severity is Severity.INFO],
        f"{path}: {_summary(objects, reconciler)}",
    )


def _marked(found: FileProblem) -> str:
    """The line for a problem, with its weight behind its place; errors have none."""
    place = found.file if found.line is None else f"{found.file}:{found.line}"
    mark = _MARKS.get(found.problem.severity, "")
    return f"{place}: {mark}{str(found).removeprefix(f'{place}: ')}"


def _useless(path: Path, reconciler: PoolReconciler) -> list[str]:
    """What is well-formed and still serves nobody. A pool without pods is none of it: they may come."""
    if reconciler.pool is None:
        return [f"{path}: {reconciler.pool_note or 'there is no InferencePool'}"]
    return []


def _summary(objects: Sequence[ApiObject], reconciler: PoolReconciler) -> str:
    counts = Counter(obj.ref.kind for obj in objects)
    kinds = ", ".join(_counted(count, kind) for kind, count in sorted(counts.items())) or "no objects"
    if reconciler.pool is None:
        return f"{kinds}; no pool"
    return f"{kinds}; pool {reconciler.pool} with {_counted(len(reconciler.endpoints), 'endpoint')}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
