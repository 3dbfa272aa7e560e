"""What every set of manifests must keep to, however it was made: by kustomize or by Helm."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate.utils as kubernetes_validate
import yaml

from epp.api.crds import OBJECTIVE, POOL, REWRITE, object_schema
from epp.api.decode import decode
from epp.config import parse_config
from epp.serve.settings import FlagParser, ServeSettings, add_arguments, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json = dict[str, Any]

OURS = {kind.kind: kind for kind in (POOL, OBJECTIVE, REWRITE)}
LATEST = kubernetes_validate.latest_version()
MARGIN_S = 10

TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 1}
YES_NO = {"type": "boolean"}


def exactly(**properties: Json) -> Json:
    """An object with these fields, all of them, and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, schema in properties.items() if not schema.get("optional")],
        "properties": properties,
    }


def maybe(schema: Json) -> Json:
    """A field that may be left out."""
    return schema | {"optional": True}


def some(schema: Json) -> Json:
    """A list with something in it."""
    return {"type": "array", "minItems": 1, "items": schema}


_TARGET = exactly(group={"type": "string"}, kind=TEXT, name=TEXT)
_LABELS = {"type": "object", "minProperties": 1, "additionalProperties": TEXT}
_BREAKER = exactly(maxConnections=COUNT, maxPendingRequests=COUNT, maxParallelRequests=COUNT)
_GRPC_HEALTH = exactly(portSpecification={"const": "USE_FIXED_PORT"}, port=COUNT)

FOREIGN: dict[tuple[str, str], Json] = {
    ("networking.istio.io/v1", "DestinationRule"): exactly(
        host=TEXT,
        trafficPolicy=exactly(
            tls=maybe(exactly(mode={"const": "SIMPLE"}, insecureSkipVerify={"const": True})),
            connectionPool=exactly(
                tcp=exactly(maxConnections=COUNT),
                http=exactly(http1MaxPendingRequests=COUNT, http2MaxRequests=COUNT),
            ),
        ),
    ),
    ("networking.gke.io/v1", "HealthCheckPolicy"): exactly(
        targetRef=_TARGET,
        default=exactly(
            timeoutSec=maybe(COUNT),
            checkIntervalSec=maybe(COUNT),
            config={
                "oneOf": [
                    exactly(type={"const": "HTTP"}, httpHealthCheck=exactly(requestPath=TEXT, port=COUNT)),
                    exactly(type={"const": "GRPC"}, grpcHealthCheck=_GRPC_HEALTH),
                ]
            },
        ),
    ),
    ("networking.gke.io/v1", "GCPBackendPolicy"): exactly(
        targetRef=_TARGET, default=exactly(timeoutSec=COUNT, logging=exactly(enabled=YES_NO))
    ),
    ("gateway.envoyproxy.io/v1alpha1", "EnvoyExtensionPolicy"): exactly(
        targetRefs=some(_TARGET),
        extProc=some(
            exactly(
                backendRefs=some(exactly(name=TEXT, port=COUNT)),
                backendSettings=exactly(circuitBreaker=_BREAKER),
                processingMode=exactly(
                    request=exactly(body={"const": "FullDuplexStreamed"}),
                    response=exactly(body={"const": "FullDuplexStreamed"}),
                ),
                failOpen={"const": False},
                statusOnError={"const": 503},
                messageTimeout={"const": "1h"},
                metadata=exactly(writableNamespaces={"const": ["envoy.lb"]}),
            )
        ),
    ),
    ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"): exactly(
        targetRefs=some(_TARGET),
        loadBalancer=exactly(
            type={"const": "LeastRequest"},
            endpointOverride=exactly(extractFrom={"const": [{"header": "x-gateway-destination-endpoint"}]}),
        ),
        circuitBreaker=_BREAKER,
        timeout=maybe(exactly(http=exactly(requestTimeout={"const": "0s"}))),
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): exactly(
        parentRefs=some(exactly(group=TEXT, kind=TEXT, name=TEXT, namespace=maybe(TEXT))),
        rules=some(
            exactly(
                matches=some(
                    exactly(
                        path=exactly(type={"const": "PathPrefix"}, value={"const": "/"}),
                        headers=maybe(some(exactly(type={"const": "Exact"}, name=TEXT, value=TEXT))),
                    )
                ),
                backendRefs=some(
                    {
                        "oneOf": [
                            exactly(group=TEXT, kind={"const": "InferencePool"}, name=TEXT),
                            exactly(name=TEXT, port=COUNT),
                        ]
                    }
                ),
                timeouts=maybe(exactly(request=TEXT)),
            )
        ),
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): exactly(
        selector=exactly(matchLabels=_LABELS),
        endpoints=some(
            exactly(
                port=TEXT,
                path={"const": "/metrics"},
                interval=TEXT,
                authorization=maybe(exactly(credentials=exactly(name=TEXT, key={"const": "token"}))),
            )
        ),
    ),
    ("monitoring.googleapis.com/v1", "PodMonitoring"): exactly(
        selector=exactly(matchLabels=_LABELS),
        endpoints=some(
            exactly(
                port=TEXT,
                path={"const": "/metrics"},
                interval=TEXT,
                authorization=maybe(
                    exactly(
                        type={"const": "Bearer"},
                        credentials=exactly(secret=exactly(name=TEXT, key={"const": "token"})),
                    )
                ),
            )
        ),
    ),
}
"""What we use of other people's kinds. That their API servers take it was tried with their own definitions."""


