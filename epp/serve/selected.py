"""Pods that are a pool without an InferencePool: `--endpoint-selector` and `--endpoint-target-ports`.

The shell makes an InferencePool of them, so that everything behind it knows only pools.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epp.api.manifest import AppProtocol
from epp.api.objects import InferencePool
from epp.api.selector import Selector, parse_selector

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TARGET_PORTS = 8
"""As many as an InferencePool may have."""
_POD_OF_A_DEPLOYMENT = re.compile(r"(.+)-[a-z0-9]+-[a-z0-9]+")
_NAMELESS = "epp"


@dataclass(frozen=True, slots=True)
class SelectedPods:
    """Which pods, and where each of them serves."""

    selector: Selector
    target_ports: tuple[int, ...]

    def as_pool(self, *, group: str, namespace: str, name: str) -> InferencePool:
        """The pool that they are."""
        return InferencePool(
            group=group,
            namespace=namespace,
            name=name,
            terminating=False,
            selector=self.selector,
            target_ports=self.target_ports,
            app_protocol=AppProtocol.HTTP,
            endpoint_picker=None,
        )


def pool_name(environ: Mapping[str, str]) -> str:
    """The name of a pool that no object gives one: that of the picker's Deployment, as upstream."""
    found = _POD_OF_A_DEPLOYMENT.fullmatch(environ.get("POD_NAME", ""))
    return found[1] if found else _NAMELESS


def read_selected(selector: str | None, ports: str | None, *, problems: list[str]) -> SelectedPods | None:
    """What the two flags say; None without a selector. What is wrong with them is added to `problems`."""
    if selector is None:
        if ports is not None:
            problems.append("--endpoint-target-ports goes with --endpoint-selector; a pool has its own ports")
        return None
    parsed = Selector()
    try:
        parsed = parse_selector(selector)
    except ValueError as error:
        problems.append(f"--endpoint-selector={selector}: {error}")
    return SelectedPods(parsed, _target_ports(ports or "", problems))


def _target_ports(text: str, problems: list[str]) -> tuple[int, ...]:
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    ports = [int(entry) for entry in entries if re.fullmatch("[0-9]{1,5}", entry)]
    good = len(ports) == len(entries) and all(1 <= port <= 65535 for port in ports)
    if not text:
        problems.append(
            "--endpoint-target-ports is missing: with --endpoint-selector it says where each pod serves"
        )
    elif not good or not 1 <= len(ports) <= MAX_TARGET_PORTS or len(set(ports)) < len(ports):
        problems.append(
            f"--endpoint-target-ports={text}: give 1 to {MAX_TARGET_PORTS} different ports from 1 to 65535, "
            "with commas, such as 8000 or 8000,8001"
        )
    return tuple(ports)
