"""A picker as it is measured: without flags of its own, or with some, beside the other in the same run."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variant:
    """The flags that a picker is started with, besides those that every measured picker has."""

    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As lines of the table show it: the flags as they are typed; '' for the picker as it is."""
        return shlex.join(self.flags)


PLAIN = Variant()
"""The picker as it is."""


def parse(text: str) -> Variant:
    """What was typed as flags, in quotes. Raises `argparse.ArgumentTypeError`."""
    try:
        flags = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} are no flags: {error}") from error
    if not flags or not flags[0].startswith("-"):
        raise argparse.ArgumentTypeError(
            f"{text!r} are no flags of `epp serve`: give them in quotes, with an equals sign before the first, "
            "e.g. --picker-flags='--keep-control-headers'"
        )
    return Variant(flags)
