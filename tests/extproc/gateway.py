"""A gateway for tests: it writes and reads ext_proc with `envoy-data-plane`, never with our own classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue, Metadata
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode as Mode
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from envoy_data_plane.google.protobuf import ListValue, Struct, Value

if TYPE_CHECKING:
    from envoy_data_plane.envoy.service.ext_proc.v3 import HeaderMutation

CHAT = b'{"model":"llama","messages":[{"role":"user","content":"hello"}]}'
CHAT_PATH = "/v1/chat/completions"
ADDRESS = "10.0.0.7:8000"

DUPLEX = ProtocolConfiguration(
    request_body_mode=Mode.FULL_DUPLEX_STREAMED, response_body_mode=Mode.FULL_DUPLEX_STREAMED
)
LEAN = ProtocolConfiguration(request_body_mode=Mode.FULL_DUPLEX_STREAMED, response_body_mode=Mode.NONE)
STREAMED = ProtocolConfiguration(request_body_mode=Mode.STREAMED, response_body_mode=Mode.STREAMED)
BUFFERED = ProtocolConfiguration(request_body_mode=Mode.BUFFERED, response_body_mode=Mode.BUFFERED)

Headers = Mapping[str, str | bytes]


def headers(values: Headers) -> HeaderMap:
    """As Envoy sends them."""
    return HeaderMap(
        headers=[
            HeaderValue(key=key, raw_value=value.encode() if isinstance(value, str) else value)
            for key, value in values.items()
        ]
    )


def request_headers(
    extra: Headers | None = None,
    *,
    path: str = CHAT_PATH,
    end: bool = False,
    config: ProtocolConfiguration | None = DUPLEX,
    metadata: Metadata | None = None,
) -> ProcessingRequest:
    """The beginning of a POST with a JSON body."""
    values: dict[str, str | bytes] = {":method": "POST", ":path": path, "content-type": "application/json"}
    return ProcessingRequest(
        request_headers=HttpHeaders(headers=headers({**values, **(extra or {})}), end_of_stream=end),
        protocol_config=config,
        metadata_context=metadata,
    )


def request_body(
    body: bytes = CHAT, *, end: bool = True, metadata: Metadata | None = None
) -> ProcessingRequest:
    """A message of the request's body."""
    return ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=end), metadata_context=metadata)


def request_trailers() -> ProcessingRequest:
    """The end of a request with trailers."""
    return ProcessingRequest(request_trailers=HttpTrailers(trailers=headers({"x-check": "sum"})))


def response_headers(
    extra: Headers | None = None, *, status: str = "200", end: bool = False
) -> ProcessingRequest:
    """The beginning of a response."""
    return ProcessingRequest(
        response_headers=HttpHeaders(headers=headers({":status": status, **(extra or {})}), end_of_stream=end)
    )


def response_body(body: bytes, *, end: bool = False) -> ProcessingRequest:
    """A message of the response's body."""
    return ProcessingRequest(response_body=HttpBody(body=body, end_of_stream=end))


def response_trailers() -> ProcessingRequest:
    """The end of a response with trailers."""
    return ProcessingRequest(response_trailers=HttpTrailers(trailers=headers({"grpc-status": "0"})))


def subset(value: Value) -> Metadata:
    """Metadata that restricts a request."""
    fields = {"x-gateway-destination-endpoint-subset": value}
    return Metadata(filter_metadata={"envoy.lb.subset_hint": Struct(fields=fields)})


def listed(*entries: str) -> Value:
    """A list of strings, as metadata."""
    return Value(list_value=ListValue(values=[Value(string_value=entry) for entry in entries]))


def set_headers(mutation: HeaderMutation | None) -> dict[str, str]:
    """What a mutation sets, by name."""
    if mutation is None:
        return {}
    return {option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}


def body_sent(messages: Iterable[ProcessingResponse], direction: str) -> bytes:
    """The bytes that came back in one direction."""
    return b"".join(piece.body for piece in pieces(messages, direction))


def pieces(messages: Iterable[ProcessingResponse], direction: str) -> list[HttpBody]:
    """The pieces of body that came back in one direction, with their end marks."""
    found = []
    for message in messages:
        answer = getattr(message, direction)
        if answer is not None:
            streamed = answer.response.body_mutation.streamed_response
            found.append(HttpBody(body=streamed.body, end_of_stream=streamed.end_of_stream))
    return found


def kinds(messages: Iterable[ProcessingResponse]) -> list[str]:
    """Which answers they are, in order."""
    names = (
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
        "response_body",
        "response_trailers",
        "immediate_response",
    )
    return [next(name for name in names if getattr(message, name) is not None) for message in messages]
