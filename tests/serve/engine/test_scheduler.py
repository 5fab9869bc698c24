"""Rows that join and leave: cancelled, expired, queued, continued elsewhere; what is left of the engine afterwards."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from serve.engine import Engine, EngineOptions
from serve.errors import ExpertUnavailableError, OverloadedError, RequestError
from serve.messages import Delta, GenerationRequest, Sampling

PROMPT = "the house near a river where children played with their dog"
Make = Callable[..., Engine]


@pytest.fixture
def make(padded_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes engines whose steps take at least `slow` seconds, and are counted."""
    made = []

    def make(slow: float = 0.0, **options: Any) -> Engine:
        engine = Engine.load(padded_model, options=EngineOptions(**options))
        hidden = engine.forward.hidden

        def counted(*arguments: Any) -> torch.Tensor:
            time.sleep(slow)
            return hidden(*arguments)

        monkeypatch.setattr(engine.forward, "hidden", counted)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def ask(tokens: int, prompt: str = "the house", **sampling: Any) -> GenerationRequest:
    return GenerationRequest(prompt, Sampling(max_tokens=tokens, temperature=0.0, **sampling))


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_short_answer_is_not_held_up_by_a_long_one(make: Make) -> None:
    engine = make(slow=0.005, slots=2)
    (long,) = engine.submit([ask(50)])
    wait_for(lambda: engine.statistics.generated_tokens > 3)
    before = engine.statistics.steps
    engine.generate([ask(2)])
    assert engine.statistics.steps - before <= 5
    assert long.result().completion_tokens == 50


def test_more_requests_than_slots_are_answered_as_alone(make: Make) -> None:
    engine = make(slots=3, chunk=16)
    requests = [
        GenerationRequest(f"{PROMPT[: 5 + i]}", Sampling(max_tokens=3 + i % 7, temperature=i % 3 * 0.5, seed=i))
        for i in range(20)
    ]
    alone = [engine.generate([request])[0] for request in requests]
    assert engine.generate(requests) == alone
    state = engine.statistics
    assert (state.active, state.waiting, state.finished) == (0, 0, 40)


def test_a_cancelled_row_frees_its_slot_within_a_step(make: Make) -> None:
    engine = make(slow=0.01, slots=1)
    (gone,) = engine.submit([ask(60)])
    (next_one,) = engine.submit([ask(1)])
    wait_for(lambda: engine.statistics.active == 1 and engine.statistics.generated_tokens > 1)
    gone.cancel()
    before = engine.statistics.steps
    assert next_one.result().completion_tokens == 1
    assert engine.statistics.steps - before <= 2
    assert engine.statistics.cancelled == 1
    with pytest.raises(ExpertUnavailableError):
        gone.result()


def test_a_row_that_waits_can_be_cancelled_too(make: Make) -> None:
    engine = make(slow=0.005, slots=1)
    first, second = engine.submit([ask(10), ask(10)])
    second.cancel()
    assert first.result().completion_tokens == 10
    wait_for(lambda: engine.statistics.waiting == 0)
    assert engine.statistics.finished == 1


def test_a_full_queue_refuses(make: Make) -> None:
    engine = make(slow=0.005, slots=1, queue=1)
    streams = engine.submit([ask(20)])
    wait_for(lambda: engine.statistics.active == 1)
    streams += engine.submit([ask(1)])
    with pytest.raises(OverloadedError):
        engine.submit([ask(1)])
    assert [stream.result().completion_tokens for stream in streams] == [20, 1]


def test_common_beginnings_are_computed_once_and_change_nothing(make: Make) -> None:
    engine, plain = make(), make(prefixes=0)
    requests = [ask(8, f"{PROMPT} {PROMPT} {end}") for end in ("and", "every", "summer", "and")]
    assert engine.generate(requests) == plain.generate(requests)
    first = engine.statistics
    assert first.cached_tokens >= 3 * 16  # the others waited a step for the first one's beginning
    assert plain.statistics.cached_tokens == 0
    assert engine.generate(requests) == plain.generate(requests)
    assert engine.statistics.cached_tokens - first.cached_tokens >= 4 * 16


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1.0, "seed": 3, "top_p": 0.9}])
@pytest.mark.parametrize("cut", [1, 7, 19])
def test_another_engine_goes_on_where_one_was_lost(make: Make, sampling: dict[str, Any], cut: int) -> None:
    how = Sampling(max_tokens=20, frequency_penalty=0.3, stop=("zq",), **sampling)
    for which in range(2):
        whole = make().generate([GenerationRequest(PROMPT, how, which)])[0]
        lost = GenerationRequest(PROMPT, how, which, whole.tokens[:cut])
        (stream,) = make().submit([lost])
        rest = Delta("", ())
        for delta in stream:
            rest += delta
        assert rest.tokens == whole.tokens[cut:]
        assert whole.text.endswith(rest.text)
        assert stream.result() == whole


