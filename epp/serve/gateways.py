"""What the gateway in front does that an operator should know before traffic shows it.

What ends a wait is measured with Envoy 1.40 where a profile says so (`tests/e2e/test_gateway_timeouts.py`): with bodies
in full duplex only `stream_idle_timeout` does, whatever `message_timeout` says; with buffered bodies `message_timeout`
does. Everything else was read in the gateways' sources and documentation in August 2026.

A request that a gateway gives up gets the gateway's 504, which says nothing, in place of our answer, which says why and
when to try again. So no wait is granted that a gateway would not see to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final


class Source(Enum):
    """How it is known what ends a wait."""

    MEASURED = "measured"
    UNDERNEATH = "measured with the Envoy that is underneath"
    READ = "read, not measured"
    TOLD = "as it was told here"


class Channel(Enum):
    """Where the gateway reads our choice. We always send it both ways."""

    HEADER = "from the header"
    METADATA = "from the metadata"
    UNKNOWN = "from the header or the metadata"


class Destinations(Enum):
    """What it makes of several endpoints with commas between. We send one, which all of them understand."""

    SINGLE = "single"
    LIST = "list"


class Hint(Enum):
    """What it tells us in metadata."""

    SUBSET = "which endpoints it allows"
    SERVED = "which endpoint served"


class Responses(Enum):
    """Whether it shows us responses."""

    SHOWN = "shown"
    HIDDEN = "hidden"


class Refusals(Enum):
    """What clients get when we answer 429 or 503."""

    PASSED = "passed"
    REPLACED = "replaced"


class Bodies(Enum):
    """Which request body goes on to the model server."""

    OURS = "ours"
    """What we send back: a rewritten model arrives."""
    ITS_OWN = "its own"


class Tls(Enum):
    """How it connects to us."""

    UNVERIFIED = "with TLS, taking any certificate"
    CONFIGURED = "as its configuration says, in plaintext unless that asks for TLS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a gateway lets a request wait for us."""

    default_s: float | None
    """By its defaults; None means as long as it takes."""
    knob: str
    """What sets it; '' if nothing does."""
    source: Source
    shipped_s: float | None = None
    """With the files that come with this picker; None means as by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """How many requests it may have at us at once, waiting ones included."""

    requests: int
    """By its defaults. One more is answered with an error by the gateway."""
    knob: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayProfile:
    """One kind of gateway."""

    name: str
    patience: Patience | None
    """None means that nobody knows."""
    reads: Channel
    tls: Tls
    ceiling: Ceiling | None
    """None means that none is known."""
    destinations: Destinations = Destinations.SINGLE
    tells: tuple[Hint, ...] = ()
    responses: Responses = Responses.SHOWN
    refusals: Refusals = Refusals.PASSED
    bodies: Bodies = Bodies.OURS
    warning: str = ""
    """What else an operator has to do or to expect; '' if nothing."""

    @property
    def wait_cap_s(self) -> float | None:
        """The longest wait that is granted here; None means any."""
        if self.patience is None:
            return None
        limit_s = self.patience.default_s if self.patience.shipped_s is None else self.patience.shipped_s
        return max(limit_s - _MARGIN_S, limit_s * _MARGIN) if limit_s else None


_MARGIN_S: Final = 10.0
"""Our answer has to be there before the gateway's, and its clock may have started earlier."""
_MARGIN: Final = 0.9
"""Where 10 s would be most of it."""

_IDLE_S: Final = 300.0
"""Envoy's `stream_idle_timeout` where nobody sets it."""
_OUR_IDLE_S: Final = 3600.0
"""What the Envoy configurations and the chart that come with this picker set it to."""
_IDLE: Final = "stream_idle_timeout"
_ROUTE: Final = (
    "streamIdleTimeout of the ClientTrafficPolicy, lifted by timeouts.request: 0s of the HTTPRoute"
)

_ENVOYS: Final = 1024
"""Envoy's circuit breaker where nobody sets it."""

