"""Runs for the lease of a pool, so that one picker of several dispatches.

Promises:
- No trouble with the API server ends it; it goes on trying.
- A lease that its holder releases is taken over at once: the Lease is watched. The watch only says when to look; what
  counts is read, and written on condition that it is still what was read.
- `standing` is true at the moment of asking, also when the event loop was held up.
- The log has a line when something changes, and none for what goes on as before.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import TYPE_CHECKING, assert_never

import structlog

from epp.kube.connection import Unreachable
from epp.kube.lease import (
    ABSENT,
    Elector,
    LeaseError,
    LeaseLoss,
    LeaseRecord,
    LeaseTerms,
    Standing,
    decode_lease,
    encode_new,
    encode_patch,
    holder_after,
    micro_time,
)
from epp.kube.pace import Backoff, rung

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping

    from epp.kube.connection import ApiServer, Reply

RELEASE_TIMEOUT_S = 2.0
_MERGE_PATCH = "application/merge-patch+json"
_ROUNDS = 5
"""How often a step is begun anew at once because others wrote in between."""
_SHORTEST_PAUSE_S = 0.02
"""Between two tries, whatever the watch says."""
_WATCH_PAUSE_S = 0.1
_LONGEST_WATCH_PAUSE_S = 10.0
_PATIENT_REFUSALS = 5
"""So often the watch may be forbidden in a row, over some seconds: API servers that start forbid everything."""
_WATCH_SILENCE_S = 60.0
"""A holder renews every few seconds: a watch that says nothing for so long is looked at again."""


def lease_name(namespace: str, pool: str) -> str:
    """The Lease of a pool, named as upstream does."""
    return f"epp-{namespace}-{pool}.llm-d.ai"


def own_identity(environ: Mapping[str, str]) -> str:
    """A name for this process among the candidates: where it runs, and what no earlier process there had."""
    return f"{environ.get('POD_NAME') or socket.gethostname()}_{secrets.token_hex(6)}"


class _Trouble(Exception):  # noqa: N818 - nobody outside sees it
    """A try came to nothing. The message says why."""

    def __init__(self, why: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class Leadership:
    """One candidate. Starts as a standby; `changed` is called with every other standing from then on."""

    def __init__(
        self,
        server: ApiServer,
        *,
        namespace: str,
        name: str,
        identity: str,
        terms: LeaseTerms,
        on_loss: LeaseLoss,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]],
        changed: Callable[[Standing], None],
    ) -> None:
        """Prepare. `wall_clock` is in seconds since 1970; it is written into the Lease, and nothing depends on it."""
        self._server = server
        self._namespace = namespace
        self._name = name
        self._folder = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._terms = terms
        self._clock = clock
        self._wall_clock = wall_clock
        self._rng = rng
        self._sleep = sleep
        self._changed = changed
        self._elector = Elector(identity, terms=terms, on_loss=on_loss)
        self._turn = asyncio.Lock()
        """Held during a step of the election: steps never overlap."""
        self._bell = asyncio.Event()
        """The Lease is not what we know: look."""
        self._reached = asyncio.Event()
        """The Lease was read once."""
        self._renewed = asyncio.Event()
        self._trouble = ""
        """Why the last try came to nothing; empty if it did not."""
        self._retry_after_s = 0.0
        self._told = Standing.STANDBY
        self._logged = (Standing.STANDBY, "")
        self._log = structlog.get_logger().bind(lease=f"{namespace}/{name}")

    @property
    def standing(self) -> Standing:
        """Where we stand now."""
        return self._elector.standing(now_s=self._clock())

    @property
    def identity(self) -> str:
        """What we are called in the Lease."""
        return self._elector.identity

    @property
    def holder(self) -> str:
        """Who held the lease when we last heard of it; empty if nobody did."""
        return self._elector.holder

    @property
    def transitions(self) -> int:
        """How often the holder changed, by the Lease's own count."""
        return self._elector.transitions

    def renewal_age_s(self) -> float | None:
        """How long ago the renewal was sent by which we hold the lease; None if we don't hold it."""
        renewed_s = self._elector.renewed_s
        return None if renewed_s is None else self._clock() - renewed_s

    async def run(self) -> None:
        """Compete until cancelled. After `release` it only looks who holds the lease, and gives back what is ours."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._compete())
            tasks.create_task(self._listen())
            tasks.create_task(self._mind_deadline())

    async def release(self) -> None:
        """Stop leading now, and let the next one in if the lease is ours. Takes `RELEASE_TIMEOUT_S` at most.

        May be called while `run` goes on, after it, or without it.
        """
        self._elector.retire()
        self._tell()
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S), self._turn:
                await self._give_back()
        except TimeoutError:
            why = f"the API server did not answer within {RELEASE_TIMEOUT_S:g}s"
        except _Trouble as trouble:
            why = str(trouble)
        else:
            return
        self._log.warning(
            f"can't release the lease: {why}; others can take it {self._terms.duration_s:g}s after our last renewal"
        )

    # ------------------------------------------------------------------------ the three tasks

    async def _compete(self) -> None:
        """Try, and try again when it is time or when the bell rings."""
        while True:
            self._bell.clear()
            began_s = self._clock()
            async with self._turn:
                await self._try()
            self._tell()
            await self._pause(self._pause_s(began_s))

    async def _listen(self) -> None:
        """Ring the bell when somebody else changes who holds the lease."""
        await self._reached.wait()
        backoff = Backoff(first_s=_WATCH_PAUSE_S, most_s=_LONGEST_WATCH_PAUSE_S, chance=self._rng.random)
        warned = False
        while True:
            began_s = self._clock()
            refusal = await self._watch()
            lasting = backoff.failures >= _PATIENT_REFUSALS and not warned
            if lasting and refusal is not None and refusal.status in {401, 403}:
                warned = True
                self._log.warning(
                    f"can't watch the lease: {refusal.message}; that it was released is noticed only by the next "
                    f"try, after about {self._terms.retry_s:.2g}s; {self._remedy}"
                )
            if self._clock() - began_s > _LONGEST_WATCH_PAUSE_S:
                backoff.reset()
            await self._sleep(backoff.next_s(None if refusal is None else refusal.retry_after_s))

    async def _mind_deadline(self) -> None:
        """Tell when the renew deadline passes, whatever the tries are waiting for."""
        while True:
            self._renewed.clear()
            left_s = self._elector.confirmed_until_s - self._clock()
            if left_s > 0:
                await self._sleep(left_s)
            else:
                self._tell()
                await self._renewed.wait()

    # --------------------------------------------------------------------------------- a step

    async def _try(self) -> None:
        self._retry_after_s = 0.0
        try:
            await self._step()
        except _Trouble as trouble:
            self._trouble = str(trouble)
            self._retry_after_s = min(trouble.retry_after_s, self._terms.retry_s)
        else:
            self._trouble = ""

    async def _step(self) -> None:
        for _ in range(_ROUNDS):
            if self._elector.must_read:
                await self._read()
            proposal = self._elector.propose(now_s=self._clock(), wall_time=micro_time(self._wall_clock()))
            if proposal is None or await self._write(proposal):
                break
        else:
            raise _Trouble("others write to it all the time")
        if self._elector.is_retired:
            await self._give_back()  # a release that came to nothing, or during our last renewal

    async def _give_back(self) -> None:
        for _ in range(_ROUNDS):
            if not self._elector.may_hold:
                return
            release = self._elector.propose_release(wall_time=micro_time(self._wall_clock()))
            if release is None:
                await self._read()
            elif await self._write(release):
                self._log.info("released the lease")
                return
        raise _Trouble("others write to it all the time")

    async def _read(self) -> None:
        reply = await self._request("GET", f"{self._folder}/{self._name}")
        match reply.status:
            case 200:
                record = _decoded(reply)
            case 404:
                record = ABSENT
            case _:
                raise self._refused(reply)
        self._elector.read(record, now_s=self._clock())
        self._reached.set()

    async def _write(self, record: LeaseRecord) -> bool:
        """Whether it was written; if not, somebody else wrote in between."""
        sent_s = self._clock()
        if record.resource_version:
            reply = await self._request(
                "PATCH", f"{self._folder}/{self._name}", body=encode_patch(record), content_type=_MERGE_PATCH
            )
            outdated = {404, 409}
        else:
            body = encode_new(record, namespace=self._namespace, name=self._name)
            reply = await self._request("POST", self._folder, body=body)
            outdated = {409}
        if reply.status in outdated:
            return False
        if reply.status not in {200, 201}:
            raise self._refused(reply)
        accepted = _decoded(reply)
        self._tell()  # if our time was over before this came, somebody may have acted on that
        self._elector.accepted(accepted, sent_s=sent_s, now_s=self._clock())
        self._renewed.set()
        return True

    async def _request(
        self, method: str, path: str, *, body: object | None = None, content_type: str = "application/json"
    ) -> Reply:
        # Of the time between a renewal and its deadline, so much that one slow answer leaves time for a second try.
        timeout_s = round(self._terms.renew_deadline_s / 3, 2)
        try:
            return await self._server.request(
                method, path, body=body, content_type=content_type, timeout_s=timeout_s
            )
        except Unreachable as error:
            raise _Trouble(f"the API server doesn't answer: {error}") from error

    def _refused(self, reply: Reply) -> _Trouble:
        why = f"the API server says {reply.status}: {reply.message}"
        if reply.status == 403:
            why = f"{why}; {self._remedy}"
        return _Trouble(why, retry_after_s=reply.retry_after_s or 0.0)

    @property
    def _remedy(self) -> str:
        return (
            "allow the picker's service account to get, watch, create and patch leases "
            f"(API group coordination.k8s.io) in namespace {self._namespace}"
        )

    # ------------------------------------------------------------------------------ the pauses

    def _pause_s(self, began_s: float) -> float:
        """How long until the next try, if the bell does not ring."""
        now_s, retry_s = self._clock(), self._terms.retry_s
        if self._elector.renewed_s is not None:
            wait_s = began_s + retry_s - now_s
        else:
            # Standbys that started together need not ask together for ever.
            wait_s = retry_s * (0.8 + 0.4 * self._rng.random())
            free_in_s = self._elector.free_in_s(now_s=now_s)
            if free_in_s > 0:
                wait_s = min(wait_s, free_in_s)
        if self._trouble:
            wait_s = max(wait_s, retry_s / 4, self._retry_after_s)
        return max(wait_s, _SHORTEST_PAUSE_S)

    async def _pause(self, wait_s: float) -> None:
        """Until it is time, or the bell rings."""
        await self._sleep(_SHORTEST_PAUSE_S)
        await rung(self._bell, within_s=wait_s - _SHORTEST_PAUSE_S, sleep=self._sleep)

    # ----------------------------------------------------------------------------- the watch

    async def _watch(self) -> Reply | None:
        """Listen until the watch ends; what the API server said, if it refused."""
        query = {"watch": "1", "fieldSelector": f"metadata.name={self._name}"}
        timeout_s = self._terms.renew_deadline_s
        try:
            async with self._server.watch(self._folder, query=query, connect_timeout_s=timeout_s) as stream:
                if stream.status != 200:
                    return await stream.reply()
                while (line := await stream.line(timeout_s=_WATCH_SILENCE_S)) is not None:
                    if holder_after(line) != self._elector.holder:
                        self._bell.set()
        except (Unreachable, LeaseError):
            pass  # it is opened again, and the tries go on meanwhile
        return None

    # ------------------------------------------------------------------------------- telling

    def _tell(self) -> None:
        """Say where we stand, if that is news."""
        standing = self.standing
        if standing is not self._told:
            self._told = standing
            self._changed(standing)
        news = ""
        if standing is Standing.STANDBY and self.holder != self.identity:
            news = "trouble" if self._trouble else self.holder
        if (standing, news) == self._logged:
            return
        self._logged = (standing, news)
        trouble = self._trouble or "the API server doesn't answer"
        match standing:
            case Standing.LEADING:
                self._log.info("leading", transitions=self.transitions)
            case Standing.UNCONFIRMED:
                self._log.warning(f"can't renew the lease: {trouble}; still dispatching (--lease-loss=keep)")
            case Standing.FENCED:
                self._log.warning(
                    f"can't renew the lease: {trouble}; not dispatching until it is renewed (--lease-loss=stop)"
                )
            case Standing.STANDBY:
                if self._trouble:
                    self._log.warning(f"standby; can't try for the lease: {trouble}")
                else:
                    self._log.info(f"standby; the lease is held by {news}" if news else "standby")
            case _:
                assert_never(standing)


def _decoded(reply: Reply) -> LeaseRecord:
    try:
        return decode_lease(reply.body)
    except LeaseError as error:
        raise _Trouble(f"the API server's answer makes no sense: {error}") from error
