"""Statuses and their header blocks."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import grpc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epp.extproc.http2.statuses import RESPONSE_HEADERS, Status, encode_message, trailers, trailers_only


def test_codes_are_those_of_grpc() -> None:
    """Each status has the name and the number that gRPC's own library gives it."""
    assert {status.name: status.value for status in Status} == {
        code.name: code.value[0] for code in grpc.StatusCode
    }


@given(st.text())
@example(" at both ends ")
@example("100 % of \N{SNOWMAN}\r\n\0")
@example("lone \ud800 surrogate")
def test_messages_survive_and_are_valid_values(message: str) -> None:
    """Whatever is in a message, it can be decoded again, and the header is one that HTTP/2 allows."""
    encoded = encode_message(message)
    assert unquote_to_bytes(encoded) == message.encode("utf-8", "replace")
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert encoded == encoded.strip(b" ")


def test_plain_messages_stay_readable() -> None:
    """Visible ASCII and the spaces inside are sent as they are; the percent sign can't be."""
    assert encode_message("over the limit: 5 > 4 (~'x')") == b"over the limit: 5 > 4 (~'x')"
    assert encode_message("50% é") == b"50%25 %C3%A9"


def test_blocks_without_a_message_are_the_same_object() -> None:
    """An encoder can know them again by what they are."""
    assert trailers(Status.OK) is trailers(Status.OK) == ((b"grpc-status", b"0"),)
    assert trailers_only(Status.OK) is trailers_only(Status.OK)


@pytest.mark.parametrize("status", Status)
def test_blocks_say_the_status_and_the_message(status: Status) -> None:
    """Trailers have both; trailers-only begins with what a response begins with."""
    said = ((b"grpc-status", str(status.value).encode()), (b"grpc-message", b"why"))
    assert trailers(status, "why") == said
    assert trailers_only(status, "why") == RESPONSE_HEADERS + said


def test_a_long_message_is_cut() -> None:
    """What a peer made long costs neither us nor it: compressing a header takes the square of its length."""
    assert len(encode_message("x" * 1_000_000)) == 1024
