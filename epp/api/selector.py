"""Label selectors, in the full syntax of Kubernetes: which labels an object must have, and which it must not.

Requirements stand between commas and all of them must hold: `app=vllm`, `app!=vllm`, `tier in (a, b)`,
`tier notin (a, b)`, `gpu` (the label is there, whatever its value), `!gpu` (it isn't), `generation>2`, `generation<5`.
`!=` and `notin` hold too for an object that does not have the label at all. No requirement selects everything.

A selector is a value: two that say the same in different spelling are equal, and `str` gives the one spelling that
both have, which is what the API server is asked with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from epp.api.problem import describe

Labels = Mapping[str, str] | tuple[tuple[str, str], ...]
"""An object's labels, or their sorted pairs."""

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_WHOLE = re.compile(r"[0-9]{1,63}")
"""A number is a label's value as well, so it has no sign."""
_TOKEN = re.compile(r"\s*(?:(?P<sign>==|!=|[=!(),<>])|(?P<word>[^=!(),<>\s]+))", re.ASCII)

_MAX_PREFIX_LENGTH = 253
_MAX_NAME_LENGTH = 63
_MAX_NUMBER = 2**63 - 1


class Operator(Enum):
    """What a requirement asks of its label; the values are how it is written between key and values."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"
    ABOVE = ">"
    BELOW = "<"


_SIGNS = {
    "=": Operator.IN,
    "==": Operator.IN,
    "!=": Operator.NOT_IN,
    ">": Operator.ABOVE,
    "<": Operator.BELOW,
}
_WORDS = {"in": Operator.IN, "notin": Operator.NOT_IN}


class Requirement(NamedTuple):
    """One thing that must hold of an object's labels."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    """Sorted, and each once; none for EXISTS and ABSENT, one whole number for ABOVE and BELOW."""

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are as it wants them."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None
            case _:
                number = None if value is None else _whole(value)
                bound = int(self.values[0])
                above = self.operator is Operator.ABOVE
                return number is not None and (number > bound if above else number < bound)

    def __str__(self) -> str:
        match self.operator, self.values:
            case Operator.EXISTS, _:
                return self.key
            case Operator.ABSENT, _:
                return f"!{self.key}"
            case Operator.IN, (value,):
                return f"{self.key}={value}"
            case Operator.NOT_IN, (value,):
                return f"{self.key}!={value}"
            case ((Operator.IN | Operator.NOT_IN), values):
                return f"{self.key} {self.operator.value} ({','.join(values)})"
            case _:
                return f"{self.key}{self.operator.value}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Which objects are meant, by their labels."""

    requirements: tuple[Requirement, ...] = ()
    """In canonical order, each once: make selectors with `parse_selector` or `from_labels`."""

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> Selector:
        """The selector of everything that has all of these labels."""
        return _made([_requirement(key, Operator.IN, [value]) for key, value in labels.items()])

    def matches(self, labels: Labels) -> bool:
        """Whether an object with these labels is meant."""
        if not isinstance(labels, Mapping):
            labels = dict(labels)
        return all(requirement.holds(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def parse_selector(text: str) -> Selector:
    """The selector that a text says; ValueError if it says none, with the place and the remedy."""
    return _Parser(text).selector()


def _made(requirements: list[Requirement]) -> Selector:
    unique = set(requirements)
    return Selector(tuple(sorted(unique, key=lambda one: (one.key, one.operator.value, one.values))))


def _requirement(key: str, operator: Operator, values: list[str]) -> Requirement:
    """A requirement by the rules for keys and values, in canonical form."""
    problem = key_problem(key)
    if problem:
        raise ValueError(f"{describe(key)} is not a label's key: {problem}")
    for value in values:
        if operator in {Operator.ABOVE, Operator.BELOW}:
            if _whole(value) is None:
                raise ValueError(
                    f"{describe(value)} after {operator.value} must be a whole number, such as 3"
                )
        elif len(value) > _MAX_NAME_LENGTH or (value and not _NAME.fullmatch(value)):
            raise ValueError(
                f"{describe(value)} is not a label's value: use up to {_MAX_NAME_LENGTH} letters, digits, "
                "'-', '_' and '.', beginning and ending with a letter or digit"
            )
    return Requirement(key, operator, tuple(sorted(set(values))))


def key_problem(key: str) -> str | None:
    """Why a text can't be a label's key; None if it can."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > _MAX_PREFIX_LENGTH or not _SUBDOMAIN.fullmatch(prefix)):
        return (
            f"what stands before the / must be a domain of up to {_MAX_PREFIX_LENGTH} lower-case letters, digits, "
            "'-' and '.', such as example.com"
        )
    if len(name) > _MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        return (
            f"use up to {_MAX_NAME_LENGTH} letters, digits, '-', '_' and '.', beginning and ending with a letter or "
            "digit, such as app or example.com/app"
        )
    return None


def _whole(text: str) -> int | None:
    if not _WHOLE.fullmatch(text) or int(text) > _MAX_NUMBER:
        return None
    return int(text)


class _Token(NamedTuple):
    """A sign or a word, and where it begins; an empty text is the end."""

    text: str
    is_word: bool
    position: int


class _Parser:
    """Reads one selector, token by token."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [
            _Token(
                match["word"] or match["sign"], match["word"] is not None, match.start(match.lastgroup or 0)
            )
            for match in _TOKEN.finditer(text)
        ]
        self._tokens.append(_Token("", False, len(text)))
        self._next = 0

    def selector(self) -> Selector:
        if len(self._tokens) == 1:
            return Selector()
        requirements = [self._one()]
        while self._peek().text == ",":
            self._take()
            requirements.append(self._one())
        if self._peek().text:
            self._fail(self._peek(), "put a comma before it, if another requirement begins here")
        return _made(requirements)

    def _one(self) -> Requirement:
        absent = self._peek().text == "!"
        if absent:
            self._take()
        key = self._take()
        if not key.is_word:
            self._fail(key, "a requirement begins with a label's key, such as app=vllm or !gpu")
        if absent:
            return self._checked(key, Operator.ABSENT, [])
        if self._peek().text in {"", ","}:
            return self._checked(key, Operator.EXISTS, [])
        sign = self._take()
        if sign.is_word and sign.text in _WORDS:
            return self._checked(key, _WORDS[sign.text], self._set(sign.text))
        if sign.is_word or sign.text not in _SIGNS:
            self._fail(
                sign, f"after the key {describe(key.text)} comes =, ==, !=, >, <, in (...) or notin (...)"
            )
        return self._checked(key, _SIGNS[sign.text], [self._value()])

    def _value(self) -> str:
        """A value, which may be empty."""
        if self._peek().text in {"", ","}:
            return ""
        value = self._take()
        if not value.is_word:
            self._fail(value, "here a value was expected, such as vllm")
        return value.text

    def _set(self, operator: str) -> list[str]:
        """The values in parentheses, of which any may be empty."""
        opening = self._take()
        if opening.text != "(":
            self._fail(opening, f"after {operator} come values in parentheses, such as {operator} (a, b)")
        if self._peek().text == ")":
            self._fail(self._peek(), "put at least one value between the parentheses")
        values = []
        while True:
            values.append("" if self._peek().text in {",", ")"} else self._value())
            separator = self._take()
            if separator.text == ")":
                return values
            if separator.text != ",":
                self._fail(separator, "put commas between the values and a ) after the last one")

    def _checked(self, key: _Token, operator: Operator, values: list[str]) -> Requirement:
        try:
            return _requirement(key.text, operator, values)
        except ValueError as problem:
            raise ValueError(f"at character {key.position + 1}: {problem}") from None

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _fail(self, token: _Token, remedy: str) -> None:
        found = describe(token.text) if token.text else "the end"
        raise ValueError(f"at character {token.position + 1}: found {found}: {remedy}")
