"""Pods that say which models they serve, through real Envoy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.world import World


async def test_a_pod_that_declares_its_models_gets_no_others(world: Callable[[Setting], World]) -> None:
    """Once the annotation is there: its model is served, another is a 503, and what names no model passes."""
    async with world(Setting()) as it:

        async def chat(model: str) -> int:
            body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
            async with it.client.post(f"{it.url}/v1/chat/completions", json=body) as response:
                return response.status

        assert await chat("other") == 200
        documents = [json.loads(text) for text in it.objects.read_text(encoding="utf-8").split("\n---\n")]
        for each in documents:
            if each["kind"] == "Pod":
                each["metadata"]["annotations"] = {"epp/models": "llama, tuned"}
        fresh = it.objects.with_suffix(".new")
        fresh.write_text("\n---\n".join(map(json.dumps, documents)), encoding="utf-8")
        fresh.rename(it.objects)

        async def others_are_refused() -> bool:
            return await chat("other") == 503

        await it.until(others_are_refused)
        assert [await chat(model) for model in ("llama", "tuned")] == [200, 200]
        async with it.client.get(f"{it.url}/v1/models") as response:
            assert response.status == 200
