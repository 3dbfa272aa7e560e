"""Configurations of which a test writes only the part that it is about."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from epp.config import ConfigError, EndpointPickerConfig, Problem, parse_config

HEADER = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


@pytest.fixture
def parsed() -> Callable[[str], EndpointPickerConfig]:
    """Parses a body below the two lines that every configuration begins with; the body's first line is line 3."""

    def parse(body: str = "") -> EndpointPickerConfig:
        return parse_config(HEADER + dedent(body).lstrip("\n"), source="test.yaml")

    return parse


@pytest.fixture
def problems() -> Callable[[str], list[Problem]]:
    """The problems of such a body; a body without any fails the test."""

    def find(body: str) -> list[Problem]:
        with pytest.raises(ConfigError) as caught:
            parse_config(HEADER + dedent(body).lstrip("\n"), source="test.yaml")
        return list(caught.value.problems)

    return find
