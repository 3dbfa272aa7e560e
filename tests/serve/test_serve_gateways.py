"""What operators are told of the gateway in front, and what is granted in front of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.serve.gateways import (
    PROFILES,
    Bodies,
    Budgets,
    Channel,
    Destinations,
    GatewayProfile,
    Patience,
    Refusals,
    Responses,
    Source,
    Tls,
    adjusted,
    advice,
    describe,
    granted,
)

ALL = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


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
    assert all(profile.name == name for name, profile in PROFILES.items())


# ------------------------------------------------------------------------------------ the cap


@pytest.mark.parametrize(
    ("name", "cap_s"),
    [
        ("envoy", 3590.0),
        ("istio", None),
        ("envoy-gateway", 290.0),
        ("envoy-ai-gateway", 290.0),
        ("agentgateway", None),
        ("nginx", None),
        ("gke", None),
        ("kgateway", 290.0),
    ],
)
def test_the_cap_is_below_what_the_gateway_enforces(name: str, cap_s: float | None) -> None:
    """Ten seconds below, so that our answer is there first; none where no limit is known."""
    assert PROFILES[name].wait_cap_s == cap_s


@pytest.mark.parametrize(("limit_s", "cap_s"), [(5.0, 4.5), (100.0, 90.0), (101.0, 91.0), (1.0, 0.9)])
def test_an_impatient_gateway_leaves_most_of_its_patience(limit_s: float, cap_s: float) -> None:
    """Where ten seconds would be too much, a tenth is taken off."""
    profile = impatient(limit_s)
    assert profile.wait_cap_s == pytest.approx(cap_s)
    budgets = granted(profile, ttl_s=1000.0, hold_s=1000.0)
    assert budgets.ttl_s + budgets.hold_s == pytest.approx(cap_s)


@pytest.mark.parametrize("name", PROFILES)
@given(
    ttl_s=st.sampled_from((0.0, 1.0, 60.0, 290.0, 6000.0)), hold_s=st.sampled_from((0.0, 2.0, 60.0, 400.0))
)
def test_no_wait_is_granted_that_the_gateway_does_not_see_to_its_end(
    name: str, ttl_s: float, hold_s: float
) -> None:
    """Both clocks together, also with the longest budget that may be asked for, stay within the cap."""
    cap_s = PROFILES[name].wait_cap_s
    budgets = granted(PROFILES[name], ttl_s=ttl_s, hold_s=hold_s)
    if cap_s is None:
        assert budgets == Budgets(ttl_s, hold_s, 0.0)
        return
    for busy_s in (budgets.ttl_s, budgets.longest_ttl_s):
        assert 0 < busy_s + budgets.hold_s <= cap_s * (1 + 1e-9)
    if ttl_s and hold_s and ttl_s + hold_s <= cap_s:
        assert (budgets.ttl_s, budgets.hold_s) == (ttl_s, hold_s)


def test_budgets_that_are_too_long_together_shrink_in_proportion() -> None:
    """280 s and 280 s within 290 s are 145 s each; one without limit counts as the whole."""
    profile = PROFILES["envoy-ai-gateway"]
    assert granted(profile, ttl_s=280.0, hold_s=280.0) == Budgets(145.0, 145.0, 145.0)
    assert granted(profile, ttl_s=0.0, hold_s=0.0) == Budgets(145.0, 145.0, 145.0)
    assert granted(profile, ttl_s=60.0, hold_s=60.0) == Budgets(60.0, 60.0, 230.0)


# ---------------------------------------------------------------------------------- the advice


def waits(name: str, ttl_s: float, hold_s: float) -> list[str]:
    """What is said of waits, beyond what is said in any case."""
    always = advice(PROFILES[name], ttl_s=1.0, hold_s=1.0)
    return [line for line in advice(PROFILES[name], ttl_s=ttl_s, hold_s=hold_s) if line not in always]


@pytest.mark.parametrize("name", PROFILES)
def test_a_wait_shorter_than_the_gateways_patience_is_not_mentioned(name: str) -> None:
    """The default of a minute on either clock is nothing to talk about."""
    assert waits(name, 60, 60) == []


def test_a_plain_envoy_has_nothing_to_be_warned_of() -> None:
    """The default profile with the defaults is silent."""
    assert advice(PROFILES["envoy"], ttl_s=60, hold_s=60) == []


@pytest.mark.parametrize(
    ("ttl_s", "hold_s", "longest"),
    [
        (600, 60, "660s"),
        (60, 600, "660s"),
        (200, 200, "400s"),
        (150, 150, "300s"),
        (0, 60, "any time"),
        (60, 0, "any time"),
    ],
)
def test_a_wait_that_the_gateway_would_end_is_warned_of(ttl_s: float, hold_s: float, longest: str) -> None:
    """A request can use up both clocks, so it is their sum that counts; the settings to change are named."""
    (line,) = waits("envoy", ttl_s, hold_s)
    assert f"may wait {longest} " in line
    for name in ("stream_idle_timeout", "defaultRequestTTL", "noEndpointRequestTTL", "300s", "504"):
        assert name in line


def test_a_cut_is_admitted() -> None:
    """Whoever configures a longer wait than is granted reads what it became."""
    assert "cut to 145s and 145s" in waits("envoy-ai-gateway", 600, 600)[0]
    assert "cut to 145s and 145s" in waits("envoy-ai-gateway", 0, 0)[0]
    assert "cut" not in waits("envoy", 600, 600)[0]


@pytest.mark.parametrize("name", ["agentgateway", "nginx", "gke"])
def test_where_no_limit_is_known_none_is_claimed(name: str) -> None:
    """No wait is too long for a gateway that sets no limit, or keeps it to itself."""
    assert waits(name, 0, 0) == []


def test_what_a_gateway_keeps_to_itself_is_said() -> None:
    """Unpublished is not unlimited."""
    assert any("not published" in line for line in advice(PROFILES["gke"], ttl_s=60, hold_s=60))
    assert advice(PROFILES["agentgateway"], ttl_s=60, hold_s=60) == []


def test_what_nginx_withholds_is_said() -> None:
    """Refusals that clients never see, responses that we never see, and a rewriting that has no effect."""
    profile = PROFILES["nginx"]
    assert (profile.refusals, profile.responses) == (Refusals.REPLACED, Responses.HIDDEN)
    assert profile.bodies is Bodies.ITS_OWN
    text = "\n".join(advice(profile, ttl_s=60, hold_s=60))
    for words in ("no 429 and no 503", "FailOpen", "FailClose", "no responses", "rewritten"):
        assert words in text


@ALL
def test_every_line_names_the_profile(profile: GatewayProfile) -> None:
    """In a log among others, each line says what it is about, and is one line."""
    for line in [describe(profile), *advice(profile, ttl_s=0, hold_s=0)]:
        assert line.startswith(f"gateway profile {profile.name}: ")
        assert "\n" not in line


# ----------------------------------------------------------------------------- the description


@ALL
def test_the_description_says_what_the_profile_holds(profile: GatewayProfile) -> None:
    """How long it waits and how that is known, where it reads, what it tells, how it connects, how many it sends."""
    text = describe(profile)
    assert profile.reads.value in text
    assert profile.tls.value in text
    assert all(hint.value in text for hint in profile.tells)
    if profile.ceiling is not None:
        assert f"at most {profile.ceiling.requests} requests" in text
        assert profile.ceiling.knob in text
    if profile.patience is None:
        assert "not published" in text
        return
    assert f"{profile.patience.source.value})" in text
    if profile.wait_cap_s is None:
        assert "not cut" in text
    else:
        assert f"after {profile.patience.default_s:g}s" in text
        assert f"than {profile.wait_cap_s:g}s are cut" in text


def test_only_what_was_measured_is_said_to_be() -> None:
    """Envoy's idle timeout was, also for whoever builds on Envoy; what others make of waits was read."""
    sources = {name: profile.patience.source for name, profile in PROFILES.items() if profile.patience}
    assert sources == {
        "envoy": Source.MEASURED,
        "istio": Source.UNDERNEATH,
        "envoy-gateway": Source.UNDERNEATH,
        "envoy-ai-gateway": Source.UNDERNEATH,
        "agentgateway": Source.READ,
        "nginx": Source.READ,
        "kgateway": Source.UNDERNEATH,
    }


