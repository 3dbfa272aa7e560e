"""The log's set-up."""

from __future__ import annotations

import io
import json
import logging
import warnings

import pytest
import structlog

from epp.observe.limiter import RateLimitedLog
from epp.observe.logs import LogSettingError, TimeEncoding, configure_logs, stamp

DEFAULTS = {
    "encoder": "json",
    "level": None,
    "verbosity": 2,
    "devel": False,
    "time_encoding": "rfc3339",
    "stacktrace_level": "error",
}


class Terminal(io.StringIO):
    """A stream that a person reads."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _as_before():
    """Logging is the process's; each test gives it back as it was."""
    root = logging.getLogger()
    names = ("asyncio", "aiohttp.access", "grpc")
    levels = {name: logging.getLogger(name).level for name in names}
    before = (root.level, list(root.handlers))
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def fail(message):
    """Something went wrong."""
    raise ValueError(message)


def configure(stream, **changes):
    """The log as flags say, into `stream`."""
    configure_logs(**(DEFAULTS | changes), stream=stream)


def lines(stream):
    """What was written, as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_has_upstreams_field_names():
    """level, ts, logger and msg first, then the facts."""
    stream = io.StringIO()
    configure(stream)
    structlog.get_logger().info("serving", port=9002, pool="p")
    (line,) = lines(stream)
    assert list(line)[:4] == ["level", "ts", "logger", "msg"]
    assert (line["level"], line["msg"], line["port"], line["pool"]) == ("info", "serving", 9002, "p")
    assert line["logger"] == __name__
    assert line["ts"].endswith("Z")


def test_a_rate_limited_line_belongs_to_whoever_wanted_it_said():
    """And not to the limiter."""
    stream = io.StringIO()
    configure(stream)
    RateLimitedLog(clock=lambda: 0.0).info("said", key="a")
    assert lines(stream)[0]["logger"] == __name__


def test_the_standard_librarys_loggers_come_the_same_way():
    """grpc, aiohttp and warnings too, with their arguments filled in."""
    stream = io.StringIO()
    configure(stream)
    logging.getLogger("aiohttp.server").error("lost %d of %s", 3, "them")
    logging.getLogger("grpc").info("chatter")
    warnings.filterwarnings("always")
    warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = lines(stream)
    assert (first["level"], first["logger"], first["msg"]) == ("error", "aiohttp.server", "lost 3 of them")
    assert second["logger"] == "py.warnings"


def test_a_second_configuration_replaces_the_first():
    """No line twice, and loggers that exist follow."""
    first, second = io.StringIO(), io.StringIO()
    log = structlog.get_logger()
    configure(first)
    log.info("one")
    configure(second)
    log.info("two")
    assert [line["msg"] for line in lines(first)] == ["one"]
    assert [line["msg"] for line in lines(second)] == ["two"]


@pytest.mark.parametrize(
    ("changes", "logged"),
    [
        ({"verbosity": 0}, "warning error"),
        ({"verbosity": 1}, "warning error"),
        ({"verbosity": 2}, "info warning error"),
        ({"verbosity": 3}, "info warning error"),
        ({"verbosity": 4}, "debug info warning error"),
        ({"verbosity": 5}, "debug info warning error"),
        ({"level": "debug"}, "debug info warning error"),
        ({"level": "info", "verbosity": 5}, "info warning error"),
        ({"level": "error", "verbosity": 5}, "error"),
        ({"level": "panic"}, ""),
        ({"level": "1"}, "warning error"),
        ({"level": "4"}, "debug info warning error"),
        ({"devel": True}, "debug info warning error"),
        ({"devel": True, "level": "error"}, "error"),
    ],
)
def test_levels(changes, logged):
    """By name, by number, by verbosity; what is said last in this list wins over what is said first."""
    stream = io.StringIO()
    configure(stream, **changes)
    for level in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), level)("said")
        getattr(logging.getLogger("somebody"), level)("said")
    assert [line["level"] for line in lines(stream)] == [each for each in logged.split() for _ in range(2)]


@pytest.mark.parametrize(
    ("stream", "changes", "is_json"),
    [
        (io.StringIO(), {"encoder": None}, True),
        (Terminal(), {"encoder": None}, False),
        (io.StringIO(), {"encoder": None, "devel": True}, False),
        (io.StringIO(), {"encoder": "console"}, False),
        (Terminal(), {"encoder": "json"}, True),
        (io.StringIO(), {"encoder": "JSON", "devel": True}, True),
    ],
)
def test_encoders(stream, changes, is_json):
    """What is asked for; else columns for a person and for developers, JSON for everybody else."""
    configure(stream, **changes)
    structlog.get_logger().info("serving", port=9002)
    text = stream.getvalue()
    assert text.startswith("{") is is_json
    assert "serving" in text
    assert ("\x1b[" in text) is (isinstance(stream, Terminal) and not is_json)


def test_a_console_line_cannot_be_forged():
    """A value with a line break stays on its line, in both the message and the facts."""
    stream = io.StringIO()
    configure(stream, encoder="console")
    structlog.get_logger().info("odd\nlevel=error", tenant="a\n2026 [error] b\x1b[31m")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("epoch", 1767323045.0678),
        ("millis", 1767323045067.8),
        ("nano", 1767323045067800000),
        ("iso8601", "2026-01-02T03:04:05.067Z"),
        ("rfc3339", "2026-01-02T03:04:05Z"),
        ("rfc3339nano", "2026-01-02T03:04:05.0678Z"),
    ],
)
def test_time_encodings(encoding, written):
    """As zap writes them, in UTC."""
    assert stamp(1767323045067800000, TimeEncoding(encoding)) == written


def test_every_time_encoding_can_be_configured():
    """And is what the line then has."""
    for encoding in TimeEncoding:
        stream = io.StringIO()
        configure(stream, time_encoding=encoding.value)
        structlog.get_logger().info("said")
        assert isinstance(lines(stream)[0]["ts"], type(stamp(0, encoding)))


@pytest.mark.parametrize("logger", [structlog.get_logger(), logging.getLogger("somebody")])
@pytest.mark.parametrize(("method", "has_stack"), [("warning", False), ("error", True)])
def test_exceptions_show_their_stack_from_a_level_on(logger, method, has_stack):
    """Below it they are named in one line."""
    stream = io.StringIO()
    configure(stream)
    try:
        fail("broken")
    except ValueError:
        getattr(logger, method)("failed", exc_info=True)
    (line,) = lines(stream)
    assert line["error"] == "ValueError: broken"
    assert ("exception" in line) is has_stack
    assert not has_stack or "Traceback" in line["exception"]
    assert "exc_info" not in line


def test_an_exception_given_as_a_value_is_shown_too():
    """Also outside of its handler."""
    stream = io.StringIO()
    configure(stream)
    structlog.get_logger().error("failed", exc_info=ValueError("broken"))
    assert lines(stream)[0]["error"] == "ValueError: broken"


def test_asking_for_a_stack_without_an_exception_does_no_harm():
    """There is nothing to show."""
    stream = io.StringIO()
    configure(stream)
    structlog.get_logger().error("failed", exc_info=True)
    assert lines(stream)[0]["msg"] == "failed"


@pytest.mark.parametrize("encoder", ["json", "console"])
def test_nothing_private_gets_through(encoder):
    """Neither from us nor from a library, neither as a fact nor inside a text nor in a stack."""
    stream = io.StringIO()
    configure(stream, encoder=encoder)
    structlog.get_logger().info("got a request", prompt="s3cr3t", headers={"authorization": "s3cr3t"})
    logging.getLogger("library").warning("sent Authorization: Bearer s3cr3ts3cr3t")
    try:
        fail("Bearer s3cr3ts3cr3t")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert stream.getvalue()
    assert "s3cr3t" not in stream.getvalue()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "xml"}, "--zap-encoder: 'xml' is unknown: use one of json, console"),
        ({"level": "loud"}, "--zap-log-level: 'loud' is no level: use debug, info, error, panic or a number"),
        ({"level": "0"}, "--zap-log-level: '0' is no level"),
        ({"level": "²"}, "--zap-log-level: '²' is no level"),
        ({"stacktrace_level": "never"}, "--zap-stacktrace-level: 'never' is no level"),
        ({"time_encoding": "sundial"}, "--zap-time-encoding: 'sundial' is unknown: use one of epoch, millis"),
    ],
)
def test_a_wrong_value_names_its_flag_and_changes_nothing(changes, message):
    """The log goes on as it was."""
    stream = io.StringIO()
    configure(stream)
    with pytest.raises(LogSettingError, match="^" + message.replace("?", "\\?")):
        configure(io.StringIO(), **changes)
    structlog.get_logger().info("still here")
    assert lines(stream)[0]["msg"] == "still here"