@dataclass(frozen=True)
class Rendered:
    """A set of manifests."""

    documents: tuple[Json, ...]

    @classmethod
    def read(cls, text: str) -> Rendered:
        """From what a tool printed."""
        return cls(tuple(one for one in yaml.safe_load_all(text) if one))

    def of(self, kind: str) -> list[Json]:
        """Those of a kind."""
        return [one for one in self.documents if one["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Json:
        """The one of a kind, by its name if there are several."""
        found = [one for one in self.of(kind) if name in (None, one["metadata"]["name"])]
        assert len(found) == 1, (kind, name, [one["metadata"]["name"] for one in self.of(kind)])
        return found[0]

    @property
    def deployment(self) -> Json:
        """The picker's."""
        return self.one("Deployment")

    @property
    def pod(self) -> Json:
        """The pod's specification."""
        return self.deployment["spec"]["template"]["spec"]

    @property
    def picker(self) -> Json:
        """The picker's container."""
        (found,) = self.pod["containers"]
        return found

    @property
    def service(self) -> Json:
        """The picker's Service, which has its Deployment's name."""
        return self.one("Service", self.deployment["metadata"]["name"])

    def settings(self) -> ServeSettings:
        """What the picker makes of its arguments."""
        parser = FlagParser(prog="epp serve", allow_abbrev=False)
        add_arguments(parser)
        words = [word.replace("$(NAMESPACE)", "the-namespace") for word in self.picker["args"]]
        return read_settings(parser.parse_args(words), {"NAMESPACE": "the-namespace"})

    def config(self) -> str:
        """The EndpointPickerConfig that the picker reads."""
        path = self.settings().config_file
        assert path is not None
        (mount,) = (one for one in self.picker["volumeMounts"] if one["mountPath"] == str(path.parent))
        (volume,) = (one for one in self.pod["volumes"] if one["name"] == mount["name"])
        return self.one("ConfigMap", volume["configMap"]["name"])["data"][path.name]


def check(rendered: Rendered) -> None:
    """Everything below."""
    for document in rendered.documents:
        check_document(document)
    check_names(rendered)
    check_namespaces(rendered)
    check_pod(rendered)
    check_probes(rendered)
    check_stopping(rendered)
    check_service(rendered)
    check_rights(rendered)
    check_references(rendered)
    parse_config(rendered.config(), source="the ConfigMap")


def check_document(document: Json) -> None:
    """Each document keeps the rules of its kind; fields that nobody knows are no part of it."""
    kind, api_version = document["kind"], document["apiVersion"]
    if kind in OURS:
        assert api_version.partition("/")[0] in OURS[kind].groups
        jsonschema.Draft7Validator(object_schema(OURS[kind])).validate(document)
        decoded = decode(document)
        assert decoded.found is not None, decoded.problems
        assert not decoded.problems
    elif (api_version, kind) in FOREIGN:
        assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
        jsonschema.Draft7Validator(FOREIGN[api_version, kind]).validate(document["spec"])
    else:
        check_built_in(json.dumps(document))


@cache
def check_built_in(text: str) -> None:
    """Kubernetes' own kinds, strictly. Many renderings have the same documents, and each takes a while."""
    kubernetes_validate.validate(json.loads(text), LATEST, strict=True)


def check_names(rendered: Rendered) -> None:
    """No two documents are the same object."""
    names = [
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in rendered.documents
    ]
    assert len(set(names)) == len(names)


def check_namespaces(rendered: Rendered) -> None:
    """All are in one namespace, the accounts that bindings name included, but for Google's collector."""
    found = {
        one["metadata"].get("namespace")
        for one in rendered.documents
        if not one["kind"].startswith("Cluster")
    }
    found |= {
        subject["namespace"]
        for one in rendered.documents
        for subject in one.get("subjects", ())
        if subject["name"] != "collector"
    }
    assert len(found) == 1, found
    assert None not in found


def containers(rendered: Rendered) -> Iterator[Json]:
    """All containers of the pod."""
    yield from rendered.pod["containers"]
    yield from rendered.pod.get("initContainers", ())


def check_pod(rendered: Rendered) -> None:
    """The restricted pod security standard, a read-only root, and limits for what could grow."""
    security = rendered.pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == 65532
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(rendered):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}
        assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert rendered.deployment["spec"]["selector"]["matchLabels"].items() <= labels_of_pods(rendered).items()
    assert {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in rendered.picker["env"]} == {
        "NAMESPACE": "metadata.namespace",
        "POD_NAME": "metadata.name",
    }


def labels_of_pods(rendered: Rendered) -> Json:
    """The labels that the picker's pods get."""
    return rendered.deployment["spec"]["template"]["metadata"]["labels"]


def check_probes(rendered: Rendered) -> None:
    """Liveness never depends on the API server or the lease; readiness does."""
    port = rendered.settings().grpc_health_port
    liveness, readiness = rendered.picker["livenessProbe"], rendered.picker["readinessProbe"]
    assert liveness["grpc"] == {"port": port, "service": "liveness"}
    assert readiness["grpc"] == {"port": port, "service": "readiness"}
    assert readiness["periodSeconds"] <= 2


def check_stopping(rendered: Rendered) -> None:
    """The pod has time for both drain timeouts, and a rollout never waits for what can't come."""
    settings, spec = rendered.settings(), rendered.deployment["spec"]
    grace_s = rendered.pod["terminationGracePeriodSeconds"]
    assert grace_s == settings.drain_timeout_s + settings.stream_drain_timeout_s + MARGIN_S
    several = spec["replicas"] > 1
    assert settings.leader_election is several
    assert spec["strategy"]["type"] == "RollingUpdate"
    assert spec["strategy"]["rollingUpdate"] == (
        {"maxSurge": "100%", "maxUnavailable": "100%"} if several else {"maxSurge": 1, "maxUnavailable": 0}
    )
    assert [one["spec"]["maxUnavailable"] for one in rendered.of("PodDisruptionBudget")] == ["100%"] * several
    for budget in rendered.of("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels_of_pods(rendered).items()


def check_service(rendered: Rendered) -> None:
    """The ext_proc port says that it is HTTP/2, and every port leads to a port of the pod."""
    spec = rendered.service["spec"]
    ports = {one["name"]: one for one in spec["ports"]}
    assert ports["grpc-ext-proc"]["appProtocol"] == "http2"
    assert ports["grpc-ext-proc"]["port"] == rendered.settings().grpc_port
    assert spec["selector"].items() <= labels_of_pods(rendered).items()
    named = {
        port["name"]: port["containerPort"]
        for container in containers(rendered)
        for port in container.get("ports", ())
    }
    assert {one["targetPort"] for one in spec["ports"]} <= set(named)
    settings = rendered.settings()
    assert named["grpc-ext-proc"] == settings.grpc_port
    assert named["grpc-health"] == settings.grpc_health_port
    assert named["metrics"] == settings.metrics_port


Right = tuple[str, str, str]
"""A verb, a group, and a resource."""


def rights_of(role: Json) -> set[Right]:
    """What a role allows."""
    return {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule.get("apiGroups", [""])
        for resource in (*rule.get("resources", ()), *rule.get("nonResourceURLs", ()))
    }


def both(verbs: Iterable[str], *resources: str) -> set[Right]:
    """Rights in both groups of objectives and rewrites."""
    groups = ("llm-d.ai", "inference.networking.x-k8s.io")
    return {(verb, group, resource) for verb in verbs for group in groups for resource in resources}


def wanted_rights(rendered: Rendered) -> dict[str, set[Right]]:
    """The least that works, by feature."""
    settings, read = rendered.settings(), ("get", "list", "watch")
    rights = {
        "read": both(read, "inferenceobjectives", "inferencemodelrewrites")
        | {(verb, "", "pods") for verb in read},
        "status": both(["patch"], "inferenceobjectives/status", "inferencemodelrewrites/status"),
        "events": {("create", "", "events"), ("patch", "", "events")},
        "lease": {(verb, "coordination.k8s.io", "leases") for verb in ("create", "get", "watch", "patch")},
        "metrics-auth": {
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
        },
        "metrics-reader": {("get", "", "/metrics")},
        "metrics-token": {(verb, "", "secrets") for verb in read},
    }
    if settings.selected is None:
        rights["read"] |= {(verb, "inference.networking.k8s.io", "inferencepools") for verb in read}
    if not settings.leader_election:
        del rights["lease"]
    return rights


def check_rights(rendered: Rendered) -> None:
    """Each role allows exactly what its feature needs, and is bound to the account that needs it."""
    wanted = wanted_rights(rendered)
    name = rendered.one("ServiceAccount", rendered.pod["serviceAccountName"])["metadata"]["name"]
    roles = rendered.of("Role") + rendered.of("ClusterRole")
    features = {}
    for role in roles:
        (feature,) = (one for one in wanted if role["metadata"]["name"].endswith(f"-{one}"))
        assert rights_of(role) == wanted[feature], role["metadata"]["name"]
        features[role["kind"], role["metadata"]["name"]] = feature
    assert set(features.values()) >= {"read"} | ({"lease"} & set(wanted))
    bound = {}
    for binding in rendered.of("RoleBinding") + rendered.of("ClusterRoleBinding"):
        (subject,) = binding["subjects"]
        role = features.pop((binding["roleRef"]["kind"], binding["roleRef"]["name"]))
        bound[role] = subject["name"]
    assert not features, "a role without a binding"
    for role, subject in bound.items():
        match role:
            case "metrics-token":
                assert subject == "collector"
            case "metrics-reader":
                assert (
                    subject
                    == rendered.one("Secret")["metadata"]["annotations"]["kubernetes.io/service-account.name"]
                )
            case _:
                assert subject == name


def check_references(rendered: Rendered) -> None:
    """Whatever names another object names one that is there, unless others bring it."""
    name = rendered.deployment["metadata"]["name"]
    services = {one["metadata"]["name"]: one for one in rendered.of("Service")}
    pools = {one["metadata"]["name"] for one in rendered.of("InferencePool")}
    routes = {one["metadata"]["name"] for one in rendered.of("HTTPRoute")}
    settings = rendered.settings()
    for pool in rendered.of("InferencePool"):
        reference = pool["spec"]["endpointPickerRef"]
        assert (reference["name"], reference["port"]["number"]) == (name, settings.grpc_port)
        assert pool["metadata"]["name"] == settings.pool_name
    for objective in rendered.of("InferenceObjective"):
        assert objective["spec"]["poolRef"] == {"name": settings.pool_name or name}
    for route in rendered.of("HTTPRoute"):
        for backend in (one for rule in route["spec"]["rules"] for one in rule["backendRefs"]):
            if "kind" in backend:
                assert backend["name"] in pools | {settings.pool_name}
            else:
                assert backend["port"] in {one["port"] for one in services[backend["name"]]["spec"]["ports"]}
    for policy in rendered.of("EnvoyExtensionPolicy") + rendered.of("BackendTrafficPolicy"):
        assert not routes or {one["name"] for one in policy["spec"]["targetRefs"]} == routes
    for policy in rendered.of("EnvoyExtensionPolicy"):
        (backend,) = policy["spec"]["extProc"][0]["backendRefs"]
        assert backend == {"name": name, "port": settings.grpc_port}
        assert settings.secure_serving is False
    for policy in rendered.of("HealthCheckPolicy") + rendered.of("GCPBackendPolicy"):
        assert policy["spec"]["targetRef"]["name"] in pools | set(services) | {settings.pool_name}
    for monitor in rendered.of("ServiceMonitor"):
        assert (
            monitor["spec"]["selector"]["matchLabels"].items()
            <= rendered.service["metadata"]["labels"].items()
        )
        assert monitor["spec"]["endpoints"][0]["port"] in {
            one["name"] for one in rendered.service["spec"]["ports"]
        }
    for policy in rendered.of("NetworkPolicy"):
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels_of_pods(rendered).items()
    config_maps = {one["metadata"]["name"] for one in rendered.of("ConfigMap")}
    assert {one["configMap"]["name"] for one in rendered.pod["volumes"] if "configMap" in one} == config_maps
    mounted = {mount["name"] for one in containers(rendered) for mount in one["volumeMounts"]}
    assert {one["name"] for one in rendered.pod["volumes"]} == mounted
