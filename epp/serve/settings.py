"""From what a person typed to what the picker runs with: typed values, or every problem at once."""

from __future__ import annotations

import argparse
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, assert_never

from epp.api.manifest import POOL_GROUP
from epp.config.quantity import parse_quantity
from epp.core.durations import parse_go_duration
from epp.kube.lease import MOST_DURATION_S, LeaseLoss
from epp.serve.flags import FLAGS, Flag, Kind, NoEffect, Refused, Works
from epp.serve.gateways import PROFILES
from epp.serve.selected import SelectedPods, read_selected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_SHORTEST_REFRESH_S = 0.05
LEASE_LOSSES = tuple(each.value for each in LeaseLoss)

Value = str | int | float | bool | Path | None


class SettingsError(Exception):
    """Flags that can't be served with. `problems` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


LEAST_SEGMENT_BYTES = 1024 * 1024
MOST_SEGMENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Everything that `epp serve` was told. Ports, seconds and bytes are checked already."""

    objects: Path | None
    """None: the API server is followed."""
    kubeconfig: Path | None
    pool_name: str | None
    pool_namespace: str | None
    pool_group: str
    selected: SelectedPods | None
    """The pods to serve without an InferencePool."""
    leader_election: bool
    lease_loss: str
    lease_duration_s: float
    metrics_endpoint_auth: bool
    conformance: bool
    gateway_profile: str
    gateway_timeout_s: float | None
    """None: as the profile says."""
    grpc_port: int
    grpc_health_port: int
    metrics_port: int
    introspection_port: int
    """0: it is not served."""
    introspection_hash_flow_ids: bool
    secure_serving: bool
    cert_path: Path | None
    enable_cert_reload: bool
    grpc_max_recv_msg_bytes: int | None
    grpc_max_send_msg_bytes: int | None
    config_file: Path | None
    config_text: str | None
    shadow_configs: tuple[Path, ...]
    event_log: Path | None
    event_log_size_bytes: int
    event_log_segments: int
    refresh_metrics_interval_s: float
    metrics_scheme: str | None
    metrics_path: str | None
    metrics_port_override: int | None
    metrics_insecure_skip_verify: bool
    max_request_body_bytes: int
    keep_control_headers: bool
    disable_endpoint_subset_filter: bool
    drain_timeout_s: float
    stream_drain_timeout_s: float
    verbosity: int
    zap_log_level: str | None
    zap_encoder: str | None
    zap_devel: bool
    zap_time_encoding: str
    zap_stacktrace_level: str
    notes: tuple[str, ...]
    """What was accepted and has no effect, for the log."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare every flag of the table."""
    for group, flags in FLAGS.items():
        section = parser.add_argument_group(group.value)
        for flag in flags:
            names = ["-v", "--v"] if flag.name == "v" else [f"--{flag.name}"]
            shown = flag.help if isinstance(flag.fate, Works) else argparse.SUPPRESS
            if shown and shown is not argparse.SUPPRESS and flag.default:
                shown = f"{shown} ({flag.default})"
            section.add_argument(
                *names,
                dest=flag.name,
                metavar=flag.kind.value,
                help=shown.replace("%", "%%") if shown is not argparse.SUPPRESS else shown,
                nargs="?" if flag.kind is Kind.BOOLEAN else None,
                const="true" if flag.kind is Kind.BOOLEAN else None,
            )


class FlagParser(argparse.ArgumentParser):
    """Reports an unknown flag in one line, with the nearest one that exists."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, without the whole usage, and leave with status 2."""
        known = [name for action in self._actions for name in action.option_strings]
        unknown = [word.partition("=")[0] for word in message.split() if word.startswith("-")]
        nearest = [near for word in unknown for near in difflib.get_close_matches(word, known, n=1)]
        hint = f"; did you mean {', '.join(nearest)}?" if "unrecognized" in message and nearest else ""
        self.exit(2, f"{self.prog}: {message}{hint}\nTry: {self.prog} --help\n")


