"""gRPC messages out of DATA, however they were cut: one byte for compression, four for the length, then the message.

| what comes | what becomes of it |
|---|---|
| the flag 1, on a call that named an encoding other than identity | UNIMPLEMENTED |
| the flag 1 on any other call, a flag that is neither 0 nor 1 | INTERNAL |
| a length over `max_message_bytes` | RESOURCE_EXHAUSTED, before any of it is kept |
| messages under way over `max_unfinished_bytes`, all calls together | RESOURCE_EXHAUSTED for the one that passed it |
| the end of the peer's side inside a message (seen in `calls`) | INTERNAL |

Whole messages before the fault are still given. A byte is copied at most three times, so the time is linear in what
comes, even in frames of one byte.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from epp.extproc.http2.events import MessageReceived
from epp.extproc.http2.guard import Offence, limit_text
from epp.extproc.http2.limits import RANGES, shown
from epp.extproc.http2.statuses import ACCEPTED_ENCODINGS, Status

if TYPE_CHECKING:
    from epp.extproc.http2.call import Call
    from epp.extproc.http2.events import CallEvent, Headers
    from epp.extproc.http2.guard import Tally
    from epp.extproc.http2.limits import Limits

PREFIX_BYTES: Final = 5
_PREFIX: Final = struct.Struct(">BI")
_COMPRESSED: Final = 1


class CallFault(Exception):  # noqa: N818 - what a peer did, and no error of ours: `calls` catches it
    """The peer sent on a call what ends it."""

    def __init__(self, status: Status, message: str, *, extra: Headers = ()) -> None:
        """`extra` goes with the status."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.extra = extra


class Messages:
    """Of one connection: puts its calls' messages together. What is unfinished is kept on the call."""

    __slots__ = ("_limits", "_tally", "unfinished_bytes")

    def __init__(self, limits: Limits, tally: Tally) -> None:
        self.unfinished_bytes = 0
        """Of all messages that have begun and not ended."""
        self._limits = limits
        self._tally = tally

    def add(self, call: Call, data: bytes, events: list[CallEvent]) -> None:
        """Take in a piece of a call's body; append the messages that it finishes. Raises CallFault."""
        start = 0
        if call.begun is not None:
            due_bytes = call.due_bytes
            if not due_bytes:
                data = b"".join((self._taken(call), data))
            elif len(data) < due_bytes:
                call.due_bytes = due_bytes - len(data)
                self._keep(call, call.begun, data)
                return
            else:
                message = b"".join((self._taken(call), memoryview(data)[:due_bytes]))
                events.append(MessageReceived(call, message))
                start = due_bytes
        size = len(data)
        while size - start >= PREFIX_BYTES:
            length = self._length(call, data, start)
            start += PREFIX_BYTES
            if size - start < length:
                call.due_bytes = length - (size - start)
                self._keep(call, bytearray(), memoryview(data)[start:])
                return
            events.append(MessageReceived(call, data[start : start + length]))
            start += length
        if start < size:
            self._keep(call, bytearray(), memoryview(data)[start:])

    def forget(self, call: Call) -> None:
        """The call is over: what is unfinished of it never will be."""
        if call.begun is not None:
            self._taken(call)

    def _length(self, call: Call, data: bytes, start: int) -> int:
        """Read a prefix."""
        flag, length = _PREFIX.unpack_from(data, start)
        if flag:
            raise _flag_fault(call, flag)
        if length > self._limits.max_message_bytes:
            flag_name = RANGES["max_message_bytes"].flag
            raise CallFault(
                Status.RESOURCE_EXHAUSTED,
                f"a message of {length} bytes; the limit is {flag_name}={shown(self._limits, 'max_message_bytes')}",
            )
        return int(length)

    def _keep(self, call: Call, begun: bytearray, data: bytes | memoryview) -> None:
        """Add to what has come of a message."""
        self.unfinished_bytes += len(data)
        begun += data
        call.begun = begun
        if self.unfinished_bytes > self._limits.max_unfinished_bytes:
            self._tally.offended(Offence.UNFINISHED_MESSAGES)
            raise CallFault(
                Status.RESOURCE_EXHAUSTED,
                f"the connection's unfinished messages have {self.unfinished_bytes} bytes"
                f"{limit_text(Offence.UNFINISHED_MESSAGES, self._limits)}",
            )

    def _taken(self, call: Call) -> bytearray:
        """What has come of a message; it is no longer the call's."""
        begun = call.begun
        assert begun is not None
        call.begun = None
        call.due_bytes = 0
        self.unfinished_bytes -= len(begun)
        return begun


def _flag_fault(call: Call, flag: int) -> CallFault:
    if flag != _COMPRESSED:
        return CallFault(Status.INTERNAL, f"a message with the flag {flag}, which is neither 0 nor 1")
    if call.is_encoded:
        return CallFault(
            Status.UNIMPLEMENTED,
            "a compressed message; send them as they are, without grpc-encoding",
            extra=ACCEPTED_ENCODINGS,
        )
    return CallFault(Status.INTERNAL, "a compressed message on a call that named no grpc-encoding")
