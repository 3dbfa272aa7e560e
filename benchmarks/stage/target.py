"""What a scenario can be run against, and how a person names it.

picker                       our picker behind Envoy, full duplex
picker:lean                  the same, where the response's body doesn't pass through the picker
picker:native                as `picker`, on the transport of that name, whatever the default is
picker:grpcio
extproc=HOST:PORT            any picker that speaks ext_proc, behind our Envoy; it must know the simulated servers
extproc=HOST:PORT,lean,tls,pid=N,name=go
envoy:least-request          Envoy alone
envoy:round-robin
direct                       no Envoy either: clients go to the servers in turn

Of a foreign picker's options, `lean` and `tls` say how Envoy speaks to it (else duplex and in plaintext), `pid` which
process's cost is told, `name` what it is called in the report (else `extproc`; never like one of the others).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from epp.extproc.transports.transport import TransportName
from epp.quickstart.address import Address, AddressError, parse_address
from epp.quickstart.envoy import Balancing, BodyMode

__all__ = [
    "Balancing",
    "Direct",
    "EnvoyAlone",
    "ForeignPicker",
    "OurPicker",
    "Security",
    "Target",
    "TargetError",
    "is_foreign",
    "parse",
]

_FOREIGN = "extproc="
_NAME = re.compile(r"[a-z0-9][-a-z0-9_.]{0,31}")


class TargetError(ValueError):
    """No such target; the message says what there is."""


class Security(Enum):
    """How Envoy speaks to a foreign picker."""

    PLAINTEXT = "plaintext"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class OurPicker:
    """`epp serve`, started by the harness."""

    body_mode: BodyMode = BodyMode.DUPLEX
    transport: TransportName | None = None
    """None: the one that `epp serve` takes by itself, or that the scenario's flags name."""

    @property
    def name(self) -> str:
        """As it is typed."""
        special = [] if self.body_mode is BodyMode.DUPLEX else [self.body_mode.value]
        if self.transport is not None:
            special.append(self.transport.value)
        return ":".join(("picker", *special))

    @property
    def flags(self) -> tuple[str, ...]:
        """What makes it this one, for `epp serve`."""
        return () if self.transport is None else (f"--transport={self.transport.value}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPicker:
    """Somebody else's picker, which runs already."""

    address: Address
    body_mode: BodyMode = BodyMode.DUPLEX
    security: Security = Security.PLAINTEXT
    pid: int | None = None
    """Its process, if it is on this machine and its cost is to be told."""
    name: str = "extproc"


@dataclass(frozen=True, slots=True)
class EnvoyAlone:
    """No picker."""

    balancing: Balancing = Balancing.LEAST_REQUEST

    @property
    def name(self) -> str:
        """As it is typed."""
        return f"envoy:{self.balancing.value}"


@dataclass(frozen=True, slots=True)
class Direct:
    """No Envoy either."""

    name: str = "direct"


Target = OurPicker | ForeignPicker | EnvoyAlone | Direct

_NAMED: tuple[Target, ...] = (
    *map(OurPicker, BodyMode),
    *(OurPicker(transport=name) for name in TransportName),
    *map(EnvoyAlone, Balancing),
    Direct(),
)
_OURS = re.compile("|".join([*(re.escape(target.name) for target in _NAMED), "envoy:.*"]))
"""What only our own targets are called: a foreign one of that name would be taken for them."""


def parse(text: str) -> Target:
    """The target of that name. Raises `TargetError`."""
    if text.startswith(_FOREIGN):
        return _foreign(text)
    for target in _NAMED:
        if target.name == text:
            return target
    known = ", ".join(target.name for target in _NAMED)
    raise TargetError(f"--target {text}: there is no such target; there are {known} and {_FOREIGN}HOST:PORT")


def is_foreign(name: str) -> bool:
    """Whether a target of that name is somebody else's picker."""
    return _OURS.fullmatch(name) is None


def _foreign(text: str) -> ForeignPicker:
    where, *options = text.removeprefix(_FOREIGN).split(",")
    try:
        address = parse_address(where)
    except AddressError as error:
        raise TargetError(f"--target {text}: {error}") from error
    body_mode, security, name = BodyMode.DUPLEX, Security.PLAINTEXT, "extproc"
    pid: int | None = None
    for option in options:
        key, _, value = option.partition("=")
        match key:
            case "duplex" | "lean" if not value:
                body_mode = BodyMode(key)
            case "plaintext" | "tls" if not value:
                security = Security(key)
            case "pid" if value.isascii() and value.isdecimal() and int(value) > 0:
                pid = int(value)
            case "name" if _OURS.fullmatch(value):
                raise TargetError(
                    f"--target {text}: a foreign picker can't be called {value!r}, since that is the name of another "
                    "target; give it a name of its own, such as name=go"
                )
            case "name" if _NAME.fullmatch(value):
                name = value
            case _:
                raise TargetError(
                    f"--target {text}: {option!r} is no option of a foreign picker; there are duplex, lean, "
                    "plaintext, tls, pid=N with a process on this machine, and name=NAME of lower-case letters, "
                    "digits, and -_."
                )
    return ForeignPicker(address=address, body_mode=body_mode, security=security, pid=pid, name=name)
