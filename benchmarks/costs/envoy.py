"""The real Envoy between a client and a server of ext_proc, for rows that want to know what a client notices.

It is configured as `epp envoy` does it, in full duplex, but for one thing: every request goes to the same upstream,
since bare servers name no destination. So it does the same work whoever it asks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

from epp.quickstart.address import Address
from epp.quickstart.envoy import Baseline, BodyMode, EnvoySettings, Picked, PickerTransport, render

_HOST = "127.0.0.1"


class Ports(NamedTuple):
    """Of everybody concerned, on loopback."""

    listen: int
    """Where clients ask."""
    admin: int
    picker: int
    """Who is asked, whatever it is."""
    upstream: int


def config(ports: Ports) -> str:
    """What Envoy is started with."""
    picker = Address(_HOST, ports.picker)
    asked = Picked(picker=picker, body_mode=BodyMode.DUPLEX, transport=PickerTransport.PLAINTEXT)
    document = _rendered(ports, asked)
    alone = _rendered(ports, Baseline(endpoints=(Address(_HOST, ports.upstream),)))
    (upstream,) = alone["static_resources"]["clusters"]
    clusters = document["static_resources"]["clusters"]
    clusters[:] = [upstream if each["name"] == upstream["name"] else each for each in clusters]
    return yaml.safe_dump(document)


def _rendered(ports: Ports, routing: Picked | Baseline) -> dict[str, Any]:
    settings = EnvoySettings(
        routing=routing, listen=Address(_HOST, ports.listen), admin=Address(_HOST, ports.admin)
    )
    document: dict[str, Any] = yaml.safe_load(render(settings))
    return document
