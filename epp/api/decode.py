"""From a plain document to an object: which kind it is, whether it keeps the rules, what of it we use.

A document is what a YAML or JSON parser makes of a manifest. `decode` never raises for its content: it returns
the object or says why there is none, with every problem and not just the first. A broken document still says
whom it was meant to describe, where that can be read, so that the object's last good version can be kept.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from epp.api.annotations import Annotations
from epp.api.manifest import (
    OBJECTIVE_GROUPS,
    POOL_GROUP,
    ObjectiveManifest,
    ObjectMeta,
    PodManifest,
    PoolManifest,
)
from epp.api.objects import ApiObject, InferenceObjective, InferencePool, ObjectRef, Pod
from epp.api.problem import Problem, Severity, describe
from epp.api.schema import MAX_PROBLEMS, has_errors, read


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
    served = _DECODERS.get(kind)
    if served is None:
        return Decoded(None, None, (_foreign(api_version, kind),))
    decoder = served.get(api_version)
    if decoder is None:
        message = f"is not a version of {kind} that is read here; use {' or '.join(served)}"
        wrong = Problem(Severity.ERROR, ("apiVersion",), describe(api_version), message)
        return _refused(wrong, identity=_identity(document))
    found, problems = decoder(document, _group_of(api_version))
    if found is None:
        return Decoded(None, _identity(document), problems)
    return Decoded(found, found.ref, problems)


def _refused(*problems: Problem, identity: ObjectRef | None = None) -> Decoded:
    return Decoded(None, identity, problems)


def _foreign(api_version: str, kind: str) -> Problem:
    """What to say of a kind that we don't read: nothing loud, unless it looks like one of ours misspelt."""
    if _group_of(api_version) in (POOL_GROUP, *OBJECTIVE_GROUPS):
        ours = {known.casefold(): known for known in _DECODERS}
        close = difflib.get_close_matches(kind.casefold(), ours, n=1, cutoff=0.85)
        if close:
            message = f"is not a kind of {_group_of(api_version)}; did you mean {ours[close[0]]}?"
            return Problem(Severity.ERROR, ("kind",), describe(kind), message)
    return Problem(Severity.DEBUG, ("kind",), describe(kind), "is not a kind that is read here")


def _group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _identity(document: Mapping[str, object]) -> ObjectRef | None:
    """Whom a broken document describes: only what is beyond doubt."""
    kind, api_version, metadata = (document.get(key) for key in ("kind", "apiVersion", "metadata"))
    served = _DECODERS.get(kind) if isinstance(kind, str) else None
    if not served or not isinstance(kind, str) or not isinstance(metadata, Mapping):
        return None
    groups = {_group_of(version) for version in served}
    group = _group_of(api_version) if isinstance(api_version, str) else ""
    if group not in groups:
        if len(groups) > 1:
            return None
        (group,) = groups
    name, namespace = metadata.get("name"), metadata.get("namespace") or ""
    if not isinstance(name, str) or not name or not isinstance(namespace, str):
        return None
    return ObjectRef(group, kind, namespace, name)


_Found = tuple[ApiObject | None, tuple[Problem, ...]]
_Decoder = Callable[[Mapping[str, object], str], _Found]


def _settled(found: ApiObject, problems: list[Problem]) -> _Found:
    """The object, unless a rule that ties fields together is broken."""
    return (None if has_errors(problems) else found), tuple(problems)


def _pool(document: Mapping[str, object], group: str) -> _Found:
    manifest, schema_problems = read(document, PoolManifest)
    problems = [*schema_problems, *_repeated_ports(document), *_missing_picker_port(document)]
    problems += _annotations(document).problems()
    if manifest is None:
        return None, tuple(problems)
    pool = InferencePool(
        group=group,
        namespace=manifest.metadata.namespace,
        name=manifest.metadata.name,
        terminating=_terminating(manifest.metadata),
        selector=tuple(sorted(manifest.spec.selector.match_labels.items())),
        target_ports=tuple(port.number for port in manifest.spec.target_ports),
        app_protocol=manifest.spec.app_protocol,
        endpoint_picker=manifest.spec.endpoint_picker_ref,
    )
    return _settled(pool, problems)


