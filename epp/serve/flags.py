"""The flags of `epp serve`: upstream's, whole, and our own.

One table. Every upstream flag is here with its fate: it works, it is accepted with a line that says why it has no
effect, or it is refused with a remedy, as upstream itself refuses some. So upstream's charts and manifests work
unchanged. Both spellings are taken, `--flag value` and `--flag=value`; booleans also as `--flag` and `--flag=false`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from epp.serve.gateways import PROFILES
from epp.serve.wirelimits import wire_flags


class Kind(Enum):
    """What a flag's value is."""

    TEXT = "TEXT"
    INTEGER = "N"
    PORT = "PORT"
    BOOLEAN = "true|false"
    DURATION = "DURATION"
    QUANTITY = "QUANTITY"
    PATH = "PATH"
    ALLOWANCE = "BURST/PER_SECOND"


@dataclass(frozen=True, slots=True)
class Works:
    """The flag does what it says."""


@dataclass(frozen=True, slots=True)
class NoEffect:
    """The flag is accepted, and one line at start-up says why nothing comes of it."""

    because: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The flag is an error, with what to do instead."""

    remedy: str


Fate = Works | NoEffect | Refused


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `default` is written as a person would type it; '' means unset."""

    name: str
    kind: Kind
    default: str
    help: str
    fate: Fate = Works()


class Group(Enum):
    """Where `--help` shows a flag."""

    OBJECTS = "objects and pool"
    REPLICAS = "several replicas"
    PORTS = "ports and TLS"
    HTTP2 = "limits of the native transport"
    CONFIGURATION = "configuration"
    RECORDING = "recording"
    REQUESTS = "requests"
    STOPPING = "stopping"
    LOGS = "logs"
    UPSTREAM = "accepted from upstream"


_ENGINES = (
    "configure metrics via engineConfigs of the core-metrics-extractor plugin in EndpointPickerConfig instead"
)

