"""Label values."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from epp.observe.labels import LONGEST_VALUE, OTHER, PriorityNames, clean, label_text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("llama-3", "llama-3"),
        ("", ""),
        ("größe 大", "größe 大"),
        ("two\nlines", "two?lines"),
        ("esc\x1b[31m", "esc?[31m"),
        ("half\udcff", "half?"),
        ("x" * 60_000, "x" * LONGEST_VALUE),
    ],
)
def test_values_are_printable_and_short(value, shown):
    """Whatever a client sends becomes one short printable line that can be encoded."""
    assert clean(value) == shown
    clean(value).encode()


@pytest.mark.parametrize("value", ['say "hi"', "back\\slash", "a,b={c}", "nl\n", "größe"])
def test_an_independent_parser_reads_back_what_was_written(value):
    """Escapes are those of the text format."""
    (family,) = text_string_to_metric_families(f"x{{{label_text(('a', value), ('b', 'c'))}}} 1\n")
    assert family.samples[0].labels == {"a": value, "b": "c"}


def test_the_first_priorities_keep_their_names():
    """Beyond the limit priorities share one name, and 0 always has its own."""
    names = PriorityNames(3)
    assert [names.name(priority) for priority in (10, -10, 7, 10, 0)] == ["10", "-10", OTHER, "10", "0"]
