"""The `dataLayer` section: how metrics are scraped. Of its sources the one of type metrics-data-source counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from epp.config.catalogue import IGNORED
from epp.config.metrics import DEFAULT_EXTRACTOR, DEFAULT_SOURCE
from epp.config.plugins import MetricsExtractorPlugin, MetricsSourcePlugin
from epp.config.roster import Wanted
from epp.config.scrape import ScrapeConfig

if TYPE_CHECKING:
    from epp.config.fields import Fields
    from epp.config.roster import Roster

P = TypeVar("P", MetricsSourcePlugin, MetricsExtractorPlugin)

_SOURCE = Wanted(
    "the plugin {name} is not registered",
    "the plugin {name} is not a fwkdl.DataSource (type: {type})",
    "use metrics-data-source",
    IGNORED,
)
_EXTRACTOR = Wanted(
    "the plugin {name} is not registered",
    "the plugin {name} is not an extractor (type: {type})",
    "use core-metrics-extractor",
    IGNORED,
)


def read_data_layer(document: Fields, roster: Roster) -> ScrapeConfig | None:
    """How to scrape; None if the configuration takes the default source away and gives no other."""
    fields = document.section("dataLayer")
    wants_default = fields.flag("injectDefaults", default=True)
    source: MetricsSourcePlugin | None = None
    extractor: MetricsExtractorPlugin | None = None
    for section in fields.sections("sources"):
        section.require("pluginRef", "is missing a 'pluginRef': name a source of plugins")
        found = roster.resolve(section, "pluginRef", MetricsSourcePlugin, _SOURCE)
        extractors = _extractors(section, roster)
        section.close()
        if found is None:
            continue
        if source is not None:
            section.reject("a second metrics-data-source: endpoints have one metrics page, keep one source")
        source = found
        if len(extractors) > 1:
            section.fail("extractors", "a second core-metrics-extractor: keep one, with all engineConfigs")
        extractor = extractors[0] if extractors else None
    _read_discovery(fields)
    fields.close()
    if source is None and not wants_default:
        document.findings.note(
            "dataLayer.injectDefaults is false and there is no metrics-data-source: metrics are not scraped, and "
            "what an endpoint can take is judged by the requests that are sent to it from here"
        )
        return None
    # As upstream does it: a default that is injected is the plugin of that name, if one is listed.
    source = source or _listed(roster, "metrics-data-source", MetricsSourcePlugin) or DEFAULT_SOURCE
    extractor = (
        extractor or _listed(roster, "core-metrics-extractor", MetricsExtractorPlugin) or DEFAULT_EXTRACTOR
    )
    return ScrapeConfig(
        scheme=source.scheme,
        path=source.path,
        port=source.port,
        insecure_skip_verify=source.insecure_skip_verify,
        engine_label=extractor.engine_label,
        default_engine=extractor.default_engine,
        engines=extractor.engines,
    )


def _extractors(source: Fields, roster: Roster) -> list[MetricsExtractorPlugin]:
    found = []
    for section in source.sections("extractors"):
        section.require("pluginRef", "is missing a 'pluginRef': name an extractor of plugins")
        extractor = roster.resolve(section, "pluginRef", MetricsExtractorPlugin, _EXTRACTOR)
        section.close()
        if extractor is not None:
            found.append(extractor)
    return found


def _listed(roster: Roster, name: str, kind: type[P]) -> P | None:
    found = roster.get(name)
    return found.plugin if found is not None and isinstance(found.plugin, kind) else None


def _read_discovery(fields: Fields) -> None:
    """What upstream finds endpoints and its own replicas with."""
    discovery = fields.section("discovery")
    if discovery.given:
        discovery.reject(
            "is not supported: remove it and start with --objects PATH, which reads the pool and its pods from files"
        )
    peers = fields.section("peerDiscovery")
    for section in (discovery, peers):
        section.text("pluginRef")
        section.close()
    fields.duration_s("crossReplicaSyncInterval")
    syncer = fields.text("crossReplicaSyncerPluginRef")
    if peers.given or syncer:
        fields.findings.note(
            "dataLayer.peerDiscovery and crossReplicaSyncerPluginRef have no effect: one replica decides at a time"
        )
