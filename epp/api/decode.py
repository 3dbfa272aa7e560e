"""From a plain document to an object: which kind it is, whether it keeps the rules, what of it we use.

A document is what a YAML or JSON parser makes of a manifest. `decode` never raises for its content: it returns
the object or says why there is none, with every problem and not just the first. A broken document still says
whom it was meant to describe, where that can be read, so that the object's last good version can be kept.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from epp.api.build import KINDS_READ, Kind, at, group_of, read_tuning
from epp.api.manifest import OBJECTIVE_GROUPS, POOL_GROUP
from epp.api.objects import ApiObject, ObjectRef
from epp.api.problem import Problem, Severity, describe
from epp.api.schema import has_errors, read

KINDS = tuple(KINDS_READ)
"""The kinds that are read."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one document turned out to be."""

    found: ApiObject | None
    """None if the document is broken, or of a kind that we do not read."""
    identity: ObjectRef | None
    """The object that the document describes, also of a broken one if that much can be read."""
    problems: tuple[Problem, ...]

    @property
    def broken(self) -> bool:
        """Whether it is meant for us, and can't be used."""
        return has_errors(self.problems)


def decode(document: object) -> Decoded:
    """The object that a plain document describes."""
    if not isinstance(document, Mapping):
        return _refused(Problem(Severity.ERROR, (), describe(document), "a manifest must be a mapping"))
    api_version, kind = document.get("apiVersion"), document.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        missing = [
            Problem(
                Severity.ERROR,
                (key,),
                "" if value is None else describe(value),
                f"must be given, such as {such}",
            )
            for key, value, such in (
                ("apiVersion", api_version, f"{POOL_GROUP}/v1"),
                ("kind", kind, "InferencePool"),
            )
            if not isinstance(value, str)
        ]
        return _refused(*missing, identity=_identity(document))
    known = KINDS_READ.get(kind)
    if known is None:
        return Decoded(None, None, (_foreign(api_version, kind),))
    if api_version not in known.versions:
        message = f"is not a version of {kind} that is read here; use {' or '.join(known.versions)}"
        wrong = Problem(Severity.ERROR, ("apiVersion",), describe(api_version), message)
        return _refused(wrong, identity=_identity(document))
    found, problems = _read(document, known, group_of(api_version))
    return Decoded(found, _identity(document) if found is None else found.ref, tuple(problems))


def _read(document: Mapping[str, object], kind: Kind, group: str) -> tuple[ApiObject | None, list[Problem]]:
    """The object, unless a rule is broken, and everything that is wrong with it."""
    manifest, found = read(document, kind.manifest)
    problems = [*found, *(kind.ties(document) if kind.ties is not None else ())]
    given = at(document, "metadata", "annotations")
    pairs = given.items() if isinstance(given, Mapping) else ()
    tuning, wrong = read_tuning(kind, {key: value for key, value in pairs if isinstance(value, str)})
    problems += wrong
    obj = None if manifest is None else kind.make(manifest, group, tuning, problems)
    return (None if has_errors(problems) else obj), problems


def _refused(*problems: Problem, identity: ObjectRef | None = None) -> Decoded:
    return Decoded(None, identity, problems)


def _foreign(api_version: str, kind: str) -> Problem:
    """What to say of a kind that we don't read: nothing loud, unless it looks like one of ours misspelt."""
    if group_of(api_version) in (POOL_GROUP, *OBJECTIVE_GROUPS):
        ours = {known.casefold(): known for known in KINDS}
        close = difflib.get_close_matches(kind.casefold(), ours, n=1, cutoff=0.85)
        if close:
            message = f"is not a kind of {group_of(api_version)}; did you mean {ours[close[0]]}?"
            return Problem(Severity.ERROR, ("kind",), describe(kind), message)
    return Problem(Severity.DEBUG, ("kind",), describe(kind), "is not a kind that is read here")


def _identity(document: Mapping[str, object]) -> ObjectRef | None:
    """Whom a broken document describes: only what is beyond doubt."""
    kind, api_version, metadata = (document.get(key) for key in ("kind", "apiVersion", "metadata"))
    known = KINDS_READ.get(kind) if isinstance(kind, str) else None
    if known is None or not isinstance(kind, str) or not isinstance(metadata, Mapping):
        return None
    groups = {group_of(version) for version in known.versions}
    group = group_of(api_version) if isinstance(api_version, str) else ""
    if group not in groups:
        if len(groups) > 1:
            return None
        (group,) = groups
    name, namespace = metadata.get("name"), metadata.get("namespace") or ""
    if not isinstance(name, str) or not name or not isinstance(namespace, str):
        return None
    return ObjectRef(group, kind, namespace, name)
