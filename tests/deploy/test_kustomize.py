"""The kustomize base, its components and the overlays of the gateways."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from deploy.generate import ROOT
from epp.serve.gateways import PROFILES
from tests.deploy.rendered import Json, Rendered, check, check_document

KUSTOMIZE = ROOT / "kustomize"
GATEWAYS = ("istio", "envoy-gateway", "envoy-ai-gateway", "agentgateway", "nginx", "gke")
SIDECARS = ("sidecar-duplex", "sidecar-lean")
OVERLAYS = (*GATEWAYS, *SIDECARS)


@cache
def overlay_of(name: str) -> Rendered:
    """What `kubectl kustomize` makes of an overlay."""
    return build(KUSTOMIZE / "overlays" / name)


def build(folder: Path) -> Rendered:
    """What `kubectl kustomize` makes of a folder."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl on PATH, whose kustomize renders these")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Rendered.read(done.stdout)


def build_own(folder: Path, overlay: str, **more: object) -> Rendered:
    """What comes of somebody's own kustomization of an overlay."""
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(KUSTOMIZE / "overlays" / overlay, folder)],
    } | more
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    return build(folder)


def component(name: str, folder: Path) -> str:
    """The path of a component, as kustomize wants it."""
    return os.path.relpath(KUSTOMIZE / "components" / name, folder)


def test_there_is_an_overlay_for_every_gateway_and_no_other() -> None:
    """What stands in the documentation is what is there; every gateway is a profile of the picker."""
    assert {path.name for path in (KUSTOMIZE / "overlays").iterdir()} == set(OVERLAYS)
    assert set(GATEWAYS) <= set(PROFILES)


def test_every_file_is_used_and_is_yaml() -> None:
    """Without kustomize: files parse, and each is named by the kustomization of its folder."""
    for path in KUSTOMIZE.rglob("*.yaml"):
        assert list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        if path.name != "kustomization.yaml":
            kustomization = (path.parent / "kustomization.yaml").read_text(encoding="utf-8")
            assert path.name in kustomization, path


