"""The Helm chart: its values, what it refuses, and what it renders."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import epp
from deploy.generate import ROOT
from epp.config.scrape import BUILT_IN_ENGINES
from epp.serve.gateways import PROFILES
from tests.deploy.rendered import Rendered, check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHART = ROOT / "charts" / "epp"
GATEWAYS = ("none", "istio", "envoy-gateway", "envoy-ai-gateway", "agentgateway", "nginx", "gke")
LEAST: dict[str, Any] = {"router": {"modelServers": {"matchLabels": {"app": "vllm", "tier": "gpu"}}}}


def values_of(name: str) -> dict[str, Any]:
    """The least values with which a provider works."""
    if name == "envoy-gateway":
        own = {"inferencePool": {"create": False}, "epp": {"flags": {"secure-serving": False}}}
        return merged(LEAST, {"provider": {"name": name}, "router": own})
    return merged(LEAST, {"provider": {"name": name}})


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """As Helm merges values: maps by key, everything else replaced."""
    both = dict(one)
    for key, value in other.items():
        mine = both.get(key)
        both[key] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return both


def nested(path: str, value: object) -> dict[str, Any]:
    """`{"a": {"b": value}}` for `a.b`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


class Helm:
    """Renders the chart."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder

    def run(self, command: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """One command, with these values."""
        file = self._folder / "values.yaml"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        words = {
            "template": ["template", "llm", str(CHART), "--namespace", "models", "--kube-version", "1.34.0"],
            "lint": ["lint", "--strict", str(CHART), "--kube-version", "1.34.0"],
        }[command]
        return subprocess.run(
            [self._program, *words, "--values", str(file)], capture_output=True, text=True, check=False
        )

    def render(self, values: dict[str, Any]) -> Rendered:
        """What comes out."""
        done = self.run("template", values)
        assert done.returncode == 0, done.stderr
        return Rendered.read(done.stdout)

    def refusal(self, values: dict[str, Any]) -> str:
        """Why nothing comes out."""
        done = self.run("template", values)
        assert done.returncode != 0
        return done.stderr


@pytest.fixture
def helm(tmp_path: Path) -> Helm:
    """The real Helm."""
    program = shutil.which("helm")
    if program is None:
        pytest.skip("there is no helm on PATH")
    return Helm(program, tmp_path)


def defaults() -> dict[str, Any]:
    """The chart's own values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert isinstance(values, dict)
    return values


