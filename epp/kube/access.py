"""Who may read the metrics: a bearer token is shown to the API server, which says whose it is and what he may.

As the filter of controller-runtime does it: a TokenReview, then a SubjectAccessReview for `get` of the path. A yes
holds for a minute and a no for seconds, so that scrapes are cheap and a grant acts soon. Callers that ask the same at
the same time share one review. Tokens are sent to the API server and nowhere else: what is remembered is their hash.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import structlog

from epp.kube.connection import Unreachable
from epp.kube.errors import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.kube.connection import ApiServer

ALLOWED_FOR_S = 60.0
REFUSED_FOR_S = 5.0
MOST_REMEMBERED = 1000
"""Answers; the oldest is forgotten first."""
REVIEW_TIMEOUT_S = 4.0
"""For each of the two questions; scrapers give up after 10 s as a rule."""
_TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_REMEDY = (
    "the picker's service account needs a ClusterRole that lets it create tokenreviews (API group "
    "authentication.k8s.io) and subjectaccessreviews (API group authorization.k8s.io); or serve the metrics to "
    "everybody with --metrics-endpoint-auth=false"
)

_log = structlog.get_logger()


class TokenAccess(Enum):
    """What the bearer of a token may."""

    ALLOWED = "allowed"
    UNAUTHENTICATED = "unauthenticated"
    """Nobody the cluster knows."""
    FORBIDDEN = "forbidden"
    """Somebody it knows, who may not."""


class AccessError(Exception):
    """It can't be found out. The message says why and what to do, and holds no token."""


class _User(msgspec.Struct):
    """Whose token it is; passed on as it came."""

    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    user: _User | None = None


class _TokenReview(msgspec.Struct):
    status: _TokenStatus


class _AccessStatus(msgspec.Struct):
    allowed: bool = False


class _AccessReview(msgspec.Struct):
    status: _AccessStatus


_TOKEN_ANSWERS = msgspec.json.Decoder(_TokenReview)
_ACCESS_ANSWERS = msgspec.json.Decoder(_AccessReview)


class _Question(NamedTuple):
    token_hash: bytes
    path: str


class _Answer(NamedTuple):
    access: TokenAccess
    until_s: float


@dataclass(slots=True)
class _Review:
    """One that is under way."""

    task: asyncio.Task[TokenAccess]
    waiting: int = 0


class MetricsAccess:
    """Asks the API server, and remembers for a while what it said."""

    def __init__(self, server: ApiServer, *, clock: Callable[[], float]) -> None:
        self._server = server
        self._clock = clock
        self._answers: OrderedDict[_Question, _Answer] = OrderedDict()
        self._reviews: dict[_Question, _Review] = {}
        self._forbidden_told = False

    async def __call__(self, token: str, path: str, /) -> TokenAccess:
        """Whether the bearer of `token` ('' for none) may get `path`. Raises `AccessError`."""
        # What is no ASCII is no token, and could not even be asked about.
        if not token or not token.isascii():
            return TokenAccess.UNAUTHENTICATED
        question = _Question(hashlib.sha256(token.encode()).digest(), path)
        answer = self._answers.get(question)
        if answer is not None and self._clock() < answer.until_s:
            return answer.access
        review = self._reviews.get(question)
        if review is None:
            task = asyncio.get_running_loop().create_task(self._review(token, question))
            review = self._reviews[question] = _Review(task)
        review.waiting += 1
        try:
            return await asyncio.shield(review.task)
        finally:
            review.waiting -= 1
            if not review.waiting:
                self._end(question, review)

    def _end(self, question: _Question, review: _Review) -> None:
        """Nobody waits for this review any more."""
        review.task.cancel()
        if self._reviews.get(question) is review:
            del self._reviews[question]

    async def _review(self, token: str, question: _Question) -> TokenAccess:
        asked_s = self._clock()
        access = await self._ask(token, question.path)
        holds_s = ALLOWED_FOR_S if access is TokenAccess.ALLOWED else REFUSED_FOR_S
        self._answers[question] = _Answer(access, asked_s + holds_s)
        self._answers.move_to_end(question)
        if len(self._answers) > MOST_REMEMBERED:
            self._answers.popitem(last=False)
        return access

    async def _ask(self, token: str, path: str) -> TokenAccess:
        body = await self._create(_TOKEN_REVIEWS, "authentication.k8s.io/v1", "TokenReview", {"token": token})
        status = _decoded(_TOKEN_ANSWERS, body).status
        user = status.user
        if not status.authenticated or user is None or not user.username:
            return TokenAccess.UNAUTHENTICATED
        spec = {
            "user": user.username,
            "uid": user.uid,
            "groups": user.groups or [],
            "extra": user.extra or {},
            "nonResourceAttributes": {"path": path, "verb": "get"},
        }
        body = await self._create(_ACCESS_REVIEWS, "authorization.k8s.io/v1", "SubjectAccessReview", spec)
        allowed = _decoded(_ACCESS_ANSWERS, body).status.allowed
        return TokenAccess.ALLOWED if allowed else TokenAccess.FORBIDDEN

    async def _create(self, path: str, api_version: str, kind: str, spec: dict[str, object]) -> bytes:
        document = {"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": spec}
        try:
            reply = await self._server.request("POST", path, body=document, timeout_s=REVIEW_TIMEOUT_S)
        except Unreachable as error:
            raise AccessError(f"a {kind} can't be made: {error}") from None
        # The API server's message is left out: it may quote what it was sent.
        if reply.status == 403:
            why = f"the API server forbids a {kind}: {_REMEDY}"
            if not self._forbidden_told:
                self._forbidden_told = True
                _log.error(f"nobody can read the metrics: {why}")
            raise AccessError(why)
        if reply.status not in {200, 201}:
            raise AccessError(f"a {kind} can't be made: the API server says {reply.status}")
        return reply.body


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except UNREADABLE:
        raise AccessError("the API server's answer to a review makes no sense") from None
