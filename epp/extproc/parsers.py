"""What a request's body says: its model, whether it wants a stream, how long its answer may get.

`openai-parser` waits for the whole body, because a slow upload must not hold a place in the queue. On the JSON
paths of the OpenAI API it refuses what no model server could answer, but leaves it to the conversation to refuse a
request without a model, since one may yet be set; on any other path, and for any other content type, the body is
passed on unread. `passthrough-parser` never waits for a body and never reads one.

Which parser a request gets goes as upstream: the one that claims its path, else the first that claims none. In a list
without such a one, requests that nobody claims are the first parser's, which passes them on unread.

JSON is decoded once and lazily: only the few fields that matter are looked at, and the rest is skipped, unbuilt.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec
from msgspec import Raw

from epp.extproc.sharing import shared

if TYPE_CHECKING:
    from collections.abc import Sequence

OPENAI_PARSER: Final = "openai-parser"
PASSTHROUGH_PARSER: Final = "passthrough-parser"

_LARGEST_CAP = 2**31 - 1
"""A cap on output above this is no cap, and must not blow up a charge."""
_LONGEST_MODEL = 1024
"""As in a header. Names are remembered long after their requests, so a client must not choose how much that takes."""
_NOTHING: Final = Raw(b"")


class Malformed(ValueError):  # noqa: N818 - named for what it says of the request
    """The body can't be what its path takes; the message is for the client, and quotes nothing of it."""


class BodyNeed(Enum):
    """What a parser has to see before its request can be queued."""

    NOTHING = "nothing"
    WHOLE = "whole"


class ParsedRequest(msgspec.Struct, frozen=True):
    """What a body said."""

    model: str = ""
    streaming: bool = False
    max_output_tokens: int | None = None
    """The request's own cap on its output, over all the choices that it wants; None if it has none."""
    lacks_model: bool = False
    """It names no model, which its call can't do without."""


UNREAD: Final = ParsedRequest()
"""Of a body that nobody looked into."""


class Parser(Protocol):
    """Reads the bodies of some requests."""

    @property
    def body_need(self) -> BodyNeed:
        """What it waits for."""

    def claims(self, path: str) -> bool:
        """Whether requests to `path`, which has no query, are its own."""

    def parse(self, path: str, content_type: str, body: bytes) -> ParsedRequest:
        """Read a whole body. Raises Malformed."""


class Parsers:
    """The configured parsers, in order."""

    def __init__(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in _PARSERS]
        if unknown or not names:
            raise ValueError(f"parsers {list(names)}: expected one or more of {sorted(_PARSERS)}")
        parsers = [_PARSERS[name] for name in names]
        self._claiming = [parser for parser in parsers if not isinstance(parser, PassthroughParser)]
        if len(self._claiming) < len(parsers):
            fallback = next(parser for parser in parsers if isinstance(parser, PassthroughParser))
            # Nothing after the first parser without paths is ever asked.
            self._claiming = self._claiming[: parsers.index(fallback)]
            self._fallback: Parser = fallback
        else:
            self._fallback = parsers[0]

    def choose(self, path: str) -> Parser:
        """The parser for requests to `path`."""
        for parser in self._claiming:
            if parser.claims(path):
                return parser
        return self._fallback


class PassthroughParser:
    """Nothing is read; requests are queued on their headers alone."""

    body_need = BodyNeed.NOTHING

    def claims(self, path: str) -> bool:
        """No path: it is the fallback."""
        del path
        return False

    def parse(self, path: str, content_type: str, body: bytes) -> ParsedRequest:
        """Nothing, whatever the body is."""
        del path, content_type, body
        return UNREAD


class OpenAIParser:
    """The OpenAI API's JSON requests."""

    body_need = BodyNeed.WHOLE

    def claims(self, path: str) -> bool:
        """Whether `path` ends like one of the API's."""
        return _call(path) is not None

    def parse(self, path: str, content_type: str, body: bytes) -> ParsedRequest:
        """Read the body of a known call; anything else goes unread."""
        call = _call(path)
        if call is None or not _is_json(content_type):
            return UNREAD
        try:
            fields = _DECODER.decode(body)
        except RecursionError:
            raise Malformed("error unmarshaling request bodyMap: nested too deeply") from None
        except ValueError as error:
            raise Malformed(f"error unmarshaling request bodyMap: {error}") from None
        if not _filled(getattr(fields, call.required), call.required_form):
            raise Malformed(call.complaint)
        model = _string(fields.model)
        if len(model) > _LONGEST_MODEL:
            raise Malformed(f"the model's name has {len(model)} characters: {_LONGEST_MODEL} at most")
        return ParsedRequest(
            model,
            bytes(fields.stream) == b"true",
            _cap(fields, call),
            lacks_model=call.model_needed and not model,
        )


