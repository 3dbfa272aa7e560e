"""What operators are told of the gateway in front."""

from __future__ import annotations

import pytest

from epp.serve.gateways import PROFILES, advice


def test_a_wait_shorter_than_the_gateways_patience_is_not_mentioned() -> None:
    """The default TTL is well below Envoy's idle timeout: nothing to say."""
    assert advice(PROFILES["envoy"], ttl_s=60, hold_s=60) == []


@pytest.mark.parametrize(("ttl_s", "hold_s"), [(600, 60), (60, 600), (0, 60), (60, 0)])
def test_a_wait_that_the_gateway_would_end_is_warned_of(ttl_s: float, hold_s: float) -> None:
    """A longer or unlimited wait on either clock names the setting to change."""
    lines = advice(PROFILES["envoy"], ttl_s=ttl_s, hold_s=hold_s)
    assert len(lines) == 1
    assert "stream_idle_timeout" in lines[0]


def test_every_profile_of_the_design_exists() -> None:
    """The names that users type."""
    names = {
        "envoy",
        "istio",
        "envoy-gateway",
        "envoy-ai-gateway",
        "agentgateway",
        "nginx",
        "gke",
        "kgateway",
    }
    assert set(PROFILES) == names
