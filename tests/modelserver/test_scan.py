"""The targeted scan of a metrics page."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from epp.config.scrape import MetricSelector
from epp.modelserver.scan import SeriesScan

unhurried = settings(deadline=None)  # the machine may be busy


def value(page: bytes, selector: str) -> float | None:
    """What a scan for the selector finds."""
    return SeriesScan(MetricSelector.parse(selector)).value(page)


@pytest.mark.parametrize(
    ("page", "selector", "expected"),
    [
        (b"m 3\n", "m", 3.0),
        (b"m 3", "m", 3.0),
        (b"m\t3 \t\r\n", "m", 3.0),
        (b"a 1\nm 3\nz 2\n", "m", 3.0),
        (b'm{} 3\nm{a="b"} 4\n', "m", 3.0),
        (b'm{a="b",c="d"} 3\n', "m", 3.0),
        (b'm {a="b"} 3\n', "m", 3.0),
        (b'm{a="b"}3\n', "m", 3.0),
        (b"m 1.5e3\n", "m", 1500.0),
        (b"m -2\n", "m", -2.0),
        (b"m +.5\n", "m", 0.5),
        # other metrics that begin alike, before and after
        (b"m_total 9\nm 3\n", "m", 3.0),
        (b"mm 9\nm:x 8\nm 3\n", "m", 3.0),
        (b"m_total 9\nm_bucket 8\n", "m", None),
        (b"m3 4\nm 5\n", "m", 5.0),
        (b"xm 9\n", "m", None),
        (b"x m 9\n", "m", None),
        (b"# HELP m 9\n# TYPE m gauge\nm 3\n", "m", 3.0),
        (b"# HELP m the m\n# TYPE m gauge\n", "m", None),
        # no finite number
        (b"m NaN\n", "m", None),
        (b"m +Inf\n", "m", None),
        (b"m -Inf\n", "m", None),
        (b"m NaN\nm 3\n", "m", 3.0),
        (b"m 1_0\n", "m", None),
        (b"m three\n", "m", None),
        (b"m\n", "m", None),
        (b"m \nn 3\n", "m", None),
        (b"", "m", None),
        (b"\n\n", "m", None),
        (b"\x00\xff\xfe", "m", None),
        # torn lines
        (b'm{a="b"\nn 3\n', "m", None),
        (b'm{a="b\nm 3\n', "m", 3.0),
        (b'm a="b"} 3\n', "m", None),
        (b"m 3 4 5\n", "m", None),
        # labels, in any order, with any characters
        (b'm{a="1"} 3\nm{a="2"} 4\n', "m{a=2}", 4.0),
        (b'm{b="1",a="2"} 3\n', "m{a=2,b=1}", 3.0),
        (b'm{b="1"} 3\n', "m{a=2,b=1}", None),
        (b'm{a="20"} 3\n', "m{a=2}", None),
        (b'm{xa="2"} 3\n', "m{a=2}", None),
        (b'm{x="a=\\"2\\"",a="3"} 3\n', "m{a=2}", None),
        (b'm{x="}",a="{ 2"} 3\n', 'm{a="{ 2"}', 3.0),
        (b'm{a="\\\\",b="\\"\\n"} 3\n', r'm{a="\\",b="\"\n"}', 3.0),
        (b"m 3\n", "m{a=2}", None),
        ('m{a="Ω"} 3\n'.encode(), 'm{a="Ω"}', 3.0),
        # several series: the newest, the first of those
        (b"m 1\nm 2\n", "m", 1.0),
        (b"m 1 100\nm 2 200\nm 3 200\n", "m", 2.0),
        (b"m 1\nm 2 5\n", "m", 2.0),
        (b'm{a="1"} 1 900\nm{a="2"} 2 5\nm{a="2"} 3 4\n', "m{a=2}", 2.0),
        (b"m 1 soon\nm 2\n", "m", 2.0),
        # OpenMetrics, whose timestamps are fractions of seconds
        (b"m 1 1520879607.7\nm 2 1520879607.8\n# EOF\n", "m", 2.0),
    ],
)
def test_a_scan_finds_the_right_number(page: bytes, selector: str, expected: float | None) -> None:
    """One number, of the series that the selector means, or none at all."""
    assert value(page, selector) == expected


names = st.sampled_from(["m", "m_total", "m:waiting", "mm", "n"])
label_values = st.text(
    st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=["Cs", "Cc"]) | st.just("\n"),
    max_size=5,
)
labels = st.dictionaries(st.sampled_from(["a", "b", "le"]), label_values, max_size=3)
numbers = st.one_of(st.integers(-5, 1000).map(float), st.floats(width=32))
series = st.tuples(labels, numbers, st.none() | st.integers(1, 3))
families = st.lists(
    st.tuples(names, st.lists(series, max_size=4)), max_size=6, unique_by=lambda family: family[0]
)


def escaped(text: str) -> str:
    """A label's value as the format wants it."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def page_of(groups: list[tuple[str, list[tuple[dict[str, str], float, int | None]]]]) -> str:
    """A page with these metrics."""
    lines = []
    for name, members in groups:
        lines += [f"# HELP {name} about m 3", f"# TYPE {name} untyped"]
        for by_label, number, timestamp in members:
            inside = ",".join(f'{label}="{escaped(text)}"' for label, text in by_label.items())
            stamp = "" if timestamp is None else f" {timestamp}"
            lines.append(f"{name}{'{' + inside + '}' if inside else ''} {number!r}{stamp}")
    return "\n".join(lines) + "\n"


@unhurried
@given(families, names, labels)
def test_a_scan_agrees_with_a_full_parser(
    groups: list[tuple[str, list[tuple[dict[str, str], float, int | None]]]],
    name: str,
    wanted: dict[str, str],
) -> None:
    """On any page, a scan finds what prometheus_client's parser finds by the same rule."""
    page = page_of(groups)
    best: float | None = None
    best_timestamp = -1.0
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            newest = float(sample.timestamp or 0) > best_timestamp
            if (
                sample.name == name
                and wanted.items() <= sample.labels.items()
                and math.isfinite(sample.value)
                and newest
            ):
                best, best_timestamp = sample.value, float(sample.timestamp or 0)
    scan = SeriesScan(MetricSelector(name, tuple(sorted(wanted.items()))))
    assert scan.value(page.encode()) == best


@unhurried
@given(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"m", b"{", b"}", b'"', b"\\", b"a=", b" ", b"\n", b"3"])),
)
def test_a_scan_of_garbage_never_raises(raw: bytes, pieces: list[bytes]) -> None:
    """Whatever the bytes, the answer is a finite number or none."""
    for page in (raw, b"".join(pieces), raw + b"\nm" + b"".join(pieces)):
        for selector in ("m", "m{a=3}"):
            found = value(page, selector)
            assert found is None or math.isfinite(found)
