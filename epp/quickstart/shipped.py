"""The Envoy configurations in `deploy/envoy`: which there are, and writing them anew.

They are what `render` says and nothing else; a test compares them. After a change of `envoy` or `fragments`:
`python -m epp.quickstart.shipped deploy/envoy`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.quickstart.envoy import BodyMode, EnvoySettings, Picked, render

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIPPED: Mapping[str, EnvoySettings] = MappingProxyType(
    {f"{mode.value}.yaml": EnvoySettings(routing=Picked(body_mode=mode)) for mode in BodyMode}
)
"""File name and settings of every configuration that we ship."""


def main(arguments: list[str]) -> int:
    """Write all of them to the folder that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m epp.quickstart.shipped FOLDER\n")
        return 2
    for name, settings in SHIPPED.items():
        (Path(arguments[0]) / name).write_text(render(settings), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
