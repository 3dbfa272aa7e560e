"""What Envoy sends of one request and its response in full duplex, ready for the wire.

The request is a chat completion of about 1 KB; Envoy passes its body on in one message and then tells the end in
another, empty one. A long prompt comes in pieces. The response is a stream of events, one message each, and says its
usage at the end.
"""

from __future__ import annotations

import json
from functools import cache

from epp.extproc.wire import ext_proc_pb2 as wire

BODY_BYTES = 1024
LONG_BODY_BYTES = 220 * 1024
PIECE_BYTES = 16 * 1024
"""What a gateway passes on of a body in one message: as it gets it from its client, which is a frame of HTTP/2."""

PREMIUM = "premium"
BATCH = "batch"

_FLOWS = 50
"""Tenants that take turns."""
_EVENT = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "model": "bench-model",
    "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
}
_USAGE = {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220}


def request(number: int, *, objective: str = "", body_bytes: int = BODY_BYTES) -> tuple[bytes, ...]:
    """Headers, body, end."""
    headers = {
        ":authority": "inference.example.com",
        ":path": "/v1/chat/completions",
        ":method": "POST",
        ":scheme": "http",
        "content-type": "application/json",
        "content-length": str(body_bytes),
        "accept": "application/json",
        "authorization": "Bearer sk-bench",
        "user-agent": "OpenAI/Python",
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-proto": "http",
        "x-request-id": f"bench-{number}",
        "x-llm-d-inference-fairness-id": flow(number),
    }
    if objective:
        headers["x-llm-d-inference-objective"] = objective
    first = wire.ProcessingRequest(
        request_headers=wire.HttpHeaders(headers=_header_map(headers)),
        protocol_config=wire.ProtocolConfiguration(
            request_body_mode=wire.FULL_DUPLEX_STREAMED, response_body_mode=wire.FULL_DUPLEX_STREAMED
        ),
    )
    return (first.SerializeToString(), *_body_messages(body_bytes))


def flow(number: int) -> str:
    """Whose request it is."""
    return f"tenant-{number % _FLOWS}"


RESPONSE_HEADERS = wire.ProcessingRequest(
    response_headers=wire.HttpHeaders(
        headers=wire.HeaderMap(
            headers=[
                wire.HeaderValue(key=":status", raw_value=b"200"),
                wire.HeaderValue(key="content-type", raw_value=b"text/event-stream"),
                wire.HeaderValue(key="date", raw_value=b"Thu, 01 Jan 2026 00:00:00 GMT"),
                wire.HeaderValue(key="server", raw_value=b"uvicorn"),
                wire.HeaderValue(key="x-envoy-upstream-service-time", raw_value=b"12"),
            ]
        )
    )
).SerializeToString()

RESPONSE_CHUNK = wire.ProcessingRequest(
    response_body=wire.HttpBody(body=b"data: " + json.dumps(_EVENT).encode() + b"\n\n")
).SerializeToString()

RESPONSE_END = wire.ProcessingRequest(
    response_body=wire.HttpBody(
        body=b"data: " + json.dumps(_EVENT | {"usage": _USAGE}).encode() + b"\n\ndata: [DONE]\n\n",
        end_of_stream=True,
    )
).SerializeToString()


@cache
def _body_messages(size: int) -> tuple[bytes, ...]:
    whole = body(size)
    pieces = [whole[start : start + PIECE_BYTES] for start in range(0, size, PIECE_BYTES)]
    messages = [wire.ProcessingRequest(request_body=wire.HttpBody(body=piece)) for piece in pieces]
    messages.append(wire.ProcessingRequest(request_body=wire.HttpBody(end_of_stream=True)))
    return tuple(message.SerializeToString() for message in messages)


@cache
def body(size: int) -> bytes:
    """The chat completion that is asked for, of so many bytes."""
    chat = {
        "model": "bench-model",
        "stream": True,
        "max_tokens": 64,
        "messages": [
            {"role": "system", "content": "You are terse."},
            {"role": "user", "content": ""},
        ],
    }
    padding = size - len(json.dumps(chat))
    chat["messages"] = [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": ("Tell me more about queues. " * size)[:padding]},
    ]
    return json.dumps(chat).encode()


def _header_map(headers: dict[str, str]) -> wire.HeaderMap:
    return wire.HeaderMap(
        headers=[wire.HeaderValue(key=key, raw_value=value.encode()) for key, value in headers.items()]
    )
