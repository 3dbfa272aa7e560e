"""An engine on a running loop: one timer for the whole engine, however many streams it has.

A tick takes everything that happened since the last one and wakes those who wait for it: per token, that is one
wake-up of the stream that gained it, or none if the stream only wants its end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

from epp.sim.engine import Engine, Preempted, Started, Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.sim.engine import FinishReason
    from epp.sim.page import ServerPage
    from epp.sim.protocol import Ask
    from epp.sim.truth import Truth


class Stream:
    """One request in the engine, as its handler sees it."""

    __slots__ = ("_wakes_at", "_wakeup", "arrived_s", "finish", "last_token_s", "request_id", "tokens")

    def __init__(self, request_id: int, *, arrived_s: float) -> None:
        self.request_id = request_id
        self.arrived_s = arrived_s
        self.last_token_s = arrived_s
        self.tokens = 0
        self.finish: FinishReason | None = None
        """Set when no more tokens will come."""
        self._wakeup: asyncio.Future[None] | None = None
        self._wakes_at = 1

    async def more(self, seen: int) -> None:
        """Returns when there are more than `seen` tokens, or the answer has ended."""
        if self.finish is None and self.tokens <= seen:
            self._wakes_at = seen + 1
            await self._sleep()

    async def end(self) -> FinishReason:
        """Returns when the answer has ended."""
        while self.finish is None:
            self._wakes_at = 0
            await self._sleep()
        return self.finish

    def grown(self, token: Token) -> None:
        """The engine made a token."""
        self.tokens = token.number
        self.finish = token.finish
        self.last_token_s = token.at_s
        wanted = token.finish is not None or 0 < self._wakes_at <= self.tokens
        if wanted and self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _sleep(self) -> None:
        self._wakeup = asyncio.get_running_loop().create_future()
        try:
            await self._wakeup
        finally:
            self._wakeup = None


class EngineDriver:
    """Gives an engine its time. `clock` runs with the loop's, but may be finer."""

    def __init__(self, engine: Engine, *, page: ServerPage, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._page = page
        self._clock = clock
        self._streams = dict[int, Stream]()
        self._timer: asyncio.TimerHandle | None = None
        self._armed_s: float | None = None
        self._latest_s = clock()

    def submit(self, ask: Ask) -> Stream:
        """Gives a request to the engine. Raises `TooLongError`."""
        now = self._now()
        request_id = self._engine.submit(
            now, prompt_tokens=ask.prompt_tokens, max_tokens=ask.max_tokens, ending=ask.ending
        )
        self._page.prompt_tokens.observe(ask.prompt_tokens)
        self._streams[request_id] = stream = Stream(request_id, arrived_s=now)
        self._arm()
        return stream

    def abort(self, stream: Stream) -> None:
        """Takes a request out of the engine; nothing happens if it has ended."""
        if self._streams.pop(stream.request_id, None) is not None:
            self._engine.abort(stream.request_id, self._now())
            self._arm()

    def stall(self) -> None:
        """Freezes the engine."""
        self._engine.stall(self._now())
        self._arm()

    def resume(self) -> None:
        """Ends a stall."""
        self._engine.resume(self._now())
        self._arm()

    def truth(self) -> Truth:
        """The engine's own account."""
        return self._engine.truth(self._now())

    def forget_peaks(self) -> None:
        """The account's peaks are those from now on."""
        self._engine.forget_peaks(self._now())

    def render_page(self, *, wall_s: float) -> bytes:
        """The metrics page, now."""
        truth = self.truth()
        return self._page.render(self._engine.load(), truth, wall_s=wall_s)

    def close(self) -> None:
        """Stops the time."""
        self._disarm()

    def _now(self) -> float:
        self._latest_s = max(self._latest_s, self._clock())
        return self._latest_s

    def _arm(self) -> None:
        """Sets the timer to the engine's next event."""
        at_s = self._engine.next_event_at()
        if at_s == self._armed_s:
            return
        self._disarm()
        if at_s is not None:
            self._armed_s = at_s
            self._timer = asyncio.get_running_loop().call_at(at_s, self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._armed_s = None

    def _tick(self) -> None:
        # A loop with a coarse clock may be up to a millisecond early; the step that the timer is for is over.
        self._latest_s = max(self._latest_s, self._armed_s or 0.0)
        self._disarm()
        for event in self._engine.advance(self._now()):
            stream = self._streams.get(event.request_id)
            if stream is None:
                continue  # aborted while this was on its way
            match event:
                case Token():
                    self._observe(stream, event)
                    stream.grown(event)
                    if event.finish is not None:
                        del self._streams[event.request_id]
                case Started():
                    self._page.queue_time_s.observe(event.at_s - stream.arrived_s)
                case Preempted():
                    pass
                case _:
                    assert_never(event)
        self._arm()

    def _observe(self, stream: Stream, token: Token) -> None:
        if token.number == 1:
            self._page.first_token_s.observe(token.at_s - stream.arrived_s)
        else:
            self._page.token_gap_s.observe(token.at_s - stream.last_token_s)
        if token.finish is not None:
            self._page.latency_s.observe(token.at_s - stream.arrived_s)
            self._page.output_tokens.observe(token.number)
            self._page.finished[token.finish] += 1
