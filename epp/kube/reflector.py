"""Follows one collection of objects: a list, then a watch from there, for ever, through every kind of trouble.

- What is held stays in use until something newer is known; how old it is, is in `standing`.
- A list is taken in when it is complete. The loop gets its turn every few milliseconds of work.
- A watch that is silent for two bookmark intervals is dead, whatever TCP says, and is begun anew from where it stood.
- What was not understood leads to a new list, never to a guess.
- No answer, however fast, makes it ask fast: pauses double from 0.2 s to 30 s, and start over only when a watch has
  brought news or lived for a second. A first 410 alone costs no pause; after it only a second's life counts.
- Between two awaits everything is consistent, so a run can be cancelled anywhere. The next run lists, and tells the
  difference from what was held.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from epp.api.changes import Batch
from epp.api.wire import WireError, read_list
from epp.kube.cache import Cache
from epp.kube.connection import LineTooLong, Reply, Unreachable
from epp.kube.pace import Backoff, rung
from epp.kube.standing import Failure, Relist, Standing, State

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from epp.api.objects import ObjectRef
    from epp.api.problem import Problem
    from epp.api.wire import ListPage
    from epp.api.written import Written
    from epp.kube.cache import Listing
    from epp.kube.connection import ApiServer, Stream
    from epp.kube.resource import Resource

PAGE_OBJECTS: Final = 500
PAGE_BYTES: Final = 2_000_000
"""More than this takes too long to take apart in one step, so that further pages are made smaller."""
STEP_OBJECTS: Final = 50
"""One or two milliseconds of decoding, after which others have their turn."""
LIST_TIMEOUT_S: Final = 30.0
"""For one page."""
CONNECT_TIMEOUT_S: Final = 15.0
SILENCE_S: Final = 120.0
"""Bookmarks come once a minute: one may be lost."""
WATCH_S: Final = (290.0, 590.0)
"""How long watches are asked to last, at random, so that a thousand of them don't come back at once."""
SHORT_WATCH_S: Final = 1.0
"""A watch that ends sooner and brought nothing is a failure."""
FIRST_PAUSE_S: Final = 0.2
MOST_PAUSE_S: Final = 30.0
MOST_RETRY_AFTER_S: Final = 300.0
ABSENT_PAUSE_S: Final = (5.0, 10.0)
"""How often to look whether a CRD is installed by now."""
GONE_AFTER_S: Final = 10.0
"""An API server that starts may not know a kind for a moment: objects are gone with it only after so long."""
DOUBTED_PAUSE_S: Final = (2.0, 3.0)


class _Trouble(NamedTuple):
    """Why it can't go on at once."""

    failure: Failure
    message: str
    retry_after_s: float | None = None