def test_an_answer_that_was_whole_already_ends_at_once(make: Make) -> None:
    engine = make()
    whole = engine.generate([ask(5, PROMPT)])[0]
    request = ask(5, PROMPT)
    (stream,) = engine.submit([GenerationRequest(PROMPT, request.sampling, 0, whole.tokens)])
    assert [delta.finish_reason for delta in stream] == ["length"]
    assert stream.result() == whole


@pytest.mark.parametrize("token", [-1, 400, 10**9])
def test_tokens_of_another_vocabulary_are_refused(make: Make, token: int) -> None:
    engine = make()
    with pytest.raises(RequestError, match="not of this model's vocabulary"):
        engine.submit([GenerationRequest(PROMPT, Sampling(), 0, (token,))])
    assert engine.healthy


def test_an_unseeded_stream_tells_the_seed_it_goes_on_with(make: Make) -> None:
    (stream,) = make().submit([GenerationRequest(PROMPT, Sampling(max_tokens=12))])
    whole = stream.result()
    again = Sampling(max_tokens=12, seed=stream.seed)
    assert make().generate([GenerationRequest(PROMPT, again, 0, whole.tokens[:5])])[0] == whole


def test_a_stream_gives_what_the_whole_answer_has(make: Make) -> None:
    engine = make(slow=0.002)
    whole = engine.generate([ask(30, PROMPT, logprobs=1)])[0]
    stop = whole.text[8:11]
    for request in (ask(30, PROMPT, logprobs=1), ask(30, PROMPT, stop=(stop,)), ask(5, PROMPT, echo=True)):
        (stream,) = engine.submit([request])
        deltas = list(stream)
        done = stream.result()
        assert "".join(delta.text for delta in deltas) == done.text
        assert sum((delta.tokens for delta in deltas), ()) == done.tokens
        assert sum((delta.logprobs for delta in deltas), ()) == (done.logprobs or ())
        assert [delta.finish_reason for delta in deltas][-1] == done.finish_reason
        assert not any(delta.finish_reason for delta in deltas[:-1])


def test_an_event_loop_reads_many_streams_and_slow_readers_get_groups(make: Make) -> None:
    engine = make(slow=0.004, slots=4)

    async def read(request: GenerationRequest, pause: float) -> list[Delta]:
        found = []
        async for delta in engine.submit([request])[0]:
            found.append(delta)
            await asyncio.sleep(pause)
        return found

    async def all_of_them() -> list[list[Delta]]:
        return await asyncio.gather(*(read(ask(25, PROMPT[:i]), 0.05 * (i % 2)) for i in range(4, 10)))

    answers = asyncio.run(all_of_them())
    for i, deltas in enumerate(answers, 4):
        done = engine.generate([ask(25, PROMPT[:i])])[0]
        assert sum((delta.tokens for delta in deltas), ()) == done.tokens
        assert len(deltas) < 20 if i % 2 else len(deltas) > 2


def test_a_reader_that_leaves_frees_its_slot(make: Make) -> None:
    engine = make(slow=0.01)

    async def leave_early() -> None:
        stream = engine.submit([ask(50)])[0]
        async for _ in stream:
            break

    async def cancelled() -> None:
        task = asyncio.create_task(engine.submit([ask(50)])[0].completion())
        await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(leave_early())
    asyncio.run(cancelled())
    wait_for(lambda: engine.statistics.active == 0)
    assert engine.statistics.cancelled == 2


def test_draining_finishes_what_is_there_and_refuses_more(make: Make) -> None:
    engine = make(slow=0.005)
    (stream,) = engine.submit([ask(20)])
    assert not engine.drain(0.01)
    with pytest.raises(ExpertUnavailableError, match="shut down"):
        engine.submit([ask(1)])
    assert engine.drain(10)
    assert stream.result().completion_tokens == 20


def test_closing_ends_the_thread_and_unfinished_answers(make: Make) -> None:
    engine = make(slow=0.01)
    (stream,) = engine.submit([ask(60)])
    wait_for(lambda: engine.statistics.generated_tokens > 0)
    engine.close()
    with pytest.raises(ExpertUnavailableError):
        stream.result()
    assert not engine.healthy


def test_a_dead_thread_is_noticed_and_nobody_waits_for_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    assert engine.healthy

    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("a bug")

    monkeypatch.setattr(engine.forward, "logits", broken)
    with pytest.raises(ExpertUnavailableError):
        engine.generate([ask(5)])
    wait_for(lambda: not engine.healthy)
    with pytest.raises(ExpertUnavailableError, match="failed"):
        engine.submit([ask(5)])


def test_an_engine_that_nobody_holds_leaves_no_thread(padded_model: Path) -> None:
    before = threading.enumerate()  # other tests' among them, which may end meanwhile
    engine = Engine.load(padded_model)
    engine.generate([ask(1)])
    (thread,) = (each for each in threading.enumerate() if each not in before)
    del engine
    gc.collect()
    wait_for(lambda: not thread.is_alive())
