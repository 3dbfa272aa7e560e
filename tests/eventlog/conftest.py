"""No test leaves a log open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.eventlog.tape import OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logs_are_closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().log.close()
