"""An exchange between any gateway and any picker: what each is told is in order, and no body loses a byte."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from epp.core.actions import Reason
from epp.core.eviction import Begun
from epp.extproc.exchange import Exchange
from epp.extproc.headers import Conformance
from epp.extproc.ingress import Answer, HeadersPass, Refusal, RequestFacts, ResponseFacts
from epp.extproc.request import ConversationSettings
from epp.extproc.wire import ext_proc_pb2 as wire
from tests.fuzz.choices import Choices

_LIMIT_BYTES = 2_000
_SETTINGS = ConversationSettings(max_request_body_bytes=_LIMIT_BYTES)
_TEST_SETTINGS = ConversationSettings(max_request_body_bytes=_LIMIT_BYTES, conformance=Conformance.ON)
_REWRITING = ConversationSettings(
    max_request_body_bytes=_LIMIT_BYTES, target_model=lambda asked, header: header or asked
)
_REFUSALS = (
    Refusal(Reason.SATURATED, 3, "", 1.5),
    Refusal(Reason.MALFORMED, None, "text", 0.0),
    Refusal(Reason.EVICTED, 1, "", 0.0),
)
_CHAT = b'{"model":"llama","messages":[{"role":"user","content":"hello"}],"stream":true}'
_USAGE = b'data: {"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\ndata: [DONE]\n\n'
_BODIES = (b"", _CHAT[:20], _CHAT[20:], _CHAT, b"{}", b"x" * 70_000, b"x" * _LIMIT_BYTES, _USAGE)
_NAMES = (
    *(":path", ":status", "content-type", "content-length", "x-request-id", "X-Request-ID"),
    *("x-llm-d-inference-objective", "x-gateway-inference-fairness-id", "x-llm-d-inference-ttl"),
    *("x-llm-d-slo-ttft-ms", "x-llm-d-model-name-rewrite", "x-llm-d-flow-priority"),
    *("test-epp-endpoint-selection", "accept"),
)
_VALUES = (
    *(b"/v1/chat/completions", b"/v1/chat/completions?key=1", b"/", b"200", b"application/json; a=b"),
    *(b"12", b"99999", b"1.5s", b"500", b"premium", b"10.0.0.1:80,10.0.0.2", b"\xff\xfe", b""),
)


def one_input(data: bytes) -> None:
    """Play it, and break the stream at the end: whoever was submitted has come to one end."""
    play = _Play(Choices(data))
    play.run()


class _Stream(Exchange):
    """A transport without a wire."""

    __slots__ = ("is_woken",)

    def __init__(self, settings: ConversationSettings, picker: _Picker) -> None:
        super().__init__(settings, picker=picker, clock=lambda: 5.0)
        self.is_woken = False

    def wake(self) -> None:
        """Remember it."""
        self.is_woken = True


class _Picker:
    """Decides as it is told to, and checks that it hears what it may."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self.waiting: dict[int, Answer] = {}
        self.running: dict[int, Answer] = {}
        self._submitted = 0

    def submit(self, facts: RequestFacts, answer: Answer) -> int:
        """Take it, and maybe decide at once."""
        assert facts.size_bytes <= max(facts.body_bytes, _LIMIT_BYTES)
        self._submitted += 1
        assert self._submitted == 1, "a stream has one request"
        self.waiting[self._submitted] = answer
        if self._choices.flag():
            self.decide()
        return self._submitted

    def decide(self) -> None:
        """About what waits."""
        for number, answer in list(self.waiting.items()):
            del self.waiting[number]
            if self._choices.flag():
                self.running[number] = answer
                answer.dispatched("10.0.0.1:8000", 0.25, headers=self._choices.of(list(HeadersPass)))
            else:
                answer.refused(self._choices.of(_REFUSALS))

    def evict(self) -> None:
        """What runs."""
        for answer in self.running.values():
            answer.evicted(self._choices.of(_REFUSALS), self._choices.of(list(Begun)))

    def cancel(self, request_id: int) -> None:
        """It left while it waited."""
        del self.waiting[request_id]

    def delivery_failed(self, request_id: int) -> None:
        """It ran, and nobody was told."""
        del self.running[request_id]

    def first_byte(self, request_id: int) -> None:
        """It answers."""
        assert request_id in self.running

    def ended(self, request_id: int, response: ResponseFacts) -> None:
        """It has ended."""
        assert response.request_bytes >= 0
        del self.running[request_id]

    def rejected(self, facts: RequestFacts | None, refusal: Refusal) -> None:
        """It never came here, or has left."""
        assert facts is None or not self.waiting
        assert refusal.message


