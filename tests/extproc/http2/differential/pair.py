"""The reference and our server side by side: the same steps for both, and the same to be seen of both.

The reference reads frame by frame, our server whatever pieces it is given, across frames and steps. They are compared
whenever our server has caught up: before it is told something, before a step with an intended difference, at the end.
The reference's windows are opened as ours are: when to do so is everybody's own decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from epp.extproc.http2.limits import Limits
from tests.extproc.http2.differential.differences import found
from tests.extproc.http2.differential.observed import Word, joined
from tests.extproc.http2.differential.recognition import is_all_padding
from tests.extproc.http2.differential.reference import Reference, Situation
from tests.extproc.http2.differential.steps import (
    RESPONSE,
    STATUS,
    Act,
    Client,
    Data,
    Deed,
    Ping,
    Reset,
    Settings,
    Step,
    serialized,
)
from tests.extproc.http2.differential.subject import Subject
from tests.extproc.http2.differential.verdicts import (
    LIMITS,
    MOST_STREAMS,
    Difference,
    Reach,
    Seen,
    Verdict,
    verdict,
)
from tests.extproc.http2.frames_by_hand import DATA, HEADERS, PADDED, PREFACE, Frame

_PIECES_OF_RESPONSES = bytes(range(256)) * 100


class Pair:
    """Two servers, and the client of both."""

    def __init__(self, pieces: Iterable[int] = (), *, greets: bool = True, limits: Limits = LIMITS) -> None:
        """Our server reads in these pieces."""
        self.reference = Reference(limits)
        self.subject = Subject(limits, pieces)
        self.client = Client()
        self.is_over = False
        """Nothing more can be compared."""
        self.met: list[Difference] = []
        """The intended differences that have shown."""
        self._responded: set[int] = set()
        self._finished: set[int] = set()
        self._resets: dict[int, Situation] = {}
        """Whose reset was the last on streams that had been closed before."""
        self._read_grants = 0
        self._taken: Counter[type[Step]] = Counter()
        self._give([PREFACE])
        if greets:
            self.take(Settings())
            self.take(Settings(ack=True))

    def run(self, program: Iterable[Step | Act]) -> None:
        """All of it, as far as it can be compared."""
        for step in program:
            if self.is_over:
                return
            if isinstance(step, Act):
                self.act(step)
            else:
                self.take(step)
        if not self.is_over:
            self.compare()

    def take(self, step: Step) -> None:
        """The client does this, if it can."""
        if not self.client.can_take(step):
            return
        frames = self.client.frames(step)
        reference = self.reference
        situation = reference.situation(frames[0].stream)
        if situation.takes_data and min(reference.room(frames[0].stream)) < len(frames[0].payload):
            self.compare()
        ours = self._resets.get(frames[0].stream, situation)
        differences = found(Seen(step, frames[0], situation, ours, reference, self._taken[type(step)]))
        if not (isinstance(step, Settings) and step.ack):
            self._taken[type(step)] += 1
        pieces = [serialized([frame]) for frame in frames]
        faults = len({(difference.theirs, difference.ours) for difference in differences})
        if faults > 1 or self._is_doubtful(frames[0], situation, ours):
            self.compare()
            self.is_over = True
        elif differences:
            self._differ(differences[0], pieces)
        else:
            if situation.is_gone and isinstance(step, Reset | Data):
                self._resets[frames[0].stream] = (
                    Situation.RESET_BY_PEER if isinstance(step, Reset) else Situation.RESET_BY_US
                )
            self._give(pieces)
            if reference.is_over or reference.has_granted:
                self.compare()
                self.is_over = True

    def act(self, act: Act) -> None:
        """The servers do this, on a stream on which they may."""
        self.compare()
        candidates = [
            state.id
            for state in self.reference.standing().streams
            if state.is_open_to_us and state.id not in self._finished
        ]
        if self.is_over or not candidates:
            return
        stream = candidates[act.pick % len(candidates)]
        both = (self.reference, self.subject)
        if act.deed is Deed.WITHHOLD:
            self.subject.withhold(stream)
            return
        if act.deed is Deed.RESET:
            for server in both:
                server.reset(stream, 8)
            self.compare()
            return
        if stream not in self._responded:
            self._responded.add(stream)
            at_once = act.deed is Deed.ANSWER_AT_ONCE
            for server in both:
                server.respond(stream, RESPONSE, ends=at_once)
        for server in both:
            if act.deed is Deed.SEND:
                server.send(stream, _PIECES_OF_RESPONSES[: act.size])
            elif act.deed is Deed.FINISH:
                self._finished.add(stream)
                server.finish(stream, STATUS)
        self.compare()

    def compare(self) -> None:
        """Let our server catch up: the same must have happened on both."""
        theirs, ours = self._watch()
        assert ours == theirs
        reference, subject = self.reference, self.subject
        assert subject.output.responses == reference.output.responses
        assert subject.connection.is_over == reference.is_over
        if not reference.is_over:
            assert subject.standing() == reference.standing()

    # ---------------------------------------------------------------------------------- helpers

    def _is_doubtful(self, frame: Frame, situation: Situation, ours: Situation) -> bool:
        """Which of several faults is answered first is nobody's promise."""
        if frame.kind == DATA and not situation.takes_data:
            return frame.flags & PADDED != 0 and frame.payload[:1] >= bytes((min(len(frame.payload), 255),))
        if frame.kind != HEADERS or not (situation.is_gone or situation is Situation.HALF_CLOSED_REMOTE):
            return False
        passed = (Situation.ENDED, Situation.PASSED_OVER)
        if situation is not ours and (situation in passed or ours in passed):
            return True
        is_full = self.reference.open_streams() >= MOST_STREAMS
        return is_all_padding(frame) or (is_full and self.reference.has_forgotten(frame.stream))

    def _give(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.reference.receive(piece)
            self.subject.receive(piece)

    def _watch(self) -> tuple[tuple[list[Word], list[Word]], tuple[list[Word], list[Word]]]:
        """What has happened since the last time, on the reference and on ours: events, and replies."""
        self.subject.catch_up()
        seen = []
        for server in (self.reference, self.subject):
            seen.append((joined(server.words), server.output.replies))
            server.words, server.output.replies = [], []
        grants = self.subject.output.grants[self._read_grants :]
        self._read_grants += len(grants)
        if not self.reference.is_over:
            for stream, increment in grants:
                self.reference.grant(stream, increment)
        return seen[0], seen[1]

    def _differ(self, difference: Difference, pieces: list[bytes]) -> None:
        """A step with an intended difference: each side must do what the list says of it."""
        self.compare()
        self.met.append(difference)
        before = self.subject.standing()
        self._give(pieces)
        theirs, ours = self._watch()
        self._check(difference.theirs, theirs, difference)
        self._check(difference.ours, ours, difference)
        if difference.ours.reach is Reach.STREAM:
            after = self.subject.standing()
            gone = {state.id for state in before.streams} - {state.id for state in after.streams}
            assert len(gone) <= 1, "one fault ended several streams"
        if difference.ours.reach is not Reach.CONNECTION:
            self._assert_ours_goes_on()
        self.is_over = self.is_over or not difference.changes_nothing or self.reference.has_granted

    @staticmethod
    def _check(expected: Verdict, seen: tuple[list[Word], list[Word]], difference: Difference) -> None:
        assert verdict(*seen) == expected, difference.name
        over = [word for word in seen[0] if word[0] == "over"]
        assert len(over) == (expected.reach is Reach.CONNECTION)

    def _assert_ours_goes_on(self) -> None:
        self.subject.receive(serialized(self.client.frames(Ping(b"are-you?"))))
        self.subject.catch_up()
        assert self.subject.output.replies.pop() == ("ping answered", b"are-you?")
