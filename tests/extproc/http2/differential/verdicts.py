"""What servers make of a step, and what is known of a step that two of them may see differently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.limits import Allowance, Limits
from tests.extproc.http2.differential.observed import Word
from tests.extproc.http2.differential.reference import Reference, Situation
from tests.extproc.http2.differential.steps import (
    FRAME_BYTES,
    Act,
    Step,
)
from tests.extproc.http2.frames_by_hand import Frame

MOST_STREAMS: Final = 8
"""How many streams both servers allow."""
LIMITS: Final = Limits(
    announced_streams=MOST_STREAMS,
    max_streams=MOST_STREAMS,
    stream_window_bytes=65_535,
    connection_window_bytes=80_000,
    max_frame_bytes=FRAME_BYTES,
    rapid_resets=Allowance(50, 1.0),
    pings=Allowance(50, 1.0),
    settings=Allowance(50, 1.0),
    empty_frames=Allowance(50, 1.0),
    window_updates=Allowance(50, 1.0),
)
"""Of our server, and of the reference as far as it has them."""


class Reach(Enum):
    """How much an answer ends."""

    NOTHING = "takes it"
    IGNORED = "ignores it"
    STREAM = "ends the stream"
    CONNECTION = "ends the connection"


class Verdict(NamedTuple):
    """What a server makes of a step."""

    reach: Reach
    code: ErrorCode | None = None

    def __str__(self) -> str:
        return self.reach.value if self.code is None else f"{self.reach.value}: {self.code.name}"


TAKES: Final = Verdict(Reach.NOTHING)
IGNORES: Final = Verdict(Reach.IGNORED)


def ends_stream(code: ErrorCode) -> Verdict:
    """RST_STREAM with this code."""
    return Verdict(Reach.STREAM, code)


def ends_connection(code: ErrorCode) -> Verdict:
    """GOAWAY with this code."""
    return Verdict(Reach.CONNECTION, code)


def verdict(words: list[Word], replies: list[Word]) -> Verdict:
    """What these events and these replies come to, if they are those of one step."""
    for word in words:
        if word[0] == "over":
            return ends_connection(ErrorCode(int(str(word[1]))))
    for reply in replies:
        if reply[0] == "reset":
            return ends_stream(ErrorCode(int(str(reply[2]))))
    return TAKES if words or replies else IGNORES


class Seen(NamedTuple):
    """A step, and what it meets."""

    step: Step
    frame: Frame
    """The first of its frames."""
    situation: Situation
    """How the reference sees the stream that the frame names."""
    our_situation: Situation
    """How our server should see it: it lets the last reset of a stream count, whoever's it is; h2 the first."""
    reference: Reference
    earlier: int
    """How many steps of this kind there have been, acknowledgements of SETTINGS aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One of the things that the two do not do alike."""

    name: str
    section: str
    reason: str
    theirs: Verdict
    ours: Verdict
    is_met: Callable[[Seen], bool]
    example: tuple[Step | Act, ...]
    """Its last step is the one."""
    greets: bool = True
    """Whether the example begins with the client's SETTINGS."""

    @property
    def changes_nothing(self) -> bool:
        """Whether both can go on afterwards as if the step had not been: the stream was closed before."""
        return self.ours == IGNORES and self.theirs.reach is Reach.STREAM
