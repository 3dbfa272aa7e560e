"""What a request asks: its body and its headers.

Promises:
- A prompt of n tokens has exactly 4 n characters, which is how simulated servers count; real ones count differently.
- No two prompts of a play begin alike, so that no server finds one in its prefix cache by accident.
- The answer is asked to be exactly so long: `max_tokens`, and no stop before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.load.plan import Delivery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.load.plan import Due, Manner

CHARACTERS_PER_TOKEN = 4
OBJECTIVE_HEADER = "x-llm-d-inference-objective"
FAIRNESS_HEADER = "x-llm-d-inference-fairness-id"

_WORDS = b"and then the story goes on about nothing in particular for as long as it is asked to "
_AFTER_TEXT = b'"}],"ignore_eos":true,"max_tokens":'
_STREAM = b',"stream":true,"stream_options":{"include_usage":true}}'
_WHOLE = b"}"


class Questions:
    """Writes the requests of a play to one model."""

    def __init__(self, model: str, *, longest_tokens: int) -> None:
        characters = longest_tokens * CHARACTERS_PER_TOKEN
        self._filler = _WORDS * (characters // len(_WORDS) + 1)
        self._before_text = (
            b'{"model":' + msgspec.json.encode(model) + b',"messages":[{"role":"user","content":"'
        )

    def body(self, due: Due, delivery: Delivery, *, number: int) -> bytes:
        """The JSON of request `number` of the play."""
        characters = due.prompt_tokens * CHARACTERS_PER_TOKEN
        beginning = b"%x " % number
        return b"".join(
            (
                self._before_text,
                beginning[:characters],
                self._filler[: max(0, characters - len(beginning))],
                _AFTER_TEXT,
                b"%d" % due.output_tokens,
                _STREAM if delivery is Delivery.STREAM else _WHOLE,
            )
        )


def headers(manner: Manner, tenant: str) -> Mapping[str, str]:
    """Those of all requests of a class and tenant. What the class adds by itself wins."""
    told = {"content-type": "application/json"}
    if manner.objective is not None:
        told[OBJECTIVE_HEADER] = manner.objective
    if tenant:
        told[FAIRNESS_HEADER] = tenant
    return {**told, **{name.lower(): value for name, value in manner.headers.items()}}
