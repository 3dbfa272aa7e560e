"""Kubernetes quantities, against an independent reckoning in decimals."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.config.quantity import parse_quantity

LARGEST = 2**63 - 1
SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
signs = st.sampled_from(["", "+", "-"])
digits = st.from_regex(r"\A([0-9]{1,20}(\.[0-9]{0,12})?|\.[0-9]{1,12})\Z")


def rounded(number: Decimal) -> int:
    """Away from zero, and no further than 64 bits."""
    whole = int(number.to_integral_value(rounding=ROUND_UP))
    return max(-LARGEST, min(whole, LARGEST))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("5000", 5000),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1.5Gi", 1610612736),
        ("500M", 500_000_000),
        ("1G", 1_000_000_000),
        ("2e6", 2_000_000),
        ("2E6", 2_000_000),
        ("2E", 2 * 10**18),
        ("1500m", 2),
        ("0.1", 1),
        ("-0.1", -1),
        ("1n", 1),
        (".5k", 500),
        ("5.", 5),
        ("+7", 7),
        ("9Ei", LARGEST),
        ("1e999999999", LARGEST),
        ("1e-999999999", 1),
        ("0e999999999", 0),
    ],
)
def test_known_values(text, value):
    """Every suffix family, rounding away from zero, and the cap, by hand."""
    assert parse_quantity(text) == value


@settings(deadline=None)
@given(sign=signs, number=digits, suffix=st.sampled_from(sorted(SUFFIXES)))
def test_suffixes_scale(sign, number, suffix):
    """A number with any suffix is the number times the suffix, rounded away from zero."""
    with localcontext() as context:
        context.prec = 100
        expected = rounded(Decimal(f"{sign}{number}") * SUFFIXES[suffix])
    assert parse_quantity(f"{sign}{number}{suffix}") == expected


@settings(deadline=None)
@given(sign=signs, number=digits, mark=st.sampled_from("eE"), exponent=st.integers(-30, 30))
def test_exponents_scale(sign, number, mark, exponent):
    """The decimal exponent form is the same number in scientific notation."""
    with localcontext() as context:
        context.prec = 100
        expected = rounded(Decimal(f"{sign}{number}").scaleb(exponent))
    assert parse_quantity(f"{sign}{number}{mark}{exponent}") == expected


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_a_number_or_a_value_error(text):
    """Nothing but `ValueError` comes of text that is no quantity."""
    try:
        value = parse_quantity(text)
    except ValueError:
        return
    assert isinstance(value, int)


@pytest.mark.parametrize("text", ["1GB", "1gi", "1K", "1e3k", "3 Gi", "1µ"])
def test_unknown_suffixes_are_named(text):
    """A wrong suffix is refused, and the message lists the right ones."""
    with pytest.raises(ValueError, match="Ki, Mi, Gi"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["", "Gi", "--1", "1.2.3", "0x10", "1_000", "9" * 101])
def test_what_is_no_number_is_refused(text):
    """Text that doesn't begin with a number, or goes on after it, is no quantity."""
    with pytest.raises(ValueError, match=r"quantity|suffix"):
        parse_quantity(text)
