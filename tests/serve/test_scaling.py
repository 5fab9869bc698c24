"""Replicas come with load and go without it, down to none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.serve.storm import Endpoint, ask, endpoint
from tests.serve.test_changes import until
from tests.serve.versions import write_versions

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow]
SETTINGS = (
    *("min_replicas=0", "max_replicas=3", "target_ongoing_requests=1", "upscale_delay_s=1", "downscale_delay_s=4"),
    *("scale_to_zero_delay_s=6", "expert_cpus=0.1", "queue=500", "max_queued_requests=500"),
)
LONG = {"model": "en", "prompt": "the house", "max_tokens": 50, "n": 16, "seed": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    run, _ = write_versions(tmp_path_factory.mktemp("scaling"))
    with endpoint(run, SETTINGS) as found:
        yield found


def replicas(served: Endpoint, expert: str) -> int:
    return len(served.processes(f"ray::ServeReplica:mome-expert-{expert}"))


def test_an_expert_that_nobody_asks_ends_and_starts_when_it_is_asked(served: Endpoint) -> None:
    assert until(lambda: replicas(served, "en") == replicas(served, "fr") == 0, 60)
    assert httpx.get(f"{served.url}/ready").status_code == 200
    begin = time.monotonic()
    answer = httpx.post(f"{served.url}/v1/completions", json={**LONG, "n": 1}, timeout=60)
    print(f"the first answer after {time.monotonic() - begin:.1f} s")
    assert answer.status_code == 200
    assert (replicas(served, "en"), replicas(served, "fr")) == (1, 0)


def test_replicas_come_with_load_and_go_without_it(served: Endpoint) -> None:
    async def ramp() -> tuple[int, set[str]]:
        most, ends = 0, set[str]()
        until_ = time.monotonic() + 60
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:

            async def work() -> None:
                while time.monotonic() < until_ and most < 3:
                    how, _, _ = await ask(client, LONG)
                    ends.add(how)

            working: list[asyncio.Task[Any]] = []
            while time.monotonic() < until_ and most < 3:
                if len(working) < 12:
                    working.append(asyncio.create_task(work()))
                await asyncio.sleep(1)
                most = max(most, await asyncio.to_thread(replicas, served, "en"))
            await asyncio.gather(*working)
        return most, ends

    most, ends = asyncio.run(ramp())
    assert most == 3
    assert ends == {"whole"}
    assert until(lambda: replicas(served, "en") == 0, 90)
