"""Writes the generated manifests: `python -m deploy.generate`, or `make manifests`.

They are committed, so that installing needs no Python; a test holds them to the code that they come from.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from epp.api.crds import INSTALLED, CustomKind, definition
from epp.quickstart.envoy import render
from epp.quickstart.shipped import SHIPPED

ROOT = Path(__file__).resolve().parent
"""The folder that all paths are relative to."""

CHART_GROUP = "llm-d.ai"
"""The group whose definitions come with the chart. The older group is for those who have objects of it."""

_CRD_HEAD = "# Generated from epp/api by `make manifests`; changes belong there.\n"


def generated() -> dict[str, str]:
    """Every generated file: its path below `deploy`, and its content."""
    files = {}
    for kind in INSTALLED:
        for group in kind.groups:
            name = f"{group}_{kind.plural}.yaml"
            files[f"crds/{name}"] = crd_text(kind, group)
            if group == CHART_GROUP:
                files[f"charts/epp/crds/{name}"] = crd_text(kind, group)
    for name, settings in SHIPPED.items():
        # Copies, because neither Helm nor kustomize reads a file outside its own folder.
        files[f"envoy/{name}"] = render(settings)
        files[f"charts/epp/files/envoy/{name}"] = render(settings)
        files[f"kustomize/overlays/sidecar-{Path(name).stem}/envoy.yaml"] = render(settings)
    return files


def crd_text(kind: CustomKind, group: str) -> str:
    """The definition of one kind in one group, as a file."""
    return _CRD_HEAD + yaml.safe_dump(definition(kind, group=group), sort_keys=False, width=120)


def main() -> int:
    """Write all of them."""
    for name, text in generated().items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
