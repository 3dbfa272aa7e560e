"""A gRPC client that writes its frames by hand and reads what `Calls` answers to each of its streams."""

from __future__ import annotations

import struct
from typing import NamedTuple

from hpack import Decoder, Encoder

from epp.extproc.http2.call import Call
from epp.extproc.http2.calls import Calls
from epp.extproc.http2.events import CallEvent, CallOpened, Headers
from epp.extproc.http2.guard import Tally
from epp.extproc.http2.limits import Limits
from tests.extproc.http2 import frames_by_hand as by_hand

PATH = "/some.Service/Method"


class Answer(NamedTuple):
    """What came on one stream."""

    blocks: list[dict[bytes, bytes]]
    """Header blocks."""
    body: bytes
    ended: bool
    reset: int | None
    """The code of an RST_STREAM."""

    @property
    def messages(self) -> list[bytes]:
        """The body as messages, which must be whole."""
        found = []
        at = 0
        while at < len(self.body):
            flag, length = struct.unpack_from(">BI", self.body, at)
            assert flag == 0
            assert at + 5 + length <= len(self.body)
            found.append(self.body[at + 5 : at + 5 + length])
            at += 5 + length
        return found


NOTHING = Answer([], b"", ended=False, reset=None)


def framed(message: bytes, flag: int = 0) -> bytes:
    """A message as it travels."""
    return struct.pack(">BI", flag, len(message)) + message


class Caller:
    """One connection."""

    def __init__(
        self,
        *announced: tuple[int, int],
        limits: Limits | None = None,
        paths: frozenset[str] = frozenset({PATH}),
    ) -> None:
        self.now = 100.0
        self.tally = Tally()
        self.calls = Calls(limits or Limits(), tally=self.tally, methods=paths, now=self.now)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.next_id = 1
        self.feed(by_hand.PREFACE, by_hand.settings(*announced), by_hand.settings_ack())
        self.calls.take()

    def feed(self, *pieces: bytes) -> list[CallEvent]:
        """Send these in one read."""
        return self.calls.receive(b"".join(pieces), self.now)

    def request(
        self, *extra: tuple[bytes, bytes], fields: Headers = by_hand.REQUEST, end: bool = False
    ) -> bytes:
        """HEADERS of the next stream."""
        number = self.next_id
        self.next_id += 2
        return by_hand.headers(number, self.encoder.encode([*fields, *extra]), end=end)

    def open(self, *extra: tuple[bytes, bytes]) -> Call:
        """Open a call."""
        (opened,) = self.feed(self.request(*extra))
        assert isinstance(opened, CallOpened)
        assert opened.path == PATH
        return opened.call

    def say(self, call: Call | int, data: bytes, *, end: bool = False) -> list[CallEvent]:
        """Send DATA."""
        number = call if isinstance(call, int) else call.id
        return self.feed(by_hand.data(number, data, end=end))

    def frames(self) -> list[by_hand.Frame]:
        """What was answered since the last time."""
        taken = b"".join(self.calls.take())
        self.calls.note_written()
        return by_hand.split(taken)

    def answers(self) -> dict[int, Answer]:
        """What was answered since the last time, by stream; checks that nothing comes after an end."""
        answers: dict[int, Answer] = {}
        for frame in self.frames():
            if not frame.stream or frame.kind == by_hand.WINDOW_UPDATE:
                continue
            answer = answers.get(frame.stream, Answer([], b"", ended=False, reset=None))
            assert answer.reset is None, "a frame after RST_STREAM"
            ended = bool(frame.flags & by_hand.END_STREAM)
            if frame.kind == by_hand.RST_STREAM:
                answer = answer._replace(reset=frame.numbers[0])
            else:
                assert not answer.ended, "a frame after the end"
                if frame.kind == by_hand.HEADERS:
                    fields = dict(self.decoder.decode(frame.payload, raw=True))
                    answer = answer._replace(blocks=[*answer.blocks, fields], ended=ended)
                else:
                    assert frame.kind == by_hand.DATA
                    answer = answer._replace(body=answer.body + frame.payload, ended=ended)
            answers[frame.stream] = answer
        return answers

    def answer(self, call: Call | int) -> Answer:
        """What was answered on this stream since the last time; nothing else was said on any."""
        number = call if isinstance(call, int) else call.id
        answers = self.answers()
        assert answers.keys() <= {number}
        return answers.get(number, NOTHING)