class _Play:
    """One stream between the two."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._picker = _Picker(choices)
        settings = choices.of((_SETTINGS, _TEST_SETTINGS, _REWRITING))
        self._is_rewriting = settings is _REWRITING
        self._stream = _Stream(settings, self._picker)
        self._listens = True
        self._came = {"request_body": bytearray(), "response_body": bytearray()}
        self._went_bytes = {"request_body": 0, "response_body": 0}
        self._said: list[str] = []
        self._modes: dict[str, int] | None = None

    def run(self) -> None:
        """To the end of the choices, and on to the end of the stream."""
        while self._choices.left:
            _STEPS[self._choices.byte() % len(_STEPS)](self)
            if self._listens or self._stream.is_backlogged:
                self.listen()
        self.listen()
        self._stream.reset()
        assert not self._picker.waiting
        assert not self._picker.running
        assert self._stream.over
        assert self._stream.next_message() is None

    def listen(self) -> None:
        """Take what there is to hear."""
        stream = self._stream
        stream.is_woken = False
        while (message := stream.next_message()) is not None:
            self._hear(message)
        stream.settle()

    def _hear(self, message: bytes) -> None:
        answer = wire.ProcessingResponse.FromString(message)
        kind = answer.WhichOneof("response")
        assert kind is not None
        assert "immediate_response" not in self._said, f"{kind} came after the last word"
        if kind.startswith("request") and not self._said:
            assert kind == "request_headers", f"{kind} came first"
        self._said.append(kind)
        if kind in self._came:
            mutation = getattr(answer, kind).response.body_mutation
            if mutation.HasField("streamed_response"):
                self._check_body(kind, mutation.streamed_response.body)

    def _check_body(self, kind: str, piece: bytes) -> None:
        start = self._went_bytes[kind]
        end = self._went_bytes[kind] = start + len(piece)
        if kind == "response_body" or not self._is_rewriting:
            assert self._came[kind][start:end] == piece, f"{kind} was changed on its way"

    # ------------------------------------------------------------------------------- the steps

    def say(self, message: bytes) -> None:
        """The gateway says something."""
        try:
            parsed = wire.ProcessingRequest.FromString(message)
        except DecodeError:
            pass
        else:
            kind = parsed.WhichOneof("request")
            if kind in self._came and not self._stream.over:
                self._came[kind] += getattr(parsed, kind).body
        self._stream.receive(message)

    def say_anything(self) -> None:
        """Bytes."""
        self.say(self._choices.piece())

    def say_headers(self) -> None:
        """Of a request or a response."""
        choices = self._choices
        headers = wire.HttpHeaders(end_of_stream=choices.flag())
        for _ in range(choices.byte() % 8):
            header = headers.headers.headers.add(key=choices.of(_NAMES))
            setattr(header, choices.of(("raw_value", "value")), choices.of(_VALUES))
        kind = choices.of(("request_headers", "response_headers"))
        message = wire.ProcessingRequest(**{kind: headers})  # type: ignore[arg-type]
        if choices.flag():
            message.protocol_config.request_body_mode = choices.byte() % 7
            message.protocol_config.response_body_mode = choices.byte() % 7
        self._say_with_metadata(message)

    def say_chat(self) -> None:
        """The beginning of a usual request."""
        message = wire.ProcessingRequest()
        headers = message.request_headers.headers.headers
        headers.add(key=":path", raw_value=b"/v1/chat/completions")
        headers.add(key="content-type", raw_value=b"application/json")
        if self._choices.flag():
            headers.add(key="content-length", raw_value=str(len(_CHAT)).encode())
        if self._choices.flag():
            headers.add(key="x-llm-d-model-name-rewrite", raw_value=b"another-model")
        self.say(message.SerializeToString())

    def say_body(self) -> None:
        """Of a request or a response."""
        choices = self._choices
        body = wire.HttpBody(body=choices.of(_BODIES), end_of_stream=choices.flag())
        kind = choices.of(("request_body", "response_body"))
        self._say_with_metadata(wire.ProcessingRequest(**{kind: body}))  # type: ignore[arg-type]

    def say_trailers(self) -> None:
        """Of a request or a response."""
        kind = self._choices.of(("request_trailers", "response_trailers"))
        self._say_with_metadata(wire.ProcessingRequest(**{kind: wire.HttpTrailers()}))  # type: ignore[arg-type]

    def _say_with_metadata(self, message: wire.ProcessingRequest) -> None:
        if self._choices.byte() % 4 == 3:
            subset = Struct()
            subset["x-gateway-destination-endpoint-subset"] = self._choices.of(
                ("10.0.0.1", ["10.0.0.1:80", 3.0], 7.0)
            )
            message.metadata_context.filter_metadata["envoy.lb.subset_hint"].CopyFrom(subset)
        said = bytearray(message.SerializeToString())
        if self._choices.byte() % 8 == 7 and said:
            said[self._choices.byte() % len(said)] = self._choices.byte()
        self.say(bytes(said))

    def decide(self) -> None:
        """The picker decides, while nobody listens: the stream is told that somebody should."""
        if self._picker.waiting:
            self._picker.decide()
            assert self._stream.is_woken

    def evict(self) -> None:
        """The picker changes its mind."""
        self._picker.evict()

    def half_close(self) -> None:
        """The gateway says that it has nothing more to say."""
        self._stream.half_closed()

    def reset(self) -> None:
        """The stream breaks."""
        self._stream.reset()

    def take_turns(self) -> None:
        """From now on answers are taken at once, or only in the end."""
        self._listens = not self._listens


_STEPS = (
    _Play.say_chat,
    _Play.say_body,
    _Play.say_headers,
    _Play.decide,
    _Play.say_body,
    _Play.say_trailers,
    _Play.take_turns,
    _Play.evict,
    _Play.half_close,
    _Play.say_anything,
    _Play.reset,
    _Play.listen,
)
