"""The flags of `epp serve`: upstream's and ours, in every spelling that Go's users type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from epp.extproc.transports.transport import PortSharing, TransportName
from epp.serve.flags import FLAGS, Kind, NoEffect, Refused, Works
from epp.serve.selected import pool_name
from epp.serve.settings import FlagParser, ServeSettings, SettingsError, add_arguments, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

UPSTREAM = [
    "grpc-port",
    "grpc-health-port",
    "metrics-port",
    "metrics-endpoint-auth",
    "pool-name",
    "pool-namespace",
    "pool-group",
    "endpoint-selector",
    "endpoint-target-ports",
    "disable-endpoint-subset-filter",
    "ha-enable-leader-election",
    "refresh-metrics-interval",
    "refresh-prometheus-metrics-interval",
    "metrics-staleness-threshold",
    "config-file",
    "config-text",
    "secure-serving",
    "cert-path",
    "enable-cert-reload",
    "health-checking",
    "tracing",
    "enable-pprof",
    "v",
    "zap-log-level",
    "zap-encoder",
    "zap-devel",
    "zap-stacktrace-level",
    "zap-time-encoding",
    "model-server-metrics-scheme",
    "model-server-metrics-path",
    "model-server-metrics-port",
    "model-server-metrics-https-insecure-skip-verify",
    "total-queued-requests-metric",
    "total-running-requests-metric",
    "kv-cache-usage-percentage-metric",
    "lora-info-metric",
    "cache-info-metric",
    "drain-timeout",
    "grpc-max-recv-msg-size",
    "grpc-max-send-msg-size",
    "emit-endpoint-scores",
    "enable-grpc-stream-metrics",
    "tls-min-version",
    "tls-cipher-suites",
    "metrics-cert-dir",
    "metrics-client-ca-file",
    "allow-experimental-plugins",
]


ALL_FLAGS = [flag for flags in FLAGS.values() for flag in flags]


def _read_alone(*words: str, environ: dict[str, str] | None = None) -> ServeSettings:
    parser = FlagParser(prog="epp serve", allow_abbrev=False)
    add_arguments(parser)
    return read_settings(parser.parse_args(list(words)), environ or {})


def _read(*words: str, environ: dict[str, str] | None = None) -> ServeSettings:
    return _read_alone("--objects", "objects.yaml", *words, environ=environ)


def _problems(*words: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        _read(*words)
    return caught.value.problems


def _problems_alone(*words: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        _read_alone(*words)
    return caught.value.problems


@pytest.mark.parametrize("name", UPSTREAM)
def test_every_upstream_flag_is_known(name: str) -> None:
    """Upstream's charts pass flags that we know, whatever becomes of each."""
    assert name in {flag.name for flag in ALL_FLAGS}


@pytest.mark.parametrize("flag", [flag for flag in ALL_FLAGS if isinstance(flag.fate, NoEffect)], ids=str)
def test_a_flag_without_effect_says_why(flag: object) -> None:
    """A flag that can't have its upstream effect is accepted with one line that says so."""
    value = {Kind.BOOLEAN: "true", Kind.DURATION: "1s"}.get(flag.kind, "x")
    notes = _read(f"--{flag.name}={value}").notes
    assert len(notes) == 1
    assert notes[0].startswith(f"--{flag.name} has no effect: ")


@pytest.mark.parametrize("flag", [flag for flag in ALL_FLAGS if isinstance(flag.fate, Refused)], ids=str)
def test_a_refused_flag_names_its_remedy(flag: object) -> None:
    """A flag that can't be honoured is an error that says what to do instead."""
    assert _problems(f"--{flag.name}", "x") == [f"--{flag.name} cannot be used: {flag.fate.remedy}"]


def test_defaults_are_those_of_the_design() -> None:
    """Without flags: upstream's ports, a scrape interval of 200 ms, 32 MiB bodies, 30 s and 90 s to stop."""
    settings = _read()
    assert (settings.grpc_port, settings.grpc_health_port, settings.metrics_port) == (9002, 9003, 9090)
    assert settings.refresh_metrics_interval_s == 0.2
    assert settings.max_request_body_bytes == 32 * 1024 * 1024
    assert (settings.drain_timeout_s, settings.stream_drain_timeout_s) == (30.0, 90.0)
    assert settings.secure_serving
    assert settings.notes == ()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--secure-serving"], True),
        (["--secure-serving=false"], False),
        (["--secure-serving", "false"], False),
        (["--secure-serving=F"], False),
    ],
)
def test_booleans_are_taken_in_every_spelling(words: list[str], expected: bool) -> None:
    """`--flag`, `--flag=false` and `--flag false` all mean what they say."""
    assert _read(*words).secure_serving is expected


