"""One gRPC call: a stream, what has come of the message under way, and what its request's headers ask for.

| the request | the answer |
|---|---|
| a method other than POST | HTTP 405, `allow: POST` |
| a content type other than `application/grpc`, `application/grpc+...`, `application/grpc;...` | HTTP 415 |
| a path that isn't served | UNIMPLEMENTED |
| a `grpc-timeout` that isn't one to eight digits and one of H, M, S, m, u, n | INTERNAL |
| all else | the call is opened |

They are looked at in this order. `te: trailers` isn't asked for: nothing depends on it, and some proxies drop it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from epp.extproc.http2.statuses import METHOD_NOT_ALLOWED, UNSUPPORTED_MEDIA_TYPE, Status, trailers_only
from epp.extproc.http2.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Container

    from epp.extproc.http2.events import Headers

_GRPC: Final = b"application/grpc"
_UNIT_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST_TIMEOUT_DIGITS: Final = 8
_LONGEST_SHOWN: Final = 100
"""Characters of what a peer sent that are shown to it again."""


class Call(Stream):
    """Plain state; the rules are in `messages` and `calls`."""

    __slots__ = ("begun", "due_bytes", "is_encoded", "is_live", "owner")

    def __init__(self, stream_id: int, *, send_window: int, receive_window: int, now: float) -> None:
        super().__init__(stream_id, send_window=send_window, receive_window=receive_window, now=now)
        self.owner: Any = None
        """Whoever handles the call, for them to set."""
        self.is_live = False
        """Its opening has been told, and its end has not."""
        self.is_encoded = False
        """Its messages may be compressed, in a way that the peer has named."""
        self.begun: bytearray | None = None
        """What has come of an unfinished message: of its prefix until that is whole, then of the message itself."""
        self.due_bytes = 0
        """What is still to come of that message; 0 while its prefix isn't whole."""


class Request(NamedTuple):
    """What a call's headers ask for."""

    path: str
    timeout_s: float | None
    is_encoded: bool


class Refusal(NamedTuple):
    """The answer to headers that open no call."""

    headers: Headers


def read_request(headers: Headers, methods: Container[str]) -> Request | Refusal:
    """What a request's headers come to, where `methods` are the paths that are served."""
    fields = dict(headers)
    if fields.get(b":method") != b"POST":
        return Refusal(METHOD_NOT_ALLOWED)
    if not _is_grpc(fields.get(b"content-type", b"")):
        return Refusal(UNSUPPORTED_MEDIA_TYPE)
    path = fields.get(b":path", b"").decode("utf-8", "replace")
    if path not in methods:
        return Refusal(trailers_only(Status.UNIMPLEMENTED, f"{path[:_LONGEST_SHOWN]!r} isn't served here"))
    timeout_s = None
    timeout = fields.get(b"grpc-timeout")
    if timeout is not None:
        timeout_s = read_timeout_s(timeout)
        if timeout_s is None:
            return Refusal(trailers_only(Status.INTERNAL, _timeout_problem(timeout)))
    return Request(path, timeout_s, fields.get(b"grpc-encoding", b"identity") != b"identity")


def read_timeout_s(timeout: bytes) -> float | None:
    """The seconds of a `grpc-timeout`; None if it is malformed."""
    digits = timeout[:-1]
    unit_s = _UNIT_S.get(timeout[-1:])
    if unit_s is None or not digits.isdigit() or len(digits) > _MOST_TIMEOUT_DIGITS:
        return None
    return int(digits) * unit_s


def _is_grpc(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == _GRPC or media_type.startswith(_GRPC + b"+")


def _timeout_problem(timeout: bytes) -> str:
    shown = timeout[:_LONGEST_SHOWN].decode("utf-8", "replace")
    return f"grpc-timeout is {shown!r}, and must be one to eight digits and one of H, M, S, m, u, n"
