"""What is served changes while it answers; overload and a signal to end are answered so that clients can go on."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from orchestrator.cluster.folders import find_place
from orchestrator.mixtures.versions import Versions
from tests.serve.storm import Answer, Endpoint, ask, endpoint
from tests.serve.versions import write_versions

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
GREEDY = {"prompt": "la maison près du fleuve", "max_tokens": 12, "temperature": 0}
LONG = {**GREEDY, "prompt": "the house", "max_tokens": 50, "n": 16, "temperature": 1, "seed": 1}
MANY = {**LONG, "prompt": ["the house", "the dog", "near a river", "every morning"]}
SETTINGS = ("keep_s=2", "grace_s=20", "expert_cpus=0.1", "max_queued_requests=4", "max_ongoing_requests=4", "queue=64")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The endpoint of a run with two versions."""
    run, _ = write_versions(tmp_path_factory.mktemp("changes"))
    with endpoint(run, SETTINGS) as found:
        assert until((run / "serving.json").exists)  # it answers a moment before its commands find it
        yield found


def post(served: Endpoint, **body: Any) -> httpx.Response:
    return httpx.post(f"{served.url}/v1/completions", json={**GREEDY, **body}, timeout=60)


def until(holds: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.2)
    return False


def replicas(served: Endpoint) -> set[int]:
    return {process.pid for process in served.processes("ray::ServeReplica")}


def status(served: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(served.command("status", "--json").stdout)
    return found


def test_other_users_of_the_machine_see_neither_rays_files_nor_its_token(served: Endpoint) -> None:
    mine = list(find_place().glob("mome-ray-*"))
    assert mine
    for path in (*mine, served.run / "serving.json"):
        with suppress(FileNotFoundError):  # another Ray's, that has just ended
            assert path.stat().st_mode & 0o077 == 0


def test_an_expert_is_added_and_removed_and_nothing_else_restarts(served: Endpoint) -> None:
    before, extra = replicas(served), served.run.parent / "extra"
    assert post(served, model="es").status_code == 404
    assert served.command("add", "es", str(extra)).returncode == 0
    assert post(served, model="es").json()["route"]["expert"] == "es"
    assert before < replicas(served)
    removed = served.command("remove", "es")
    assert "version 1+, 100 % of the requests: en, fr" in removed.stdout
    assert post(served, model="es").status_code == 404
    assert until(lambda: replicas(served) == before)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("add", "bad", "damaged"), "the model can't be opened"),
        (("add", "bad", "empty"), "there is no model (config.json)"),
        (("add", "bad", "nowhere"), "no such folder"),
        (("add", "auto", "extra"), "can't be called 'auto'"),
        (("add", "a/b", "extra"), "no name for an expert"),
        (("remove", "xx"), "no expert 'xx' is served"),
        (("use", "7"), "there is no version 7"),
        (("use", "2", "--percent", "0"), "percent"),
    ],
)
def test_what_can_not_be_served_is_refused_and_nothing_changes(
    served: Endpoint, words: tuple[str, ...], reason: str
) -> None:
    folder = served.run.parent
    (folder / "empty").mkdir(exist_ok=True)
    weights = shutil.copytree(folder / "extra", folder / "damaged", dirs_exist_ok=True) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    given = [str(folder / word) if (folder / word).exists() or word == "nowhere" else word for word in words]
    before, answer = status(served), post(served).json()["choices"]
    refused = served.command(*given)
    assert refused.returncode == 2, refused.stderr
    assert reason in refused.stderr
    assert status(served)["table"] == before["table"]
    assert post(served).json()["choices"] == answer


def test_a_version_is_tried_out_and_returned_from_at_once(served: Endpoint) -> None:
    assert served.command("use", "1").returncode == 0
    first = post(served).json()["choices"][0]["text"]
    assert served.command("use", "2", "--percent", "50").returncode == 0
    shares = Counter(post(served, max_tokens=1).headers["x-mome-version"] for _ in range(60))
    assert set(shares) == {"1", "2"}
    assert 10 < shares["2"] < 50
    assert "two versions" in served.command("remove", "en").stderr
    before = replicas(served)
    assert served.command("use", "1").returncode == 0
    assert {post(served).headers["x-mome-version"] for _ in range(20)} == {"1"}
    assert post(served).json()["choices"][0]["text"] == first
    assert replicas(served) <= before


