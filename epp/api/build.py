"""From a manifest, whose fields keep their rules, to the object: what we use, and the rules that tie fields together.

Both readers end here: the one for plain documents (`decode`) and the one for an API server's JSON (`wire`).
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from epp.api.annotations import Annotations, concern_us
from epp.api.manifest import (
    OBJECTIVE_GROUPS,
    POOL_GROUP,
    Manifest,
    ObjectiveManifest,
    ObjectMeta,
    PodManifest,
    PoolManifest,
    RewriteManifest,
)
from epp.api.objects import ApiObject, InferenceModelRewrite, InferenceObjective, InferencePool, Pod
from epp.api.problem import Problem, Severity, describe
from epp.api.schema import MAX_PROBLEMS
from epp.api.selector import Selector, key_problem


class Tuning(NamedTuple):
    """What the annotations of an object of any kind come to."""

    queue_ttl_s: float | None = None
    weight: float = 1.0
    active_ports: frozenset[int] | None = None
    max_concurrency: int | None = None
    models: frozenset[str] = frozenset()


_UNTUNED = Tuning()


class Kind(NamedTuple):
    """How objects of one kind are made."""

    versions: tuple[str, ...]
    """The apiVersions in which it is read."""
    manifest: type[Manifest]
    tuning: Callable[[Annotations], Tuning]
    ties: Callable[[Mapping[str, object]], Iterator[Problem]] | None
    """What breaks a rule that ties fields together, in a document that may break other rules too."""
    make: Callable[[Any, str, Tuning, list[Problem]], ApiObject]
    """Makes the object of its manifest and its group; adds what turns out to be wrong."""


def read_tuning(kind: Kind, given: Mapping[str, str]) -> tuple[Tuning, list[Problem]]:
    """What the annotations of an object come to, and what is wrong with them."""
    if not concern_us(given):
        return _UNTUNED, []
    annotations = Annotations(given)
    return kind.tuning(annotations), annotations.problems()


def _no_tuning(annotations: Annotations) -> Tuning:
    del annotations  # this kind knows none
    return Tuning()


def _objective_tuning(annotations: Annotations) -> Tuning:
    return Tuning(queue_ttl_s=annotations.queue_ttl_s(), weight=annotations.weight())


def _pod_tuning(annotations: Annotations) -> Tuning:
    return Tuning(
        active_ports=annotations.active_ports(),
        max_concurrency=annotations.max_concurrency(),
        models=annotations.models(),
    )


def _pool(manifest: PoolManifest, group: str, tuning: Tuning, problems: list[Problem]) -> InferencePool:
    del tuning, problems  # a pool has no annotations of ours, and its manifest says it all
    labels = manifest.spec.selector.match_labels
    # A wrong key is refused by `_pool_ties`, with its place; such a pool goes no further than here.
    selector = Selector() if any(map(key_problem, labels)) else Selector.from_labels(labels)
    return InferencePool(
        group=group,
        namespace=manifest.metadata.namespace,
        name=manifest.metadata.name,
        terminating=_terminating(manifest.metadata),
        selector=selector,
        target_ports=tuple(port.number for port in manifest.spec.target_ports),
        app_protocol=manifest.spec.app_protocol,
        endpoint_picker=manifest.spec.endpoint_picker_ref,
    )


def _objective(
    manifest: ObjectiveManifest, group: str, tuning: Tuning, problems: list[Problem]
) -> InferenceObjective:
    del problems  # its manifest says it all
    return InferenceObjective(
        group=group,
        namespace=manifest.metadata.namespace,
        name=manifest.metadata.name,
        terminating=_terminating(manifest.metadata),
        pool=manifest.spec.pool_ref,
        priority=manifest.spec.priority,
        queue_ttl_s=tuning.queue_ttl_s,
        weight=tuning.weight,
    )


def _rewrite(
    manifest: RewriteManifest, group: str, tuning: Tuning, problems: list[Problem]
) -> InferenceModelRewrite:
    del tuning, problems  # a rewrite has no annotations of ours, and its manifest says it all
    return InferenceModelRewrite(
        group=group,
        namespace=manifest.metadata.namespace,
        name=manifest.metadata.name,
        terminating=_terminating(manifest.metadata),
        pool=manifest.spec.pool_ref,
        rules=manifest.spec.rules,
        created=manifest.metadata.creation_timestamp or "",
    )


_ENDED = frozenset({"Succeeded", "Failed"})
"""Phases of pods that run no more; an evicted one may have no condition left to say so."""


def _pod(manifest: PodManifest, group: str, tuning: Tuning, problems: list[Problem]) -> Pod:
    del group  # pods have none
    metadata, status = manifest.metadata, manifest.status
    ip = ""
    if status.pod_ip:
        try:
            ip = _canonical(status.pod_ip)
        except ValueError:
            message = "must be an IP address, such as 10.0.0.7 or fd00::7; host names are not resolved"
            problems.append(Problem(Severity.ERROR, ("status", "podIP"), describe(status.pod_ip), message))
    ready = next((one.status for one in status.conditions if one.type == "Ready"), None)
    # Whoever writes a pod by hand gives no conditions; one that a cluster runs always has some.
    serves = ready == "True" or not status.conditions
    return Pod(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        terminating=_terminating(metadata),
        labels=tuple(sorted(metadata.labels.items())),
        ip=ip,
        ready=serves and status.phase not in _ENDED,
        active_ports=tuning.active_ports,
        max_concurrency=tuning.max_concurrency,
        models=tuning.models,
    )


def at(document: object, *path: str) -> object:
    """The raw value at `path`, or None: rules across fields are checked also where the schema is broken."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _items(value: object) -> list[object]:
    return list(value[:MAX_PROBLEMS]) if isinstance(value, list | tuple) else []