class Reflector:
    """One collection. `take` gets what is different; `told` is called whenever its standing changes."""

    def __init__(
        self,
        server: ApiServer,
        resource: Resource,
        *,
        take: Callable[[Batch], None],
        told: Callable[[Reflector], None],
        clock: Callable[[], float],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.resource = resource
        self.state = State.STARTING
        self.message = ""
        """What is wrong, while something is."""
        self.trouble_since_s: float | None = None
        """When what is wrong began to be, on the clock."""
        self.is_settled = False
        """Whether there was ever a list, or an answer that says why there is none."""
        self.was_listed = False
        self._server = server
        self._take = take
        self._told = told
        self._clock = clock
        self._rng = rng
        self._sleep = sleep
        self._cache = Cache(resource)
        self._backoff = Backoff(first_s=FIRST_PAUSE_S, most_s=MOST_PAUSE_S, chance=rng.random)
        self._relist: Relist | None = Relist.START
        """Why the next step is a list; None if it is a watch."""
        self._page_objects = PAGE_OBJECTS
        self._bell = asyncio.Event()
        self._unreached = False
        """The API server could not be asked; it did not say no."""
        self._expired = 0
        """410s since a watch lived for a second."""
        self._silences = 0
        """Watches in a row that fell silent without having brought anything."""
        self._missing_since_s: float | None = None
        """Since when every answer was a 404."""
        self._is_known = False
        """Whether what is held was ever what the API server had."""
        self._contact_s: float | None = None
        self._relists = dict.fromkeys((each.value for each in Relist), 0)
        self._failures = dict.fromkeys((each.value for each in Failure), 0)

    def aim(self, resource: Resource) -> None:
        """Other objects of the same kind are wanted from the next run on."""
        self.resource = resource
        self._is_known = False
        self._set(State.STARTING)

    @property
    def is_known(self) -> bool:
        """Whether what is held was once what the API server had, be it nothing, of the objects that are wanted now."""
        return self._is_known

    def idle(self) -> Batch:
        """It does not run for now, since no objects are wanted; what was held is gone, for nobody watches it."""
        batch = self._cache.replace(self._cache.begin(), resume_at="")
        self._relist = Relist.START
        self._is_known = self.is_settled = self.was_listed = False
        self._set(State.IDLE)
        return batch

    def standing(self) -> Standing:
        """How things are now."""
        return Standing(
            resource=str(self.resource),
            state=self.state,
            objects=self._cache.usable,
            contact_age_s=None if self._contact_s is None else max(self._clock() - self._contact_s, 0.0),
            relists=MappingProxyType(dict(self._relists)),
            failures=MappingProxyType(dict(self._failures)),
            message=self.message,
        )

    def written(self, ref: ObjectRef) -> Written | None:
        """What the API server holds of an object's status, as far as we know."""
        return self._cache.written(ref)

    def broken(self, ref: ObjectRef) -> tuple[Problem, ...]:
        """Why an object as it is now can't be read; empty if it can be."""
        return self._cache.broken(ref)

    async def run(self) -> None:
        """Follow, until cancelled."""
        self._relist = Relist.START
        self._missing_since_s = None
        self._recovered()
        while True:
            self._bell.clear()
            pause_s = await self._step()
            if pause_s > 0 and self._unreached:
                await rung(self._bell, within_s=pause_s, sleep=self._sleep)
            elif pause_s > 0:
                await self._sleep(pause_s)

    def hurry(self) -> None:
        """The API server answers others again: if it was only out of reach, there is no use in waiting any longer."""
        self._bell.set()

    async def _step(self) -> float:
        """One list or one watch; how long to pause after it."""
        self._unreached = False
        try:
            if self._relist is not None:
                trouble = await self._list(self._relist)
            else:
                trouble = await self._watch()
        except Unreachable as error:
            self._unreached = True
            trouble = self._broken(error)
        if not isinstance(trouble, Reply) or trouble.status != 404:
            self._missing_since_s = None
        if isinstance(trouble, Reply):
            return self._refused(trouble)
        return 0.0 if trouble is None else self._failed(trouble)

    # ------------------------------------------------------------------------------------ list

    async def _list(self, why: Relist) -> _Trouble | Reply | None:
        """Look at everything; what is in the way of that."""
        listing = self._cache.begin()
        resume_at = token = ""
        while not resume_at or token:
            query = {"limit": str(self._page_objects), **self.resource.selectors}
            if token:
                query["continue"] = token
            reply = await self._server.request(
                "GET", self.resource.path, query=query, timeout_s=LIST_TIMEOUT_S
            )
            if reply.status != 200:
                return reply
            self._missing_since_s = None
            self._heard()
            try:
                page = read_list(reply.body)
            except WireError as error:
                return _Trouble(Failure.UNREADABLE, f"a list {error}")
            if not page.resource_version or resume_at not in {"", page.resource_version}:
                return _Trouble(Failure.UNREADABLE, "a list is of no version, or of several")
            resume_at, token = page.resource_version, page.continue_token
            self._page_objects = _fitting(len(page.items), len(reply.body), self._page_objects)
            await self._read(page, listing)
        batch = self._cache.replace(listing, resume_at=resume_at)
        self._relists[why.value] += 1
        self._relist = None
        self._hand_over(batch, State.FOLLOWING)
        return None

    async def _read(self, page: ListPage, listing: Listing) -> None:
        for start in range(0, len(page.items), STEP_OBJECTS):
            for raw in page.items[start : start + STEP_OBJECTS]:
                try:
                    listing.add(raw)
                except WireError:
                    self._failures[Failure.UNREADABLE.value] += 1
            await asyncio.sleep(0)

    # ----------------------------------------------------------------------------------- watch

    async def _watch(self) -> _Trouble | Reply | None:
        """Take in changes as they come; why it ended before its time."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._cache.resume_at,
            "timeoutSeconds": str(round(self._between(WATCH_S))),
            **self.resource.selectors,
        }
        began_s = self._clock()
        is_open = False
        try:
            async with self._server.watch(
                self.resource.path, query=query, connect_timeout_s=CONNECT_TIMEOUT_S
            ) as stream:
                if stream.status != 200:
                    return await stream.reply()
                is_open = True
                self._heard()
                self._set(State.FOLLOWING)
                end = await self._follow(stream)
        finally:
            lived_s = self._clock() - began_s
            if is_open and lived_s >= SHORT_WATCH_S:
                self._recovered()
        if end is None and lived_s < SHORT_WATCH_S:
            return _Trouble(Failure.CLOSED, "watches are closed as soon as they begin")
        return end

    async def _follow(self, stream: Stream) -> _Trouble | Reply | None:
        """Take in changes; None if the API server ended the watch politely."""
        while (line := await stream.line(timeout_s=SILENCE_S)) is not None:
            self._heard()
            self._silences = 0
            lines = [line, *stream.lines_here(STEP_OBJECTS - 1)]
            heard = self._cache.hear(lines)
            if heard.is_news and not self._expired:
                self._backoff.reset()
            if any(heard.batch):
                self._take(heard.batch)
            match heard.end:
                case Reply():
                    return heard.end
                case Relist.REWOUND:
                    self._relist = Relist.REWOUND
                    return _Trouble(Failure.UNREADABLE, "the API server's versions went back")
                case Relist():
                    self._relist = heard.end
                    return _Trouble(Failure.UNREADABLE, "a line of a watch makes no sense")
                case None:
                    pass
            if len(lines) == STEP_OBJECTS:
                await asyncio.sleep(0)
        return None

    # --------------------------------------------------------------------------------- trouble

    def _refused(self, reply: Reply) -> float:
        """The API server won't; how long to leave it alone."""
        match reply.status:
            case 410:
                return self._forgotten(reply)
            case 404:
                return self._missing(reply)
            case 401:
                failure = Failure.UNAUTHORIZED
            case 403:
                failure = Failure.FORBIDDEN
            case 429:
                failure = Failure.THROTTLED
            case status if status >= 500:
                failure = Failure.SERVER
            case _:
                failure = Failure.REFUSED
        if self._relist is None and (failure is Failure.REFUSED or _TOO_LARGE in reply.body):
            self._relist = Relist.REFUSED
        return self._failed(_Trouble(failure, f"{reply.status}: {reply.message}", reply.retry_after_s))

    def _forgotten(self, reply: Reply) -> float:
        self._relist = Relist.EXPIRED
        self._expired += 1
        if self._expired == 1:
            self._failures[Failure.EXPIRED.value] += 1
            return 0.0
        return self._failed(_Trouble(Failure.EXPIRED, f"410: {reply.message}"))

    def _missing(self, reply: Reply) -> float:
        """The kind is not served, and if that is really so, its objects are gone."""
        now_s = self._clock()
        if self._missing_since_s is None:
            self._missing_since_s = now_s
        self._failures[Failure.NOT_FOUND.value] += 1
        self._relist = Relist.START
        message = f"404: {reply.message}"
        if self._cache and now_s - self._missing_since_s < GONE_AFTER_S:
            self._set(State.BEHIND, message)
            return self._between(DOUBTED_PAUSE_S)
        self._heard()
        self._hand_over(self._cache.replace(self._cache.begin(), resume_at=""), State.ABSENT, message)
        return self._between(ABSENT_PAUSE_S)

    def _broken(self, error: Unreachable) -> _Trouble:
        if isinstance(error, LineTooLong):
            self._relist = Relist.UNREADABLE
            return _Trouble(Failure.UNREADABLE, str(error))
        if isinstance(error.__cause__, TimeoutError):
            self._silences += 1
            if self._silences > 1:
                self._relist = Relist.SILENT
            return _Trouble(Failure.SILENT, str(error))
        return _Trouble(Failure.UNREACHABLE, str(error))

    def _failed(self, trouble: _Trouble) -> float:
        """Note what happened; how long to pause."""
        self._failures[trouble.failure.value] += 1
        if trouble.failure is Failure.FORBIDDEN:
            self._hand_over(Batch(), State.FORBIDDEN, trouble.message)
        else:
            self._set(State.BEHIND if self._is_known else State.STARTING, trouble.message)
        asked_s = min(trouble.retry_after_s or 0.0, MOST_RETRY_AFTER_S) * self._between((1.0, 1.1))
        return max(self._backoff.next_s(), asked_s)

    # ------------------------------------------------------------------------------------ state

    def _hand_over(self, batch: Batch, state: State, message: str = "") -> None:
        was = self.is_settled, self.was_listed
        self.is_settled, self.was_listed = True, self.was_listed or state is State.FOLLOWING
        self._set(state, message)
        if any(batch) or was != (self.is_settled, self.was_listed):
            self._take(batch)

    def _set(self, state: State, message: str = "") -> None:
        if state in {State.FOLLOWING, State.ABSENT}:
            self._is_known = True
        if state not in {State.STARTING, State.BEHIND} or not message:
            self.trouble_since_s = None
        elif self.trouble_since_s is None:
            self.trouble_since_s = self._clock()
        self.state, self.message = state, message
        self._told(self)

    def _heard(self) -> None:
        self._contact_s = self._clock()

    def _recovered(self) -> None:
        self._backoff.reset()
        self._expired = 0

    def _between(self, bounds: tuple[float, float]) -> float:
        return self._rng.uniform(*bounds)


_TOO_LARGE = b"Too large resource version"
"""What an API server says that has not come, or will never come again, to a version that it is asked for."""


def _fitting(objects: int, size_bytes: int, limit: int) -> int:
    """How many objects to ask for next, so that a page is no larger than it should be."""
    if size_bytes <= PAGE_BYTES:
        return limit
    return max(min(limit, objects * PAGE_BYTES // size_bytes), STEP_OBJECTS)