def leaves(
    values: dict[str, Any], schema: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Every value and the schema that holds for it; None if there is none."""
    for key, value in values.items():
        here = f"{path}.{key}".lstrip(".")
        below = schema.get("properties", {}).get(key)
        if isinstance(value, dict) and below and "properties" in below:
            yield from leaves(value, below, here)
        else:
            yield here, below


def test_every_value_has_a_schema_and_a_line_of_explanation() -> None:
    """A value without a schema would be refused; one without a comment near it would be a riddle."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert [path for path, below in leaves(defaults(), schema) if below is None] == []
    assert schema["additionalProperties"] is False


def test_the_chart_is_of_this_version_and_knows_the_gateways_and_engines() -> None:
    """Version, providers and engines are those of the picker."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == epp.__version__
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]
    providers = schema["provider"]["properties"]["name"]["enum"]
    assert tuple(providers) == GATEWAYS
    assert set(providers) - {"none"} <= set(PROFILES)
    engines = schema["router"]["properties"]["modelServers"]["properties"]["type"]["enum"]
    assert set(engines) == set(BUILT_IN_ENGINES)


@pytest.mark.parametrize("provider", GATEWAYS)
def test_helm_lint_has_nothing_to_say(helm: Helm, provider: str) -> None:
    """`helm lint --strict` passes with every provider."""
    done = helm.run("lint", values_of(provider))
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize(
    ("provider", "replicas", "monitored"),
    list(itertools.product(GATEWAYS, (1, 3), (None, "prometheusoperator", "gmp"))),
)
def test_what_it_renders_keeps_all_rules(
    helm: Helm, provider: str, replicas: int, monitored: str | None
) -> None:
    """Every provider, alone and with standbys, with and without monitoring, with a route and objectives."""
    own = {
        "router": {
            "epp": {"replicas": replicas, "networkPolicy": {"enabled": replicas > 1}},
            "inferenceObjectives": [{"name": "premium", "priority": 10}, {"name": "plain"}],
            "monitoring": {
                "provider": {"name": monitored or "prometheusoperator"},
                "prometheus": {"enabled": monitored is not None},
            },
        },
        "httpRoute": {"create": True},
    }
    rendered = helm.render(merged(values_of(provider), own))
    check(rendered)
    assert rendered.settings().gateway_profile == ("envoy" if provider == "none" else provider)
    assert len(rendered.of("ServiceMonitor")) == (monitored == "prometheusoperator")
    assert len(rendered.of("PodMonitoring")) == (monitored == "gmp")
    assert [one["spec"].get("priority") for one in rendered.of("InferenceObjective")] == [10, None]


@pytest.mark.parametrize("mode", ["duplex", "lean"])
@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("replicas", [1, 2])
def test_the_sidecar_needs_no_gateway(helm: Helm, mode: str, create: bool, replicas: int) -> None:
    """Both body modes, with an InferencePool and without one, alone and with a standby."""
    own = {
        "epp": {"replicas": replicas},
        "proxy": {"enabled": True, "bodyMode": mode, "port": 80},
        "inferencePool": {"create": create},
    }
    rendered = helm.render(merged(LEAST, {"router": own}))
    check(rendered)
    assert len(rendered.of("InferencePool")) == create
    assert (rendered.settings().selected is None) is create
    config = rendered.one("ConfigMap", "llm-epp-envoy")["data"]["envoy.yaml"]
    assert config.rstrip() == (ROOT / "envoy" / f"{mode}.yaml").read_text(encoding="utf-8").rstrip()
    assert {one["name"]: one["port"] for one in rendered.service["spec"]["ports"]}["http"] == 80


def test_the_grace_period_follows_both_drain_timeouts(helm: Helm) -> None:
    """Whoever changes a timeout changes the grace period with it."""
    own = nested("router.epp", {"drainTimeoutSeconds": 5, "streamDrainTimeoutSeconds": 600})
    rendered = helm.render(merged(LEAST, own))
    check(rendered)
    assert rendered.pod["terminationGracePeriodSeconds"] == 615


def test_the_lease_may_be_touched_by_its_name_only(helm: Helm) -> None:
    """The Role for the Lease names the one that the picker will use."""
    rendered = helm.render(merged(LEAST, nested("router.epp.replicas", 2)))
    create, use = rendered.one("Role", "llm-epp-lease")["rules"]
    assert create["verbs"] == ["create"]
    assert use["resourceNames"] == ["epp-models-llm.llm-d.ai"]


def test_an_existing_pool_is_served_without_being_made(helm: Helm) -> None:
    """`create: false` with a name means the pool of that name."""
    own = {"inferencePool": {"create": False, "name": "theirs"}}
    rendered = helm.render(merged(LEAST, {"router": own}))
    check(rendered)
    assert rendered.settings().pool_name == "theirs"
    assert not rendered.of("InferencePool")


@pytest.mark.parametrize("engine", sorted(BUILT_IN_ENGINES))
def test_the_configuration_is_for_the_engine(helm: Helm, engine: str) -> None:
    """The default configuration reads the metrics of the model servers that there are."""
    rendered = helm.render(merged(LEAST, nested("router.modelServers.type", engine)))
    check(rendered)
    assert f"defaultEngine: {engine}" in rendered.config()


def test_a_configuration_of_ones_own_is_used(helm: Helm) -> None:
    """A file of pluginsCustomConfig that is named by pluginsConfigFile is what the picker reads."""
    text = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nfeatureGates: [flowControl]\n"
    own = {"pluginsConfigFile": "mine.yaml", "pluginsCustomConfig": {"mine.yaml": text}}
    rendered = helm.render(merged(LEAST, nested("router.epp", own)))
    check(rendered)
    assert rendered.config().strip() == text.strip()


def test_flags_reach_the_picker_as_they_are_written(helm: Helm) -> None:
    """Numbers keep their digits, and booleans are no text."""
    flags = {"v": 4, "max-request-body-bytes": 67108864, "keep-control-headers": True}
    rendered = helm.render(merged(LEAST, nested("router.epp.flags", flags)))
    check(rendered)
    assert "--max-request-body-bytes=67108864" in rendered.picker["args"]
    assert rendered.settings().max_request_body_bytes == 67108864


def test_a_certificate_is_mounted_and_followed(helm: Helm) -> None:
    """A Secret replaces the self-signed certificate, and is taken into use as it is renewed."""
    rendered = helm.render(merged(LEAST, nested("router.epp.tls.secretName", "epp-tls")))
    check(rendered)
    settings = rendered.settings()
    assert str(settings.cert_path) == "/certs"
    assert settings.enable_cert_reload
    assert {"name": "certs", "secret": {"secretName": "epp-tls"}} in rendered.pod["volumes"]


def test_rights_that_are_not_wanted_are_not_asked_for(helm: Helm) -> None:
    """Without status, events and metrics authorization nothing remains but reading."""
    own = {
        "epp": {"writeStatus": False, "writeEvents": False},
        "monitoring": {"prometheus": {"auth": {"enabled": False}}},
    }
    rendered = helm.render(merged(LEAST, {"router": own}))
    check(rendered)
    assert [one["metadata"]["name"] for one in rendered.of("Role")] == ["llm-epp-read"]
    assert not rendered.of("ClusterRole")
    assert rendered.settings().metrics_endpoint_auth is False


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("router.inferencePool.failureMode", "FailClosed", "it must be FailOpen or FailClose"),
        ("inferenceExtension", {"replicas": 2}, "its values are now under router.epp"),
        ("inferencePool", {"targetPortNumber": 8000}, "its values are now under router.inferencePool"),
        ("inferenceObjectives", [], "its values are now under router.inferenceObjectives"),
        ("experimentalHttpRoute", {"enabled": True}, "its values are now under httpRoute"),
        ("router.tracing", {"enabled": True}, "this picker has no tracing"),
        ("router.tokenizer", {"enabled": True}, "this picker has no tokenizer"),
        ("router.latencyPredictor", {"enabled": True}, "this picker has no latencyPredictor"),
        ("router.epp.autoscaling", {"enabled": True}, "one picker serves at a time"),
        ("router.epp.terminationGracePeriodSeconds", 60, "set those"),
        ("router.epp.parsers", ["openai-parser"], "use router.epp.pluginsCustomConfig"),
        ("router.epp.pluginsConfig", {}, "router.epp.pluginsCustomConfig"),
        ("router.epp.pluginsConfigFile", "mine.yaml", "is not a key of router.epp.pluginsCustomConfig"),
        ("router.epp.flags.ha-enable-leader-election", False, "router.epp.replicas is more than 1"),
        ("router.epp.flags.drain-timeout", "5s", "from router.epp.drainTimeoutSeconds"),
        ("router.epp.flags.pool-name", "x", "from router.inferencePool.name"),
        ("router.modelServers.targetPortNumber", 8000, "targetPorts: [{number: ...}]"),
        ("router.modelServers.matchLabels", None, "matchLabels is required"),
        ("router.epp.replcas", 2, "replcas"),
        ("router.epp.replicas", 0, "replicas"),
        ("router.epp.leaseLoss", "wait", "leaseLoss"),
        ("router.epp.leaseDuration", "soon", "leaseDuration"),
        ("provider.name", "kong", "name"),
        ("provider.name", "envoy-gateway", "knows no InferencePool"),
        ("router.modelServers.targetPorts", [], "targetPorts"),
        ("router.proxy.mode", "service", "mode"),
        ("router.inferenceObjectives", [{"priority": 1}], "name"),
        ("router.inferenceObjectives", [{"name": "x", "priority": 2**31}], "priority"),
    ],
)
def test_what_cannot_work_is_refused_with_words(helm: Helm, path: str, value: object, said: str) -> None:
    """Values of older charts, typing mistakes and contradictions are named before anything is installed."""
    assert said in helm.refusal(merged(LEAST, nested(path, value)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"provider": {"name": "istio"}, "router": {"proxy": {"enabled": True}}}, "leave the proxy out"),
        ({"router": {"proxy": {"enabled": True}, "epp": {"extProcPort": 9}}}, "asks port 9002"),
        ({"router": {"proxy": {"enabled": True}, "modelServers": {"protocol": "grpc"}}}, "speaks HTTP/1.1"),
        (
            {"provider": {"name": "nginx"}, "router": {"inferencePool": {"failureMode": "FailOpen"}}},
            "FailOpen would let through",
        ),
        (
            {"provider": {"name": "envoy-gateway"}, "router": {"inferencePool": {"create": False}}},
            "set router.epp.flags.secure-serving: false",
        ),
        (
            {"provider": {"name": "gke"}, "router": {"inferencePool": {"create": False}}},
            "its policies are for an InferencePool",
        ),
        (
            {"httpRoute": {"create": True}, "router": {"inferencePool": {"create": False}}},
            "a route needs an InferencePool",
        ),
        (
            {
                "router": {
                    "epp": {"networkPolicy": {"enabled": True}},
                    "inferencePool": {"create": False, "name": "theirs"},
                    "modelServers": {"matchLabels": None},
                }
            },
            "would cut the picker off",
        ),
        (
            {"router": {"epp": {"tls": {"secretName": "x"}, "flags": {"secure-serving": False}}}},
            "drop one of the two",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_words(helm: Helm, values: dict[str, Any], said: str) -> None:
    """Two values that cannot both be meant are named together."""
    assert said in helm.refusal(merged(LEAST, values))
