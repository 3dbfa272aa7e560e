"""The introspection service's answers as JSON: `/debug/bands`, `/debug/flows`, and so on, for people with curl.

The same questions get the same answers, under the same names, as over gRPC; only the question is asked in a URL:
`?limit=` is the page's size, `?after=` the token of the page before, `?hash=true` hides flow ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from aiohttp import web

from epp.core.questions import BadQuestionError, Question, Topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from epp.core.questions import Answer

PATHS: Final = {
    "/debug/bands": Topic.BANDS,
    "/debug/flows": Topic.FLOWS,
    "/debug/queue": Topic.QUEUED,
    "/debug/running": Topic.RUNNING,
    "/debug/endpoints": Topic.ENDPOINTS,
    "/debug/request": Topic.REQUEST,
    "/debug/policy": Topic.POLICY,
}
"""Where what is told. After that of a request comes its number."""

_PAGED: Final = {"limit": "page_size", "after": "page_token"}
_HASHED: Final = {"hash": "hash_flow_ids"}
_PARAMETERS: Final[dict[Topic, dict[str, str]]] = {
    Topic.BANDS: _PAGED,
    Topic.FLOWS: {**_PAGED, **_HASHED, "priority": "priority"},
    Topic.QUEUED: {**_PAGED, **_HASHED, "priority": "priority", "fairness_id": "fairness_id"},
    Topic.RUNNING: {**_PAGED, **_HASHED},
    Topic.ENDPOINTS: _PAGED,
    Topic.REQUEST: _HASHED,
    Topic.POLICY: {},
}
"""A URL's parameters, by the fields of a question that they are."""
_MOST_DIGITS = 18


class Ask(Protocol):
    """Answers questions, at once."""

    def __call__(self, topic: Topic, question: Question, /) -> Answer:
        """What there is to say now. Raises `BadQuestionError`."""


class InspectionPages:
    """The routes."""

    def __init__(self, ask: Ask, *, permit: Callable[[web.Request, str], Awaitable[None]]) -> None:
        """`permit` raises what is answered to somebody who may not read a path."""
        self._ask = ask
        self._permit = permit

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Serve every page."""
        for path, topic in PATHS.items():
            tail = "/{request_id}" if topic is Topic.REQUEST else ""
            router.add_get(path + tail, self._page(path, topic))

    def _page(self, path: str, topic: Topic) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def page(request: web.Request) -> web.Response:
            await self._permit(request, path)
            try:
                answer = self._ask(topic, question_of(topic, request.query, request.match_info))
            except BadQuestionError as error:
                return _json({"error": _in_url_words(topic, error)}, status=web.HTTPBadRequest.status_code)
            return _json(answer)

        return page


def question_of(topic: Topic, parameters: Mapping[str, str], place: Mapping[str, str]) -> Question:
    """What a URL asks. Raises `BadQuestionError`."""
    known = _PARAMETERS[topic]
    asked: dict[str, Any] = {}
    for name, text in parameters.items():
        field = known.get(name)
        match field:
            case None:
                names = ", ".join(sorted(known)) or "none"
                raise BadQuestionError(name, text, f"unknown here; known parameters: {names}")
            case "page_size" | "priority":
                asked[field] = _whole(name, text)
            case "hash_flow_ids":
                asked[field] = _switch(name, text)
            case _:
                asked[field] = text
    if "request_id" in place:
        asked["request_id"] = _whole("request_id", place["request_id"])
    return Question(**asked)


def _whole(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise BadQuestionError(name, text, "give a whole number")
    return int(text)


def _switch(name: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise BadQuestionError(name, text, "give true or false")
    return text == "true"


def _in_url_words(topic: Topic, error: BadQuestionError) -> str:
    names = {field: name for name, field in _PARAMETERS[topic].items()}
    return f"{names.get(error.field, error.field)}: {error.value!r}: {error.remedy}"


def _json(document: object, *, status: int = 200) -> web.Response:
    text = msgspec.json.format(msgspec.json.encode(document), indent=1)
    return web.Response(body=text + b"\n", status=status, content_type="application/json")
