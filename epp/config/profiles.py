"""The `schedulingProfiles` section: which scorers count how much, who picks, and which endpoints are used at all.

Without the section there is one profile of all listed filters, scorers and pickers, as upstream has it. This picker
chooses one endpoint for a request, so there is exactly one profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.config.model import ProfileConfig
from epp.config.plugins import (
    CapacityPlugin,
    IgnoredPlugin,
    LabelFilterPlugin,
    PickerPlugin,
    ProfileHandlerPlugin,
    ScorerPlugin,
)
from epp.picking.labels import EVERY_ENDPOINT
from epp.picking.pickers import MaxScorePicker, RandomPicker

if TYPE_CHECKING:
    from epp.config.fields import Fields
    from epp.config.problems import Findings
    from epp.config.roster import NamedPlugin, Roster
    from epp.core.policy import CapacityPolicy
    from epp.picking.labels import LabelRule
    from epp.picking.pickers import Picker
    from epp.picking.scorers import Scorer

DEFAULT_WEIGHT = 1.0
_LARGEST_WEIGHT = 1_000_000
"""Larger ones say nothing more, and their sums stay exact enough below it."""


class _Draft:
    """One profile while its plugins are taken in."""

    def __init__(self, name: str, detector: CapacityPolicy, findings: Findings) -> None:
        self.name = name
        self.scorers: list[Scorer] = []
        self.picker: tuple[str, Picker] | None = None
        self.rule: LabelRule = EVERY_ENDPOINT
        self.ignored_weights: dict[str, float] = {}
        self._detector = detector
        self._findings = findings

    def take(self, entry: NamedPlugin, weight: float) -> str:
        """Give the plugin its place; the answer is a problem, or empty."""
        match entry.plugin:
            case ScorerPlugin(weighted):
                self.scorers.append(weighted(weight))
            case LabelFilterPlugin(rule):
                self.rule &= rule
            case PickerPlugin(picker) if self.picker is None:
                self.picker = entry.name, picker
            case PickerPlugin():
                return (
                    f"failed to set '{entry.name}' as picker, already have a registered picker plugin "
                    f"'{self.picker and self.picker[0]}': keep one of them in the profile"
                )
            case CapacityPlugin(policy):
                if policy is not self._detector:
                    self._findings.note(
                        f"{entry} has no effect in profile '{self.name}': "
                        "only endpoints with room are candidates, by flowControl.saturationDetector"
                    )
            case IgnoredPlugin():
                self.ignored_weights[entry.name] = weight
            case None:
                pass
            case _:
                self._findings.note(
                    f"{entry} has no effect in profile '{self.name}': "
                    "it is not a filter, a scorer or a picker"
                )
        return ""

    def finished(self, default_picker: Picker) -> ProfileConfig:
        """The profile; one without a picker gets the default."""
        picker = self.picker[1] if self.picker else default_picker
        scorers = () if isinstance(picker, RandomPicker) else tuple(self.scorers)
        return ProfileConfig(self.name, scorers, picker, self.rule)


def read_profiles(document: Fields, roster: Roster, detector: CapacityPolicy) -> ProfileConfig:
    """The one profile; and the notes on plugins that are ignored, with the weights that they had in it."""
    sections = document.sections("schedulingProfiles")
    drafts: list[_Draft] = []
    for index, fields in enumerate(sections):
        draft = _profile(fields, index, roster, detector)
        if draft.name and any(draft.name == other.name for other in drafts):
            fields.fail(
                "name", f"schedulingProfiles[{index}] has duplicate name '{draft.name}': give it another"
            )
        drafts.append(draft)
    _check_handler(document, roster, sections)
    draft = drafts[0] if drafts else _of_everything(document, roster, detector)
    _note_ignored(document, roster, draft)
    pickers = [entry.plugin.picker for entry in roster.listed() if isinstance(entry.plugin, PickerPlugin)]
    return draft.finished(pickers[0] if pickers else MaxScorePicker())


def _profile(fields: Fields, index: int, roster: Roster, detector: CapacityPolicy) -> _Draft:
    fields.require("name", f"schedulingProfiles[{index}] is missing a name: give it one, such as default")
    name = fields.text("name")
    draft = _Draft(name, detector, fields.findings)
    for position, reference in enumerate(fields.sections("plugins")):
        weight = reference.number("weight", DEFAULT_WEIGHT, least=-_LARGEST_WEIGHT, most=_LARGEST_WEIGHT)
        reference.require(
            "pluginRef",
            f"schedulingProfiles[{name}].plugins[{position}] is missing a 'pluginRef': name one of plugins",
        )
        entry = roster.find(
            reference,
            "pluginRef",
            undefined=f"schedulingProfiles[{name}] references undefined plugin '{{name}}'",
            remedy="name one of plugins",
        )
        problem = draft.take(entry, weight) if entry else ""
        if problem:
            reference.fail("pluginRef", problem)
        reference.close()
    fields.close()
    return draft


def _of_everything(document: Fields, roster: Roster, detector: CapacityPolicy) -> _Draft:
    """The profile of a configuration that has none: every listed plugin that could be in one."""
    draft = _Draft("default", detector, document.findings)
    for entry in roster.listed():
        if isinstance(entry.plugin, LabelFilterPlugin | ScorerPlugin | PickerPlugin):
            problem = draft.take(entry, DEFAULT_WEIGHT)
            if problem:
                document.fail("plugins", problem)
    return draft


def _check_handler(document: Fields, roster: Roster, sections: list[Fields]) -> None:
    handlers = [entry.name for entry in roster.listed() if isinstance(entry.plugin, ProfileHandlerPlugin)]
    if len(handlers) > 1:
        document.fail(
            "plugins",
            f"multiple profile handlers found ('{handlers[0]}','{handlers[1]}'); only one is allowed: remove the rest",
        )
    if len(sections) > 1:
        what = (
            "SingleProfileHandler cannot support multiple scheduling profiles"
            if handlers
            else "no profile handler configured"
        )
        sections[1].reject(f"{what}: one endpoint is chosen for each request, so keep one profile")


def _note_ignored(document: Fields, roster: Roster, draft: _Draft) -> None:
    for entry in roster.listed():
        if isinstance(entry.plugin, IgnoredPlugin):
            weight = draft.ignored_weights.get(entry.name)
            lost = "" if weight is None else f" (its weight {weight:g} is ignored)"
            document.findings.note(f"{entry} has no effect{lost}: {entry.plugin.text}")
    if draft.ignored_weights and not draft.scorers:
        document.findings.note(
            f"profile '{draft.name}' is left without a scorer: the least loaded endpoint with room gets the request"
        )
