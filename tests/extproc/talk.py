"""Both ends of a conversation, for tests: what a gateway says and hears, and what the picker is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest, ProcessingResponse

from epp.core.actions import Reason
from epp.core.eviction import Begun
from epp.extproc.actions import Action, Ended, Submit
from epp.extproc.conversation import Conversation
from epp.extproc.ingress import Explanation, HeadersPass, Refusal, RequestFacts, ResponseFacts
from epp.extproc.parsers import Parsers
from epp.extproc.phases import Phase
from epp.extproc.request import ConversationSettings
from epp.extproc.wire import ext_proc_pb2 as wire
from tests.extproc import gateway
from tests.extproc.gateway import ADDRESS, DUPLEX

if TYPE_CHECKING:
    from envoy_data_plane.envoy.service.ext_proc.v3 import ProtocolConfiguration

PASSTHROUGH = ConversationSettings(parsers=Parsers(("passthrough-parser",)))
EVICTED = Refusal(Reason.EVICTED, retry_after_s=1, message="", waited_s=0.0)
REFUSED = Refusal(Reason.SATURATED, retry_after_s=3, message="", waited_s=1.5)


class Talk:
    """Both ends of one conversation."""

    def __init__(self, settings: ConversationSettings | None = None) -> None:
        self.conversation = Conversation(settings or ConversationSettings())
        self.now = 100.0
        self.actions: list[Action] = []
        self.heard: list[ProcessingResponse] = []

    def say(self, *messages: ProcessingRequest) -> Talk:
        """Send, one after the other, and listen after each."""
        for message in messages:
            read = wire.ProcessingRequest.FromString(bytes(message))
            self.actions += self.conversation.receive(read, self.now)
            self.listen()
        return self

    def hurry(self, *messages: ProcessingRequest) -> Talk:
        """Send all of them before anything is listened to, as while a write is under way."""
        for message in messages:
            read = wire.ProcessingRequest.FromString(bytes(message))
            self.actions += self.conversation.receive(read, self.now)
        self.listen()
        return self

    def listen(self) -> list[ProcessingResponse]:
        """Take what there is to hear, as a transport would."""
        news = []
        while (message := self.conversation.next_message()) is not None:
            news.append(ProcessingResponse.parse(message))
        self.actions += self.conversation.settle(self.now)
        self.heard += news
        return news

    def dispatch(
        self,
        *,
        waited_s: float = 0.0,
        explanation: Explanation | None = None,
        headers: HeadersPass = HeadersPass.AT_ONCE,
    ) -> Talk:
        """The picker's yes."""
        self.conversation.dispatched(ADDRESS, waited_s, explanation, headers=headers)
        self.listen()
        return self

    def refuse(self, refusal: Refusal = REFUSED) -> Talk:
        """The picker's no."""
        self.conversation.refused(refusal)
        self.listen()
        return self

    def evict(self, begun: Begun = Begun.SPARED) -> Talk:
        """The picker's change of mind."""
        self.conversation.evicted(EVICTED, begun, self.now)
        self.listen()
        return self

    def half_close(self) -> Talk:
        """The gateway says that it will send nothing more."""
        self.conversation.half_closed()
        self.listen()
        return self

    def reset(self) -> Talk:
        """The stream breaks."""
        self.actions += self.conversation.reset(self.now)
        return self

    @property
    def facts(self) -> RequestFacts:
        """What was submitted."""
        (submit,) = [action for action in self.actions if isinstance(action, Submit)]
        return submit.facts

    @property
    def ended(self) -> ResponseFacts:
        """What was told of the response."""
        (ended,) = [action for action in self.actions if isinstance(action, Ended)]
        return ended.response

    @property
    def kinds(self) -> list[str]:
        """Which answers were heard."""
        return gateway.kinds(self.heard)

    @property
    def names(self) -> list[str]:
        """Which actions were taken."""
        return [type(action).__name__ for action in self.actions]

    def error(self) -> tuple[int, str]:
        """The status and the message of the immediate response, which is the last answer."""
        answer = self.heard[-1].immediate_response
        assert self.conversation.phase is Phase.OVER
        return int(answer.status.code), json.loads(answer.body)["error"]["message"]


def queued(
    settings: ConversationSettings | None = None, config: ProtocolConfiguration | None = DUPLEX
) -> Talk:
    """A chat that waits for its decision."""
    return Talk(settings).say(gateway.request_headers(config=config), gateway.request_body())


def running(config: ProtocolConfiguration | None = DUPLEX, *, waited_s: float = 0.0) -> Talk:
    """A chat that an endpoint has."""
    return queued(config=config).dispatch(waited_s=waited_s)