def _objective(document: Mapping[str, object], group: str) -> _Found:
    manifest, schema_problems = read(document, ObjectiveManifest)
    annotations = _annotations(document)
    queue_ttl_s, weight = annotations.queue_ttl_s(), annotations.weight()
    problems = [*schema_problems, *annotations.problems()]
    if manifest is None:
        return None, tuple(problems)
    objective = InferenceObjective(
        group=group,
        namespace=manifest.metadata.namespace,
        name=manifest.metadata.name,
        terminating=_terminating(manifest.metadata),
        pool=manifest.spec.pool_ref,
        priority=manifest.spec.priority,
        queue_ttl_s=queue_ttl_s,
        weight=weight,
    )
    return _settled(objective, problems)


def _pod(document: Mapping[str, object], group: str) -> _Found:
    del group  # pods have none
    manifest, schema_problems = read(document, PodManifest)
    annotations = _annotations(document)
    active_ports, max_concurrency = annotations.active_ports(), annotations.max_concurrency()
    problems = [*schema_problems, *annotations.problems()]
    if manifest is None:
        return None, tuple(problems)
    ip = ""
    if manifest.status.pod_ip:
        try:
            ip = _canonical(manifest.status.pod_ip)
        except ValueError:
            message = "must be an IP address, such as 10.0.0.7 or fd00::7; host names are not resolved"
            value = describe(manifest.status.pod_ip)
            problems.append(Problem(Severity.ERROR, ("status", "podIP"), value, message))
    ready = next((one.status for one in manifest.status.conditions if one.type == "Ready"), None)
    pod = Pod(
        namespace=manifest.metadata.namespace,
        name=manifest.metadata.name,
        uid=manifest.metadata.uid,
        terminating=_terminating(manifest.metadata),
        labels=tuple(sorted(manifest.metadata.labels.items())),
        ip=ip,
        # Whoever writes a pod by hand gives no conditions; one that a cluster runs always has some.
        ready=ready == "True" or not manifest.status.conditions,
        active_ports=active_ports,
        max_concurrency=max_concurrency,
    )
    return _settled(pod, problems)


def _at(document: object, *path: str) -> object:
    """The raw value at `path`, or None: rules across fields are checked also where the schema is broken."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _annotations(document: Mapping[str, object]) -> Annotations:
    given = _at(document, "metadata", "annotations")
    pairs = given.items() if isinstance(given, Mapping) else ()
    return Annotations({key: value for key, value in pairs if isinstance(value, str)})


def _repeated_ports(document: Mapping[str, object]) -> Iterator[Problem]:
    ports = _at(document, "spec", "targetPorts")
    seen: list[object] = []
    for index, port in enumerate(ports[:MAX_PROBLEMS] if isinstance(ports, list) else ()):
        number = _at(port, "number")
        if number in seen:
            message = "port number must be unique; remove one of the two"
            path = ("spec", "targetPorts", index, "number")
            yield Problem(Severity.ERROR, path, describe(number), message)
        elif isinstance(number, int):
            seen.append(number)


def _missing_picker_port(document: Mapping[str, object]) -> Iterator[Problem]:
    picker = _at(document, "spec", "endpointPickerRef")
    if isinstance(picker, Mapping) and picker.get("kind") in (None, "Service") and picker.get("port") is None:
        message = "is required when kind is Service or unspecified; add port: {number: 9002}"
        yield Problem(Severity.ERROR, ("spec", "endpointPickerRef", "port"), "", message)


def _canonical(ip: str) -> str:
    """One spelling for every address, so that it equals what gateways and subset hints say."""
    if "%" in ip:
        raise ValueError("a scope means nothing outside its own machine")
    return str(ipaddress.ip_address(ip))


def _terminating(metadata: ObjectMeta) -> bool:
    return bool(metadata.deletion_timestamp)


_DECODERS: Mapping[str, Mapping[str, _Decoder]] = {
    "InferencePool": {f"{POOL_GROUP}/v1": _pool},
    "InferenceObjective": {f"{group}/v1alpha2": _objective for group in OBJECTIVE_GROUPS},
    "Pod": {"v1": _pod},
}
"""By kind, then by apiVersion."""

KINDS = tuple(_DECODERS)
"""The kinds that are read."""