def _pool_ties(document: Mapping[str, object]) -> Iterator[Problem]:
    labels = at(document, "spec", "selector", "matchLabels")
    for key in itertools.islice(labels if isinstance(labels, Mapping) else (), MAX_PROBLEMS):
        problem = key_problem(str(key))
        if problem:
            yield Problem(
                Severity.ERROR,
                ("spec", "selector", "matchLabels", str(key)),
                "",
                f"is not a label: {problem}",
            )
    seen: list[object] = []
    for index, port in enumerate(_items(at(document, "spec", "targetPorts"))):
        number = at(port, "number")
        if number in seen:
            message = "port number must be unique; remove one of the two"
            path = ("spec", "targetPorts", index, "number")
            yield Problem(Severity.ERROR, path, describe(number), message)
        elif isinstance(number, int):
            seen.append(number)
    picker = at(document, "spec", "endpointPickerRef")
    if isinstance(picker, Mapping) and picker.get("kind") in (None, "Service") and picker.get("port") is None:
        message = "is required when kind is Service or unspecified; add port: {number: 9002}"
        yield Problem(Severity.ERROR, ("spec", "endpointPickerRef", "port"), "", message)


def _rewrite_ties(document: Mapping[str, object]) -> Iterator[Problem]:
    for index, rule in enumerate(_items(at(document, "spec", "rules"))):
        targets = [target for target in _items(at(rule, "targets")) if isinstance(target, Mapping)]
        bare = [target.get("weight") is None for target in targets]
        if any(bare) and not all(bare):
            message = "either all targets of a rule have a weight or none; add the missing weights"
            yield Problem(Severity.ERROR, ("spec", "rules", index, "targets"), "", message)


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")


def _canonical(ip: str) -> str:
    """One spelling for every address, so that it equals what gateways and subset hints say."""
    if _IPV4.fullmatch(ip):
        return ip  # which has one spelling only; `ipaddress` would take as long as the rest of the pod
    if "%" in ip:
        raise ValueError("a scope means nothing outside its own machine")
    return str(ipaddress.ip_address(ip))


def _terminating(metadata: ObjectMeta) -> bool:
    return bool(metadata.deletion_timestamp)


KINDS_READ: Mapping[str, Kind] = {
    "InferencePool": Kind((f"{POOL_GROUP}/v1",), PoolManifest, _no_tuning, _pool_ties, _pool),
    "InferenceObjective": Kind(
        tuple(f"{group}/v1alpha2" for group in OBJECTIVE_GROUPS),
        ObjectiveManifest,
        _objective_tuning,
        None,
        _objective,
    ),
    "InferenceModelRewrite": Kind(
        tuple(f"{group}/v1alpha2" for group in OBJECTIVE_GROUPS),
        RewriteManifest,
        _no_tuning,
        _rewrite_ties,
        _rewrite,
    ),
    "Pod": Kind(("v1",), PodManifest, _pod_tuning, None, _pod),
}


def group_of(api_version: str) -> str:
    """The group of an apiVersion; empty for the core's."""
    return api_version.rpartition("/")[0]
