"""What can't be served with, though each flag by itself could be: every problem, in a line that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.api.manifest import POOL_GROUP
from epp.extproc.transports.transport import TransportName
from epp.kube.lease import MOST_DURATION_S, LeaseLoss
from epp.serve.gateways import PROFILES
from epp.serve.values import number, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.serve.values import Value

LEAST_SEGMENT_BYTES = 1024 * 1024
MOST_SEGMENTS = 10_000
LEASE_LOSSES = tuple(each.value for each in LeaseLoss)
TRANSPORTS = tuple(each.value for each in TransportName)


def conflicts(values: Mapping[str, Value]) -> list[str]:
    """All of them, by the flags' values."""
    return [
        *_source_problems(values),
        *_port_problems(values),
        *_lease_problems(values),
        *_recording_problems(values),
    ]


def _lease_problems(values: Mapping[str, Value]) -> list[str]:
    problems = []
    if values["lease-loss"] not in LEASE_LOSSES:
        problems.append(f"--lease-loss: {values['lease-loss']!r} is neither {' nor '.join(LEASE_LOSSES)}")
    lease_s = number(values["lease-duration"])
    if not 1 <= lease_s <= MOST_DURATION_S or lease_s % 1:
        problems.append(
            f"--lease-duration: {lease_s:g}s can't be had: "
            f"a Lease counts in whole seconds, from 1s to {MOST_DURATION_S:g}s"
        )
    return problems


def _recording_problems(values: Mapping[str, Value]) -> list[str]:
    problems = []
    if whole(values["event-log-size"]) < LEAST_SEGMENT_BYTES:
        problems.append(
            f"--event-log-size: at least {LEAST_SEGMENT_BYTES >> 20}Mi, or every segment is mostly its start"
        )
    if not 1 <= whole(values["event-log-segments"]) <= MOST_SEGMENTS:
        problems.append(f"--event-log-segments: 1 to {MOST_SEGMENTS}")
    return problems


def _source_problems(values: Mapping[str, Value]) -> list[str]:
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
    return problems


def _port_problems(values: Mapping[str, Value]) -> list[str]:
    problems = []
    if values["transport"] not in TRANSPORTS:
        problems.append(f"--transport: {values['transport']!r} is unknown: one of {', '.join(TRANSPORTS)}")
    if (
        values["enable-cert-reload"] is True
        and values["cert-path"] is None
        and values["client-ca-file"] is None
    ):
        problems.append("--enable-cert-reload needs --cert-path: a self-signed certificate is never reloaded")
    if values["client-ca-file"] is not None and values["secure-serving"] is False:
        problems.append(
            f"--client-ca-file={values['client-ca-file']} needs TLS: leave it out, or drop --secure-serving=false"
        )
    return problems
