"""The service and its JSON twin tell the same."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from google.protobuf import json_format

from epp.introspect.server import METHODS
from epp.observe.http import ObserveServer
from epp.observe.inspection import PATHS
from tests.introspect.asking import Picker, serving
from tests.observe.surroundings import World

PAGED = {"page_size": "limit", "page_token": "after", "hash_flow_ids": "hash"}

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("ListBands", {}),
    ("ListBands", {"page_size": 1, "page_token": "band:5"}),
    ("ListFlows", {}),
    ("ListFlows", {"priority": 0, "page_size": 2}),
    ("ListFlows", {"hash_flow_ids": True, "page_size": 3}),
    ("ListFlows", {"page_token": "flow:0:alice@example.com"}),
    ("ListQueued", {}),
    ("ListQueued", {"priority": -5, "fairness_id": "Ünïcode", "page_size": 1}),
    ("ListQueued", {"hash_flow_ids": True, "page_token": "queued:20"}),
    ("ListRunning", {}),
    ("ListEndpoints", {}),
    ("ListEndpoints", {"page_size": 1, "page_token": "endpoint:10.0.0.1:8000 "}),
    ("GetRequest", {"request_id": 1}),
    ("GetRequest", {"request_id": 2}),
    ("GetRequest", {"request_id": 29, "hash_flow_ids": True}),
    ("GetRequest", {"request_id": 30}),
    ("GetRequest", {"request_id": 99}),
    ("GetPolicy", {}),
]


def url_of(name: str, fields: dict[str, Any]) -> str:
    """The same question as a path."""
    path = next(path for path, topic in PATHS.items() if topic is METHODS[name].topic)
    asked = dict(fields)
    if "request_id" in asked:
        path += f"/{asked.pop('request_id')}"
    words = {
        PAGED.get(key, key): json.dumps(value) if value is True else value for key, value in asked.items()
    }
    return f"{path}?{urlencode(words)}"


@pytest.mark.parametrize(("name", "fields"), CALLS)
async def test_both_twins_tell_the_same(name: str, fields: dict[str, Any]) -> None:
    """The JSON is the message: read as one, it equals what the service sends, and nothing is left over."""
    picker = Picker()
    observe = ObserveServer(
        metrics=World().metrics,
        statistics=lambda: picker.core.statistics(picker.now),
        why_not_ready=lambda: None,
        port=0,
        host="127.0.0.1",
        ask=picker.ask,
    )
    await observe.start()
    try:
        async with serving(picker) as client, aiohttp.ClientSession() as session:
            told = await client.call(name, **fields)
            async with session.get(f"http://127.0.0.1:{observe.port}{url_of(name, fields)}") as response:
                assert response.status == 200
                document = await response.json()
    finally:
        await observe.close()
    assert picker.asked[0] == picker.asked[1]
    assert json_format.ParseDict(document, METHODS[name].response()) == told
    assert told.ByteSize() > 0
