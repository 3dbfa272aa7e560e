"""What a real API server makes of the definitions, the manifests and the roles."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest

from epp.api.crds import POOL, definition
from tests.deploy.rendered import FOREIGN, OURS, Json, Rendered
from tests.deploy.specs import ALL, GROUPS, Case, Judged
from tests.deploy.test_kustomize import OVERLAYS, build_own, component

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.apiserver.real import RealApiServer

POOLS_OF_THE_TEST = "pools.epp.example.com"
"""Our pool's definition in a group of its own: other tests have another definition of the real one."""
NAMESPACE = "epp-rights"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:epp"

Right = tuple[str, str, str, str]
"""A verb, a group, a resource with its subresource, and a name."""


def path_of(document: Json) -> str:
    """Where a document is created."""
    api_version, kind = document["apiVersion"], document["kind"]
    plural = f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    namespace = document["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


@pytest.fixture
def pools(real_api_server: RealApiServer) -> Iterator[None]:
    """Our InferencePool's definition, served."""
    document = definition(POOL, group=POOLS_OF_THE_TEST)
    folder = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    status, body = real_api_server.call("POST", folder, document)
    assert status == 201, body
    served = f"/apis/{POOLS_OF_THE_TEST}/v1/inferencepools"
    deadline_s = time.monotonic() + 30
    while real_api_server.call("GET", served)[0] != 200:
        assert time.monotonic() < deadline_s, "the definition is not served"
        time.sleep(0.1)
    yield
    real_api_server.call("DELETE", f"{folder}/{document['metadata']['name']}")


def verdict(server: RealApiServer, case: Case, api_version: str) -> tuple[int, Any]:
    """What the server would do with an object."""
    document = case.document(api_version=api_version)
    return server.call("POST", f"{path_of(document)}?dryRun=All", document)


@pytest.mark.usefixtures("pools")
def test_the_server_takes_what_our_decoding_takes(real_api_server: RealApiServer) -> None:
    """Every case of the table has the verdict there that it has here."""
    wrong = []
    for case in ALL:
        groups = (
            [f"{POOLS_OF_THE_TEST}/v1"]
            if case.kind == "InferencePool"
            else [f"{one}/v1alpha2" for one in GROUPS]
        )
        for api_version in groups:
            status, body = verdict(real_api_server, case, api_version)
            if (status == 201) != (case.judged is Judged.TAKEN):
                wrong.append(f"{api_version} {case.kind} {case.name}: {status} {body}")
    assert not wrong


@pytest.mark.parametrize("group", GROUPS)
def test_the_server_fills_in_what_is_left_out(real_api_server: RealApiServer, group: str) -> None:
    """The pool's group and kind get their defaults; the priority gets none."""
    case = next(case for case in ALL if (case.kind, case.name) == ("InferenceObjective", "least"))
    status, body = verdict(real_api_server, case, f"{group}/v1alpha2")
    assert status == 201
    assert body["spec"] == {
        "poolRef": {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "p"}
    }


@pytest.mark.parametrize(
    ("name", "first"), [("InferenceObjective", "Ready"), ("InferenceModelRewrite", "Accepted")]
)
def test_a_status_begins_with_a_condition_that_nobody_wrote(
    real_api_server: RealApiServer, name: str, first: str
) -> None:
    """The default stands in a status that says nothing else; a new object has no status at all."""
    case = next(case for case in ALL if case.kind == name and case.judged is Judged.TAKEN)
    document = case.document(name="status-of-a-test")
    folder = path_of(document)
    try:
        status, made = real_api_server.call("POST", folder, document)
        assert status == 201, made
        assert "status" not in made
        _, written = real_api_server.call("PUT", f"{folder}/status-of-a-test/status", made | {"status": {}})
        (condition,) = written["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == (first, "Unknown", "Pending")
    finally:
        real_api_server.call("DELETE", f"{folder}/status-of-a-test")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_takes_the_manifests(real_api_server: RealApiServer, overlay: str, tmp_path: Path) -> None:
    """Strictly, with no field that it doesn't know; kinds of others are not installed there."""
    names = ("replicas", "monitoring", "networkpolicy")
    components = [component(name, tmp_path) for name in names]
    rendered = build_own(tmp_path, overlay, namespace="default", components=components)
    for document in rendered.documents:
        kind, api_version = document["kind"], document["apiVersion"]
        if kind not in OURS and (api_version, kind) not in FOREIGN:
            path = f"{path_of(document)}?dryRun=All&fieldValidation=Strict"
            status, body = real_api_server.call("POST", path, document)
            assert status == 201, body


@pytest.fixture(scope="module")
def bound(rbac_api_server: RealApiServer, tmp_path_factory: pytest.TempPathFactory) -> RealApiServer:
    """A server where the picker's account has the roles that come with it, standbys and monitoring included."""
    folder = tmp_path_factory.mktemp("rights")
    names = ("replicas", "monitoring")
    rendered: Rendered = build_own(
        folder, "istio", namespace=NAMESPACE, components=[component(name, folder) for name in names]
    )
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    rights = [one for one in rendered.documents if one["apiVersion"].startswith("rbac.")]
    for document in (namespace, *rights):
        status, body = rbac_api_server.call("POST", path_of(document), document)
        assert status in (201, 409), body
    return rbac_api_server


def allowed(server: RealApiServer, right: Right, *, namespace: str = NAMESPACE) -> bool:
    """Whether the picker's account may do something."""
    verb, group, resource, name = right
    resource, _, subresource = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT, "resourceAttributes": asked | {"namespace": namespace}},
    }
    status, body = server.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert status == 201, body
    return bool(body["status"]["allowed"])


