"""What a made-up trace is like: tenants, how they arrive, how long their requests are, and the servers that take them.

A specification is YAML, read as strictly as a configuration: every mistake is told with its line and its field.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from epp.config.document import load_document
from epp.config.fields import Fields
from epp.config.problems import ConfigError, Findings, Problem

if TYPE_CHECKING:
    from pathlib import Path


class Process(Enum):
    """How requests come."""

    POISSON = "poisson"
    """Independently of each other, at a steady rate."""
    BURSTS = "bursts"
    """At their rate for a while, then not at all for a while; both last an exponential time."""
    DIURNAL = "diurnal"
    """At a rate that rises and falls as a sine does."""


class Shape(Enum):
    """How lengths are spread."""

    FIXED = "fixed"
    LOGNORMAL = "lognormal"
    PARETO = "pareto"
    """Few are very long: the heavier the tail, the smaller `alpha`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """When the requests of one tenant come."""

    process: Process
    rate_per_s: float
    """While they come; of a diurnal process the mean."""
    on_s: float
    off_s: float
    amplitude: float
    """By which share of the mean the rate rises and falls."""
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many tokens."""

    shape: Shape
    median: float
    """Half are shorter."""
    sigma: float
    alpha: float
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenants:
    """So many tenants that are alike."""

    name: str
    count: int
    priority: int
    weight: float
    model: str
    ttl_s: float | None
    arrivals: Arrivals
    """Of each of them."""
    input: Lengths
    output: Lengths
    max_output_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """So many model servers that are alike."""

    count: int
    slots: int
    tokens_per_s: float
    prefill_tokens_per_s: float
    cache_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpec:
    """A whole trace."""

    duration_s: float
    servers: tuple[Servers, ...]
    tenants: tuple[Tenants, ...]


def read_spec(path: Path) -> TraceSpec:
    """The specification in a file. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(str(path), [Problem(1, "", f"can't be read: {error.strerror or error}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [Problem(1, "", "is not UTF-8: save the file as UTF-8")]) from error
    return parse_spec(text, source=str(path))


def parse_spec(text: str, *, source: str) -> TraceSpec:
    """The specification in `text`. Raises `ConfigError`."""
    findings = Findings()
    root = load_document(text, findings)
    findings.raise_if_any(source)
    document = Fields(root, line=1, path="", findings=findings)
    duration_s = _duration_s(document, "duration", 300.0)
    document.require("endpoints", "is required: the model servers, such as - {count: 4, slots: 16}")
    document.require("tenants", "is required: who sends requests")
    servers = tuple(_servers(each) for each in document.sections("endpoints"))
    tenants = tuple(_tenants(each, number) for number, each in enumerate(document.sections("tenants"), 1))
    document.close()
    findings.raise_if_any(source)
    return TraceSpec(duration_s=duration_s, servers=servers, tenants=tenants)


def _servers(fields: Fields) -> Servers:
    servers = Servers(
        count=fields.whole("count", 1, least=1, most=1000),
        slots=fields.whole("slots", 16, least=1, most=100_000),
        tokens_per_s=fields.number("tokensPerSecond", 50.0, above=0),
        prefill_tokens_per_s=fields.number("prefillTokensPerSecond", 10_000.0, above=0),
        cache_tokens=fields.whole("cacheTokens", 400_000, least=1, most=10**9),
    )
    fields.close()
    return servers


def _tenants(fields: Fields, number: int) -> Tenants:
    fields.require("arrivals", "is required: such as {process: poisson, rate: 5}")
    ttl_s = fields.duration_s("ttl")
    if ttl_s is not None and ttl_s < 0:
        fields.fail("ttl", "can't be negative: 0s is no limit")
    tenants = Tenants(
        name=fields.text("name") or f"tenant-{number}",
        count=fields.whole("count", 1, least=1, most=10_000),
        priority=fields.priority("priority"),
        weight=fields.number("weight", 1.0, above=0),
        model=fields.text("model"),
        ttl_s=ttl_s,
        arrivals=_arrivals(fields.section("arrivals")),
        input=_lengths(fields.section("input"), 500.0),
        output=_lengths(fields.section("output"), 200.0),
        max_output_tokens=fields.whole("maxTokens", 0, least=1, most=10**6)
        if fields.has("maxTokens")
        else None,
    )
    fields.close()
    return tenants


def _arrivals(fields: Fields) -> Arrivals:
    process = fields.choice("process", Process.POISSON)
    if fields.given:
        fields.require("rate", "is required: requests per second of each tenant")
    arrivals = Arrivals(
        process=process,
        rate_per_s=fields.number("rate", 1.0, above=0, most=100_000),
        on_s=_duration_s(fields, "on", 10.0) if process is Process.BURSTS else 0.0,
        off_s=_duration_s(fields, "off", 30.0) if process is Process.BURSTS else 0.0,
        amplitude=fields.number("amplitude", 0.8, least=0, most=1) if process is Process.DIURNAL else 0.0,
        period_s=_duration_s(fields, "period", 300.0) if process is Process.DIURNAL else 0.0,
    )
    fields.close()
    return arrivals


def _lengths(fields: Fields, median: float) -> Lengths:
    shape = fields.choice("distribution", Shape.LOGNORMAL)
    lengths = Lengths(
        shape=shape,
        median=fields.number("median", median, least=1, most=10**6),
        sigma=fields.number("sigma", 0.8, least=0, most=5) if shape is Shape.LOGNORMAL else 0.0,
        alpha=fields.number("alpha", 1.5, above=0.1, most=20) if shape is Shape.PARETO else 0.0,
        most=fields.whole("max", 100_000, least=1, most=10**7),
    )
    fields.close()
    return lengths


def _duration_s(fields: Fields, key: str, default: float) -> float:
    duration_s = fields.duration_s(key)
    if duration_s is None:
        return default
    if duration_s <= 0:
        fields.fail(key, f"must be longer than nothing, but is {fields.text(key)}: such as 30s or 5m")
        return default
    return duration_s
