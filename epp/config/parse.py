"""From text to a configuration, or to everything that is wrong with it.

The schema is upstream's, in both of its API versions. One pass reads the document strictly, makes the plugins, and
resolves every reference, so what comes out can be built without fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.config.catalogue import IGNORED_PARSERS
from epp.config.datalayer import read_data_layer
from epp.config.defaults import DEFAULT_CONFIG
from epp.config.document import load_document
from epp.config.fields import Fields
from epp.config.flowcontrol import read_flow_control
from epp.config.gates import read_feature_gates
from epp.config.model import EndpointPickerConfig
from epp.config.plugins import ParserPlugin
from epp.config.problems import ConfigError, Findings, Problem, suggest
from epp.config.profiles import read_profiles
from epp.config.roster import Roster, Wanted, read_plugins

if TYPE_CHECKING:
    from pathlib import Path

KIND = "EndpointPickerConfig"
API_VERSION = "llm-d.ai/v1alpha1"
DEPRECATED_API_VERSION = "inference.networking.x-k8s.io/v1alpha1"
DEFAULT_PARSERS = ("openai-parser",)
"""Without upstream's passthrough-parser behind it: bodies on other paths are waited for, so their size is known."""

_PARSER = Wanted(
    "the configured parser '{name}' is not loaded",
    "the specified plugin '{name}' is not a parser plugin in the config (type: {type})",
    "use openai-parser or passthrough-parser",
    IGNORED_PARSERS,
)


def parse_config(text: str, *, source: str) -> EndpointPickerConfig:
    """The configuration in `text`; an empty text is the default configuration. Raises `ConfigError`."""
    findings = Findings()
    root = load_document(text, findings)
    if root is None:
        findings.raise_if_any(source)
        root = load_document(DEFAULT_CONFIG, findings)
    document = Fields(root, line=1, path="", findings=findings)
    _read_type(document)
    read_feature_gates(document)
    roster = read_plugins(document)
    flow_control = read_flow_control(document, roster)
    profile = read_profiles(document, roster, flow_control.capacity)
    scrape = read_data_layer(document, roster)
    parsers = _read_parsers(document, roster)
    document.close()
    findings.raise_if_any(source)
    return EndpointPickerConfig(
        source=source,
        profile=profile,
        flow_control=flow_control,
        scrape=scrape,
        parsers=parsers,
        plugins=tuple(entry.name for entry in roster.listed()),
        text=text,
        notes=findings.notes,
    )


def read_config(path: Path) -> EndpointPickerConfig:
    """The configuration in a file. Raises `ConfigError`, also when the file can't be read."""
    source = str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(source, [Problem(1, "", f"can't be read: {error.strerror or error}")]) from error
    return parse_bytes(content, source=source)


def parse_bytes(content: bytes, *, source: str) -> EndpointPickerConfig:
    """The configuration in a file's content. Raises `ConfigError`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = Problem(
            line, "", f"is not UTF-8: byte {error.object[error.start]:#04x}; save the file as UTF-8"
        )
        raise ConfigError(source, [problem]) from error
    return parse_config(text, source=source)


def default_config() -> EndpointPickerConfig:
    """What holds without any configuration."""
    return parse_config(DEFAULT_CONFIG, source="default configuration")


def _read_type(document: Fields) -> None:
    document.require("apiVersion", f"is required: write {API_VERSION}")
    document.require("kind", f"is required: write {KIND}")
    version, kind = document.text("apiVersion"), document.text("kind")
    if kind and kind != KIND:
        objects = "; objects of the cluster belong to --objects PATH" if kind.startswith("Inference") else ""
        document.fail("kind", f"must be {KIND}, got {kind!r}{objects}")
    if version == DEPRECATED_API_VERSION:
        document.findings.note(f"apiVersion {DEPRECATED_API_VERSION} is deprecated: write {API_VERSION}")
    elif version and version != API_VERSION:
        hint = suggest(version, (API_VERSION, DEPRECATED_API_VERSION))
        document.fail("apiVersion", f"no kind {KIND} is registered for version {version!r}{hint}")


def _read_parsers(document: Fields, roster: Roster) -> tuple[str, ...]:
    """The types of the parsers. Paths of one that is ignored are passed on unparsed."""
    handler, deprecated = document.section("requestHandler"), document.section("parser")
    sections = handler.sections("parsers")
    handler.close()
    if deprecated.given:
        document.findings.note(
            "top-level parser is deprecated, use requestHandler.parsers; if both are set, those are used"
        )
    types: list[str] = []
    for section in [*sections, deprecated] if deprecated.given else sections:
        section.require("pluginRef", "is missing a 'pluginRef': name a parser of plugins")
        parser = roster.resolve(section, "pluginRef", ParserPlugin, _PARSER)
        section.close()
        if parser is not None and parser.type not in types and (section is not deprecated or not sections):
            types.append(parser.type)
    if not sections and not deprecated.given:
        return DEFAULT_PARSERS
    return tuple(types) or ("passthrough-parser",)