@pytest.mark.parametrize("words", [["-v", "4"], ["-v=4"], ["--v=4"], ["--v", "4"]])
def test_verbosity_is_taken_in_every_spelling(words: list[str]) -> None:
    """Go's one-letter flag works with one dash and with two."""
    assert _read(*words).verbosity == 4


def test_values_and_equals_signs_mean_the_same() -> None:
    """`--flag value` and `--flag=value` give the same settings."""
    spaced = _read("--grpc-port", "1234", "--drain-timeout", "1m30s", "--config-file", "c.yaml")
    assert spaced == _read("--grpc-port=1234", "--drain-timeout=1m30s", "--config-file=c.yaml")
    assert spaced.drain_timeout_s == 90.0
    assert spaced.config_file == Path("c.yaml")


def test_the_conformance_command_line_is_accepted() -> None:
    """The suite's own command line for an endpoint picker parses, and means a cluster."""
    settings = _read_alone(
        *[
            "--pool-name",
            "p",
            "--pool-namespace",
            "ns",
            "--zap-encoder",
            "json",
            "--grpc-port",
            "9002",
            "--grpc-health-port",
            "9003",
        ]
    )
    assert (settings.pool_name, settings.pool_namespace) == ("p", "ns")
    assert settings.objects is None
    assert settings.notes == ()


def test_the_namespace_falls_back_to_the_environment() -> None:
    """`NAMESPACE` is used where no flag names a namespace, and only there."""
    assert _read(environ={"NAMESPACE": "here"}).pool_namespace == "here"
    assert _read("--pool-namespace", "there", environ={"NAMESPACE": "here"}).pool_namespace == "there"


def test_too_fast_scraping_is_slowed_down_with_a_note() -> None:
    """An interval below upstream's floor of 50 ms is raised, and said to be."""
    settings = _read("--refresh-metrics-interval=1ms")
    assert settings.refresh_metrics_interval_s == 0.05
    assert "50ms" in settings.notes[0]


@pytest.mark.parametrize(
    ("word", "fragment"),
    [
        ("--grpc-port=70000", "70000 is not a port"),
        ("--grpc-port=abc", "abc"),
        ("--secure-serving=perhaps", "not a boolean"),
        ("--drain-timeout=-1s", "negative"),
        ("--drain-timeout=5", "5"),
        ("--max-request-body-bytes=lots", "lots"),
        ("--gateway-profile=traefik", "'traefik' is unknown: one of envoy"),
        ("--model-server-metrics-scheme=ftp", "neither http nor https"),
        ("--enable-cert-reload", "--cert-path"),
        ("--metrics-endpoint-auth", "needs a cluster"),
        ("--lease-loss=maybe", "neither keep nor stop"),
        ("--lease-duration=1500ms", "whole seconds"),
        ("--lease-duration=0s", "from 1s to 86400s"),
        ("--lease-duration=48h", "from 1s to 86400s"),
        ("--pool-group=inference.networking.x-k8s.io", "use inference.networking.k8s.io"),
        ("--endpoint-target-ports=8000", "goes with --endpoint-selector"),
        ("--transport=netty", "'netty' is unknown: one of native, grpcio"),
        ("--transport=", "None is unknown: one of native, grpcio"),
        ("--grpc-reuse-port=some", "not a boolean"),
    ],
)
def test_a_bad_value_names_the_flag_the_value_and_the_remedy(word: str, fragment: str) -> None:
    """Every bad value is one problem that starts with its flag."""
    found = _problems(word)
    assert len(found) == 1
    assert found[0].startswith(word.partition("=")[0])
    assert fragment in found[0]


def test_the_transport_and_its_port_are_said_by_name() -> None:
    """Each transport by its name; a port of one's own, and clients unchecked, unless told otherwise."""
    for name in TransportName:
        assert _read(f"--transport={name.value}").transport is name
    settings = _read()
    assert (settings.grpc_port_sharing, settings.client_ca_file) == (PortSharing.OFF, None)
    settings = _read("--grpc-reuse-port", "--client-ca-file=ca.crt", "--enable-cert-reload")
    assert (settings.grpc_port_sharing, settings.client_ca_file) == (PortSharing.ON, Path("ca.crt"))


def test_client_certificates_need_tls() -> None:
    """In plaintext nobody shows any, so everybody would be served."""
    assert _problems("--client-ca-file=ca.crt", "--secure-serving=false") == [
        "--client-ca-file=ca.crt needs TLS: leave it out, or drop --secure-serving=false"
    ]


def test_all_problems_come_at_once() -> None:
    """Three mistakes are told in one go."""
    found = _problems("--grpc-port=x", "--config-file=a", "--config-text=b", "--lora-info-metric=y")
    assert len(found) == 3