def read_settings(arguments: argparse.Namespace, environ: Mapping[str, str]) -> ServeSettings:
    """The settings that `arguments` give. Raises `SettingsError` with every problem."""
    problems: list[str] = []
    notes: list[str] = []
    values: dict[str, Value] = {}
    for flag in (flag for flags in FLAGS.values() for flag in flags):
        typed: str | None = getattr(arguments, flag.name)
        try:
            values[flag.name] = _read(flag, flag.default if typed is None else typed)
        except ValueError as error:
            problems.append(f"--{flag.name}={typed}: {error}")
            values[flag.name] = None
        if typed is None:
            continue
        match flag.fate:
            case Works():
                pass
            case NoEffect(because):
                notes.append(f"--{flag.name} has no effect: {because}")
            case Refused(remedy):
                problems.append(f"--{flag.name} cannot be used: {remedy}")
            case _:
                assert_never(flag.fate)
    problems += [*_conflicts(values), *_lease_problems(values), *_recording_problems(values)]
    selected = read_selected(
        _text(values["endpoint-selector"]), _text(values["endpoint-target-ports"]), problems=problems
    )
    refresh_s = _number(values["refresh-metrics-interval"])
    if refresh_s < _SHORTEST_REFRESH_S:
        notes.append("--refresh-metrics-interval is raised to 50ms, the shortest there is")
        refresh_s = _SHORTEST_REFRESH_S
    if problems:
        raise SettingsError(problems)
    objects = _path(values["objects"])
    if objects is not None and values["ha-enable-leader-election"] is True:
        notes.append("--ha-enable-leader-election has no effect with --objects: there is no Lease to hold")
    if values["ha-enable-leader-election"] is not True:
        notes += [
            f"--{name} has no effect without --ha-enable-leader-election"
            for name in ("lease-loss", "lease-duration")
            if getattr(arguments, name) is not None
        ]
    return ServeSettings(
        objects=objects,
        kubeconfig=_path(values["kubeconfig"]),
        pool_name=_text(values["pool-name"]),
        pool_namespace=_text(values["pool-namespace"]) or environ.get("NAMESPACE") or None,
        pool_group=_text(values["pool-group"]) or "",
        selected=selected,
        leader_election=objects is None and values["ha-enable-leader-election"] is True,
        lease_loss=_text(values["lease-loss"]) or "",
        lease_duration_s=_number(values["lease-duration"]),
        metrics_endpoint_auth=values["metrics-endpoint-auth"] is not False and objects is None,
        conformance=values["conformance"] is True,
        gateway_profile=_text(values["gateway-profile"]) or "",
        gateway_timeout_s=None if values["gateway-timeout"] is None else _number(values["gateway-timeout"]),
        grpc_port=_whole(values["grpc-port"]),
        grpc_health_port=_whole(values["grpc-health-port"]),
        metrics_port=_whole(values["metrics-port"]),
        introspection_port=_whole(values["introspection-port"]),
        introspection_hash_flow_ids=values["introspection-hash-flow-ids"] is True,
        secure_serving=values["secure-serving"] is True,
        cert_path=_path(values["cert-path"]),
        enable_cert_reload=values["enable-cert-reload"] is True,
        grpc_max_recv_msg_bytes=_whole(values["grpc-max-recv-msg-size"]) or None,
        grpc_max_send_msg_bytes=_whole(values["grpc-max-send-msg-size"]) or None,
        config_file=_path(values["config-file"]),
        config_text=_text(values["config-text"]),
        shadow_configs=tuple(
            Path(name.strip()) for name in (_text(values["shadow-config"]) or "").split(",") if name.strip()
        ),
        event_log=_path(values["event-log"]),
        event_log_size_bytes=_whole(values["event-log-size"]),
        event_log_segments=_whole(values["event-log-segments"]),
        refresh_metrics_interval_s=refresh_s,
        metrics_scheme=_text(values["model-server-metrics-scheme"]),
        metrics_path=_text(values["model-server-metrics-path"]),
        metrics_port_override=_whole(values["model-server-metrics-port"]) or None,
        metrics_insecure_skip_verify=values["model-server-metrics-https-insecure-skip-verify"] is True,
        max_request_body_bytes=_whole(values["max-request-body-bytes"]),
        keep_control_headers=values["keep-control-headers"] is True,
        disable_endpoint_subset_filter=values["disable-endpoint-subset-filter"] is True,
        drain_timeout_s=_number(values["drain-timeout"]),
        stream_drain_timeout_s=_number(values["stream-drain-timeout"]),
        verbosity=_whole(values["v"]),
        zap_log_level=_text(values["zap-log-level"]),
        zap_encoder=_text(values["zap-encoder"]),
        zap_devel=values["zap-devel"] is True,
        zap_time_encoding=_text(values["zap-time-encoding"]) or "rfc3339",
        zap_stacktrace_level=_text(values["zap-stacktrace-level"]) or "error",
        notes=tuple(notes),
    )


