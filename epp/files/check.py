"""Checks manifests before anybody serves with them: everything that is wrong at a path, with its lines.

The same readers and the same reconciler as in service, so what passes here works there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.api import POOL_GROUP, PoolReconciler, Problem, Severity
from epp.files.objectfiles import ObjectFiles
from epp.files.reading import FileProblem

if TYPE_CHECKING:
    from pathlib import Path


def check_manifests(
    path: Path,
    *,
    pool_name: str | None = None,
    pool_namespace: str | None = None,
    pool_group: str = POOL_GROUP,
) -> tuple[FileProblem, ...]:
    """All problems of the manifests at `path`, by file and line; errors and warnings ought to be mended.

    That there is no pool, or that it has no endpoint, is only an INFO: such files are fine for a cluster.
    """
    files = ObjectFiles(path)
    delta = files.load()
    pool = PoolReconciler(pool_name=pool_name, pool_namespace=pool_namespace, pool_group=pool_group)
    changes = pool.apply(upserts=delta.upserts)
    problems = [*delta.problems, *(files.locate(note) for note in changes.notes)]
    if pool.pool is None and pool.pool_note is not None and pool.pool_note not in changes.notes:
        absent = pool.pool_note.problem._replace(severity=Severity.INFO)
        problems.append(FileProblem(str(path), None, None, absent))
    elif pool.pool is not None and not pool.endpoints:
        message = f"InferencePool {pool.pool} has no endpoint: {pool.why_no_endpoints()}"
        problems.append(FileProblem(str(path), None, None, Problem(Severity.INFO, (), "", message)))
    return tuple(sorted(problems, key=lambda problem: (problem.file, problem.line or 0)))
