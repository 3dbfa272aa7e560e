"""What may be asked of the core from outside, and how: topics, page sizes, tokens, and names that may be hashed.

The gRPC service and its JSON twin turn a call into a `Question` and write the `Answer` down as it is, so both tell the
same by construction. A question that can't be answered raises `BadQuestionError`, which names the field, the value and
what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, assert_never

from epp.core import inspection
from epp.core.inforce import policy_in_force
from epp.core.insight import QueuedStory, RunningEntry, UnknownStory

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.core.controller import Controller
    from epp.core.insight import (
        BandEntry,
        EndpointEntry,
        FlowEntry,
        PolicyInForce,
        QueuedEntry,
    )

USUAL_ENTRIES = 100
"""On a page, unless the question says otherwise."""
_HASH_BYTES = 8
_REMEMBERED_HASHES = 16384
_LONGEST_TOKEN = 4096
_LONGEST_QUOTE = 80
_START_OVER = "start again without one: a token is good for the list and the filters that it came from"


class Topic(Enum):
    """What a question is about."""

    BANDS = "bands"
    FLOWS = "flows"
    QUEUED = "queued"
    RUNNING = "running"
    ENDPOINTS = "endpoints"
    REQUEST = "request"
    POLICY = "policy"


class Hashing(Enum):
    """Who sees flow ids as they are."""

    ON_REQUEST = "on-request"
    """Whoever doesn't ask for hashes."""
    FORCED = "forced"
    """Nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question. What a topic has no use for is ignored."""

    page_size: int = 0
    """0 means the usual size."""
    page_token: str = ""
    """'' means from the start; else what the page before gave."""
    hash_flow_ids: bool = False
    priority: int | None = None
    fairness_id: str | None = None
    """As it is or as it is shown."""
    request_id: int = 0


