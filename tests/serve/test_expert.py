from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from serve.errors import DeadlineError
from serve.expert import ExpertReplica
from serve.files import MixtureFiles
from serve.messages import GenerationRequest, Sampling

SHORT = [GenerationRequest("the house", Sampling(max_tokens=3, temperature=0.0))]
LONG = [GenerationRequest("the house", Sampling(max_tokens=40, temperature=0.0))]


@pytest.fixture
def expert(padded_model: Path, monkeypatch: pytest.MonkeyPatch) -> ExpertReplica:
    """An expert that takes at least 10 ms a token."""
    import torch

    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    replica = ExpertReplica(padded_model)
    hidden = replica._engines[""].forward.hidden

    def slow(*arguments: object) -> torch.Tensor:
        time.sleep(0.01)
        return hidden(*arguments)

    monkeypatch.setattr(replica._engines[""].forward, "hidden", slow)
    return replica


def test_the_event_loop_stays_free_while_an_expert_is_at_work(expert: ExpertReplica) -> None:
    async def ticks_meanwhile() -> int:
        work = asyncio.create_task(expert.generate(LONG, 30.0))
        ticks = 0
        while not work.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert (await work)[0].completion_tokens == 40
        return ticks

    assert asyncio.run(ticks_meanwhile()) >= 10


def test_work_is_given_up_at_its_deadline(expert: ExpertReplica) -> None:
    with pytest.raises(DeadlineError):
        asyncio.run(expert.generate(LONG, 0.05))


def test_work_is_given_up_when_its_caller_has_gone(expert: ExpertReplica) -> None:
    async def next_answer_after_a_cancelled_one() -> float:
        gone = asyncio.create_task(expert.generate(LONG, 30.0))
        await asyncio.sleep(0.05)
        gone.cancel()
        start = time.monotonic()
        await expert.generate(SHORT, 30.0)
        return time.monotonic() - start

    assert asyncio.run(next_answer_after_a_cancelled_one()) < 0.3


def test_experts_of_one_process_answer_each_for_itself_and_all_together(run_folder: Path) -> None:
    folders = MixtureFiles.of(run_folder).experts
    both = ExpertReplica(folders)
    weighted = [replace(LONG[0], weights={"en": 0.4, "fr": 0.6})]

    async def answers() -> list[object]:
        return [await both.generate(weighted, 30.0, name) for name in ("en", "fr", "soft")]

    *alone, mixed = asyncio.run(answers())
    assert alone == [asyncio.run(ExpertReplica(folder).generate(LONG, 30.0)) for folder in folders.values()]
    assert mixed not in alone
    assert [asyncio.run(both.statistics(name)).finished for name in ("en", "fr", "soft")] == [1, 1, 1]
    asyncio.run(both.check_health())
