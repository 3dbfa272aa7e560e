"""What never gets into the log."""

from __future__ import annotations

import pytest

from epp.observe.redaction import LONGEST_STACK, LONGEST_TEXT, REDACTED, readable, redact


def redacted(**event):
    """The event as it is written."""
    return redact(None, "info", event)


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Authorization", "api_key", "api-key", "apikey", "x-api-key", "client_secret"),
        *("token", "bearer_token", "password", "set-cookie", "prompt", "messages", "request_body", "headers"),
    ],
)
def test_values_under_telling_names_are_replaced_whole(name):
    """Text, bytes and structures alike."""
    for value in ("s3cr3t", b"s3cr3t", {"a": "s3cr3t"}, ["s3cr3t"]):
        assert redacted(**{name: value}) == {name: REDACTED}


@pytest.mark.parametrize("value", [12, 1.5, True, None])
def test_numbers_are_no_secrets(value):
    """`token=12` is a count."""
    assert redacted(token=value, body=value) == {"token": value, "body": value}


@pytest.mark.parametrize("name", ["input_tokens", "model", "priority", "reason", "address", "key", "header"])
def test_what_operators_need_stays(name):
    """Names that merely resemble telling ones don't hide anything."""
    assert redacted(**{name: "value"}) == {name: "value"}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("got Authorization: Bearer abcdef.ghi-jkl= there", "abcdef"),
        ("Basic dXNlcjpwYXNzd29yZA== was sent", "dXNlcjpwYXNz"),
        ("key sk-proj-0123456789abcdefghij failed", "0123456789"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.c2ln", "hbGciOiJI"),
    ],
)
def test_credentials_inside_texts_are_cut_out(text, secret):
    """Wherever they stand: in the message, in a value, in a stack."""
    shown = redacted(event=text, detail=text, exception=text)
    for value in shown.values():
        assert secret not in value
        assert REDACTED in value


def test_a_text_is_one_printable_line():
    """Nobody can forge a line, or paint the terminal."""
    assert readable("one\ntwo\x1b[31m") == "one\\ntwo\\x1b[31m"
    assert redacted(value=["a\nb"])["value"].isprintable()


def test_a_stack_keeps_its_lines_and_everything_has_its_bound():
    """A 50 MB body in an error's text doesn't become a 50 MB line."""
    shown = redacted(detail="x" * 1_000_000, exception="line\n" * 100_000)
    assert len(shown["detail"]) < LONGEST_TEXT + 50
    assert shown["detail"].endswith("(1000000 characters)")
    assert len(shown["exception"]) < LONGEST_STACK + 50
    assert "\n" in shown["exception"]
