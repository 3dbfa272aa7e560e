"""One streaming client of the OpenAI API: it sends a request, watches the answer, and tells the tally.

Promises:
- No retries, no connection limit: what is measured is the server's behaviour, not a client library's kindness.
- Every request that is sent is reported as ended exactly once, with times counted from when it was due; only
  cancellation goes unreported.
- A client whose first token doesn't come within its patience hangs up, as people do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import aiohttp

from epp.demo.tally import Outcome, Result

if TYPE_CHECKING:
    from types import TracebackType

    from epp.demo.tally import Tally
    from epp.demo.traffic import Arrival

OBJECTIVE_HEADER = "x-llm-d-inference-objective"
REASON_HEADER = "x-llm-d-request-dropped-reason"

_OK = 200
_EVENT = b"data:"
_DONE = b"data: [DONE]"
_LONGEST_ANSWER_S = 60.0
_SHOWN_BYTES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What every request of the demo asks for."""

    model: str
    text: str
    max_tokens: int

    def body(self) -> dict[str, object]:
        """The request's JSON."""
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": self.text}],
            "max_tokens": self.max_tokens,
            "stream": True,
        }


class Client:
    """Sends requests to one base URL, as many at once as it is told to."""

    def __init__(self, base_url: str, prompt: Prompt, *, patience_s: float) -> None:
        self._url = f"{base_url}/v1/chat/completions"
        self._body = prompt.body()
        self._patience_s = patience_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience_s),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, arrival: Arrival, due_s: float, tally: Tally) -> None:
        """Send one request that is due at `due_s` on the loop's clock, and see it through."""
        loop = asyncio.get_running_loop()
        start_s = due_s - arrival.due_s
        name = arrival.traffic_class.name
        first_token_s: float | None = None
        tally.sent(name)
        try:
            async with (
                asyncio.timeout_at(due_s + self._patience_s) as deadline,
                self._session.post(self._url, json=self._body, headers=_headers(arrival)) as response,
            ):
                tail = b""
                async for data in response.content.iter_any():
                    tail = tail[-len(_DONE) :] + data
                    if first_token_s is None and response.status == _OK and _EVENT in tail:
                        first_token_s = loop.time()
                        deadline.reschedule(first_token_s + _LONGEST_ANSWER_S)
                        tally.started(name, ttft_s=first_token_s - due_s, now_s=first_token_s - start_s)
                result, detail = _judged(response, tail)
        except TimeoutError:
            if first_token_s is None:
                result, detail = Result.GAVE_UP, ""
            else:
                result, detail = Result.BROKEN, f"no end within {_LONGEST_ANSWER_S:g} s of its first token"
        except (aiohttp.ClientError, OSError) as error:
            result, detail = Result.BROKEN, f"{type(error).__name__}: {error}"
        first = None if first_token_s is None else first_token_s - start_s
        tally.ended(Outcome(name, arrival.due_s, first, loop.time() - start_s, result, detail))


def _headers(arrival: Arrival) -> dict[str, str]:
    objective = arrival.traffic_class.objective
    return {} if objective is None else {OBJECTIVE_HEADER: objective}


def _judged(response: aiohttp.ClientResponse, tail: bytes) -> tuple[Result, str]:
    """A refusal is one that says why it refuses; any other failure is nobody's decision."""
    if response.status == _OK:
        return (Result.COMPLETED, "") if _DONE in tail else (Result.BROKEN, "the answer has no end")
    reason = response.headers.get(REASON_HEADER)
    if reason is not None:
        return Result.REFUSED, f"{response.status} {reason}"
    return Result.BROKEN, f"{response.status} {tail[:_SHOWN_BYTES].decode('utf-8', 'replace')}"
