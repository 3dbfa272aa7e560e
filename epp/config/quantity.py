"""Kubernetes quantities: `1Gi`, `500M`, `1.5k`, `2e6`.

The value is a whole number, rounded away from zero and capped at the largest 64-bit integer, as in Kubernetes.
"""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]+)|(\D*))")
_SUFFIXES = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    **{suffix: Fraction(10 ** (3 * power)) for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(2 ** (10 * power)) for power, suffix in enumerate("KMGTPE", 1)},
}
_LARGEST = 2**63 - 1
_LARGEST_EXPONENT = 40
"""Beyond it every number but 0 is capped, or a crumb that rounds to 1: no need to compute the power."""
_LONGEST = 100
"""Characters; no sensible quantity has more."""

_REMEDY = "write a number with k, M, G, T, P, E (powers of 1000) or Ki, Mi, Gi, Ti, Pi, Ei (powers of 1024)"


def parse_quantity(text: str) -> int:
    """The value of a quantity; raises `ValueError` with the remedy."""
    matched = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if matched is None:
        raise ValueError(f"is not a quantity: {_REMEDY}")
    sign, digits, exponent, suffix = matched.groups()
    whole, _, decimals = digits.partition(".")
    number = Fraction(int(whole + decimals or "0"), 10 ** len(decimals))
    if exponent is not None:
        power = max(-_LONGEST - _LARGEST_EXPONENT, min(int(exponent), _LARGEST_EXPONENT))
        number *= Fraction(10) ** power
    elif suffix in _SUFFIXES:
        number *= _SUFFIXES[suffix]
    else:
        raise ValueError(f"has the unknown suffix {suffix!r}: {_REMEDY}")
    rounded = -(-number.numerator // number.denominator)
    capped = min(rounded, _LARGEST)
    return -capped if sign == "-" else capped
