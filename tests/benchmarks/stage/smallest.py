"""The smallest scenario that a stage can be put up for, and a request to it."""

from __future__ import annotations

from typing import Any

import aiohttp

from benchmarks.scenarios.scenario import Event, Picker, Scenario, Servers

PLUGINS = ("queue-scorer", "max-score-picker")
CONFIG: dict[str, Any] = {
    "apiVersion": "llm-d.ai/v1alpha1",
    "kind": "EndpointPickerConfig",
    "featureGates": ["flowControl"],
    "plugins": [
        {"type": "concurrency-detector", "parameters": {"maxConcurrency": 2}},
        *({"type": plugin} for plugin in PLUGINS),
    ],
    "schedulingProfiles": [
        {"name": "default", "plugins": [{"pluginRef": plugin} for plugin in PLUGINS]},
    ],
    "flowControl": {"saturationDetector": {"pluginRef": "concurrency-detector"}},
}


def scenario(*events: Event, servers: Servers | None = None, flags: tuple[str, ...] = ()) -> Scenario:
    """Two quick servers; nobody sends anything unless the test does."""
    return Scenario(
        name="smallest",
        question="Does it stand?",
        story="",
        duration_s=0.1,
        servers=servers or Servers(count=2, engine={"max_sequences": 4, "step_s": 0.002}),
        picker=Picker(objectives={"premium": 10, "plain": None}, config=CONFIG, flags=list(flags)),
        traffic={},
        events=list(events),
        passes=[],
    )


async def ask(http: aiohttp.ClientSession, base_url: str, *, tokens: int, headers: dict[str, str]) -> int:
    """One streamed answer of so many tokens; gives its status."""
    body = {
        "model": "sim-model",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
    }
    async with http.post(f"{base_url}/v1/chat/completions", json=body, headers=headers) as response:
        await response.read()
        return response.status
