"""Logs: one line per event, JSON for machines or columns for people, from structlog and from the standard library.

Flags are upstream's (`--zap-*`, `-v`), and so are the names of the fields: `level`, `ts`, `logger`, `msg`. Nothing that
`redaction` knows to be private gets through, whoever logs it.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, assert_never

import structlog

from epp.observe.limiter import RateLimitedLog
from epp.observe.redaction import redact

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import Processor

__all__ = ["Encoder", "LogSettingError", "RateLimitedLog", "TimeEncoding", "configure_logs", "stamp"]

QUIET_VERBOSITY = 1
"""At this verbosity and below only warnings are logged: upstream's own messages start at 2."""
NORMAL_VERBOSITY = 3
"""Above upstream's `verbose` it is `debug`."""

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "dpanic": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
_Choice = TypeVar("_Choice", bound=Enum)

_CHATTY = ("asyncio", "aiohttp.access", "grpc")
"""Libraries whose debug and info lines help nobody here."""


class Encoder(Enum):
    """How a line is written."""

    JSON = "json"
    CONSOLE = "console"


class TimeEncoding(Enum):
    """How the time is written."""

    EPOCH = "epoch"
    MILLIS = "millis"
    NANO = "nano"
    ISO8601 = "iso8601"
    RFC3339 = "rfc3339"
    RFC3339_NANO = "rfc3339nano"


class LogSettingError(ValueError):
    """A flag about logs has a value that it can't have."""


def configure_logs(
    *,
    encoder: str | None,
    level: str | None,
    verbosity: int,
    devel: bool,
    time_encoding: str,
    stacktrace_level: str,
    stream: TextIO | None = None,
) -> None:
    """Send all logs of this process to `stream` (standard error), as the flags say. May be called again.

    Without `encoder` it is the console's if `devel` or if a person is reading, else JSON. Without `level`, `devel`
    means debug, else `verbosity` decides. Raises `LogSettingError`, which names the flag, before anything changes.
    """
    stream = sys.stderr if stream is None else stream
    chosen = _encoder(encoder, devel=devel, stream=stream)
    threshold = _threshold(level, verbosity, devel=devel)
    stack_from = _level("--zap-stacktrace-level", stacktrace_level)
    common: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _Stamp(_member("--zap-time-encoding", TimeEncoding, time_encoding)),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=common,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _Stacks(stack_from),
            redact,
            *_renderers(chosen, stream),
        ],
    )
    handler = _Handler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for earlier in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        # A line's logger is the module that wanted it said.
        logger_factory=structlog.stdlib.LoggerFactory(ignore_frame_names=[RateLimitedLog.__module__]),
        cache_logger_on_first_use=False,
    )


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second configuration finds and replaces it and leaves everybody else's alone."""


class _Stamp:
    """Adds the time."""

    def __init__(self, encoding: TimeEncoding) -> None:
        self._encoding = encoding

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["ts"] = stamp(time.time_ns(), self._encoding)
        return event


class _Stacks:
    """Shows an exception with its stack from one level on, and below it as one line."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if not event.get("exc_info"):
            return event
        error = event["exc_info"]
        if isinstance(error, tuple):
            error = error[1]
        elif not isinstance(error, BaseException):
            error = sys.exc_info()[1]
        if error is not None:
            event["error"] = f"{type(error).__name__}: {error}"
        if logging.getLevelNamesMapping()[str(event["level"]).upper()] < self._threshold:
            del event["exc_info"]
            return event
        return structlog.processors.format_exc_info(logger, method, event)


def stamp(at_ns: int, encoding: TimeEncoding) -> float | int | str:
    """A wall-clock time, in nanoseconds since 1970, as `encoding` writes it, in UTC."""
    seconds, rest_ns = divmod(at_ns, 1_000_000_000)
    day = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    match encoding:
        case TimeEncoding.EPOCH:
            return at_ns / 1e9
        case TimeEncoding.MILLIS:
            return at_ns / 1e6
        case TimeEncoding.NANO:
            return at_ns
        case TimeEncoding.ISO8601:
            return f"{day}.{rest_ns // 1_000_000:03d}Z"
        case TimeEncoding.RFC3339:
            return f"{day}Z"
        case TimeEncoding.RFC3339_NANO:
            return f"{day}.{rest_ns:09d}".rstrip("0").rstrip(".") + "Z"
        case _:
            assert_never(encoding)


def _renderers(encoder: Encoder, stream: TextIO) -> list[Processor]:
    match encoder:
        case Encoder.JSON:
            return [structlog.processors.EventRenamer("msg"), _in_order, structlog.processors.JSONRenderer()]
        case Encoder.CONSOLE:
            return [
                structlog.dev.ConsoleRenderer(
                    colors=stream.isatty(),
                    timestamp_key="ts",
                    pad_event_to=0,
                    exception_formatter=structlog.dev.plain_traceback,
                )
            ]
        case _:
            assert_never(encoder)


def _in_order(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    first = {name: event.pop(name) for name in ("level", "ts", "logger", "msg") if name in event}
    return {**first, **event}


def _encoder(name: str | None, *, devel: bool, stream: TextIO) -> Encoder:
    if name:
        return _member("--zap-encoder", Encoder, name)
    return Encoder.CONSOLE if devel or stream.isatty() else Encoder.JSON


def _threshold(level: str | None, verbosity: int, *, devel: bool) -> int:
    if level:
        return _level("--zap-log-level", level)
    return logging.DEBUG if devel else _by_verbosity(verbosity)


def _level(flag: str, name: str) -> int:
    """By zap's name, or by a number above 0, which is a verbosity."""
    if name.isascii() and name.isdigit() and int(name) > 0:
        return _by_verbosity(int(name))
    try:
        return _LEVELS[name.lower()]
    except KeyError:
        known = "debug, info, error, panic or a number above 0"
        raise LogSettingError(f"{flag}: {name!r} is no level: use {known}") from None


def _by_verbosity(verbosity: int) -> int:
    if verbosity <= QUIET_VERBOSITY:
        return logging.WARNING
    return logging.INFO if verbosity <= NORMAL_VERBOSITY else logging.DEBUG


def _member(flag: str, choices: type[_Choice], name: str) -> _Choice:
    try:
        return choices(name.lower())
    except ValueError:
        known = ", ".join(each.value for each in choices)
        raise LogSettingError(f"{flag}: {name!r} is unknown: use one of {known}") from None
