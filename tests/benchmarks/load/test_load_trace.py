"""Traces: what is read back, and what is refused."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.plan import Due
from benchmarks.load.trace import LATEST_S, MOST_TOKENS, TraceError, read, write

GOOD = '{"arrival_s": 0.25, "class": "chat", "tenant": "ada", "prompt_tokens": 120, "output_tokens": 40}'

names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
tokens = st.integers(1, MOST_TOKENS)
dues = st.builds(
    Due,
    due_s=st.floats(0, LATEST_S),
    class_name=names,
    tenant=st.just("") | names,
    prompt_tokens=tokens,
    output_tokens=tokens,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all cases."""
    return tmp_path_factory.mktemp("trace")


def written(folder: Path, *lines: str | bytes) -> Path:
    """A file of these lines."""
    path = folder / "trace.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


@given(requests=st.lists(dues, max_size=20))
def test_what_is_written_is_read(folder: Path, requests: list[Due]) -> None:
    """To the last digit, in order of time, and those of one instant as they were."""
    path = folder / "round.jsonl"
    write(path, requests)
    assert read(path) == tuple(sorted(requests, key=lambda due: due.due_s))


def test_the_tenant_may_be_missing_and_lines_may_be_empty(folder: Path) -> None:
    """Neither is a mistake; whole numbers are times, too."""
    path = written(folder, "", '{"arrival_s":1,"class":"a","prompt_tokens":1,"output_tokens":2}', "  ", "")
    assert read(path) == (Due(1.0, "a", "", 1, 2),)


def test_lines_are_sorted_by_arrival(folder: Path) -> None:
    """Whatever their order in the file."""
    path = written(folder, GOOD.replace("0.25", "3"), GOOD, GOOD.replace("0.25", "1e-3"))
    assert [due.due_s for due in read(path)] == [0.001, 0.25, 3.0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"'{' is not JSON: "),
        (b"\xff\xfe", r"'..' is not JSON: "),
        ("[" * 3000, r"\[+' is not JSON: "),
        ("[1]", r"\[1\]: expected an object with arrival_s, class, tenant"),
        ("{}", r"arrival_s is missing; every line has arrival_s, class, prompt_tokens, output_tokens"),
        (GOOD.replace("prompt_tokens", "prompt"), r"unknown field 'prompt'; there are arrival_s, class"),
        (GOOD.replace('"class": "chat", ', ""), r"class is missing"),
        (GOOD.replace("0.25", "-1"), r"arrival_s is -1: give seconds since the first request, 0 to 2592000"),
        (GOOD.replace("0.25", '"1"'), r"arrival_s is '1': give seconds"),
        (GOOD.replace("0.25", "true"), r"arrival_s is true: give seconds"),
        (GOOD.replace("0.25", "1e999"), r"is not JSON|arrival_s is"),
        (GOOD.replace("0.25", "1" + "0" * 400), r"is not JSON|arrival_s is 1000+"),
        (GOOD.replace("0.25", "1764000000.5"), r"arrival_s is 1764000000.5: give seconds since the first"),
        (GOOD.replace('"chat"', '""'), r"class is '': give a name"),
        (GOOD.replace('"chat"', "7"), r"class is 7: give a name"),
        (GOOD.replace("ada", "a\\nb"), r"tenant is 'a\\nb': give a name without line breaks"),
        (GOOD.replace('"ada"', "null"), r"tenant is null: give a name"),
        (GOOD.replace("120", "0"), r"prompt_tokens is 0: give a whole number from 1 to 10000000"),
        (GOOD.replace("120", "1.5"), r"prompt_tokens is 1.5: give a whole number"),
        (GOOD.replace("40", "true"), r"output_tokens is true: give a whole number"),
        (GOOD.replace("40", "10000001"), r"output_tokens is 10000001: give a whole number"),
    ],
)
def test_a_bad_line_is_an_error(folder: Path, line: str | bytes, message: str) -> None:
    """It names the file, the line, the field, the value and the remedy."""
    path = written(folder, GOOD, line, GOOD)
    with pytest.raises(TraceError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert re.search(message, str(caught.value)[len(str(path)) + 4 :], re.DOTALL)
    assert len(str(caught.value)) < 500


@given(line=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: (GOOD[:-1] + text).encode()))
def test_nothing_crashes(folder: Path, line: bytes) -> None:
    """Any line is read or refused."""
    with suppress(TraceError):
        read(written(folder, line))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named, with the reason."""
    with pytest.raises(TraceError, match=r"none\.jsonl: No such file or directory; give a file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(TraceError, match="Is a directory; give a file"):
        read(tmp_path)
