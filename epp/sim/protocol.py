"""OpenAI's chat and completions API as values: a request body becomes an `Ask`, tokens become JSON and SSE.

Pure. What a simulated server can't honour (several choices, for instance) is refused with the field's name rather
than answered wrongly; what does not matter to it (`temperature` and its like) is accepted and ignored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from epp.sim.engine import Ending, FinishReason

CHARACTERS_PER_TOKEN = 4
DONE = b"data: [DONE]\n\n"
_TEXT = (
    "the queue is not a place but a promise kept in order and what waits longest at the front goes first while "
    "the rest of us count tokens and slots until one is free again"
)
_WORDS = _TEXT.split()


class Api(Enum):
    """Which of the two APIs; the value is the prefix of its ids."""

    CHAT = "chatcmpl"
    COMPLETIONS = "cmpl"


class Delivery(Enum):
    """How the answer is wanted."""

    WHOLE = "whole"
    STREAM = "stream"
    STREAM_WITH_USAGE = "stream with usage"


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, message: str, *, kind: str = "BadRequestError", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param

    def body(self) -> bytes:
        """The error as OpenAI writes it."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return json.dumps({"error": error}).encode()


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants."""

    api: Api
    model: str
    prompt_tokens: int
    max_tokens: int | None
    ending: Ending
    delivery: Delivery


def parse(api: Api, raw: bytes, *, models: tuple[str, ...]) -> Ask:
    """The request in `raw`; the first of `models` serves who names none. Raises `ApiError`."""
    body = _object(raw)
    model = body.get("model") or models[0]
    if model not in models:
        raise ApiError(404, f"The model `{model}` does not exist.", kind="NotFoundError", param="model")
    if body.get("n", 1) != 1:
        raise _wrong("n", body["n"], "this server gives one choice")
    limit_field = "max_tokens"
    if api is Api.CHAT and body.get("max_completion_tokens") is not None:
        limit_field = "max_completion_tokens"
    max_tokens = body.get(limit_field)
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise _wrong(limit_field, max_tokens, "expected a whole number of at least 1")
    return Ask(
        api=api,
        model=model,
        prompt_tokens=_chat_tokens(body) if api is Api.CHAT else _prompt_tokens(body),
        max_tokens=max_tokens,
        ending=Ending.AT_LIMIT if _flag(body, "ignore_eos") and max_tokens is not None else Ending.NATURAL,
        delivery=_delivery(body),
    )


class Answer:
    """Writes one answer."""

    def __init__(self, ask: Ask, *, answer_id: str, created_s: int) -> None:
        self._ask = ask
        self._head = {"id": f"{ask.api.value}-{answer_id}", "created": created_s, "model": ask.model}
        # A chunk differs from its neighbour in one word only: the rest is written once.
        self._before_word, self._after_word = self._chunk("\0", finish=None).split(b"\\u0000")

    def opening(self) -> bytes:
        """What comes before the first token."""
        return self._sse(self._choice({"role": "assistant", "content": ""}, None)) if self._is_chat else b""

    def piece(self, number: int, finish: FinishReason | None) -> bytes:
        """The chunk with token `number`, from 1."""
        if finish is not None:
            return self._chunk(_word(number), finish=finish)
        return self._before_word + _word(number).encode() + self._after_word

    def closing(self, completion_tokens: int) -> bytes:
        """What comes after the last token."""
        if self._ask.delivery is not Delivery.STREAM_WITH_USAGE:
            return DONE
        return self._sse({"choices": [], "usage": self._usage(completion_tokens)}) + DONE

    def whole(self, completion_tokens: int, finish: FinishReason) -> bytes:
        """All of it in one piece."""
        text = "".join(map(_word, range(1, completion_tokens + 1)))
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish.value, "logprobs": None}
        if self._is_chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        kind = "chat.completion" if self._is_chat else "text_completion"
        body = {**self._head, "object": kind, "choices": [choice], "usage": self._usage(completion_tokens)}
        return json.dumps(body).encode()

    @property
    def _is_chat(self) -> bool:
        return self._ask.api is Api.CHAT

    def _usage(self, completion_tokens: int) -> dict[str, Any]:
        return {
            "prompt_tokens": self._ask.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self._ask.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def _chunk(self, word: str, *, finish: FinishReason | None) -> bytes:
        return self._sse(self._choice({"content": word} if self._is_chat else word, finish))

    def _choice(self, content: dict[str, str] | str, finish: FinishReason | None) -> dict[str, Any]:
        field = "delta" if self._is_chat else "text"
        reason = finish.value if finish else None
        return {"choices": [{"index": 0, field: content, "logprobs": None, "finish_reason": reason}]}

    def _sse(self, fields: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        data = json.dumps({**self._head, "object": kind, **fields}, separators=(",", ":"))
        return f"data: {data}\n\n".encode()


def _word(number: int) -> str:
    """The text of an answer's token; the same words for everybody."""
    return " " + _WORDS[(number - 1) % len(_WORDS)]


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(400, f"The body is a JSON {type(body).__name__}: expected an object.")
    return body


def _delivery(body: dict[str, Any]) -> Delivery:
    if not _flag(body, "stream"):
        return Delivery.WHOLE
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise _wrong("stream_options", options, "expected an object")
    return Delivery.STREAM_WITH_USAGE if _flag(options, "include_usage") else Delivery.STREAM


def _flag(body: dict[str, Any], field: str) -> bool:
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise _wrong(field, value, "expected true or false")
    return bool(value)


def _chat_tokens(body: dict[str, Any]) -> int:
    """The prompt's length: the characters of its texts, by the rule of thumb. Images and the like count nothing."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", messages, "expected a list with a message in it")
    characters = 0
    for message in messages:
        if not isinstance(message, dict):
            raise _wrong("messages", message, "expected objects with role and content")
        content = message.get("content") or ""
        parts = content if isinstance(content, list) else [{"text": content}]
        characters += sum(len(str(part.get("text", ""))) for part in parts if isinstance(part, dict))
    return _tokens(characters)


def _prompt_tokens(body: dict[str, Any]) -> int:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return _tokens(len(prompt))
    if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        return len(prompt)
    raise _wrong("prompt", prompt, "expected one text, or one list of token ids")


def _tokens(characters: int) -> int:
    return max(1, -(-characters // CHARACTERS_PER_TOKEN))


def _wrong(field: str, value: object, remedy: str) -> ApiError:
    return ApiError(400, f"{field} is {json.dumps(value)[:80]}: {remedy}.", param=field)