def documents_of(*folders: str) -> list[Json]:
    """The documents of these folders as they are written, without patches."""
    return [
        document
        for folder in folders
        for path in sorted((KUSTOMIZE / folder).glob("*.yaml"))
        if path.name not in ("kustomization.yaml", "config.yaml", "envoy.yaml") and "patch" not in path.name
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def test_the_files_alone_make_a_picker_that_can_work() -> None:
    """Without kubectl: the base, a pool and a route keep all rules once they have what kustomize adds."""
    documents = documents_of("base", "components/pool", "components/route")
    labels = yaml.safe_load((KUSTOMIZE / "base" / "kustomization.yaml").read_text(encoding="utf-8"))[
        "labels"
    ][0]["pairs"]
    for document in documents:
        if not document["kind"].startswith("Cluster"):
            document["metadata"]["namespace"] = "default"
        match document["kind"]:
            case "Deployment":
                document["spec"]["selector"] = {"matchLabels": labels}
                document["spec"]["template"]["metadata"] = {"labels": labels}
            case "Service":
                document["spec"]["selector"] = labels
    config = (KUSTOMIZE / "base" / "config.yaml").read_text(encoding="utf-8")
    metadata = {"name": "epp", "namespace": "default"}
    documents.append(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.yaml": config}}
    )
    check(Rendered(tuple(documents)))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_files_of_an_overlay_are_valid_as_they_are(overlay: str) -> None:
    """Without kubectl: what an overlay or a component adds is valid by itself."""
    components = (f"components/{path.name}" for path in (KUSTOMIZE / "components").iterdir())
    for document in documents_of(f"overlays/{overlay}", *components):
        check_document(document)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_keeps_all_rules(overlay: str) -> None:
    """Every document is valid, and together they make a picker that can work."""
    check(overlay_of(overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_picker_knows_its_gateway(overlay: str) -> None:
    """Each overlay names its gateway's profile; plain Envoy's is the default."""
    settings = overlay_of(overlay).settings()
    assert settings.gateway_profile == (overlay if overlay in GATEWAYS else "envoy")


@pytest.mark.parametrize("overlay", ["istio", "envoy-ai-gateway", "agentgateway", "nginx", "gke"])
def test_gateways_that_know_pools_get_one_and_a_route(overlay: str) -> None:
    """One InferencePool, one HTTPRoute to it; only those that take timeouts get one, and it is none."""
    rendered = overlay_of(overlay)
    assert rendered.settings().selected is None
    (rule,) = rendered.one("HTTPRoute")["spec"]["rules"]
    assert rule["backendRefs"][0]["name"] == rendered.one("InferencePool")["metadata"]["name"]
    assert rule.get("timeouts") == (None if overlay in ("nginx", "gke") else {"request": "0s"})


@pytest.mark.parametrize("overlay", ["envoy-gateway", *SIDECARS])
def test_without_a_pool_the_picker_selects_the_pods(overlay: str) -> None:
    """No InferencePool is needed, nor the right to read one."""
    rendered = overlay_of(overlay)
    selected = rendered.settings().selected
    assert selected is not None
    assert (str(selected.selector), selected.target_ports) == ("app=llm", (8000,))
    assert not rendered.of("InferencePool")


@pytest.mark.parametrize(
    ("overlay", "kinds"),
    [
        ("istio", {"DestinationRule"}),
        ("envoy-gateway", {"EnvoyExtensionPolicy", "BackendTrafficPolicy"}),
        ("gke", {"HealthCheckPolicy", "GCPBackendPolicy"}),
        ("envoy-ai-gateway", set()),
        ("agentgateway", set()),
        ("nginx", set()),
        ("sidecar-duplex", set()),
        ("sidecar-lean", set()),
    ],
)
def test_a_gateway_gets_what_it_needs_and_no_more(overlay: str, kinds: set[str]) -> None:
    """Objects of a gateway's own kinds come with its overlay only."""
    own = {
        "DestinationRule",
        "EnvoyExtensionPolicy",
        "BackendTrafficPolicy",
        "HealthCheckPolicy",
        "GCPBackendPolicy",
    }
    assert own & {one["kind"] for one in overlay_of(overlay).documents} == kinds


@pytest.mark.parametrize("mode", ["duplex", "lean"])
def test_the_sidecar_is_the_envoy_that_we_ship(mode: str) -> None:
    """Its configuration is the file of `deploy/envoy`; it starts before the picker, stops after it, and is called."""
    rendered = overlay_of(f"sidecar-{mode}")
    (envoy,) = rendered.pod["initContainers"]
    assert envoy["restartPolicy"] == "Always"
    (volume,) = (one for one in rendered.pod["volumes"] if one["name"] == "envoy")
    config = rendered.one("ConfigMap", volume["configMap"]["name"])["data"]["envoy.yaml"]
    assert config == (ROOT / "envoy" / f"{mode}.yaml").read_text(encoding="utf-8")
    assert {one["name"]: one["port"] for one in rendered.service["spec"]["ports"]}["http"] == 8080


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ones_own_kustomization_on_top_is_whole(overlay: str, tmp_path: Path) -> None:
    """A namespace, an image, standbys, monitoring and a network policy on top still make a picker that can work."""
    rendered = build_own(
        tmp_path,
        overlay,
        namespace="llm",
        images=[{"name": "epp", "newName": "registry.example.com/epp", "newTag": "1"}],
        components=[component(name, tmp_path) for name in ("replicas", "monitoring", "networkpolicy")],
    )
    check(rendered)
    assert rendered.picker["image"] == "registry.example.com/epp:1"
    assert rendered.deployment["metadata"]["namespace"] == "llm"
    assert rendered.deployment["spec"]["replicas"] == 2