class BadQuestionError(ValueError):
    """The question can't be answered."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field}: {str(value)[:_LONGEST_QUOTE]!r}: {remedy}")
        self.field = field
        self.value = str(value)[:_LONGEST_QUOTE]
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class BandsAnswer:
    """A page of bands, highest first."""

    now_s: float
    """The core's clock: what moments in the answer are compared with. So in the others."""
    bands: tuple[BandEntry, ...]
    next_page_token: str
    """'' if that was all. A page may be shorter than asked, and there may be more all the same. So in the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowsAnswer:
    """A page of flows, by band and name."""

    now_s: float
    flows: tuple[FlowEntry, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedAnswer:
    """A page of queued requests, in order of arrival."""

    now_s: float
    queued: tuple[QueuedEntry, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningAnswer:
    """A page of dispatched requests, by id."""

    now_s: float
    running: tuple[RunningEntry, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointsAnswer:
    """A page of endpoints, by address."""

    now_s: float
    endpoints: tuple[EndpointEntry, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswer:
    """Where one request stands: one of the three."""

    now_s: float
    queued: QueuedStory | None = None
    running: RunningEntry | None = None
    unknown: UnknownStory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAnswer:
    """What is in force."""

    now_s: float
    policy: PolicyInForce


Answer = (
    BandsAnswer | FlowsAnswer | QueuedAnswer | RunningAnswer | EndpointsAnswer | RequestAnswer | PolicyAnswer
)


class Inspector:
    """Answers questions about one controller."""

    def __init__(self, controller: Controller, *, salt: bytes, hashing: Hashing = Hashing.ON_REQUEST) -> None:
        """`salt` makes hashes of this process's own: they can't be looked up, and mean nothing elsewhere."""
        self._controller = controller
        self._hashing = hashing
        self._hashed = _hashing_with(salt)

    def answer(self, topic: Topic, question: Question, now: float) -> Answer:
        """What there is to say at `now`. Raises `BadQuestionError`."""
        said: Answer
        match topic:
            case Topic.BANDS:
                said = self._bands(question, now)
            case Topic.FLOWS:
                said = self._flows(question, now)
            case Topic.QUEUED:
                said = self._queued(question, now)
            case Topic.RUNNING:
                said = self._running(question, now)
            case Topic.ENDPOINTS:
                said = self._endpoints(question, now)
            case Topic.REQUEST:
                said = self._request(question, now)
            case Topic.POLICY:
                said = PolicyAnswer(now_s=now, policy=policy_in_force(self._controller))
            case _:
                assert_never(topic)
        return said

    def _naming(self, question: Question) -> Callable[[str], str]:
        if question.hash_flow_ids or self._hashing is Hashing.FORCED:
            return self._hashed
        return _readable

    def _bands(self, question: Question, now: float) -> BandsAnswer:
        token = _whole(question, "band")
        page = inspection.bands(self._controller, now, below=token, limit=_limit(question))
        following = f"band:{page.entries[-1].priority}" if page.more else ""
        return BandsAnswer(now_s=now, bands=page.entries, next_page_token=following)

    def _flows(self, question: Question, now: float) -> FlowsAnswer:
        after = None
        token = _token(question, "flow")
        if token is not None:
            priority, separator, name = token.partition(":")
            if not separator or not _is_whole(priority):
                raise BadQuestionError("page_token", question.page_token, _START_OVER)
            after = (int(priority), name)
        page = inspection.flows(
            self._controller,
            question.priority,
            after=after,
            limit=_limit(question),
            naming=self._naming(question),
        )
        following = ""
        if page.more:
            last = page.entries[-1]
            following = f"flow:{last.priority}:{last.fairness_id}"
        return FlowsAnswer(now_s=now, flows=page.entries, next_page_token=following)

    def _queued(self, question: Question, now: float) -> QueuedAnswer:
        page, last = inspection.queued(
            self._controller,
            now,
            priority=question.priority,
            fairness_id=question.fairness_id,
            after_sequence=_whole(question, "queued") or 0,
            limit=_limit(question),
            naming=self._naming(question),
        )
        following = f"queued:{last}" if page.more else ""
        return QueuedAnswer(now_s=now, queued=page.entries, next_page_token=following)

    def _running(self, question: Question, now: float) -> RunningAnswer:
        after = _whole(question, "running")
        page = inspection.running(
            self._controller,
            now,
            after=-1 if after is None else after,
            limit=_limit(question),
            naming=self._naming(question),
        )
        following = f"running:{page.entries[-1].request_id}" if page.more else ""
        return RunningAnswer(now_s=now, running=page.entries, next_page_token=following)

    def _endpoints(self, question: Question, now: float) -> EndpointsAnswer:
        after = None
        token = _token(question, "endpoint")
        if token is not None:
            address, separator, uid = token.partition(" ")
            if not separator:
                raise BadQuestionError("page_token", question.page_token, _START_OVER)
            after = (address, uid)
        page = inspection.endpoints(self._controller, now, after=after, limit=_limit(question))
        following = ""
        if page.more:
            last = page.entries[-1]
            following = f"endpoint:{last.address} {last.uid}"
        return EndpointsAnswer(now_s=now, endpoints=page.entries, next_page_token=following)

    def _request(self, question: Question, now: float) -> RequestAnswer:
        story = inspection.story(self._controller, question.request_id, now, naming=self._naming(question))
        match story:
            case QueuedStory():
                return RequestAnswer(now_s=now, queued=story)
            case RunningEntry():
                return RequestAnswer(now_s=now, running=story)
            case UnknownStory():
                return RequestAnswer(now_s=now, unknown=story)
            case _:
                assert_never(story)


def _hashing_with(salt: bytes) -> Callable[[str], str]:
    @lru_cache(_REMEMBERED_HASHES)
    def hashed(fairness_id: str) -> str:
        text = fairness_id.encode("utf-8", "surrogatepass")
        return blake2b(text, key=salt, digest_size=_HASH_BYTES).hexdigest()

    return hashed


def _readable(fairness_id: str) -> str:
    """As it is, but for what could not be written down."""
    if fairness_id.isascii():
        return fairness_id
    return fairness_id.encode("utf-8", "backslashreplace").decode()


def _limit(question: Question) -> int:
    size = question.page_size
    if not 0 <= size <= inspection.MOST_ENTRIES:
        raise BadQuestionError(
            "page_size", size, f"ask for 1 to {inspection.MOST_ENTRIES}, or 0 for {USUAL_ENTRIES}"
        )
    return size or USUAL_ENTRIES


def _token(question: Question, kind: str) -> str | None:
    """What the token says, which must be of that kind; None without one."""
    if not question.page_token:
        return None
    found, separator, rest = question.page_token.partition(":")
    if found != kind or not separator or len(rest) > _LONGEST_TOKEN:
        raise BadQuestionError("page_token", question.page_token, _START_OVER)
    return rest


def _whole(question: Question, kind: str) -> int | None:
    token = _token(question, kind)
    if token is None:
        return None
    if not _is_whole(token):
        raise BadQuestionError("page_token", question.page_token, _START_OVER)
    return int(token)


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 20
