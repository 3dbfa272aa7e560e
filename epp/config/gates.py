"""The `featureGates` section. What upstream hides behind gates is decided here already, so they are only noted."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.config.problems import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.config.fields import Fields

FLOW_CONTROL = "flowControl"

_WITHOUT_EFFECT: Mapping[str, str] = MappingProxyType(
    {
        "dataLayer": "metrics are always scraped",
        "enableLegacyMetrics": "there is one way of scraping metrics",
        "haPopulateNonLeaderDatastore": "a standby always watches the pool",
    }
)
_VALUES = {
    **dict.fromkeys(("1", "t", "true"), True),
    **dict.fromkeys(("0", "f", "false"), False),
}


def read_feature_gates(document: Fields) -> None:
    """Check the gates, and note what follows from them."""
    gates: dict[str, bool] = {}
    known = (FLOW_CONTROL, *_WITHOUT_EFFECT)
    for item in document.texts("featureGates"):
        name, equals, text = item.text.partition("=")
        value = _VALUES.get(text.strip().lower()) if equals else True
        if name not in known:
            message = f"feature gate '{name}' is unknown or unregistered{suggest(name, known)}"
            document.findings.problem(item.line, item.path, message)
        elif value is None:
            message = (
                f"{text} is not a valid value for the feature gate {name}: write {name}=true or {name}=false"
            )
            document.findings.problem(item.line, item.path, message)
        else:
            gates[name] = value
    for name, instead in _WITHOUT_EFFECT.items():
        if name in gates:
            document.findings.note(f"feature gate {name} has no effect: {instead}")
    if not gates.get(FLOW_CONTROL, False):
        document.findings.note(
            "feature gate flowControl is not enabled: upstream would not queue requests; here flow control is "
            "always on, by the flowControl section if there is one, and negative priorities wait instead of being shed "
            "at once"
        )
