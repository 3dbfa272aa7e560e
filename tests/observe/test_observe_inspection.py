"""What a picker knows, as JSON, through a real client."""

from __future__ import annotations

import contextlib
import json

import aiohttp
import pytest

from epp.core.questions import Hashing, Inspector, Question, Topic
from epp.observe.http import Access, ObserveServer
from epp.observe.inspection import PATHS
from tests.core.building import A, controller, request
from tests.observe.surroundings import World

LONGEST_ERROR = 300


class Site:
    """A running server that is asked about a picker with one request running and four queued."""

    def __init__(self, client, *, hashing=Hashing.ON_REQUEST):
        core = controller(A)
        for number in range(1, 6):
            core.handle(request(number, tenant=f"tenant-{number % 2}"), 0.0)
        self.client = client
        self.inspector = Inspector(core, salt=b"salt", hashing=hashing)
        self.asked = []
        self.server = None

    def ask(self, topic, question):
        """What the server asks."""
        self.asked.append((topic, question))
        return self.inspector.answer(topic, question, 3.0)

    async def get(self, path):
        """Status and document of one answer."""
        async with self.client.get(f"http://127.0.0.1:{self.server.port}{path}") as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(text) if is_json else text


@contextlib.asynccontextmanager
async def serving(*, authorizer=None, with_pages=True, **settings):
    """A server on a free port of this machine, and its client."""
    async with aiohttp.ClientSession() as client:
        site = Site(client, **settings)
        site.server = ObserveServer(
            metrics=World().metrics,
            statistics=lambda: World().statistics,
            why_not_ready=lambda: None,
            port=0,
            host="127.0.0.1",
            authorizer=authorizer,
            ask=site.ask if with_pages else None,
        )
        await site.server.start()
        try:
            yield site
        finally:
            await site.server.close()


def url(path):
    """A page's URL: that of requests needs a number."""
    return f"{path}/3" if path == "/debug/request" else path


@pytest.mark.parametrize("path", PATHS)
async def test_every_topic_has_its_page(path):
    """And it asks about that topic, with nothing in particular."""
    async with serving() as site:
        status, document = await site.get(url(path))
    assert status == 200
    assert document["now_s"] == 3.0
    request_id = 3 if path == "/debug/request" else 0
    assert site.asked == [(PATHS[path], Question(request_id=request_id))]
    assert set(PATHS.values()) == set(Topic)


async def test_the_parameters_are_the_questions_fields():
    """Each under its short name."""
    async with serving() as site:
        await site.get("/debug/queue?limit=2&after=queued:2&hash=true&priority=-0&fairness_id=tenant-1")
        await site.get("/debug/request/4?hash=false")
    assert site.asked == [
        (
            Topic.QUEUED,
            Question(
                page_size=2, page_token="queued:2", hash_flow_ids=True, priority=0, fairness_id="tenant-1"
            ),
        ),
        (Topic.REQUEST, Question(request_id=4, hash_flow_ids=False)),
    ]


async def test_one_follows_the_tokens_with_curl():
    """The token of one page is `after` of the next."""
    async with serving() as site:
        found, after = [], ""
        while True:
            _, page = await site.get(f"/debug/queue?limit=1&after={after}")
            found += [entry["request_id"] for entry in page["queued"]]
            after = page["next_page_token"]
            if not after:
                break
    assert found == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/debug/flows?limit=x", "limit: 'x': give a whole number"),
        ("/debug/flows?limit=5000", "limit: '5000': ask for 1 to 1000"),
        ("/debug/flows?limit=" + "9" * 400, "limit: '99"),
        ("/debug/flows?limit=²", "limit: '²': give a whole number"),
        ("/debug/queue?after=flow:0:x", "after: 'flow:0:x': start again"),
        ("/debug/queue?hash=yes", "hash: 'yes': give true or false"),
        ("/debug/queue?priority=", "priority: '': give a whole number"),
        ("/debug/bands?hash=true", "hash: 'true': unknown here; known parameters: after, limit"),
        ("/debug/policy?limit=1", "limit: '1': unknown here; known parameters: none"),
        ("/debug/queue?lmit=1", "lmit: '1': unknown here; known parameters: after, fairness_id, hash"),
        ("/debug/request/first", "request_id: 'first': give a whole number"),
        ("/debug/queue?%ff=%fe&after=%fd", ""),
    ],
)
async def test_a_bad_question_is_told_what_to_do(path, told):
    """The parameter, its value and the remedy, in the words of the URL."""
    async with serving() as site:
        status, document = await site.get(path)
    assert status == 400
    assert document["error"].startswith(told)
    assert len(document["error"]) < LONGEST_ERROR


async def test_an_operator_can_force_hashes():
    """Whatever the question says."""
    async with serving(hashing=Hashing.FORCED) as site:
        for path in ("/debug/flows", "/debug/queue?hash=false", "/debug/running", "/debug/request/3"):
            status, document = await site.get(path)
            assert status == 200
            assert "tenant-" not in json.dumps(document)


@pytest.mark.parametrize(("access", "status"), [(Access.UNAUTHENTICATED, 401), (Access.FORBIDDEN, 403)])
@pytest.mark.parametrize("path", PATHS)
async def test_the_pages_have_the_doorkeeper_of_the_metrics(path, access, status):
    """Who may not read gets nothing, and nothing is asked; a request's number is not part of what is permitted."""
    asked = []

    async def authorizer(token, wanted):
        asked.append((token, wanted))
        return access

    async with serving(authorizer=authorizer) as site:
        assert (await site.get(url(path)))[0] == status
    assert asked == [("", path)]
    assert site.asked == []


async def test_without_an_inspector_there_are_no_pages():
    """A server that isn't told whom to ask has the metrics only."""
    async with serving(with_pages=False) as site:
        assert (await site.get("/debug/bands"))[0] == 404
