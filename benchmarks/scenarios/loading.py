"""Scenarios by name or by path, in one of three sizes, read and checked before anything is started.

Promises:
- `load` returns a scenario that can be run, or raises `ScenarioError` with everything that is wrong with it.
- The shipped scenarios are the YAML files of this folder; a name without a path means one of them.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scenarios import document
from benchmarks.scenarios.checks import check
from benchmarks.scenarios.decoding import decode
from benchmarks.scenarios.problems import Problem, ScenarioError
from epp.config.problems import suggest

if TYPE_CHECKING:
    from benchmarks.scenarios.scenario import Scenario

__all__ = ["ScenarioError", "Size", "find", "load", "shipped"]

_SHIPPED = Path(__file__).parent
_SUFFIXES = (".yaml", ".yml")


class Size(Enum):
    """How much of a scenario is run."""

    FULL = "full"
    QUICK = "quick"
    """Short enough to look at all of them in one sitting; the overlay `quick`."""
    SMOKE = "smoke"
    """Seconds, to see that everything works; the overlay `smoke`."""


def shipped() -> tuple[str, ...]:
    """The names of the scenarios that come with the harness."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def find(path_or_name: str | Path) -> Path:
    """The scenario's file; traces that it names lie relative to its folder. Raises `ScenarioError`."""
    text = str(path_or_name)
    if isinstance(path_or_name, Path) or "/" in text or text.endswith(_SUFFIXES):
        return Path(path_or_name)
    if text not in shipped():
        message = f"there is no scenario of this name{suggest(text, shipped())} A file needs a / or .yaml in its name"
        raise ScenarioError(text, [Problem("", message)])
    return _SHIPPED / f"{text}.yaml"


def load(path_or_name: str | Path, size: Size) -> Scenario:
    """The scenario, ready to be run. Raises `ScenarioError`."""
    path = find(path_or_name)
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(source, [Problem("", f"can't be read: {error.strerror or error}")]) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(
            source, [Problem("", f"is not UTF-8 at byte {error.start}: save it as UTF-8")]
        ) from error
    scenario = decode(_sized(document.parse(text, source=source), size, source), source=source)
    problems = check(scenario, folder=path.parent)
    if problems:
        raise ScenarioError(source, problems)
    return scenario


def _sized(whole: dict[str, Any], size: Size, source: str) -> dict[str, Any]:
    overlays = {each: whole.pop(each.value, {}) for each in (Size.QUICK, Size.SMOKE)}
    for each, overlay in overlays.items():
        if not isinstance(overlay, dict):
            message = f"is {overlay!r}: expected a mapping with what is otherwise in a {each.value} run"
            raise ScenarioError(source, [Problem(each.value, message)])
    return document.overlaid(whole, overlays[size]) if size in overlays else whole