FLAGS: dict[Group, tuple[Flag, ...]] = {
    Group.OBJECTS: (
        Flag(
            "objects",
            Kind.PATH,
            "",
            "without a cluster: a manifest file, or a folder of them, with the InferencePool, InferenceObjectives "
            "and Pods; followed as it changes",
        ),
        Flag(
            "kubeconfig",
            Kind.PATH,
            "",
            "how to reach the API server; else $KUBECONFIG, the pod's service account or ~/.kube/config",
        ),
        Flag("pool-name", Kind.TEXT, "", "the InferencePool; optional when the files hold exactly one"),
        Flag(
            "pool-namespace",
            Kind.TEXT,
            "",
            "its namespace; else $NAMESPACE, else that of the service account, context or pool, else 'default'",
        ),
        Flag("pool-group", Kind.TEXT, "inference.networking.k8s.io", "its API group"),
        Flag(
            "endpoint-selector",
            Kind.TEXT,
            "",
            "pods by label instead of by InferencePool, such as 'app=llama,tier in (gpu,spot)'",
        ),
        Flag(
            "endpoint-target-ports",
            Kind.TEXT,
            "",
            "with --endpoint-selector: where each pod serves, 1 to 8 ports with commas",
        ),
        Flag(
            "gateway-profile",
            Kind.TEXT,
            "envoy",
            "the gateway in front, one of "
            + ", ".join(PROFILES)
            + ": cuts waits to what it allows, and warns",
        ),
        Flag(
            "gateway-timeout",
            Kind.DURATION,
            "",
            "how long the gateway lets a request wait, where it was told otherwise than its profile says; 0s: any time",
        ),
    ),
    Group.REPLICAS: (
        Flag(
            "ha-enable-leader-election",
            Kind.BOOLEAN,
            "false",
            "one replica serves, by a Lease; the others are warm and not ready",
        ),
        Flag(
            "lease-loss",
            Kind.TEXT,
            "keep",
            "a leader that can't reach the API server: 'keep' dispatching until another one is seen, or 'stop' "
            "before another one can be",
        ),
        Flag(
            "lease-duration", Kind.DURATION, "15s", "how long a leader may be silent before another one leads"
        ),
    ),
    Group.PORTS: (
        Flag("grpc-port", Kind.PORT, "9002", "ext_proc; 0 takes a free one"),
        Flag(
            "transport",
            Kind.TEXT,
            "grpcio",
            "what serves it: 'native', our own HTTP/2, several times cheaper, or 'grpcio', gRPC's own server",
        ),
        Flag(
            "grpc-reuse-port",
            Kind.BOOLEAN,
            "false",
            "let other processes listen on the same port (SO_REUSEPORT): each gets some of the connections, and "
            "counts its own requests only",
        ),
        Flag("grpc-health-port", Kind.PORT, "9003", "grpc.health.v1, plaintext"),
        Flag("metrics-port", Kind.PORT, "9090", "/metrics, /readyz, /debug/..."),
        Flag(
            "introspection-port",
            Kind.PORT,
            "0",
            "gRPC for people and tools: queues, flows, endpoints, why a request waits; plaintext, on 127.0.0.1; 0: off",
        ),
        Flag(
            "introspection-hash-flow-ids",
            Kind.BOOLEAN,
            "false",
            "show hashes instead of fairness ids there and on /debug/...",
        ),
        Flag(
            "secure-serving",
            Kind.BOOLEAN,
            "true",
            "TLS on the ext_proc port, self-signed without --cert-path",
        ),
        Flag("cert-path", Kind.PATH, "", "folder with tls.crt and tls.key"),
        Flag(
            "enable-cert-reload",
            Kind.BOOLEAN,
            "false",
            "take new files in --cert-path, and a new --client-ca-file, into use as they come",
        ),
        Flag(
            "client-ca-file",
            Kind.PATH,
            "",
            "serve only gateways that show a certificate signed by one of these (mutual TLS)",
        ),
        Flag(
            "grpc-max-recv-msg-size",
            Kind.QUANTITY,
            "",
            "largest message read; default --max-request-body-bytes + 1Mi",
        ),
        Flag("grpc-max-send-msg-size", Kind.QUANTITY, "", "largest message written; default as read"),
        Flag(
            "metrics-endpoint-auth",
            Kind.BOOLEAN,
            "",
            "ask the API server who may read /metrics (true in a cluster, false with --objects)",
        ),
    ),
    Group.HTTP2: tuple(Flag(each.name, Kind(each.kind), each.default, each.help) for each in wire_flags()),
    Group.CONFIGURATION: (
        Flag("config-file", Kind.PATH, "", "an EndpointPickerConfig"),
        Flag("config-text", Kind.TEXT, "", "the same, as text; not both"),
        Flag(
            "refresh-metrics-interval",
            Kind.DURATION,
            "200ms",
            "how often each model server is scraped, 50ms at least",
        ),
        Flag("model-server-metrics-scheme", Kind.TEXT, "", "http or https (deprecated: metrics-data-source)"),
        Flag(
            "model-server-metrics-path",
            Kind.TEXT,
            "",
            "path of the metrics page (deprecated: metrics-data-source)",
        ),
        Flag(
            "model-server-metrics-port",
            Kind.INTEGER,
            "0",
            "one port for all pages (deprecated: metrics-data-source)",
        ),
        Flag("model-server-metrics-https-insecure-skip-verify", Kind.BOOLEAN, "true", "(deprecated)"),
        Flag(
            "shadow-config",
            Kind.TEXT,
            "",
            "EndpointPickerConfigs that are tried out beside the one in force, with commas: what they would have "
            "decided shows in epp_shadow_*",
        ),
    ),
    Group.RECORDING: (
        Flag(
            "event-log",
            Kind.PATH,
            "",
            "record what flow control sees, for `epp replay`: sizes and times, tenants under pseudonyms, no prompts",
        ),
        Flag("event-log-size", Kind.QUANTITY, "64Mi", "bytes of a segment of it, before compression"),
        Flag("event-log-segments", Kind.INTEGER, "8", "finished segments that are kept"),
    ),
    Group.REQUESTS: (
        Flag("max-request-body-bytes", Kind.QUANTITY, "32Mi", "a larger body is answered 413"),
        Flag(
            "keep-control-headers",
            Kind.BOOLEAN,
            "false",
            "let the model server see objective, fairness and TTL headers",
        ),
        Flag("disable-endpoint-subset-filter", Kind.BOOLEAN, "false", "ignore the gateway's subset hints"),
        Flag(
            "conformance",
            Kind.BOOLEAN,
            "false",
            "obey the headers of the Gateway API conformance suite, by which any client can steer: for tests only",
        ),
    ),
    Group.STOPPING: (
        Flag(
            "drain-timeout",
            Kind.DURATION,
            "30s",
            "after SIGTERM: not ready, but still serving and dispatching; a second signal ends it",
        ),
        Flag("stream-drain-timeout", Kind.DURATION, "90s", "then: running responses may go on this long"),
    ),
    Group.LOGS: (
        Flag(
            "v",
            Kind.INTEGER,
            "2",
            "upstream's verbosity: 1 and less warnings, 2 and 3 information, 4 and more debug",
        ),
        Flag("zap-log-level", Kind.TEXT, "", "debug, info, error, panic or a number; wins over -v"),
        Flag("zap-encoder", Kind.TEXT, "", "json or console; console on a terminal, else json"),
        Flag("zap-devel", Kind.BOOLEAN, "false", "console and debug"),
        Flag(
            "zap-time-encoding", Kind.TEXT, "rfc3339", "epoch, millis, nano, iso8601, rfc3339 or rfc3339nano"
        ),
        Flag("zap-stacktrace-level", Kind.TEXT, "error", "from which level on exceptions show their stack"),
    ),
    Group.UPSTREAM: (
        Flag(
            "metrics-staleness-threshold",
            Kind.DURATION,
            "2s",
            "",
            NoEffect("pool gauges follow the saturation detector's own metricsStalenessThreshold"),
        ),
        Flag(
            "refresh-prometheus-metrics-interval",
            Kind.DURATION,
            "5s",
            "",
            NoEffect("gauges are worked out when they are scraped, so they are never old"),
        ),
        Flag("tracing", Kind.BOOLEAN, "false", "", NoEffect("this build has no tracing")),
        Flag(
            "enable-pprof",
            Kind.BOOLEAN,
            "false",
            "",
            NoEffect("pprof is Go's; py-spy attaches to a running picker"),
        ),
        Flag(
            "emit-endpoint-scores", Kind.BOOLEAN, "false", "", NoEffect("endpoint scores are not published")
        ),
        Flag(
            "enable-grpc-stream-metrics",
            Kind.BOOLEAN,
            "false",
            "",
            NoEffect("there are no metrics per gRPC stream"),
        ),
        Flag(
            "allow-experimental-plugins",
            Kind.BOOLEAN,
            "false",
            "",
            NoEffect("no plugin here is experimental"),
        ),
        Flag(
            "health-checking",
            Kind.BOOLEAN,
            "false",
            "",
            NoEffect("health is always served, on --grpc-health-port"),
        ),
        Flag(
            "tls-min-version",
            Kind.TEXT,
            "",
            "",
            NoEffect("TLS 1.2 is the minimum, and 1.3 is used where the gateway can"),
        ),
        Flag(
            "tls-cipher-suites",
            Kind.TEXT,
            "",
            "",
            NoEffect(
                "those with forward secrecy are used; grpcio's are in the environment: GRPC_SSL_CIPHER_SUITES"
            ),
        ),
        Flag(
            "metrics-cert-dir",
            Kind.PATH,
            "",
            "",
            Refused("the metrics port speaks plain HTTP: keep it in the cluster"),
        ),
        Flag("metrics-client-ca-file", Kind.PATH, "", "", Refused("the metrics port speaks plain HTTP")),
        Flag("total-queued-requests-metric", Kind.TEXT, "", "", Refused(_ENGINES)),
        Flag("total-running-requests-metric", Kind.TEXT, "", "", Refused(_ENGINES)),
        Flag("kv-cache-usage-percentage-metric", Kind.TEXT, "", "", Refused(_ENGINES)),
        Flag("lora-info-metric", Kind.TEXT, "", "", Refused(_ENGINES)),
        Flag("cache-info-metric", Kind.TEXT, "", "", Refused(_ENGINES)),
    ),
}