def test_the_runs_current_version_is_followed(served: Endpoint) -> None:
    kept = {process.pid for process in served.processes("mome-expert-en")}
    Versions(served.run).use(2)
    assert until(lambda: bool(httpx.get(f"{served.url}/health").json()["version"] == "2"))
    assert kept == {process.pid for process in served.processes("mome-expert-en")}  # the same in both versions
    Versions(served.run).use(1)
    assert until(lambda: bool(httpx.get(f"{served.url}/health").json()["version"] == "1"))


def test_a_client_that_goes_away_frees_its_slots_whatever_its_headers_say(served: Endpoint) -> None:
    headers = {"x-request-disconnect-disabled": "?1", "x-request-timeout-seconds": "0"}

    async def leave(body: dict[str, Any]) -> str:
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as client:
            return (await ask(client, body, leave=0.05))[0]

    for streamed in (False, True):
        assert asyncio.run(leave({**MANY, "stream": streamed})) == "left"
        assert until(lambda: served.busy() == 0, 2)


def test_overload_is_told_at_once_with_when_to_come_again(served: Endpoint) -> None:
    async def many() -> list[tuple[str, float]]:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:

            async def one() -> tuple[str, float]:
                begin = time.monotonic()
                how, _, _ = await ask(client, {**LONG, "n": 8})
                return how, time.monotonic() - begin

            return await asyncio.gather(*(one() for _ in range(40)))

    found = asyncio.run(many())
    assert {how for how, _ in found} == {"whole", "429"}
    assert until(lambda: served.busy() == 0)


def test_replicas_that_stand_still_for_half_a_minute_are_kept(served: Endpoint) -> None:
    experts = len(status(served)["table"]["experts"])
    assert until(lambda: len(replicas(served)) == experts + 2, 90)  # keeper, ingress; what a load brought has gone
    before = replicas(served)
    for process in served.processes("ray::ServeReplica"):
        process.suspend()
    time.sleep(35)  # longer than a check of health may take
    for process in served.processes("ray::ServeReplica"):
        process.resume()
    assert post(served).status_code == 200
    time.sleep(6)
    assert replicas(served) == before


def test_the_keeper_is_lost_and_goes_on_where_it_was(served: Endpoint) -> None:
    assert served.command("add", "es", str(served.run.parent / "extra")).returncode == 0
    before = {process.pid for process in served.processes("mome-expert")}
    (keeper,) = served.processes("ray::ServeReplica:mome:keeper")
    keeper.kill()
    assert post(served).status_code == 200
    assert until(lambda: bool(served.processes("ray::ServeReplica:mome:keeper")))
    assert "es" in status(served)["table"]["experts"]
    assert before == {process.pid for process in served.processes("mome-expert")}
    assert served.command("remove", "es").returncode == 0


def test_at_a_signal_running_answers_finish_and_new_ones_are_refused(served: Endpoint) -> None:
    """The last of this module."""
    bodies = [
        {**MANY, "model": "en", "stream": True},
        {**MANY, "model": "fr"},
    ]  # longer than the drain needs to be told
    expected = [post(served, **{**body, "stream": False}).json()["choices"] for body in bodies]
    told = Counter[str]()

    async def ask_on() -> None:
        """One after another until nobody answers any more, on connections of their own."""
        with suppress(httpx.TransportError):
            while True:
                async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
                    response = await client.post("/v1/completions", json={**GREEDY, "max_tokens": 1})
                    assert not (told["503"] and response.status_code == 200)
                    told[str(response.status_code)] += 1
                    assert response.headers.get("retry-after") == ("1" if response.status_code == 503 else None)

    async def end() -> list[tuple[str, str, Answer]]:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            running = [asyncio.create_task(ask(client, body)) for body in bodies]
            while not await asyncio.to_thread(served.busy):
                await asyncio.sleep(0.01)
            served.process.terminate()
            await ask_on()
            return await asyncio.gather(*running)

    found = asyncio.run(end())
    assert [how for how, _, _ in found] == ["streamed", "whole"]
    for (_, _, answer), choices in zip(found, expected, strict=True):
        assert [text for text, _, _ in answer] == [choice["text"] for choice in choices]
    assert told["503"]
    assert set(told) <= {"200", "503"}
    assert served.process.wait(60) == 0
    assert not (served.run / "serving.json").exists()
    assert not psutil.pid_exists(served.process.pid)
