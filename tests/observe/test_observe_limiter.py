"""The rate-limited log."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from epp.observe.limiter import DEFAULT_INTERVAL_S, MOST_KEYS, RateLimitedLog


class Clock:
    """A clock that tests set."""

    now = 100.0

    def __call__(self):
        return self.now


def test_one_line_per_key_and_interval_which_says_how_many_it_stands_for():
    """The first is logged at once; the next says how many were kept back."""
    clock = Clock()
    log = RateLimitedLog(clock=clock)
    with capture_logs() as lines:
        for _ in range(5):
            log.warning("metrics lost", key="a", endpoint="x")
        log.warning("metrics lost", key="b")
        clock.now += DEFAULT_INTERVAL_S
        log.warning("metrics lost", key="a", endpoint="y")
        clock.now += DEFAULT_INTERVAL_S
        log.info("metrics lost", key="a")
    assert lines == [
        {"event": "metrics lost", "endpoint": "x", "log_level": "warning"},
        {"event": "metrics lost", "log_level": "warning"},
        {"event": "metrics lost", "endpoint": "y", "suppressed": 4, "log_level": "warning"},
        {"event": "metrics lost", "log_level": "info"},
    ]


def test_a_line_just_before_the_interval_is_over_is_kept_back():
    """The interval counts from the last line that was logged, not from the last that wasn't."""
    clock = Clock()
    log = RateLimitedLog(clock=clock, interval_s=10.0)
    with capture_logs() as lines:
        for step_s in (0.0, 9.99, 0.01):
            clock.now += step_s
            log.info("again", key="a")
    assert [line.get("suppressed", 0) for line in lines] == [0, 1]


def test_keys_without_end_are_forgotten():
    """Memory is bounded, whatever the keys are made of."""
    log = RateLimitedLog(clock=Clock())
    with capture_logs() as lines:
        for number in range(3 * MOST_KEYS):
            log.info("again", key=number)
    assert len(lines) == 3 * MOST_KEYS
    assert len(log._keys) == MOST_KEYS


def test_an_exception_is_logged_as_one():
    """With what is being handled."""
    log = RateLimitedLog(clock=Clock())
    with capture_logs() as lines:
        try:
            int("broken")
        except ValueError:
            log.exception("it failed", key="a", priority=3)
    (line,) = lines
    assert (line["event"], line["log_level"], line["priority"]) == ("it failed", "error", 3)
    assert line["exc_info"] is True


@pytest.mark.parametrize("method", ["info", "warning"])
def test_a_key_belongs_to_all_levels(method):
    """The same key on another level is still the same line."""
    log = RateLimitedLog(clock=Clock())
    with capture_logs() as lines:
        log.info("first", key="a")
        getattr(log, method)("second", key="a")
    assert len(lines) == 1
