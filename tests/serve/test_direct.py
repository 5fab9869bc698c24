"""An endpoint without a proxy: two ingresses at one port, all experts in one process, alone and together."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.deployments.forking import POSSIBLE
from serve.messages import Sampling
from serve.mixture import Mixture
from tests.serve.storm import Answer, Endpoint, ask, endpoint
from tests.serve.test_changes import until

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]
FR = "la maison près du fleuve"
MANY = 30
STARTED = list[psutil.Process]()
"""Processes that have lost their parent."""


@pytest.fixture(scope="module")
def served(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    log = tmp_path_factory.mktemp("log") / "requests"
    settings = ("one_process=true", "soft=true", "ingress_replicas=2", f"access_log={log}", "log_prompts=true")
    with endpoint(run_folder, (*settings, "expert_cpus=0.1")) as found:
        found.log = log
        yield found


def post(served: Endpoint, **body: object) -> httpx.Response:
    asked = {"prompt": FR, "max_tokens": 8, "temperature": 0, **body}
    return httpx.post(f"{served.url}/v1/completions", json=asked, timeout=60)


@pytest.mark.parametrize("model", ["auto", "en", "soft", "auto:no-common"])
def test_answers_are_those_of_the_mixture_in_process(served: Endpoint, run_folder: Path, model: str) -> None:
    expected = Mixture.open(run_folder).generate(FR, model, Sampling(max_tokens=8, temperature=0.0))
    body = post(served, model=model).json()
    assert (body["choices"][0]["text"], body["model"]) == (expected.text, expected.expert)


def test_experts_share_a_process_and_nobody_stands_before_the_ingresses(served: Endpoint) -> None:
    assert len(served.processes("ray::ServeReplica:mome-experts")) == 1
    assert len(served.processes("ray::ServeReplica:mome:ingress")) == 2
    assert not served.processes("ray::ProxyActor")


@pytest.mark.skipif(not POSSIBLE, reason="processes are forked on Linux")
def test_processes_are_forks_of_one(served: Endpoint) -> None:
    (parent,) = served.processes("mome: parent of the endpoint's processes")
    assert {process.ppid() for process in served.processes("ray::Serve")} == {parent.pid}


def test_metrics_and_the_log_are_of_both_ingresses(served: Endpoint) -> None:
    ids = [post(served, max_tokens=1).headers.get_list("x-request-id") for _ in range(MANY)]
    assert len({name for (name,) in ids}) == MANY
    for _again in range(4):
        text = httpx.get(f"{served.url}/metrics").text
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["mome_requests_total", "/v1/completions", "200"] >= MANY
        assert samples["mome_engine_slots", "soft"] == samples["mome_engine_slots", "fr"] == 8
    lines = [json.loads(line) for line in served.log.read_text("utf-8").splitlines()]
    assert {name for (name,) in ids} <= {line["request_id"] for line in lines}
    assert [FR] in [line.get("prompts") for line in lines]


def test_a_replica_that_is_killed_loses_nothing(served: Endpoint) -> None:
    body = {"prompt": [FR, "the house", "the dog", "near a river"], "max_tokens": 40, "n": 16, "seed": 1}
    expected = post(served, **body, temperature=1, model="en").json()["choices"]

    async def ask_and_kill(stream: bool) -> tuple[str, str, Answer]:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            asked = asyncio.create_task(ask(client, {**body, "temperature": 1, "model": "en", "stream": stream}))
            await asyncio.sleep(0.02)
            (replica,) = served.processes("ray::ServeReplica:mome-experts")
            replica.kill()
            assert not asked.done()
            return await asked

    for stream in (True, False):
        assert until(lambda: served.processes("ray::ServeReplica:mome-experts"), 60)
        how, _, answer = asyncio.run(ask_and_kill(stream))
        assert how == ("streamed" if stream else "whole")
        assert [text for text, _, _ in answer] == [choice["text"] for choice in expected]
    assert served.busy() == 0


@pytest.mark.skipif(not POSSIBLE, reason="processes are forked on Linux")
def test_replicas_start_without_the_process_that_forks_them(served: Endpoint) -> None:
    """What still runs of its forks goes on."""
    (parent,) = served.processes("mome: parent of the endpoint's processes")
    forks = parent.children()
    parent.kill()
    while parent.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert post(served).status_code == 200
    (replica,) = (fork for fork in forks if "mome-experts" in fork.name() + " ".join(fork.cmdline()))
    replica.kill()
    assert post(served).status_code == 200
    assert all(fork.is_running() for fork in forks if fork != replica)
    for fork in forks:
        STARTED.append(fork)


def test_nothing_is_left_of_an_endpoint_that_is_killed(served: Endpoint) -> None:
    """The last of this module. Ray's own agents look for the rest of it for a minute or two, and then end."""
    agents = served.processes("Agent")
    there = [process for process in (*served.processes(), *STARTED) if process not in agents]
    served.process.kill()
    served.process.wait()
    _, left = psutil.wait_procs(there, timeout=60)
    assert not left
