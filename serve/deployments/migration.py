"""Answers that outlive the replica which computes them. No Ray here: replicas are whatever generates and streams.

A request's tokens are a function of its prompt, its sampling and its seed. So whatever was lost with a replica can be
computed again at another one, and a stream that has sent tokens goes on after them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from serve.api.backend import Grown
from serve.errors import DeadlineError, ExpertUnavailableError, OverloadedError
from serve.messages import Completion, Delta, GenerationRequest, TokenLogprob

T = TypeVar("T")


class Replicas(Protocol):
    """The replicas of one expert; any of them answers a call."""

    async def generate(self, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """Whole answers.

        Raises:
            ExpertUnavailableError: the replica was lost, or there is none. OverloadedError: too many wait.
        """

    def stream(self, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        """Answers as they grow; raises what `generate` does."""


@dataclass(frozen=True)
class Patience:
    """How a lost request is tried again.

    Attributes:
        first, most: seconds before the first further attempt, and between two at most; each is twice the one before.
        losses: attempts that may be lost; a request that ends every replica it comes to is given up.
    """

    first: float = 0.05
    most: float = 1.0
    losses: int = 40

    def pauses(self) -> Iterator[float]:
        """Seconds before each further attempt."""
        return (min(self.most, self.first * 2 ** min(attempt, 20)) for attempt in range(self.losses))


class Migrating:
    """Replicas that may be lost at any moment, as one that is not.

    Args:
        replicas: that answer.
        patience: with lost ones.
    """

    def __init__(self, replicas: Replicas, patience: Patience | None = None) -> None:
        self._replicas, self._patience = replicas, patience or Patience()

    async def generate(self, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """Whole answers, within `seconds`.

        Raises:
            RequestError: refused, not in time, or lost more often than patience has it.
        """
        asked = seeded(requests)
        return await persistently(lambda left: self._replicas.generate(asked, left), seconds, self._patience)

    async def stream(self, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        """Answers as they grow, each token once, whatever happens meanwhile.

        Raises:
            RequestError: as `generate` does; never an end before every answer has told its `finish_reason`.
        """
        answers = [_Told(request) for request in seeded(requests)]
        attempts = _Attempts(seconds, self._patience)
        while open_ := [place for place, answer in enumerate(answers) if not answer.finished]:
            source = self._replicas.stream([answers[place].rest() for place in open_], attempts.left())
            try:
                async for grown in source:
                    news = [(open_[at], new) for at, delta in grown if (new := answers[open_[at]].take(delta))]
                    if news:
                        attempts.progress()
                        yield news
                if not all(answer.finished for answer in answers):
                    raise ExpertUnavailableError("the stream ended before the answer was whole", fix="ask again")
            except (ExpertUnavailableError, OverloadedError) as error:
                await attempts.pause_after(error)
            finally:
                if (close := getattr(source, "aclose", None)) is not None:
                    await close()


async def persistently(ask: Callable[[float], Awaitable[T]], seconds: float, patience: Patience | None = None) -> T:
    """Ask again whenever the answer was lost.

    Args:
        ask: is given the seconds that are left.
        seconds: for all of it.
        patience: with losses.

    Raises:
        RequestError: refused, not in time, or lost more often than patience has it.
    """
    attempts = _Attempts(seconds, patience or Patience())
    while True:
        try:
            return await ask(attempts.left())
        except (ExpertUnavailableError, OverloadedError) as error:
            await attempts.pause_after(error)


def seeded(requests: Sequence[GenerationRequest]) -> list[GenerationRequest]:
    """The same requests, each with a seed: without one, another replica could not go on where one was lost."""
    return [
        request
        if request.sampling.seed is not None
        else replace(request, sampling=replace(request.sampling, seed=secrets.randbits(63)))
        for request in requests
    ]


class _Attempts:
    """How often a request was tried, and how long it may still be."""

    def __init__(self, seconds: float, patience: Patience) -> None:
        self._end, self._seconds, self._patience = time.monotonic() + seconds, seconds, patience
        self._pauses = patience.pauses()
        self._lost = False

    def left(self) -> float:
        """Seconds to the deadline.

        Raises:
            DeadlineError: there are none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlineError(f"no answer within {self._seconds:g} s", fix="ask for fewer tokens")
        return left

    def progress(self) -> None:
        """The attempt has brought something: whatever comes next is a loss, and not the request's fault."""
        self._lost, self._pauses = True, self._patience.pauses()

    async def pause_after(self, error: ExpertUnavailableError | OverloadedError) -> None:
        """Before the next attempt.

        Raises:
            OverloadedError: it was never accepted, so its caller may be told to come again.
            ExpertUnavailableError: it was lost too often. DeadlineError: there is no time left.
        """
        if isinstance(error, OverloadedError) and not self._lost:
            raise error
        self._lost = True
        pause = next(self._pauses, None)
        if pause is None:
            raise error
        await asyncio.sleep(min(pause * (0.5 + secrets.randbits(16) / 2**16), self.left()))


@dataclass
class _Told:
    """What a caller was told of one answer.

    Attributes:
        request: as it was first sent. tokens: told so far. finished: whether its end was told.
        characters, logprobs: told so far of an answer that has no token yet: they are of its echo.
        skip_characters, skip_logprobs: of the echo, which the next attempt tells again.
    """

    request: GenerationRequest
    tokens: list[int] = field(default_factory=list)
    finished: bool = False
    characters: int = 0
    logprobs: int = 0
    skip_characters: int = 0
    skip_logprobs: int = 0

    def rest(self) -> GenerationRequest:
        """What another replica is asked for."""
        self.skip_characters = self.skip_logprobs = 0
        if self.tokens:  # an echo comes before the first token, so it is over
            sampling = replace(self.request.sampling, echo=False)
            return replace(self.request, sampling=sampling, generated=(*self.request.generated, *self.tokens))
        self.skip_characters, self.skip_logprobs = self.characters, self.logprobs
        return self.request

    def take(self, delta: Delta) -> Delta | None:
        """The news in what a replica tells; None: it holds none."""
        text, logprobs = self._news(delta)
        self.tokens += delta.tokens
        self.finished = self.finished or delta.finish_reason is not None
        if not self.tokens:
            self.characters += len(text)
            self.logprobs += len(logprobs)
        if not (text or logprobs or delta.tokens or delta.finish_reason):
            return None
        return replace(delta, text=text, logprobs=logprobs)

    def _news(self, delta: Delta) -> tuple[str, tuple[TokenLogprob, ...]]:
        text, logprobs = delta.text[self.skip_characters :], delta.logprobs[self.skip_logprobs :]
        self.skip_characters -= len(delta.text) - len(text)
        self.skip_logprobs -= len(delta.logprobs) - len(logprobs)
        return text, logprobs
