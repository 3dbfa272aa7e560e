"""JSON text as one document of plain values, with its lines and its own errors.

The standard library's parser decides what is valid; it knows no lines, so the text, once it is known to be valid, is
walked again token by token to build the values.
"""

from __future__ import annotations

import json
import re

from epp.files.tree import MAX_DEPTH, Builder, Document, SyntaxProblem, TreeError

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|[-+.0-9a-zA-Z]+|\n')
_LONGEST_NUMBER = 64
"""A longer one is nothing that anybody means, and Python refuses to convert thousands of digits."""


def read_json(text: str) -> Document:
    """The one document of a text. Nothing is raised for what the text says."""
    builder = Builder(1)
    try:
        json.loads(text, parse_int=_whole, parse_constant=_constant)
        _build(builder, text)
    except json.JSONDecodeError as error:
        return builder.document(SyntaxProblem(error.lineno, f"is not valid JSON: {error.msg}"))
    except RecursionError:
        return builder.document(SyntaxProblem(1, f"is nested deeper than {MAX_DEPTH} levels"))
    except ValueError as error:
        return builder.document(SyntaxProblem(1, f"is not valid JSON: {error}"))
    except TreeError as error:
        return builder.document(error.problem)
    return builder.document()


def _build(builder: Builder, text: str) -> None:
    line = 1
    for match in _TOKEN.finditer(text):
        token = match[0]
        match token[0]:
            case "\n":
                line += 1
            case "{":
                builder.begin_mapping(line)
            case "[":
                builder.begin_list(line)
            case "}" | "]":
                builder.end()
            case '"' if builder.expects_key:
                builder.key(_text(token, line), line)
            case '"':
                builder.scalar(_text(token, line), line)
            case _:
                builder.scalar(json.loads(token, parse_int=_whole), line)


def _text(token: str, line: int) -> str:
    text = str(json.loads(token))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TreeError(line, "text holds half of a surrogate pair") from None
    return text


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float(digits)


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
