"""One conversation and the picker: carries actions there and decisions back.

A transport derives its stream from `Exchange`, feeds it what arrives, and sends what `next_message` gives until that
is None, then calls `settle`. It may go on feeding it while it sends, until `is_backlogged`: what waits by then goes out
in fewer messages. All of it is synchronous. When a decision arrives on another stream's account, `wake`
tells the transport that there is something to send here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, assert_never

from google.protobuf.message import DecodeError

from epp.extproc.actions import Cancel, DeliveryFailed, Ended, FirstByte, Rejected, Submit
from epp.extproc.conversation import Conversation
from epp.extproc.envelope import REQUEST_BODY_SENT, RESPONSE_BODY_SENT, read_body
from epp.extproc.ingress import HeadersPass
from epp.extproc.phases import Phase
from epp.extproc.wire import ext_proc_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epp.core.eviction import Begun
    from epp.extproc.actions import Action
    from epp.extproc.ingress import Explanation, Picker, Refusal
    from epp.extproc.request import ConversationSettings

_BODIES_SENT: Final = frozenset({REQUEST_BODY_SENT, RESPONSE_BODY_SENT})
_OVER: Final = Phase.OVER


class Exchange(ABC):
    """One stream, from its first message to its last. The picker's `Answer` to the stream's request.

    A base class and no part, because two objects that know each other would be garbage for the collector to find,
    once per stream.
    """

    __slots__ = ("_busy", "_clock", "_conversation", "_picker", "_request_id")

    def __init__(self, settings: ConversationSettings, *, picker: Picker, clock: Callable[[], float]) -> None:
        self._conversation = Conversation(settings)
        self._picker = picker
        self._clock = clock
        self._request_id = -1
        self._busy = False

    @abstractmethod
    def wake(self) -> None:
        """There is something to send, outside of any call of the transport's.

        Called when the decision is there, which is the first thing that a gateway hears, and once more at any moment
        for an eviction, also while the transport is sending.
        """

    # --------------------------------------------------------------------- from the transport

    def receive(self, data: bytes) -> None:
        """The gateway sent a message."""
        now = self._clock()
        conversation = self._conversation
        tag = data[:1]
        body = read_body(tag, data) if tag in _BODIES_SENT else None
        if body is None:
            try:
                message = wire.ProcessingRequest.FromString(data)
            except DecodeError:
                actions = conversation.unreadable(now)
            else:
                actions = conversation.receive(message, now)
        elif tag == RESPONSE_BODY_SENT:
            actions = conversation.response_body(body[0], end_of_stream=body[1], now=now)
        else:
            actions = conversation.request_body(body[0], end_of_stream=body[1], now=now)
        if actions:
            self._perform(actions)

    def half_closed(self) -> None:
        """The gateway will send nothing more."""
        self._conversation.half_closed()

    def reset(self) -> None:
        """The stream is gone: nothing can be sent any more. Does nothing when all was said."""
        self._perform(self._conversation.reset(self._clock()))

    def next_message(self) -> bytes | None:
        """What to send next; None if there is nothing now. Asking again says that the last one was written."""
        return self._conversation.next_message()

    @property
    def is_backlogged(self) -> bool:
        """So much waits to be sent that nothing should be received before some of it has been."""
        return self._conversation.is_backlogged

    def settle(self) -> None:
        """Everything has been sent."""
        actions = self._conversation.settle(self._clock())
        if actions:
            self._perform(actions)

    @property
    def over(self) -> bool:
        """Once everything has been sent, the stream is to be closed."""
        return self._conversation.phase is _OVER

    # ------------------------------------------------------------------------ from the picker

    def dispatched(
        self,
        address: str,
        waited_s: float,
        explanation: Explanation | None = None,
        *,
        headers: HeadersPass = HeadersPass.AT_ONCE,
    ) -> None:
        """The request goes to the endpoint `address`."""
        if self._conversation.dispatched(address, waited_s, explanation, headers=headers):
            self._decided()

    def refused(self, refusal: Refusal) -> None:
        """The request gets an answer instead."""
        if self._conversation.refused(refusal):
            self._decided()

    def evicted(self, refusal: Refusal, begun: Begun) -> bool:
        """The dispatched request is to end. Whether that is done."""
        if not self._conversation.evicted(refusal, begun, self._clock()):
            return False
        self._decided()
        return True

    # ------------------------------------------------------------------------------- helpers

    def _decided(self) -> None:
        # While the transport is in one of our calls it will look for messages by itself.
        if not self._busy:
            self.wake()

    def _perform(self, actions: Sequence[Action]) -> None:
        self._busy = True
        try:
            for action in actions:
                match action:
                    case Submit(facts):
                        self._request_id = self._picker.submit(facts, self)
                    case FirstByte():
                        self._picker.first_byte(self._request_id)
                    case Ended(response):
                        self._picker.ended(self._request_id, response)
                    case Cancel():
                        self._picker.cancel(self._request_id)
                    case DeliveryFailed():
                        self._picker.delivery_failed(self._request_id)
                    case Rejected(facts, refusal):
                        self._picker.rejected(facts, refusal)
                    case _:
                        assert_never(action)
        finally:
            self._busy = False
