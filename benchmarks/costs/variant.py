"""A picker as it is measured: on one of its transports, with or without flags, beside others in the same run."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass

from epp.extproc.transports.transport import TransportName

_FLAG = "--transport"


@dataclass(frozen=True, slots=True)
class Variant:
    """What a picker is started with, besides what every measured picker has."""

    transport: TransportName
    flags: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of `epp serve`."""
        return (f"{_FLAG}={self.transport.value}", *self.flags)

    def __str__(self) -> str:
        """As lines of the table show it: the transport, then the flags as they are typed."""
        return shlex.join((self.transport.value, *self.flags))


GRPCIO = Variant(TransportName.GRPCIO)
NATIVE = Variant(TransportName.NATIVE)
BOTH = (GRPCIO, NATIVE)
"""The picker as it is, on either transport: measured in every run."""


def parse(text: str) -> Variant:
    """What was typed as flags, in quotes. Raises `argparse.ArgumentTypeError`."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} are no flags: {error}") from error
    if not words or not words[0].startswith("-"):
        raise argparse.ArgumentTypeError(
            f"{text!r} are no flags of `epp serve`: give them in quotes, with an equals sign before the first, "
            "e.g. --picker-flags='--keep-control-headers'"
        )
    choice = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    choice.add_argument(_FLAG, type=TransportName, default=TransportName.NATIVE)
    try:
        chosen, flags = choice.parse_known_args(words)
    except argparse.ArgumentError as error:
        names = ", ".join(name.value for name in TransportName)
        raise argparse.ArgumentTypeError(f"{text!r}: {_FLAG} takes one of {names}") from error
    variant = Variant(chosen.transport, tuple(flags))
    if variant in BOTH:
        raise argparse.ArgumentTypeError(
            f"{text!r}: the picker on the {variant} transport is measured in every run; leave this out, or add "
            "other flags"
        )
    return variant
