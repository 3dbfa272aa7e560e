"""Who may read the metrics: what the API server is asked, what is remembered, and that no token gets out."""

import asyncio
import json
import time
import traceback
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from epp.kube.access import (
    ALLOWED_FOR_S,
    MOST_REMEMBERED,
    REFUSED_FOR_S,
    AccessError,
    MetricsAccess,
    TokenAccess,
)
from epp.kube.connection import ApiServer, Reply, Unreachable

TOKEN = "eyJhbGciOi.very-secret.signature"
USER = {
    "username": "system:serviceaccount:monitoring:prometheus",
    "uid": "1234",
    "groups": ["system:serviceaccounts", "system:authenticated"],
    "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]},
}
ALLOWED, UNAUTHENTICATED, FORBIDDEN = TokenAccess


class Reviewer:
    """The API server's part: it knows one token, and says what a test wants of its user."""

    def __init__(self):
        self.now_s = 100.0
        self.token_status = {"authenticated": True, "user": USER}
        self.access_status = {"allowed": True}
        self.answers = []
        """What the next requests get."""
        self.asked = []
        self.open = asyncio.Event()
        self.open.set()
        self.access = MetricsAccess(self, clock=lambda: self.now_s)

    async def request(self, method, path, *, body, timeout_s):
        assert method == "POST"
        assert timeout_s < 5
        json.dumps(body)
        self.asked.append((path, body))
        await self.open.wait()
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        status = self.token_status
        if path == "/apis/authentication.k8s.io/v1/tokenreviews":
            assert (body["apiVersion"], body["kind"]) == ("authentication.k8s.io/v1", "TokenReview")
            if body["spec"]["token"] != TOKEN:
                status = {"user": {}, "error": f"no such token: {body['spec']['token']}"}
        else:
            assert path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
            assert (body["apiVersion"], body["kind"]) == ("authorization.k8s.io/v1", "SubjectAccessReview")
            status = self.access_status
        return Reply(201, json.dumps(body | {"status": status}).encode(), None)


@asynccontextmanager
async def asking(kubeconfig):
    """Access as an API server has it."""
    server = await ApiServer.connect(kubeconfig)
    try:
        yield MetricsAccess(server, clock=time.monotonic)
    finally:
        await server.close()


@pytest.fixture
async def reviewer():
    """Everything is allowed, until a test says otherwise; in the end nothing is under way."""
    reviewer = Reviewer()
    yield reviewer
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not reviewer.access._reviews


async def test_the_user_of_a_token_is_asked_about_as_he_is(reviewer):
    """TokenReview, then SubjectAccessReview for `get` of the path, with everything that is known of the user."""
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED
    (_, first), (_, second) = reviewer.asked
    assert first["spec"] == {"token": TOKEN}
    assert second["spec"] == {
        "user": USER["username"],
        "uid": "1234",
        "groups": USER["groups"],
        "extra": USER["extra"],
        "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
    }


@pytest.mark.parametrize("token", ["", "tökén", "\udcff"])
async def test_what_is_no_token_is_refused_without_asking(reviewer, token):
    """No token, and none that could be one, costs the API server nothing."""
    assert await reviewer.access(token, "/metrics") is UNAUTHENTICATED
    assert reviewer.asked == []


async def test_a_token_of_nobody_is_not_asked_about_further(reviewer):
    """Unknown to the API server means unauthenticated, after one question."""
    assert await reviewer.access("other", "/metrics") is UNAUTHENTICATED
    assert len(reviewer.asked) == 1


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": False, "user": USER},
        {"authenticated": True},
        {"authenticated": True, "user": {}},
    ],
)
async def test_only_a_user_with_a_name_is_authenticated(reviewer, status):
    """A review that does not say who it is says nothing."""
    reviewer.token_status = status
    assert await reviewer.access(TOKEN, "/metrics") is UNAUTHENTICATED


@pytest.mark.parametrize(
    "status", [{}, {"allowed": False}, {"allowed": False, "denied": True, "evaluationError": "x"}]
)
async def test_who_is_known_and_not_allowed_is_forbidden(reviewer, status):
    """Only `allowed: true` allows."""
    reviewer.access_status = status
    assert await reviewer.access(TOKEN, "/metrics") is FORBIDDEN