def _read(flag: Flag, text: str) -> Value:
    if not text and (flag.kind is not Kind.BOOLEAN or not flag.default):
        return None
    return _READERS[flag.kind](text)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(f"{text} is not a port: 0 to 65535")
    return port


def _boolean(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is not a boolean: true or false")
    return text in _TRUE


def _duration(text: str) -> float:
    seconds = parse_go_duration(text)
    if seconds < 0:
        raise ValueError(f"{text} is negative: a duration from 0 up, like 30s")
    return seconds


_READERS: dict[Kind, Callable[[str], Value]] = {
    Kind.TEXT: str,
    Kind.PATH: Path,
    Kind.INTEGER: int,
    Kind.PORT: _port,
    Kind.BOOLEAN: _boolean,
    Kind.DURATION: _duration,
    Kind.QUANTITY: parse_quantity,
}


def _lease_problems(values: Mapping[str, Value]) -> list[str]:
    problems = []
    if values["lease-loss"] not in LEASE_LOSSES:
        problems.append(f"--lease-loss: {values['lease-loss']!r} is neither {' nor '.join(LEASE_LOSSES)}")
    lease_s = _number(values["lease-duration"])
    if not 1 <= lease_s <= MOST_DURATION_S or lease_s % 1:
        problems.append(
            f"--lease-duration: {lease_s:g}s can't be had: "
            f"a Lease counts in whole seconds, from 1s to {MOST_DURATION_S:g}s"
        )
    return problems


def _recording_problems(values: Mapping[str, Value]) -> list[str]:
    problems = []
    if _whole(values["event-log-size"]) < LEAST_SEGMENT_BYTES:
        problems.append(
            f"--event-log-size: at least {LEAST_SEGMENT_BYTES >> 20}Mi, or every segment is mostly its start"
        )
    if not 1 <= _whole(values["event-log-segments"]) <= MOST_SEGMENTS:
        problems.append(f"--event-log-segments: 1 to {MOST_SEGMENTS}")
    return problems


def _conflicts(values: Mapping[str, Value]) -> list[str]:
    problems = []
    if values["objects"] is None:
        if values["pool-name"] is not None and values["endpoint-selector"] is not None:
            problems.append(
                "--pool-name and --endpoint-selector exclude each other: a pool, or pods by label"
            )
        elif values["pool-name"] is None and values["endpoint-selector"] is None:
            problems.append(
                "give one of --pool-name and --endpoint-selector, to serve from a cluster; or --objects, a file or "
                "folder with the InferencePool, its Pods and InferenceObjectives, to serve without one"
            )
    elif values["pool-name"] is not None and values["endpoint-selector"] is not None:
        problems.append("--pool-name and --endpoint-selector exclude each other: a pool, or pods by label")
    if values["objects"] is not None and values["kubeconfig"] is not None:
        problems.append("--objects and --kubeconfig exclude each other: files, or a cluster")
    if values["pool-group"] != POOL_GROUP:
        problems.append(
            f"--pool-group: InferencePools of {values['pool-group']!r} are not read; use {POOL_GROUP}"
        )
    if values["config-file"] and values["config-text"]:
        problems.append("--config-file and --config-text exclude each other: give one")
    if values["metrics-endpoint-auth"] is True and values["objects"] is not None:
        problems.append(
            "--metrics-endpoint-auth needs a cluster to ask: leave it false and keep the port private"
        )
    if values["gateway-profile"] not in PROFILES:
        problems.append(
            f"--gateway-profile: {values['gateway-profile']!r} is unknown: one of {', '.join(PROFILES)}"
        )
    if values["model-server-metrics-scheme"] not in {None, "http", "https"}:
        problems.append(
            f"--model-server-metrics-scheme: {values['model-server-metrics-scheme']!r} is neither http nor https"
        )
    if values["enable-cert-reload"] is True and values["cert-path"] is None:
        problems.append("--enable-cert-reload needs --cert-path: a self-signed certificate is never reloaded")
    return problems


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None


def _path(value: Value) -> Path | None:
    return value if isinstance(value, Path) else None


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _number(value: Value) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
