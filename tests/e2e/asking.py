"""Requests that say more than `World.hold` does, and pickers whose whole configuration is a test's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from tests.e2e.world import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.e2e.world import World

ACCOUNT = "x-llm-d-flow-"


class Answered(NamedTuple):
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def reason(self) -> str:
        """Why it was refused; '' if it wasn't."""
        return self.headers.get("x-llm-d-request-dropped-reason", "")

    @property
    def account(self) -> dict[str, str]:
        """What it was told of the queue."""
        names = (name for name in self.headers if name.startswith(ACCOUNT))
        return {name.removeprefix(ACCOUNT): self.headers[name] for name in names}


def ask(world: World, name: str, objective: str = "", **more: str) -> asyncio.Task[Answered]:
    """A request that the model server holds until it is let go; dashes in header names are underscores here."""
    headers = {"x-name": name} | {key.replace("_", "-"): value for key, value in more.items()}
    if objective:
        headers["x-llm-d-inference-objective"] = objective

    async def send() -> Answered:
        async with (
            asyncio.timeout(PATIENCE_S),
            world.client.post(f"{world.url}/v1/hold", data=b"x", headers=headers) as response,
        ):
            return Answered(response.status, dict(response.headers), await response.text())

    return asyncio.create_task(send())


async def ask_in_turn(world: World, *requests: Mapping[str, str]) -> list[asyncio.Task[Answered]]:
    """Requests that are queued one after the other, each under its own `name`."""
    asked = []
    for number, request in enumerate(requests, start=1):
        asked.append(ask(world, **request))
        await world.until_queued(number)
    return asked


def configured(directory: Path, flow_control: str, *, plugins: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The flags for a picker with this `flowControl` section, and one request at a time on each endpoint."""
    more = "".join(f"- type: {plugin}\n" for plugin in plugins)
    config = directory / "own.yaml"
    config.write_text(
        f"""
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: concurrency-detector
  parameters: {{maxConcurrency: 1}}
- type: queue-scorer
- type: max-score-picker
{more}schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
  - pluginRef: max-score-picker
flowControl:
  saturationDetector: {{pluginRef: concurrency-detector}}
  defaultRequestTTL: 5m
{flow_control}
""",
        encoding="utf-8",
    )
    return ("--config-file", str(config))