def test_only_istio_takes_lists() -> None:
    """Which is why one endpoint is sent everywhere."""
    takers = [name for name, profile in PROFILES.items() if profile.destinations is Destinations.LIST]
    assert takers == ["istio"]


def impatient(limit_s: float) -> GatewayProfile:
    """A gateway that waits for so long."""
    return GatewayProfile(
        name="impatient",
        patience=Patience(default_s=limit_s, knob="its clock", source=Source.READ),
        reads=Channel.HEADER,
        tls=Tls.UNVERIFIED,
        ceiling=None,
    )


def test_what_the_operator_says_of_the_gateway_wins() -> None:
    """`--gateway-timeout` replaces the profile's own limit, in both directions; 0 lifts it."""
    profile = PROFILES["envoy-ai-gateway"]
    assert granted(adjusted(profile, timeout_s=20.0), ttl_s=60.0, hold_s=60.0) == Budgets(9.0, 9.0, 9.0)
    assert granted(adjusted(profile, timeout_s=7200.0), ttl_s=3600.0, hold_s=60.0).ttl_s == 3600.0
    assert granted(adjusted(profile, timeout_s=0.0), ttl_s=0.0, hold_s=0.0) == Budgets(0.0, 0.0, 0.0)
    assert "--gateway-timeout" in describe(adjusted(profile, timeout_s=20.0))
