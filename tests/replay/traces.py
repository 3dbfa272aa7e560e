"""Small made-up traces, made once."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from epp.eventlog.header import Header
from epp.eventlog.recipe import Recipe
from epp.replay.generate import generate
from epp.replay.recording import decide_again
from epp.replay.spec import parse_spec

if TYPE_CHECKING:
    from epp.replay.recording import Recording

SPEC = """
duration: 60s
endpoints: [{count: 2, slots: 3, tokensPerSecond: 40}]
tenants:
- {name: chat, priority: 5, arrivals: {rate: 1}, input: {median: 200}, output: {median: 60}}
- {name: short, arrivals: {rate: 2}, input: {median: 100}, output: {median: 60}}
- {name: long, arrivals: {rate: 0.6}, input: {median: 900}, output: {median: 250}}
"""
HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
STRICT = (
    HEAD
    + """
plugins:
- {type: concurrency-detector, parameters: {maxConcurrency: 3}}
- {type: global-strict-fairness-policy}
flowControl:
  saturationDetector: {pluginRef: concurrency-detector}
  defaultRequestTTL: 15s
  defaultPriorityBand: {fairnessPolicyRef: global-strict-fairness-policy}
"""
)


@cache
def trace(config: str = "", seed: int = 1) -> bytes:
    """The trace of `SPEC` before a picker with that configuration."""
    file = BytesIO()
    generate(parse_spec(SPEC, source="SPEC"), Recipe(config=config, seed=seed), file)
    return file.getvalue()


def recording(folder: Path, *, config: str = "", made_up: bool = True) -> Recording:
    """The same, decided again; as if it were no made-up one, if asked for."""
    lines = trace(config).splitlines(keepends=True)
    if not made_up:
        header = msgspec.structs.replace(msgspec.json.decode(lines[0], type=Header), engines=None)
        lines[0] = msgspec.json.encode(header) + b"\n"
    path = folder / "trace.jsonl"
    path.write_bytes(b"".join(lines))
    return decide_again(path)