async def test_missing_groups_and_extras_are_none(reviewer):
    """A user may have a name and nothing else."""
    reviewer.token_status = {"authenticated": True, "user": {"username": "a", "groups": None, "extra": None}}
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED
    assert reviewer.asked[1][1]["spec"] | {"nonResourceAttributes": 0} == {
        "user": "a",
        "uid": "",
        "groups": [],
        "extra": {},
        "nonResourceAttributes": 0,
    }


# ---------------------------------------------------------------------------------------- memory


async def test_a_yes_holds_for_a_minute_and_a_no_for_seconds(reviewer):
    """Until then nothing is asked; then everything is asked again."""
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED
    reviewer.access_status = {"allowed": False}
    reviewer.now_s += ALLOWED_FOR_S - 0.1
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED
    assert len(reviewer.asked) == 2
    reviewer.now_s += 0.1
    assert await reviewer.access(TOKEN, "/metrics") is FORBIDDEN
    assert len(reviewer.asked) == 4
    reviewer.access_status = {"allowed": True}
    reviewer.now_s += REFUSED_FOR_S - 0.1
    assert await reviewer.access(TOKEN, "/metrics") is FORBIDDEN
    assert len(reviewer.asked) == 4
    reviewer.now_s += 0.1
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED
    assert (ALLOWED_FOR_S, REFUSED_FOR_S) == (60, 5)


async def test_every_token_and_every_path_has_its_own_answer(reviewer):
    """A yes for one says nothing of another."""
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED
    reviewer.access_status = {"allowed": False}
    assert await reviewer.access(TOKEN, "/debug/state") is FORBIDDEN
    assert await reviewer.access("other", "/metrics") is UNAUTHENTICATED
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED


async def test_the_memory_is_bounded(reviewer):
    """However many tokens are tried, the oldest are forgotten."""
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED
    for number in range(MOST_REMEMBERED):
        await reviewer.access(f"guess-{number}", "/metrics")
    assert len(reviewer.access._answers) == MOST_REMEMBERED
    asked = len(reviewer.asked)
    await reviewer.access(f"guess-{MOST_REMEMBERED - 1}", "/metrics")
    assert len(reviewer.asked) == asked
    await reviewer.access(TOKEN, "/metrics")
    assert len(reviewer.asked) == asked + 2