class _Body(msgspec.Struct):
    """The fields of all calls together, undecoded."""

    model: Raw = _NOTHING
    stream: Raw = _NOTHING
    messages: Raw = _NOTHING
    prompt: Raw = _NOTHING
    input: Raw = _NOTHING
    items: Raw = _NOTHING
    max_completion_tokens: Raw = _NOTHING
    max_tokens: Raw = _NOTHING
    max_output_tokens: Raw = _NOTHING
    n: Raw = _NOTHING
    best_of: Raw = _NOTHING


_DECODER: Final = msgspec.json.Decoder(_Body)
_STRING_DECODER: Final = msgspec.json.Decoder(str)
_NUMBER_DECODER: Final = msgspec.json.Decoder(int)


# What a required field has to look like, as the beginning of its JSON.
_LIST: Final = re.compile(rb"\[\s*[^\]\s]")
_LIST_OR_STRING: Final = re.compile(rb'\[\s*[^\]\s]|"[^"]')
_ANYTHING: Final = re.compile(rb"(?!null$).", re.DOTALL)


class _Call(NamedTuple):
    """One call of the API: what it can't do without, where it caps its output, and how often it wants that."""

    required: str
    required_form: re.Pattern[bytes]
    complaint: str
    caps: tuple[str, ...] = ()
    """Of each choice; the smallest holds."""
    choices: tuple[str, ...] = ()
    """How many are made; the largest holds."""
    model_needed: bool = True


_CHAT: Final = _Call(
    "messages",
    _LIST,
    "invalid chat completions request: must have valid messages field",
    ("max_completion_tokens", "max_tokens"),
    ("n", "best_of"),
)
_COMPLETIONS: Final = _Call(
    "prompt",
    _LIST_OR_STRING,
    "invalid completions request: must have prompt field",
    ("max_completion_tokens", "max_tokens"),
    ("n", "best_of"),
)
_CALLS: Final = {
    "chat/completions": _CHAT,
    "chat/completions/render": _CHAT,
    "completions": _COMPLETIONS,
    "completions/render": _COMPLETIONS,
    "embeddings": _Call("input", _LIST_OR_STRING, "invalid embeddings request: must have input field"),
    "responses": _Call(
        "input",
        _ANYTHING,
        "invalid responses request: must have input field",
        ("max_output_tokens",),
    ),
    "conversations": _Call(
        "items",
        _LIST,
        "invalid conversations request: must have items field",
        model_needed=False,  # the API's conversations have none
    ),
    "images/generations": _Call(
        "prompt", _LIST_OR_STRING, "invalid images generations request: must have prompt field"
    ),
}
"""By the end of the path."""
_CALLS_AT_USUAL_PATHS: Final = {f"/v1/{end}": call for end, call in _CALLS.items()}


def _call(path: str) -> _Call | None:
    call = _CALLS_AT_USUAL_PATHS.get(path)
    if call is not None:
        return call
    segments = path.rstrip("/").rsplit("/", 3)
    for count in (3, 2, 1):
        call = _CALLS.get("/".join(segments[-count:]))
        if call is not None:
            return call
    return None


def _is_json(content_type: str) -> bool:
    return content_type in {"", "application/json"} or content_type.endswith("+json")


def _filled(raw: Raw, form: re.Pattern[bytes]) -> bool:
    # A view, because the messages of a request can be most of its bytes.
    return form.match(memoryview(raw)) is not None


def _string(raw: Raw) -> str:
    try:
        return shared(_STRING_DECODER.decode(raw))
    except ValueError:
        return ""


def _cap(fields: _Body, call: _Call) -> int | None:
    caps = _counts(fields, call.caps)
    if not caps:
        return None
    return min(min(caps) * max(_counts(fields, call.choices), default=1), _LARGEST_CAP)


def _counts(fields: _Body, names: tuple[str, ...]) -> list[int]:
    """Those of the fields that hold a number above 0."""
    counts = []
    for name in names:
        raw: Raw = getattr(fields, name)
        if not len(raw):
            continue
        try:
            count = _NUMBER_DECODER.decode(raw)
        except ValueError:
            continue
        if count > 0:
            counts.append(count)
    return counts


_PARSERS: Final[dict[str, Parser]] = {
    OPENAI_PARSER: OpenAIParser(),
    PASSTHROUGH_PARSER: PassthroughParser(),
}
