"""From what a person typed to what the picker runs with: typed values, or every problem at once."""

from __future__ import annotations

import argparse
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, assert_never

from epp.config.quantity import parse_quantity
from epp.core.durations import parse_go_duration
from epp.extproc.transports.transport import PortSharing, TransportName
from epp.serve.conflicts import conflicts
from epp.serve.flags import FLAGS, Flag, Group, Kind, NoEffect, Refused, Works
from epp.serve.selected import SelectedPods, read_selected
from epp.serve.values import Value, number, path, text, whole
from epp.serve.wirelimits import parse_allowance, read_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from epp.extproc.http2.limits import Limits

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_SHORTEST_REFRESH_S = 0.05
_MESSAGE_OVERHEAD_BYTES = 1024 * 1024
"""What a message may be larger than the body it carries."""


class SettingsError(Exception):
    """Flags that can't be served with. `problems` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


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
    transport: TransportName
    grpc_port: int
    grpc_port_sharing: PortSharing
    grpc_health_port: int
    metrics_port: int
    introspection_port: int
    """0: it is not served."""
    introspection_hash_flow_ids: bool
    secure_serving: bool
    cert_path: Path | None
    enable_cert_reload: bool
    client_ca_file: Path | None
    max_receive_bytes: int
    """Of one message, and so is the next."""
    max_send_bytes: int
    limits: Limits
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
    problems += conflicts(values)
    selected = read_selected(
        text(values["endpoint-selector"]), text(values["endpoint-target-ports"]), problems=problems
    )
    refresh_s = number(values["refresh-metrics-interval"])
    if refresh_s < _SHORTEST_REFRESH_S:
        notes.append("--refresh-metrics-interval is raised to 50ms, the shortest there is")
        refresh_s = _SHORTEST_REFRESH_S
    if problems:
        raise SettingsError(problems)
    max_receive_bytes = (
        whole(values["grpc-max-recv-msg-size"])
        or whole(values["max-request-body-bytes"]) + _MESSAGE_OVERHEAD_BYTES
    )
    limits = read_limits(values, max_message_bytes=max_receive_bytes, complaints=problems)
    if problems:
        raise SettingsError(problems)
    objects = path(values["objects"])
    notes += _without_effect(values, {name for name in values if getattr(arguments, name) is not None})
    return ServeSettings(
        objects=objects,
        kubeconfig=path(values["kubeconfig"]),
        pool_name=text(values["pool-name"]),
        pool_namespace=text(values["pool-namespace"]) or environ.get("NAMESPACE") or None,
        pool_group=text(values["pool-group"]) or "",
        selected=selected,
        leader_election=objects is None and values["ha-enable-leader-election"] is True,
        lease_loss=text(values["lease-loss"]) or "",
        lease_duration_s=number(values["lease-duration"]),
        metrics_endpoint_auth=values["metrics-endpoint-auth"] is not False and objects is None,
        conformance=values["conformance"] is True,
        gateway_profile=text(values["gateway-profile"]) or "",
        gateway_timeout_s=None if values["gateway-timeout"] is None else number(values["gateway-timeout"]),
        transport=TransportName(text(values["transport"])),
        grpc_port=whole(values["grpc-port"]),
        grpc_port_sharing=PortSharing.ON if values["grpc-reuse-port"] is True else PortSharing.OFF,
        grpc_health_port=whole(values["grpc-health-port"]),
        metrics_port=whole(values["metrics-port"]),
        introspection_port=whole(values["introspection-port"]),
        introspection_hash_flow_ids=values["introspection-hash-flow-ids"] is True,
        secure_serving=values["secure-serving"] is True,
        cert_path=path(values["cert-path"]),
        enable_cert_reload=values["enable-cert-reload"] is True,
        client_ca_file=path(values["client-ca-file"]),
        max_receive_bytes=max_receive_bytes,
        max_send_bytes=whole(values["grpc-max-send-msg-size"]) or max_receive_bytes,
        limits=limits,
        config_file=path(values["config-file"]),
        config_text=text(values["config-text"]),
        shadow_configs=tuple(
            Path(name.strip()) for name in (text(values["shadow-config"]) or "").split(",") if name.strip()
        ),
        event_log=path(values["event-log"]),
        event_log_size_bytes=whole(values["event-log-size"]),
        event_log_segments=whole(values["event-log-segments"]),
        refresh_metrics_interval_s=refresh_s,
        metrics_scheme=text(values["model-server-metrics-scheme"]),
        metrics_path=text(values["model-server-metrics-path"]),
        metrics_port_override=whole(values["model-server-metrics-port"]) or None,
        metrics_insecure_skip_verify=values["model-server-metrics-https-insecure-skip-verify"] is True,
        max_request_body_bytes=whole(values["max-request-body-bytes"]),
        keep_control_headers=values["keep-control-headers"] is True,
        disable_endpoint_subset_filter=values["disable-endpoint-subset-filter"] is True,
        drain_timeout_s=number(values["drain-timeout"]),
        stream_drain_timeout_s=number(values["stream-drain-timeout"]),
        verbosity=whole(values["v"]),
        zap_log_level=text(values["zap-log-level"]),
        zap_encoder=text(values["zap-encoder"]),
        zap_devel=values["zap-devel"] is True,
        zap_time_encoding=text(values["zap-time-encoding"]) or "rfc3339",
        zap_stacktrace_level=text(values["zap-stacktrace-level"]) or "error",
        notes=tuple(notes),
    )


def _without_effect(values: Mapping[str, Value], typed: AbstractSet[str]) -> list[str]:
    """A line for each flag that was typed and changes nothing beside the others."""
    notes = []
    if values["transport"] != TransportName.NATIVE.value:
        notes += [
            f"--{flag.name} has no effect with --transport {values['transport']}"
            for flag in FLAGS[Group.HTTP2]
            if flag.name in typed
        ]
    if values["objects"] is not None and values["ha-enable-leader-election"] is True:
        notes.append("--ha-enable-leader-election has no effect with --objects: there is no Lease to hold")
    if values["ha-enable-leader-election"] is not True:
        notes += [
            f"--{name} has no effect without --ha-enable-leader-election"
            for name in ("lease-loss", "lease-duration")
            if name in typed
        ]
    return notes


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
    Kind.ALLOWANCE: parse_allowance,
}
