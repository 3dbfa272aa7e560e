"""A complete Envoy configuration for the picker, as YAML that a person can read.

Promises:
- What `render` returns runs as it is with Envoy 1.36 and newer; nothing has to be added by hand.
- A client's own `x-gateway-destination-endpoint` is removed before anything looks at it. With an ORIGINAL_DST
  cluster that header decides where a request goes, and a client must not decide that. With an `identity`, the same
  goes for its own fairness id.
- No limit of Envoy ends a wait before the picker does: idle timeouts are longer than the longest wait,
  circuit breakers wider than the picker's queue, and the route has no timeout.
- The admin interface listens on 127.0.0.1 unless the settings say otherwise.

The text is composed of fragments rather than dumped from data: comments stand where a line would be a riddle.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from enum import Enum
from textwrap import indent
from typing import TYPE_CHECKING, NamedTuple, assert_never

from epp.quickstart import fragments
from epp.quickstart import identity as tenants
from epp.quickstart.address import Address
from epp.quickstart.identity import ApiKeys

if TYPE_CHECKING:
    from pathlib import Path

    from epp.quickstart.identity import Identity

MAX_WAIT_S = 3540
"""The longest wait that a configuration can promise: Envoy takes no message timeout over an hour."""

DEFAULT_LISTEN = Address("0.0.0.0", 8080)
DEFAULT_ADMIN = Address("127.0.0.1", 9901)
DEFAULT_PICKER = Address("127.0.0.1", 9002)

_HEALTH_INTERVAL_S = 1
_EXAMPLE = ApiKeys(tenants=(("CHANGE-ME-1", "alice"), ("CHANGE-ME-2", "bob")))
_WAIT_MARGIN_S = 60


class BodyMode(Enum):
    """How much of a request and its response passes through the picker."""

    DUPLEX = "duplex"
    """Both bodies: it learns token usage, and whether a response was complete."""
    LEAN = "lean"
    """The request's body only: the cheapest way to learn when a response has ended."""


class PickerTransport(Enum):
    """How Envoy speaks to the picker."""

    TLS_UNVERIFIED = "tls-unverified"
    """TLS with whatever certificate comes; `epp serve` makes a self-signed one by default."""
    PLAINTEXT = "plaintext"
    """For `epp serve --secure-serving=false`."""


class FailureMode(Enum):
    """What happens to a request when the picker can't be reached. Either way it gets a 503."""

    CLOSE = "close"
    """Envoy refuses it at once."""
    OPEN = "open"
    """Envoy goes on without the picker, and then finds that nobody named a destination."""


class Balancing(Enum):
    """How Envoy chooses a model server when it is alone."""

    LEAST_REQUEST = "least-request"
    """The one with the fewest requests, by its own count."""
    ROUND_ROBIN = "round-robin"
    """One after the other."""


