"""The annotations by which owners tune the picker, read from an object's metadata.

The API server does not check annotations, so an invalid one never costs the object: it is ignored, with a
warning, and the object works as if the annotation were not there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from epp.api.problem import Problem, Severity, describe
from epp.api.schema import MAX_PROBLEMS, nearest
from epp.core.durations import parse_go_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

QUEUE_TTL = "epp/queue-ttl"
WEIGHT = "epp/weight"
MAX_CONCURRENCY = "epp/max-concurrency"
MODELS = "epp/models"
ACTIVE_PORTS = "llm-d.ai/active-ports"
LEGACY_ACTIVE_PORTS = "inference.networking.k8s.io/active-ports"

MIN_WEIGHT = 0.001
MAX_WEIGHT = 1_000_000.0
MAX_MODELS = 64
MAX_MODEL_CHARACTERS = 256

_OURS = "epp/"
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)

T = TypeVar("T")


def concern_us(given: Mapping[str, str]) -> bool:
    """Whether there is anything to ask for; most pods have annotations of others only."""
    return bool([key for key in given if key.startswith((_OURS, ACTIVE_PORTS, LEGACY_ACTIVE_PORTS))])


class Annotations:
    """One object's annotations; collects what is wrong with those that were asked for."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._asked: list[str] = []
        self._problems: list[Problem] = []

    def queue_ttl_s(self) -> float | None:
        """How long requests of an objective may wait, in seconds; 0 means without limit."""
        return self._value(QUEUE_TTL, _duration_s)

    def weight(self) -> float:
        """An objective's weight, 1 unless given."""
        weight = self._value(WEIGHT, _weight)
        return 1.0 if weight is None else weight

    def max_concurrency(self) -> int | None:
        """A pod's own limit on requests in flight."""
        return self._value(MAX_CONCURRENCY, _limit)

    def models(self) -> frozenset[str]:
        """The models that a pod serves; empty if it doesn't say, which means whatever the pool serves."""
        models = self._value(MODELS, _models)
        return frozenset() if models is None else models

    def active_ports(self) -> frozenset[int] | None:
        """The ports of a pod that serve; None means all, and an empty annotation none."""
        key = ACTIVE_PORTS if ACTIVE_PORTS in self._given else LEGACY_ACTIVE_PORTS
        text = self._given.get(key)
        if text is None:
            return None
        ports = set()
        for entry in filter(None, map(str.strip, text.split(","))):
            if _WHOLE.fullmatch(entry) and 1 <= int(entry) <= 65535:
                ports.add(int(entry))
            else:
                self._warn(
                    key,
                    entry,
                    "is not a port and is skipped: write port numbers from 1 to 65535, with commas",
                )
        return frozenset(ports)

    def problems(self) -> list[Problem]:
        """What is wrong, once all annotations of the object's kind have been asked for."""
        unknown = sorted(key for key in self._given if key.startswith(_OURS) and key not in self._asked)
        for key in unknown[:MAX_PROBLEMS]:
            message = f"is not an annotation of this kind and is ignored{nearest(key, self._asked)}"
            self._warn(key, self._given[key], message)
        return self._problems

    def _value(self, key: str, parse: Callable[[str], T]) -> T | None:
        self._asked.append(key)
        text = self._given.get(key)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as problem:
            self._warn(key, text, f"{problem}; the annotation is ignored")
            return None

    def _warn(self, key: str, value: str, message: str) -> None:
        if len(self._problems) >= MAX_PROBLEMS:
            return
        self._problems.append(
            Problem(Severity.WARNING, ("metadata", "annotations", key), describe(value), message)
        )


def _duration_s(text: str) -> float:
    try:
        duration_s = parse_go_duration(text)
    except ValueError:
        duration_s = -1.0
    if duration_s < 0:
        raise ValueError("must be a duration that is not negative, such as 30s, 1m30s or 500ms")
    return duration_s


def _weight(text: str) -> float:
    weight = float(text) if _DECIMAL.fullmatch(text) else 0.0
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise ValueError(f"must be a number from {MIN_WEIGHT} to {MAX_WEIGHT:.0f}, such as 2 or 0.5")
    return weight


def _limit(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("must be a whole number of requests, such as 32")
    return int(text)


def _models(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",", MAX_MODELS)]
    if len(names) > MAX_MODELS:
        raise ValueError(f"must name at most {MAX_MODELS} models")
    for name in names:
        if not name or not name.isprintable() or len(name) > MAX_MODEL_CHARACTERS:
            raise ValueError(
                f"must be names of models with commas between, each of 1 to {MAX_MODEL_CHARACTERS} printable "
                "characters, such as llama-3-8b,llama-3-8b-sql"
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"must name every model once, and names {describe(twice)} twice")
    return frozenset(names)
