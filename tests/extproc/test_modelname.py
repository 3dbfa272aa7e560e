"""Naming another model: the right place, and no other byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.modelname import name_model
from epp.extproc.parsers import Malformed


def renamed(body: bytes, model: str = "b") -> bytes:
    """The body with its changes made."""
    for edit in reversed(name_model(body, model)):
        body = body[: edit.start] + edit.replacement + body[edit.end :]
    return body


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"model":"a"}', b'{"model":"b"}'),
        (b' {\t"x" : [1.50, 9007199254740993] ,\r\n"model" : "a" , "y":"\\u00e9<"} ',) * 2,
        (b'{"a":{"model":"no"},"b":["model",{"model":"no"}],"model":"a"}',) * 2,
        (b'{"a":"\\"model\\":\\"a\\"","model":"a"}',) * 2,
        (b'{"a\\\\":"\\\\","b":"]}{[","model":"a"}',) * 2,
        (b'{"model":"a\\"},b","x":1}', b'{"model":"b","x":1}'),
        (b'{"model":null,"x":1}', b'{"model":"b","x":1}'),
        (b'{"model":-1.5e3}', b'{"model":"b"}'),
        (b'{"model":{"model":"no"},"x":1}', b'{"model":"b","x":1}'),
        (b'{"\\u006dodel":"a"}', b'{"\\u006dodel":"b"}'),
        (b'{"modell":"a","mode":"a","Model":"a","model":"a"}',) * 2,
        (b'{"x":"\xff","\xff\\n":1,"model":"a"}',) * 2,
    ],
)
def test_only_the_value_at_the_top_changes(body: bytes, wanted: bytes) -> None:
    """Whatever surrounds it, and whatever it is, the value of the outermost `model` is replaced."""
    if wanted == body:
        wanted = b'"b"'.join(body.rsplit(b'"a"', 1))
    assert renamed(body) == wanted


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"model":"a","x":1,"model":"c"}', b'{"model":"b","x":1,"model":"b"}'),
        (b'{"model":"c","\\u006Dodel" :7}', b'{"model":"b","\\u006Dodel" :"b"}'),
        (b'{"model":1,"model":12,"model":1}', b'{"model":"b","model":"b","model":"b"}'),
    ],
)
def test_every_value_of_a_repeated_key_changes(body: bytes, wanted: bytes) -> None:
    """Whichever of them a model server believes, it is the new one."""
    assert renamed(body) == wanted


def test_other_repeated_keys_mislead_nobody() -> None:
    """A large field that comes twice, once with something like a model in it, hides none and invents none."""
    body = b'{"messages":[{"model":"no"}],"messages":[1],"prompt":12,"prompt":1,"model":"a"}'
    assert renamed(body) == body.replace(b'"a"', b'"b"')


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"x":1}', b'{"model":"b","x":1}'),
        (b' { "x":{"model":"no"}}', b' {"model":"b", "x":{"model":"no"}}'),
        (b"{}", b'{"model":"b"}'),
        (b"{ \n}", b'{"model":"b" \n}'),
    ],
)
def test_a_missing_model_is_put_first(body: bytes, wanted: bytes) -> None:
    """A body that names none gets one after its opening brace."""
    assert renamed(body) == wanted


@pytest.mark.parametrize("model", ['say "hi"\\', "\n", "caf\u00e9", "\ud800", "\U0001f600", "</script>"])
def test_any_name_can_be_written(model: str) -> None:
    """A name needs no particular characters: it is read as the one that was given."""
    body = renamed(b'{"model":"a","x":1}', model)
    assert json.loads(body) == {"model": model, "x": 1}


text = st.text(st.characters(codec="utf-8"), max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text | st.just("model"), inner, max_size=3),
    max_leaves=8,
)
keys = text | st.sampled_from(["model", "messages", "prompt", "input", "items", "tools"])


@given(
    st.lists(st.tuples(keys, json_values), max_size=8),
    st.booleans(),
    st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", "\t:  ")]),
)
def test_every_other_byte_stays(
    members: list[tuple[str, Any]], escaped: bool, separators: tuple[str, str]
) -> None:
    """For any object, repeated keys included, however it is written: it is as if the client had named the model."""

    def write(value: object) -> str:
        return json.dumps(value, ensure_ascii=escaped, separators=separators)

    def body(members: list[tuple[str, Any]]) -> bytes:
        comma, colon = separators
        return ("{" + comma.join(write(key) + colon + write(value) for key, value in members) + "}").encode()

    if any(key == "model" for key, _ in members):
        wanted = body([(key, "b" if key == "model" else value) for key, value in members])
    else:
        wanted = body(members).replace(b"{", b'{"model":"b",' if members else b'{"model":"b"', 1)
    assert renamed(body(members)) == wanted


INTRICATE = {
    "many fields": b'{"model":"a"' + b',"x":0' * 6_000 + b"}",
    "many models": b'{"model":"a"' + b',"model":"a"' * 6_000 + b"}",
    "deep": b'{"model":"a","x":' + b"[" * 900 + b"]" * 900 + b',"y":[' + b"[]," * 40_000 + b"[]]}",
    "long": b'{"model":"a","x":[' + b"1," * 3_000_000 + b"1]}",
    "spaces": b'{"model":"a"' + b" " * 5_000_000 + b',"x":1}',
    "spaces at a colon": b'{"model":"a","x"' + b" " * 5_000_000 + b":1}",
    "digits": b'{"model":"a","x":' + b"1" * 5_000_000 + b"}",
    "backslashes": b'{"model":"a","x":"' + b"\\" * 10_000_000 + b'"}',
    "escaped quotes": b'{"model":"a","x":"' + b'\\"' * 40_000 + b'"}',
}


@pytest.mark.parametrize("body", INTRICATE.values(), ids=INTRICATE)
def test_a_walk_that_would_take_too_long_is_refused(body: bytes) -> None:
    """What a client sends can't keep everybody else waiting."""
    with pytest.raises(Malformed, match="too many fields, or too large ones"):
        name_model(body, "b")


@pytest.mark.parametrize("field", ["messages", "prompt", "input", "items", "tools"])
def test_the_usual_large_fields_cost_nothing(field: str) -> None:
    """However large and intricate a prompt is, its bytes are jumped over; so is any other text."""
    large = b"[" + b'{"a":["b"]},' * 100_000 + b"1]"
    note = b'"' + b"\\n" * 3_000_000 + b'"'
    body = b'{"%b":%b,"note":%b,"notes":[%b],"model":"a"}' % (field.encode(), large, note, note)
    (edit,) = name_model(body, "b")
    assert (edit.start, edit.end) == (len(body) - 4, len(body) - 1)
