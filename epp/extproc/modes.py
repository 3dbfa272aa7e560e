"""How the gateway at the other end shows us bodies, and so what it expects for an answer.

Envoy says it in its first message (`protocol_config`); a gateway that says nothing is taken for full duplex both
ways, which is what the endpoint picker protocol asks for.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from epp.extproc.wire import ext_proc_pb2 as wire


class BodyMode(Enum):
    """What one direction's body messages are answered with."""

    DUPLEX = "full duplex"
    """The gateway keeps nothing: every byte has to be sent back."""
    COPIES = "copies"
    """The gateway keeps the body and wants one answer for each message. In requests, the body comes only after the
    headers have been answered, or may: nothing in it can be waited for."""
    UNSEEN = "unseen"
    """No body messages come."""


class Modes(NamedTuple):
    """Both directions of one stream."""

    request: BodyMode
    response: BodyMode
    declared: bool
    """The gateway said so itself."""


_MODES: Final[dict[int, BodyMode]] = {
    wire.NONE: BodyMode.UNSEEN,
    wire.STREAMED: BodyMode.COPIES,
    wire.BUFFERED: BodyMode.COPIES,
    wire.BUFFERED_PARTIAL: BodyMode.COPIES,
}
"""Any other is full duplex."""
UNDECLARED: Final = Modes(BodyMode.DUPLEX, BodyMode.DUPLEX, declared=False)
"""Of a gateway whose first message says nothing of it."""
_PAIRS_REMEMBERED: Final = 64


def read_modes(first: wire.ProcessingRequest) -> Modes:
    """The modes that a stream's first message tells."""
    if not first.HasField("protocol_config"):
        return UNDECLARED
    configuration = first.protocol_config
    return _declared(configuration.request_body_mode, configuration.response_body_mode)


@lru_cache(_PAIRS_REMEMBERED)
def _declared(request_mode: int, response_mode: int) -> Modes:
    return Modes(
        _MODES.get(request_mode, BodyMode.DUPLEX),
        _MODES.get(response_mode, BodyMode.DUPLEX),
        declared=True,
    )