PROFILES: Final[dict[str, GatewayProfile]] = {
    profile.name: profile
    for profile in (
        GatewayProfile(
            name="envoy",
            patience=Patience(default_s=_IDLE_S, knob=_IDLE, source=Source.MEASURED, shipped_s=_OUR_IDLE_S),
            reads=Channel.HEADER,
            tells=(Hint.SUBSET,),
            tls=Tls.CONFIGURED,
            ceiling=Ceiling(requests=_ENVOYS, knob="the circuit breakers of the picker's cluster"),
        ),
        GatewayProfile(
            name="istio",
            # Istio turns the idle timeout off, and its filter's message timeout has no effect in full duplex.
            patience=Patience(default_s=None, knob="", source=Source.UNDERNEATH),
            reads=Channel.METADATA,
            destinations=Destinations.LIST,
            tells=(Hint.SERVED,),
            tls=Tls.CONFIGURED,
            ceiling=None,
            warning=(
                "Istio speaks plaintext to the picker's Service unless a DestinationRule with TLS SIMPLE says "
                "otherwise: without one every request ends in a 500"
            ),
        ),
        GatewayProfile(
            name="envoy-gateway",
            patience=Patience(
                default_s=_IDLE_S,
                knob=_ROUTE,
                source=Source.UNDERNEATH,
            ),
            reads=Channel.HEADER,
            tls=Tls.CONFIGURED,
            ceiling=Ceiling(requests=_ENVOYS, knob="backendSettings.circuitBreaker"),
            warning=(
                "Envoy Gateway's policy must ask for FullDuplexStreamed bodies and failOpen: false: with buffered "
                "bodies its messageTimeout, 200ms by default, ends every wait with a 504"
            ),
        ),
        GatewayProfile(
            name="envoy-ai-gateway",
            patience=Patience(
                default_s=_IDLE_S,
                knob=_ROUTE,
                source=Source.UNDERNEATH,
            ),
            reads=Channel.HEADER,
            tls=Tls.UNVERIFIED,
            ceiling=Ceiling(requests=_ENVOYS, knob="an EnvoyPatchPolicy"),
            warning="Envoy AI Gateway ignores the pool's failureMode: without a picker every request fails",
        ),
        GatewayProfile(
            name="agentgateway",
            patience=Patience(default_s=None, knob="", source=Source.READ),
            reads=Channel.HEADER,
            tells=(Hint.SERVED,),
            tls=Tls.UNVERIFIED,
            ceiling=None,
        ),
        GatewayProfile(
            name="nginx",
            patience=Patience(default_s=None, knob="", source=Source.READ),
            reads=Channel.HEADER,
            tls=Tls.UNVERIFIED,
            ceiling=None,
            responses=Responses.HIDDEN,
            refusals=Refusals.REPLACED,
            bodies=Bodies.ITS_OWN,
        ),
        GatewayProfile(
            name="gke",
            patience=None,
            reads=Channel.UNKNOWN,
            tls=Tls.UNVERIFIED,
            ceiling=None,
        ),
        GatewayProfile(
            name="kgateway",
            patience=Patience(default_s=_IDLE_S, knob=_IDLE, source=Source.UNDERNEATH),
            reads=Channel.METADATA,
            tells=(Hint.SUBSET,),
            tls=Tls.UNVERIFIED,
            ceiling=Ceiling(requests=_ENVOYS, knob="the circuit breakers of the picker's cluster"),
            warning=(
                "kgateway's Envoy plugin is deprecated since 2.1 and gone from 2.2, where agentgateway takes its "
                "place; versions that buffer bodies end every wait after 5s"
            ),
        ),
    )
}


def describe(profile: GatewayProfile) -> str:
    """What the profile means, as one line for the log at start-up."""
    parts = [_waits(profile), f"it reads the picker's choice {profile.reads.value}"]
    parts += [f"it says {hint.value}" for hint in profile.tells]
    parts.append(f"it connects {profile.tls.value}")
    if profile.ceiling is not None:
        parts.append(
            f"it sends at most {profile.ceiling.requests} requests at once, waiting ones included, unless that is "
            f"raised by {profile.ceiling.knob}"
        )
    return f"gateway profile {profile.name}: " + "; ".join(parts)


