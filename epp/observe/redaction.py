"""What never gets into the log: secrets, prompts, and anything long or unprintable.

Whoever logs is expected to log ids and numbers only. This is the net under that: values under telling names are
replaced whole, credentials inside texts are cut out, and every text is one printable line of bounded length.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping

REDACTED = "[redacted]"
LONGEST_TEXT = 2000
LONGEST_STACK = 20_000

_SECRET_NAMES: Final = frozenset(
    {
        *("authorization", "cookie", "credential", "credentials", "password", "secret", "token", "apikey"),
        *("prompt", "prompts", "messages", "body", "headers"),
    }
)
_WORDS: Final = re.compile(r"[a-z0-9]+")
_CREDENTIALS: Final = re.compile(
    r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{6,}|\b(sk)-[a-z0-9_-]{16,}|\b(eyJ)[a-z0-9_-]{8,}\.[a-z0-9._-]+"
)
_STACKS: Final = frozenset({"stack", "exception"})
_PLAIN = (bool, int, float, type(None))


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: makes every value of the event fit to be written."""
    for name, value in event.items():
        if isinstance(value, _PLAIN):
            continue
        if name in _STACKS:
            event[name] = _cut(_CREDENTIALS.sub(_masked, str(value)), LONGEST_STACK)
        elif _is_secret(name):
            event[name] = REDACTED
        else:
            event[name] = readable(value if isinstance(value, str) else repr(value))
    return event


def readable(text: str) -> str:
    """`text` in one printable line of bounded length, without credentials."""
    cut = _cut(_CREDENTIALS.sub(_masked, text[: 2 * LONGEST_TEXT]), LONGEST_TEXT, of=len(text))
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode()


def _is_secret(name: str) -> bool:
    words = _WORDS.findall(name.lower())
    return not _SECRET_NAMES.isdisjoint(words) or "apikey" in "".join(words)


def _masked(found: re.Match[str]) -> str:
    return f"{next(filter(None, found.groups()))} {REDACTED}"


def _cut(text: str, longest: int, *, of: int = 0) -> str:
    length = max(of, len(text))
    return text if length <= longest else f"{text[:longest]}... ({length} characters)"
