"""Specifications that come with the picker, by name."""

from __future__ import annotations

from pathlib import Path

PRESETS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}
