"""Another model than the one that was asked for, through real Envoy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from epp.quickstart.envoy import BodyMode
from tests.e2e.clusterworld import NAMESPACE, POOL, ClusterSetting, ClusterWorld

if TYPE_CHECKING:
    from pathlib import Path

REWRITES = "inferencemodelrewrites.llm-d.ai"
RULE = {
    "apiVersion": "llm-d.ai/v1alpha2",
    "kind": "InferenceModelRewrite",
    "metadata": {"name": "menu", "namespace": NAMESPACE},
    "spec": {
        "poolRef": {"name": POOL},
        "rules": [
            {"matches": [{"model": {"value": "food"}}], "targets": [{"modelRewrite": "food-lora-7"}]},
        ],
    },
}


async def ask(it: ClusterWorld, body: bytes, **headers: str) -> bytes:
    """The body of a chat request as the model server saw it."""
    sent = {"content-type": "application/json"} | {
        key.replace("_", "-"): value for key, value in headers.items()
    }
    async with it.client.post(f"{it.url}/v1/chat/completions", data=body, headers=sent) as response:
        assert response.status == 200
        return await response.read()


@pytest.mark.parametrize("mode", list(BodyMode), ids=lambda mode: mode.value)
async def test_a_rewrite_changes_the_models_name_and_no_other_byte(mode: BodyMode, tmp_path: Path) -> None:
    """From the object's creation to its end, in both body modes, with large bodies, numbers and odd spacing intact."""
    async with ClusterWorld(ClusterSetting(body_mode=mode, max_concurrency=9), tmp_path) as it:
        text = "é" * 200_000
        body = (
            b'{ "n" : 12345678901234567890,"model":  "food" , "messages":[{"content":"%s"}] }' % text.encode()
        )
        assert await ask(it, body) == body
        it.api.create(RULE)
        await it.until_accepted("menu", "True", "Accepted", 1, resource=REWRITES)
        assert await ask(it, body) == body.replace(b'"food"', b'"food-lora-7"')
        other = body.replace(b'"food"', b'"drink"')
        assert await ask(it, other) == other
        assert json.loads(await ask(it, other, x_llm_d_model_name_rewrite="tea"))["model"] == "tea"
        counted = "llm_d_epp_model_rewrite_decisions_total"
        assert await it.metric(counted, model_rewrite_name="menu", target_model="food-lora-7") == 1
        assert await it.metric("llm_d_epp_request_total", target_model_name="food-lora-7") == 1
        it.api.delete(REWRITES, NAMESPACE, "menu")
        await it.until_metric("epp_objects", 0, resource=REWRITES)
        assert await ask(it, body) == body