def advice(profile: GatewayProfile, *, ttl_s: float, hold_s: float) -> list[str]:
    """What to warn of at start-up.

    `ttl_s` is how long requests may wait while the pool has endpoints, `hold_s` while it has none; 0 means any time.
    """
    lines = _patience_advice(profile, ttl_s, hold_s)
    if profile.warning:
        lines.append(profile.warning)
    if profile.refusals is Refusals.REPLACED:
        lines.append(
            "it passes no 429 and no 503 on to clients: with FailOpen it sends refused requests to any endpoint, with "
            "FailClose it answers 500"
        )
    if profile.responses is Responses.HIDDEN:
        lines.append(
            "it shows no responses: room on an endpoint counts as free as soon as a request has been sent there"
        )
    if profile.bodies is Bodies.ITS_OWN:
        lines.append("it sends its own copy of a body on: a model that is rewritten here doesn't arrive")
    return [f"gateway profile {profile.name}: {line}" for line in lines]


def adjusted(profile: GatewayProfile, *, timeout_s: float) -> GatewayProfile:
    """The profile of a gateway that its operator told to wait `timeout_s`; 0 means as long as it takes."""
    told = Patience(default_s=timeout_s or None, knob="--gateway-timeout", source=Source.TOLD)
    return replace(profile, patience=told)


@dataclass(frozen=True, slots=True)
class Budgets:
    """How long requests may wait, in seconds; 0 means any time."""

    ttl_s: float
    """While the pool has endpoints, where nothing else is asked for."""
    hold_s: float
    """While it has none. The two clocks run one after the other: a request can use up both."""
    longest_ttl_s: float
    """What may be asked for in place of `ttl_s`."""


def granted(profile: GatewayProfile, *, ttl_s: float, hold_s: float) -> Budgets:
    """The budgets that the gateway sees to their end, of those that are configured."""
    cap_s = profile.wait_cap_s
    if cap_s is None:
        return Budgets(ttl_s, hold_s, 0.0)
    ttl_s, hold_s = ttl_s or cap_s, hold_s or cap_s
    share = min(1.0, cap_s / (ttl_s + hold_s))
    return Budgets(ttl_s * share, hold_s * share, cap_s - hold_s * share)


def _waits(profile: GatewayProfile) -> str:
    patience = profile.patience
    if patience is None:
        return "how long it waits is not published, so waits are not cut"
    if patience.default_s is None:
        return f"it waits as long as it takes ({patience.source.value}), so waits are not cut"
    shipped = ""
    if patience.shipped_s is not None:
        files = "with the files that come with this picker"
        shipped = f", {patience.shipped_s:g}s {files}"
    return (
        f"it ends a wait after {patience.default_s:g}s by default{shipped} ({patience.knob}; "
        f"{patience.source.value}), so longer waits than {profile.wait_cap_s:g}s are cut to that"
    )


def _patience_advice(profile: GatewayProfile, ttl_s: float, hold_s: float) -> list[str]:
    patience = profile.patience
    if patience is None:
        return ["how long it waits is not published: try it before relying on long waits"]
    limit_s = patience.default_s
    # The two clocks run one after the other: a request can use up both.
    total_s = ttl_s + hold_s if ttl_s and hold_s else None
    if limit_s is None or (total_s is not None and total_s < limit_s):
        return []
    longest = "any time" if total_s is None else f"{total_s:g}s"
    line = (
        f"requests may wait {longest} (defaultRequestTTL and noEndpointRequestTTL together), and the gateway "
        f"answers 504 after {limit_s:g}s by default ({patience.knob}): keep the sum of the two below that"
    )
    budgets = granted(profile, ttl_s=ttl_s, hold_s=hold_s)
    if (budgets.ttl_s, budgets.hold_s) != (ttl_s, hold_s):
        line += f"; they are cut to {budgets.ttl_s:g}s and {budgets.hold_s:g}s here"
    return [line]