def test_what_to_serve_is_required() -> None:
    """Without a pool, a selector or files there is nothing to serve, and the message names all three."""
    (problem,) = _problems_alone()
    assert all(flag in problem for flag in ("--pool-name", "--endpoint-selector", "--objects"))


def test_a_cluster_and_files_exclude_each_other() -> None:
    """A kubeconfig beside files could only be a mistake."""
    assert _problems("--kubeconfig=k") == [
        "--objects and --kubeconfig exclude each other: files, or a cluster"
    ]


@pytest.mark.parametrize("read", [_problems, _problems_alone])
def test_a_pool_and_a_selector_exclude_each_other(read: Callable[..., list[str]]) -> None:
    """As upstream: exactly one of the two says which pods are meant; nobody guesses."""
    (problem,) = read("--pool-name=p", "--endpoint-selector=app=x", "--endpoint-target-ports=8000")
    assert "--endpoint-selector" in problem


@pytest.mark.parametrize("ports", ["x", "0", "65536", "8000,8000", "1,2,3,4,5,6,7,8,9", "8000;8001"])
def test_bad_target_ports_are_told_with_the_remedy(ports: str) -> None:
    """A selector needs 1 to 8 different ports."""
    (problem,) = _problems_alone("--endpoint-selector=app=x", f"--endpoint-target-ports={ports}")
    assert problem.startswith("--endpoint-target-ports=")
    assert "1 to 8 different ports" in problem


def test_a_selector_needs_ports() -> None:
    """Which one is missing is said, and why it is needed."""
    assert _problems_alone("--endpoint-selector=app=x") == [
        "--endpoint-target-ports is missing: with --endpoint-selector it says where each pod serves"
    ]


def test_lease_flags_without_an_election_are_noted() -> None:
    """Whoever thinks that his picker is fenced reads that it isn't."""
    settings = _read_alone("--pool-name=p", "--lease-loss=stop", "--lease-duration=5s")
    assert settings.notes == (
        "--lease-loss has no effect without --ha-enable-leader-election",
        "--lease-duration has no effect without --ha-enable-leader-election",
    )


def test_a_bad_selector_is_told_with_its_text() -> None:
    """What can't be a selector is refused at start, not by the API server later."""
    (problem,) = _problems_alone("--endpoint-selector=app in x", "--endpoint-target-ports=8000")
    assert problem.startswith("--endpoint-selector=app in x: ")


def test_selected_pods_are_a_pool() -> None:
    """The full selector syntax is taken, and becomes a pool of the Deployment's name."""
    settings = _read_alone(
        "--endpoint-selector", "app=x,tier notin (spot)", "--endpoint-target-ports", "8000, 8001"
    )
    assert settings.selected is not None
    pool = settings.selected.as_pool(
        group="g", namespace="ns", name=pool_name({"POD_NAME": "llama-epp-6d-x7"})
    )
    assert (pool.name, pool.namespace, pool.target_ports) == ("llama-epp", "ns", (8000, 8001))
    assert pool.selector.matches({"app": "x"})
    assert not pool.selector.matches({"app": "x", "tier": "spot"})


def test_a_pool_without_a_deployment_is_called_epp() -> None:
    """A name is needed that objectives can give, wherever the picker runs."""
    assert (pool_name({}), pool_name({"POD_NAME": "solo"})) == ("epp", "epp")


def test_metrics_ask_for_authorization_in_a_cluster_unless_told_not_to() -> None:
    """Upstream's default where it can work, and none where it can't."""
    assert _read_alone("--pool-name=p").metrics_endpoint_auth
    assert not _read_alone("--pool-name=p", "--metrics-endpoint-auth=false").metrics_endpoint_auth
    assert not _read().metrics_endpoint_auth


def test_leader_election_has_no_effect_on_files() -> None:
    """Upstream's flag is accepted, with a line that says so."""
    settings = _read("--ha-enable-leader-election")
    assert not settings.leader_election
    assert settings.notes == (
        "--ha-enable-leader-election has no effect with --objects: there is no Lease to hold",
    )
    assert _read_alone("--pool-name=p", "--ha-enable-leader-election").leader_election


def test_an_unknown_flag_names_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt flag is an error of one line with the name that was meant."""
    with pytest.raises(SystemExit) as caught:
        _read("--grpc-prot", "1")
    assert caught.value.code == 2
    assert "did you mean --grpc-port?" in capsys.readouterr().err


def test_help_explains_each_flag_that_works() -> None:
    """Every flag that does something has a sentence of help."""
    assert [flag.name for flag in ALL_FLAGS if isinstance(flag.fate, Works) and not flag.help] == []
