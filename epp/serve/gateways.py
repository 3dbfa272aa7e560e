"""What the gateway in front does that an operator should know before traffic shows it.

Facts of each gateway as it wires ext_proc, measured with Envoy 1.40 where Envoy is underneath.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayProfile:
    """One kind of gateway."""

    name: str
    longest_hold_s: float | None
    """How long it lets a request wait for us, by its defaults; None means as long as it takes."""
    note: str | None
    """What differs from what one would expect."""


_IDLE = 300.0
"""Envoy's `stream_idle_timeout`: what ends a hold in full duplex, whatever `message_timeout` says."""

PROFILES: dict[str, GatewayProfile] = {
    profile.name: profile
    for profile in (
        GatewayProfile("envoy", _IDLE, None),
        GatewayProfile(
            "istio", _IDLE, "Istio needs a DestinationRule with TLS SIMPLE for the picker's Service"
        ),
        GatewayProfile(
            "envoy-gateway",
            _IDLE,
            "with buffered bodies the policy's messageTimeout, 200ms by default, ends every wait with a 504: "
            "use FullDuplexStreamed and failOpen: false",
        ),
        GatewayProfile(
            "envoy-ai-gateway",
            _IDLE,
            "Envoy's default of 1024 requests per cluster counts held requests: raise it",
        ),
        GatewayProfile("agentgateway", None, None),
        GatewayProfile(
            "nginx",
            None,
            "NGINX Gateway Fabric never passes 429 and 503 to clients: with FailOpen it sends refused requests "
            "anywhere, with FailClose it answers 500. It shows no responses, so slots are freed too early",
        ),
        GatewayProfile(
            "gke",
            None,
            "GKE does not publish how long it waits for a picker: try before relying on long waits",
        ),
        GatewayProfile("kgateway", _IDLE, "kgateway's Envoy plugin waits 5s in buffered modes"),
    )
}


def advice(profile: GatewayProfile, *, ttl_s: float, hold_s: float) -> list[str]:
    """Lines for the log at start-up."""
    lines = [] if profile.note is None else [f"gateway profile {profile.name}: {profile.note}"]
    limit_s = profile.longest_hold_s
    if limit_s is not None and (not ttl_s or not hold_s or max(ttl_s, hold_s) >= limit_s):
        longest = f"{max(ttl_s, hold_s):g}s" if ttl_s and hold_s else "without limit"
        lines.append(
            f"requests may wait {longest}, and {profile.name} ends a silent stream after {limit_s:g}s by default: "
            "set stream_idle_timeout above the longest wait, or defaultRequestTTL and noEndpointRequestTTL below it"
        )
    return lines
