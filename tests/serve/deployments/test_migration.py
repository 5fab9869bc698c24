"""Answers go on at another replica as if nothing had happened: a real engine behind replicas that die at any moment."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serve.api.backend import Grown
from serve.deployments.migration import Migrating, Patience, seeded
from serve.engine import Engine
from serve.errors import ContextLengthError, DeadlineError, ExpertUnavailableError, OverloadedError, RequestError
from serve.merging import joined, merged
from serve.messages import Completion, Delta, GenerationRequest, Sampling

QUICK = Patience(0.001, 0.002)
LOST = ExpertUnavailableError("lost")


class Dying:
    """Replicas over one engine; a call is cut after as many pieces as `lives` says next; without one, it lives."""

    def __init__(self, engine: Engine, lives: Sequence[int] = (), refusals: Sequence[RequestError] = ()) -> None:
        self.engine, self.lives, self.refusals = engine, list(lives), list(refusals)
        self.calls: list[list[GenerationRequest]] = []

    async def generate(self, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        self.calls.append(list(requests))
        if self.refusals:
            raise self.refusals.pop(0)
        return await asyncio.to_thread(self.engine.generate, requests, seconds)

    async def stream(self, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        self.calls.append(list(requests))
        if self.refusals:
            raise self.refusals.pop(0)
        left = self.lives.pop(0) if self.lives else 10**6
        async for grown in merged(self.engine.submit(requests, seconds)):
            for place, delta in joined(grown):
                if not left:
                    raise ExpertUnavailableError("killed")
                left -= 1
                yield [(place, delta)]


@pytest.fixture(scope="module")
def engine(padded_model: Path) -> Engine:
    """An engine that takes a millisecond a token, so that nearly every token is told alone."""
    engine = Engine.load(padded_model)
    hidden = engine.forward.hidden

    def slow(*arguments: Any) -> Any:
        time.sleep(0.001)
        return hidden(*arguments)

    engine.forward.hidden = slow  # type: ignore[method-assign]
    return engine


async def told(stream: AsyncIterator[Grown], count: int) -> list[Delta]:
    """Everything that was told of each answer, in one."""
    answers = [Delta("")] * count
    async for grown in stream:
        for place, delta in grown:
            assert answers[place].finish_reason is None
            answers[place] += delta
    return answers


def whole(completion: Completion) -> tuple[object, ...]:
    told = completion.text, completion.tokens, completion.logprobs or ()
    return *told, completion.finish_reason, completion.prompt_tokens


def grown(delta: Delta) -> tuple[object, ...]:
    return delta.text, delta.tokens, delta.logprobs, delta.finish_reason, delta.prompt_tokens


HOWS = {
    "greedy": Sampling(max_tokens=24, temperature=0),
    "seeded": Sampling(max_tokens=24, seed=7),
    "unseeded": Sampling(max_tokens=24),
    "penalised": Sampling(max_tokens=24, seed=7, frequency_penalty=0.7, repetition_penalty=1.3, top_p=0.9),
    "logprobs": Sampling(max_tokens=24, seed=3, logprobs=2),
    "echo": Sampling(max_tokens=12, seed=3, echo=True),
    "echo and logprobs": Sampling(max_tokens=12, seed=3, echo=True, logprobs=1),
    "held back": Sampling(max_tokens=24, seed=5, stop=("qqqq", "\n\n\n", " the summer of")),
}


@pytest.mark.parametrize("name", HOWS)
def test_a_stream_that_was_cut_is_the_undisturbed_answer(engine: Engine, name: str) -> None:
    how = HOWS[name] if HOWS[name].seed is not None else replace(HOWS[name], seed=11)
    requests = [GenerationRequest("la maison élève", how, stream) for stream in range(3)]
    undisturbed = [whole(completion) for completion in engine.generate(requests)]
    for seed in range(8):
        draw = random.Random(seed)
        replicas = Dying(
            engine, [draw.choice((0, 1, 2)), *(draw.choice((0, 1, 3, 7)) for _ in range(draw.randrange(5)))]
        )
        answers = asyncio.run(told(Migrating(replicas, QUICK).stream(requests, 60), 3))
        assert [grown(answer) for answer in answers] == undisturbed
        assert len(replicas.calls) > 1


def test_what_is_finished_is_not_asked_for_again_and_no_token_counts_twice(engine: Engine) -> None:
    short, long = Sampling(max_tokens=1, seed=1), Sampling(max_tokens=20, seed=1)
    requests = [GenerationRequest("the house", how) for how in (short, long)]
    replicas = Dying(engine, [4, 2])
    answers = asyncio.run(told(Migrating(replicas, QUICK).stream(requests, 60), 2))
    assert [len(answer.tokens) for answer in answers] == [1, 20]
    _, *later = replicas.calls
    assert later
    for call in later:
        assert [request.sampling.max_tokens for request in call] == [20]
        assert call[0].generated == answers[1].tokens[: len(call[0].generated)] != ()


def test_a_request_without_a_seed_gets_one_that_stays(engine: Engine) -> None:
    replicas = Dying(engine, [0, 0])
    asyncio.run(told(Migrating(replicas, QUICK).stream([GenerationRequest("the dog")], 60), 1))
    seeds = {call[0].sampling.seed for call in replicas.calls}
    assert len(replicas.calls) == 3
    assert len(seeds) == 1
    assert seeds != {seeded([GenerationRequest("the dog")])[0].sampling.seed}


@pytest.mark.parametrize("refusals", [[LOST], [LOST, OverloadedError("full"), LOST]])
def test_a_whole_answer_is_asked_for_again(engine: Engine, refusals: list[RequestError]) -> None:
    requests = [GenerationRequest("the dog", Sampling(max_tokens=5, temperature=0))]
    done = asyncio.run(Migrating(Dying(engine, refusals=refusals), QUICK).generate(requests, 60))
    assert list(map(whole, done)) == list(map(whole, engine.generate(requests)))


@pytest.mark.parametrize(
    ("refusals", "seconds", "told_as"),
    [
        ([OverloadedError("full")], 60, OverloadedError),  # never accepted: its client may come again
        ([ContextLengthError("too long")], 60, ContextLengthError),
        ([LOST] * 1000, 0.02, DeadlineError),
        ([LOST] * 1000, 60, ExpertUnavailableError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_can_not_be_mended_is_told(
    engine: Engine, refusals: list[RequestError], seconds: float, told_as: type[RequestError], streamed: bool
) -> None:
    replicas, request = Dying(engine, refusals=refusals), GenerationRequest("the dog")
    migrating = Migrating(replicas, QUICK)
    with pytest.raises(told_as):
        asyncio.run(
            told(migrating.stream([request], seconds), 1) if streamed else migrating.generate([request], seconds)  # type: ignore[arg-type]
        )
    assert len(replicas.calls) < 60


def test_a_stream_that_only_ends_early_is_a_lost_one(engine: Engine) -> None:
    class Silent(Dying):
        async def stream(self, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
            calls = len(self.calls)
            async for grown in super().stream(requests, seconds):
                yield grown
                if not calls:
                    return

    request = GenerationRequest("the dog", Sampling(max_tokens=9, temperature=0))
    replicas = Silent(engine)
    answers = asyncio.run(told(Migrating(replicas, QUICK).stream([request], 60), 1))
    assert grown(answers[0]) == whole(engine.generate([request])[0])
    assert len(replicas.calls) == 2


def test_whoever_stops_reading_stops_the_computing(engine: Engine) -> None:
    async def read_one() -> None:
        stream = Migrating(Dying(engine), QUICK).stream([GenerationRequest("the dog", Sampling(max_tokens=50))], 60)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        for _ in range(200):
            if not engine.statistics.active:
                return
            await asyncio.sleep(0.01)

    asyncio.run(read_one())
    assert engine.statistics.active == 0