class UpstreamProtocol(Enum):
    """What the model servers speak."""

    HTTP1 = "http1"
    H2C = "h2c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Requests go where the picker says."""

    picker: Address = DEFAULT_PICKER
    body_mode: BodyMode = BodyMode.DUPLEX
    transport: PickerTransport = PickerTransport.TLS_UNVERIFIED
    failure_mode: FailureMode = FailureMode.CLOSE
    keepalive_s: float | None = 30.0
    """How often Envoy pings an open connection to the picker; None means never."""
    longest_wait_s: int = MAX_WAIT_S
    """No request may wait longer in the picker's queue, whatever time-to-live it asks for."""
    replicas: tuple[Address, ...] = ()
    """Other replicas of the picker: Envoy asks all of them every second which one is ready."""
    identity: Identity | None = None
    """What a tenant's fairness id is taken from; None means the header that the client itself sends."""

    def __post_init__(self) -> None:
        if not 1 <= self.longest_wait_s <= MAX_WAIT_S:
            raise ValueError(f"longest_wait_s is {self.longest_wait_s}; it must be from 1 to {MAX_WAIT_S}")
        if self.keepalive_s is not None and self.keepalive_s < 0.001:
            raise ValueError(f"keepalive_s is {self.keepalive_s}; use None for no pings at all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Envoy itself chooses among the endpoints; no picker is asked."""

    endpoints: tuple[Address, ...]
    balancing: Balancing = Balancing.LEAST_REQUEST

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("endpoints is empty; a baseline needs at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoySettings:
    """What differs between one Envoy of ours and the next."""

    routing: Picked | Baseline = field(default_factory=Picked)
    listen: Address = DEFAULT_LISTEN
    admin: Address = DEFAULT_ADMIN
    upstream: UpstreamProtocol = UpstreamProtocol.HTTP1
    max_requests: int = 100_000
    """At once, waiting ones included; it must exceed what the picker may queue over all priorities."""
    access_log: Path | None = None
    """A file that gets one line of JSON per request; `/dev/stdout` works. None means no access log."""


def render(settings: EnvoySettings) -> str:
    """The configuration, to be written to a file and given to `envoy -c`."""
    match settings.routing:
        case Picked() as routing:
            parts = _picked_parts(settings, routing)
        case Baseline() as routing:
            parts = _baseline_parts(settings, routing)
        case _:
            assert_never(settings.routing)
    connection_manager = fragments.CONNECTION_MANAGER.substitute(
        idle_timeout_s=parts.idle_timeout_s,
        access_log=_access_log(settings.access_log),
        early_words=parts.early_words,
        mutations=_nested(parts.mutations, 4),
        filters=parts.filters,
    )
    return fragments.BOOTSTRAP.substitute(
        intro=parts.intro,
        listen_host=json.dumps(settings.listen.host),
        listen_port=settings.listen.port,
        admin_host=json.dumps(settings.admin.host),
        admin_port=settings.admin.port,
        max_requests=settings.max_requests,
        connection_manager=_nested(connection_manager, 10),
        listener_tls=_nested(parts.listener_tls, 6),
        clusters=_nested(parts.clusters, 2),
    )


class _Parts(NamedTuple):
    """What the kind of routing decides."""

    intro: str
    idle_timeout_s: int
    filters: str
    clusters: str
    early_words: str = fragments.DESTINATION_WORDS
    mutations: str = ""
    listener_tls: str = ""


def _picked_parts(settings: EnvoySettings, routing: Picked) -> _Parts:
    idle_timeout_s = routing.longest_wait_s + _WAIT_MARGIN_S
    match routing.body_mode:
        case BodyMode.DUPLEX:
            intro, modes = fragments.DUPLEX_INTRO, fragments.DUPLEX_MODES
        case BodyMode.LEAN:
            intro, modes = fragments.LEAN_INTRO, fragments.LEAN_MODES
        case _:
            assert_never(routing.body_mode)
    ext_proc = fragments.EXT_PROC_FILTER.substitute(
        message_timeout_s=idle_timeout_s,
        failure_mode_allow=json.dumps(routing.failure_mode is FailureMode.OPEN),
        modes=_nested(modes, 6),
    )
    destinations = fragments.ORIGINAL_DST_CLUSTER.substitute(_upstream(settings))
    clusters = destinations + _picker_cluster(settings, routing)
    if routing.identity is None:
        example = fragments.TRUSTED_CLIENTS + _commented_out(tenants.filters(_EXAMPLE))
        mutations = _commented_out(tenants.early_mutations(_EXAMPLE))
        return _Parts(intro, idle_timeout_s, example + ext_proc, clusters, mutations=mutations)
    return _Parts(
        intro,
        idle_timeout_s,
        tenants.filters(routing.identity) + ext_proc,
        clusters,
        early_words=fragments.IDENTITY_WORDS,
        mutations=tenants.early_mutations(routing.identity),
        listener_tls=tenants.listener_tls(routing.identity),
    )


def _baseline_parts(settings: EnvoySettings, routing: Baseline) -> _Parts:
    match routing.balancing:
        case Balancing.LEAST_REQUEST:
            intro, policy = fragments.LEAST_REQUEST_INTRO, fragments.LEAST_REQUEST_POLICY
        case Balancing.ROUND_ROBIN:
            intro, policy = fragments.ROUND_ROBIN_INTRO, fragments.ROUND_ROBIN_POLICY
        case _:
            assert_never(routing.balancing)
    endpoints = "".join(_endpoint(address) for address in routing.endpoints)
    cluster = fragments.BASELINE_CLUSTER.substitute(
        _upstream(settings), policy=_nested(policy, 8), endpoints=_nested(endpoints, 4)
    )
    return _Parts(intro, MAX_WAIT_S + _WAIT_MARGIN_S, "", cluster)


def _picker_cluster(settings: EnvoySettings, routing: Picked) -> str:
    transport = ""
    if routing.transport is PickerTransport.TLS_UNVERIFIED:
        transport = _nested(fragments.UNVERIFIED_TLS, 2)
    keepalive = ""
    if routing.keepalive_s is not None:
        keepalive = _nested(fragments.KEEPALIVE.substitute(interval_s=f"{routing.keepalive_s:g}"), 10)
    pickers = (routing.picker, *routing.replicas)
    replicas = ""
    if routing.replicas:
        replicas = _nested(fragments.REPLICAS.substitute(interval_s=_HEALTH_INTERVAL_S), 2)
    return fragments.PICKER_CLUSTER.substitute(
        discovery="STATIC" if all(_is_ip(each.host) for each in pickers) else "STRICT_DNS",
        replicas=replicas,
        max_requests=settings.max_requests,
        keepalive=keepalive,
        transport=transport,
        endpoints=_nested("".join(map(_endpoint, pickers)), 4),
    )


def _upstream(settings: EnvoySettings) -> dict[str, object]:
    return {
        "max_requests": settings.max_requests,
        "protocol": {
            UpstreamProtocol.HTTP1: "http_protocol_options",
            UpstreamProtocol.H2C: "http2_protocol_options",
        }[settings.upstream],
    }


def _endpoint(address: Address) -> str:
    return fragments.ENDPOINT.substitute(host=json.dumps(address.host), port=address.port)


def _access_log(path: Path | None) -> str:
    return "" if path is None else fragments.ACCESS_LOG.substitute(path=json.dumps(str(path)))


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _commented_out(text: str) -> str:
    """A piece of configuration to be uncommented; its own comments are for those who have it in force."""
    lines = text.splitlines(keepends=True)
    return "".join(f"# {line}" for line in lines if not line.startswith("#"))


def _nested(text: str, spaces: int) -> str:
    return indent(text, " " * spaces)
