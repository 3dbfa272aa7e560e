"""What is wrong with objects, in the log: as loud as it is serious."""

from __future__ import annotations

from typing import assert_never

import structlog

from epp.api.problem import Severity

log = structlog.get_logger()


def complain(severity: Severity, what: str) -> None:
    """Say it once; the caller knows whether it is news."""
    match severity:
        case Severity.ERROR | Severity.WARNING:
            log.warning("an object needs mending", problem=what)
        case Severity.INFO:
            log.info("of an object", note=what)
        case Severity.DEBUG:
            log.debug("of an object", note=what)
        case _:
            assert_never(severity)