OBJECTS = ("inferenceobjectives", "inferencemodelrewrites")
NEEDED: tuple[Right, ...] = (
    *((verb, "inference.networking.k8s.io", "inferencepools", "") for verb in ("list", "watch")),
    *(itertools.product(("list", "watch"), GROUPS, OBJECTS, ("",))),
    *((verb, "", "pods", "") for verb in ("list", "watch")),
    *(("get", group, resource, "one") for group in GROUPS for resource in OBJECTS),
    *(("patch", group, f"{resource}/status", "one") for group in GROUPS for resource in OBJECTS),
    ("create", "", "events", ""),
    ("patch", "", "events", "one"),
    ("create", "coordination.k8s.io", "leases", ""),
    *((verb, "coordination.k8s.io", "leases", "one") for verb in ("get", "watch", "patch")),
    ("create", "authentication.k8s.io", "tokenreviews", ""),
    ("create", "authorization.k8s.io", "subjectaccessreviews", ""),
)
REFUSED: tuple[Right, ...] = (
    ("patch", "inference.networking.k8s.io", "inferencepools", "one"),
    ("patch", "inference.networking.k8s.io", "inferencepools/status", "one"),
    *(("patch", group, resource, "one") for group in GROUPS for resource in OBJECTS),
    *(("delete", group, resource, "one") for group in GROUPS for resource in OBJECTS),
    ("delete", "", "pods", "one"),
    ("create", "", "pods/exec", "one"),
    ("list", "", "secrets", ""),
    ("list", "", "configmaps", ""),
    ("delete", "coordination.k8s.io", "leases", "one"),
)


def test_the_roles_allow_what_the_picker_does(bound: RealApiServer) -> None:
    """Every request that the code makes is allowed in the picker's own namespace."""
    assert [right for right in NEEDED if not allowed(bound, right)] == []


def test_the_roles_allow_nothing_else(bound: RealApiServer) -> None:
    """No writing of what it only reads, no secrets, and nothing in other namespaces."""
    assert [right for right in REFUSED if allowed(bound, right)] == []
    reviews = ("tokenreviews", "subjectaccessreviews")
    elsewhere = [right for right in NEEDED if right[2] not in reviews]
    assert [right for right in elsewhere if allowed(bound, right, namespace="default")] == []