async def test_who_asks_the_same_at_the_same_time_shares_a_review(reviewer):
    """Twenty scrapes at once are two questions; one that is given up does not spoil it for the others."""
    reviewer.open.clear()
    asking = [asyncio.create_task(reviewer.access(TOKEN, "/metrics")) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking[0].cancel()
    reviewer.open.set()
    assert await asyncio.gather(*asking[1:]) == [ALLOWED] * 19
    assert asking[0].cancelled()
    assert len(reviewer.asked) == 2


@pytest.mark.parametrize("turns", range(6))
async def test_a_review_that_nobody_waits_for_ends(reviewer, turns):
    """Given up by all, at any moment, it leaves no task; the next one asks anew."""
    reviewer.open.clear()
    asking = [asyncio.create_task(reviewer.access(TOKEN, "/metrics")) for _ in range(2)]
    for _ in range(turns):
        await asyncio.sleep(0)
    for each in asking:
        each.cancel()
        with suppress(asyncio.CancelledError):
            await each
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    reviewer.open.set()
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED


# --------------------------------------------------------------------------------------- trouble


async def test_missing_rights_are_named_and_logged_once(reviewer):
    """The error says what the ClusterRole needs; a scrape every few seconds does not fill the log."""
    with capture_logs() as logs:
        for _ in range(3):
            reviewer.answers = [Reply(403, b'{"message":"no"}', None)]
            with pytest.raises(AccessError, match="create tokenreviews") as caught:
                await reviewer.access(TOKEN, "/metrics")
            assert "subjectaccessreviews" in str(caught.value)
            assert "ClusterRole" in str(caught.value)
    assert len(logs) == 1
    assert logs[0]["event"].startswith("nobody can read the metrics: the API server forbids a TokenReview: ")


@pytest.mark.parametrize(
    "answer",
    [
        Unreachable("connection refused"),
        Reply(500, b"etcd is unwell", None),
        Reply(401, b"", None),
        Reply(201, b"<html>", None),
        Reply(201, b"{}", None),
        Reply(201, b"\xff", None),
        Reply(201, b'{"x":' + b"[" * 200_000, None),
        Reply(201, b'{"status":{"authenticated":"yes"}}', None),
    ],
)
@pytest.mark.parametrize("before", [0, 1])
async def test_what_cannot_be_found_out_is_an_error_and_not_remembered(reviewer, answer, before):
    """Neither a yes nor a no, for all who asked; the next one asks again."""
    good = Reply(201, json.dumps({"status": {"authenticated": True, "user": USER}}).encode(), None)
    if before and b"authenticated" in getattr(answer, "body", b""):
        answer = Reply(201, b'{"status":{"allowed":"yes"}}', None)
    reviewer.answers = [good] * before + [answer]
    results = await asyncio.gather(
        *(reviewer.access(TOKEN, "/metrics") for _ in range(3)), return_exceptions=True
    )
    assert {type(each) for each in results} == {AccessError}
    assert await reviewer.access(TOKEN, "/metrics") is ALLOWED


@pytest.mark.parametrize(
    "answer",
    [
        Unreachable("broke off"),
        Reply(403, TOKEN.encode(), None),
        Reply(422, f'{{"message":"Invalid value: {TOKEN}"}}'.encode(), None),
        Reply(201, TOKEN.encode(), None),
    ],
)
async def test_no_token_gets_out(reviewer, answer):
    """Not in exceptions and their traces, not in the log, not in the memory or anything's repr."""
    with capture_logs() as logs:
        reviewer.answers = [answer]
        with pytest.raises(AccessError) as caught:
            await reviewer.access(TOKEN, "/metrics")
        await reviewer.access(TOKEN, "/metrics")
    shown = "".join(traceback.format_exception(caught.value))
    shown += repr(logs) + repr(vars(reviewer.access)) + repr(asyncio.all_tasks())
    assert TOKEN not in shown


async def test_an_api_server_says_who_may(fake_api_server, tmp_path):
    """Through a real connection: one who may, one whom nobody knows, and one who may not."""
    fake_api_server.reviews.tokens = {TOKEN: "prometheus", "other": "somebody"}
    fake_api_server.reviews.allowed = {("prometheus", "get", "/metrics")}
    async with asking(fake_api_server.kubeconfig(tmp_path)) as access:
        tokens = (TOKEN, "unknown", "other")
        assert [await access(token, "/metrics") for token in tokens] == list(TokenAccess)
        assert await access(TOKEN, "/debug/state") is FORBIDDEN


async def test_a_real_api_server_knows_its_service_accounts(rbac_api_server, tmp_path):
    """A service account may read what a ClusterRole allows; one without the right to ask is told what it lacks."""
    group = "rbac.authorization.k8s.io"

    async def post(path, **document):
        status, answer = await asyncio.to_thread(rbac_api_server.call, "POST", path, document)
        assert status == 201, answer
        return answer

    accounts = "/api/v1/namespaces/access/serviceaccounts"
    await post("/api/v1/namespaces", metadata={"name": "access"})
    await post(accounts, metadata={"name": "scraper"})
    rule = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
    await post(f"/apis/{group}/v1/clusterroles", metadata={"name": "scraper"}, rules=[rule])
    await post(
        f"/apis/{group}/v1/clusterrolebindings",
        metadata={"name": "scraper"},
        roleRef={"apiGroup": group, "kind": "ClusterRole", "name": "scraper"},
        subjects=[{"kind": "ServiceAccount", "name": "scraper", "namespace": "access"}],
    )
    answer = await post(f"{accounts}/scraper/token", spec={})
    token = answer["status"]["token"]
    async with asking(rbac_api_server.kubeconfig(tmp_path / "admin")) as access:
        assert await access(token, "/metrics") is ALLOWED
        assert await access(token, "/debug/state") is FORBIDDEN
        assert await access(f"{token}x", "/metrics") is UNAUTHENTICATED
    async with asking(rbac_api_server.kubeconfig(tmp_path / "scraper", token=token)) as access:
        with pytest.raises(AccessError, match="create tokenreviews"):
            await access(token, "/metrics")
