"""The plugins that a configuration lists, by name, and the references to them.

A plugin that is wrong in itself is in the roster nevertheless: a reference to it is not a second problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from epp.config.catalogue import IGNORED, MISSING
from epp.config.fields import Fields
from epp.config.plugins import IgnoredPlugin
from epp.config.problems import Findings, nearest, suggest
from epp.config.registry import ALWAYS_THERE, REGISTRY

if TYPE_CHECKING:
    from collections.abc import Collection

    from epp.config.plugins import Plugin

P = TypeVar("P", bound="Plugin")


class NamedPlugin(NamedTuple):
    """One entry of `plugins`."""

    name: str
    type: str
    plugin: Plugin | None
    """None if the entry is wrong."""

    def __str__(self) -> str:
        return f"plugin '{self.name}'" + (f" (type: {self.type})" if self.name != self.type else "")


class Wanted(NamedTuple):
    """What a reference is for, and upstream's words when it can't be had."""

    undefined: str
    """`{name}` is no plugin."""
    mismatch: str
    """`{name}` is one of another kind, `{type}`."""
    remedy: str
    """What to refer to instead."""
    ignorable: Collection[str] = ()
    """Types of ignored plugins that may be referred to here as well, without effect."""


class Roster:
    """All plugins that may be referred to."""

    def __init__(self) -> None:
        self._listed: dict[str, NamedPlugin] = {}
        self._implied: dict[str, NamedPlugin] = {}

    def add(self, entry: NamedPlugin) -> None:
        """Take in one entry of `plugins`."""
        self._listed[entry.name] = entry

    def listed(self) -> tuple[NamedPlugin, ...]:
        """The entries, in the order of the text."""
        return tuple(self._listed.values())

    def get(self, name: str) -> NamedPlugin | None:
        """The plugin of this name; those that are always there need not be listed."""
        found = self._listed.get(name) or self._implied.get(name)
        if found is None and name in ALWAYS_THERE:
            found = self._implied[name] = NamedPlugin(name, name, with_defaults(name))
        return found

    def resolve(
        self, fields: Fields, key: str, kind: type[P], wanted: Wanted, *, default: str = ""
    ) -> P | None:
        """The plugin that `key` refers to, or else `default`; None if there is none, or it is ignored, or wrong."""
        found = self.find(fields, key, undefined=wanted.undefined, remedy=wanted.remedy, default=default)
        if found is None or found.plugin is None or found.type in wanted.ignorable:
            return None
        if isinstance(found.plugin, kind):
            return found.plugin
        what = wanted.mismatch.format(name=found.name, type=found.type)
        fields.fail(key, f"{what}: {wanted.remedy}")
        return None

    def find(
        self, fields: Fields, key: str, *, undefined: str, remedy: str, default: str = ""
    ) -> NamedPlugin | None:
        """The plugin that `key` refers to, or `default`, of whatever kind; without one `undefined` is reported."""
        name = fields.text(key) or default
        found = self.get(name)
        if found is None and name:
            fields.fail(key, undefined.replace("{name}", name) + self._remedy(name, remedy))
        return found

    def _remedy(self, name: str, otherwise: str) -> str:
        if name in REGISTRY or name in IGNORED:
            return f": add '- type: {name}' to plugins"
        if name in MISSING:
            return f": this build doesn't have it; {MISSING[name].text}"
        near = nearest(name, (*self._listed, *ALWAYS_THERE))
        return f"; did you mean {near!r}?" if near else f": {otherwise}"


def with_defaults(type_name: str) -> Plugin:
    """A plugin of a type that we have, with its default parameters."""
    return REGISTRY[type_name](Fields(None, line=0, path="", findings=Findings()))


def read_plugins(document: Fields) -> Roster:
    """The roster of the `plugins` section."""
    roster = Roster()
    lines: dict[str, int] = {}
    for fields in document.sections("plugins"):
        type_name = fields.text("type")
        name = fields.text("name") or type_name
        fields.require("type", f"plugin '{name}' is missing a type: name one, such as queue-scorer")
        plugin = _read(fields, name, type_name)
        fields.close()
        if name in lines:
            fields.fail(
                "name" if fields.has("name") else "type",
                f"duplicate plugin name '{name}', first on line {lines[name]}: give one of them a name of its own",
            )
        elif name:
            lines[name] = fields.line
            roster.add(NamedPlugin(name, type_name, plugin))
    return roster


def _read(fields: Fields, name: str, type_name: str) -> Plugin | None:
    reader = REGISTRY.get(type_name)
    if reader is not None:
        parameters = fields.section(
            "parameters", preface=f"failed to create plugin '{name}' (type: {type_name}): "
        )
        plugin = reader(parameters)
        parameters.close()
        return plugin
    fields.has("parameters")  # they may be anything: there is nobody to read them
    missing = MISSING.get(type_name)
    if missing is not None and type_name in IGNORED:
        return IgnoredPlugin(missing.text)
    if missing is not None:
        fields.fail(
            "type", f"plugin type '{type_name}' is not registered: this build doesn't have it; {missing.text}"
        )
    elif type_name:
        near = nearest(type_name, (*REGISTRY, *MISSING))
        hint = suggest(type_name, (near,) if near else REGISTRY)
        fields.fail("type", f"plugin type '{type_name}' is not registered{hint}")
    return None
