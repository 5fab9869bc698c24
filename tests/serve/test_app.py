"""The application on a real local cluster, over real HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from orchestrator.artifacts import Store
from orchestrator.config.base import PluginSpec
from orchestrator.routers import Policy
from serve.messages import Sampling
from serve.mixture import Mixture

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")]
REPOSITORY = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def client(run_folder: Path) -> Iterator[httpx.Client]:
    """The fake run, served by a cluster of this module's own."""
    import ray
    from ray import serve

    from orchestrator.cluster.session import session
    from orchestrator.config.recipe import ResourcesConfig
    from serve.app import deploy

    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        with session(ResourcesConfig(cpus=2)):
            deploy(run_folder, port=port, blocking=False, deadline_s=20)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                yield client
            serve.shutdown()
    assert not ray.is_initialized()


def test_answers_are_those_of_the_mixture_in_process(client: httpx.Client, run_folder: Path) -> None:
    mixture = Mixture.open(run_folder)
    for prompt, model in [("the house near a river", "auto"), ("la maison près du fleuve", "auto"), ("the dog", "fr")]:
        expected = mixture.generate(prompt, model, Sampling(max_tokens=12, temperature=0.0))
        response = client.post(
            "/v1/completions", json={"model": model, "prompt": prompt, "max_tokens": 12, "temperature": 0}
        )
        body = response.json()
        assert response.status_code == 200, body
        assert body["choices"][0]["text"] == expected.text
        assert body["choices"][0]["finish_reason"] == expected.finish_reason
        assert body["model"] == body["route"]["expert"] == expected.expert
        assert body["route"]["probabilities"] == (expected.probabilities and pytest.approx(expected.probabilities))
        assert body["usage"]["completion_tokens"] == expected.completion_tokens


def test_a_batch_of_both_languages_and_many_callers_at_once(client: httpx.Client) -> None:
    request = {"prompt": ["the house", "la maison", "the dog"], "max_tokens": 6, "seed": 3}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/completions", json=request).json(), range(24)))
    assert [choice["route"]["expert"] for choice in answers[0]["choices"]] == ["en", "fr", "en"]
    assert len({str(answer["choices"]) for answer in answers}) == 1
    assert len({answer["id"] for answer in answers}) == 24


def test_a_stream_through_http_is_the_whole_answer(client: httpx.Client) -> None:
    request = {"prompt": ["the house", "la maison"], "max_tokens": 9, "seed": 5, "n": 2}
    whole = client.post("/v1/completions", json=request).json()
    texts = dict.fromkeys(range(4), "")
    with client.stream("POST", "/v1/completions", json={**request, "stream": True}) as response:
        *lines, last = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    for choice in (choice for line in lines for choice in json.loads(line)["choices"]):
        texts[choice["index"]] += choice["text"]
    assert last == "[DONE]"
    assert list(texts.values()) == [choice["text"] for choice in whole["choices"]]


def test_models_and_health(client: httpx.Client) -> None:
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["auto", "en", "fr"]
    assert client.get("/health").json() == {"status": "ok", "experts": ["en", "fr"], "version": "0"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "klingon", "prompt": "a"}, 404, "model_not_found"),
        ({"prompt": ""}, 400, None),
        ({"prompt": "river " * 200}, 400, "context_length_exceeded"),
        ({"prompt": "a", "temperature": -1}, 400, None),
        ({"prompt": "a", "colour": "red"}, 400, "unknown_parameter"),
    ],
)
def test_refusals_come_through_in_openais_shape(
    client: httpx.Client, body: dict[str, object], status: int, code: str | None
) -> None:
    response = client.post("/v1/completions", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}


def test_only_experts_load_torch_and_everything_scales_by_itself(client: httpx.Client) -> None:
    from ray import serve

    applications = serve.status().applications.values()
    states = {name: facts.replica_states for each in applications for name, facts in each.deployments.items()}
    assert states == {name: {"RUNNING": 1} for name in ("ingress", "keeper", "expert-en", "expert-fr")}
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, serve.ingress, serve.router; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert imported.stdout.strip() == "False"


@pytest.mark.slow
def test_serve_run_takes_the_builder_and_its_arguments(client: httpx.Client, run_folder: Path) -> None:
    command = [str(Path(sys.executable).with_name("serve")), "run", "serve.app:build", f"run={run_folder}",
               "expert_cpus=0.1", "--name", "second", "--route-prefix", "/second"]  # fmt: skip
    # Ray's commands replace 127.0.0.1 by the machine's other address, where this Ray does not listen.
    environment = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, start_new_session=True)
    try:
        answer = None
        for _ in range(90):
            time.sleep(1)
            answer = client.post("/second/v1/completions", json={"prompt": "the house", "max_tokens": 2})
            if answer.status_code == 200 or process.poll() is not None:
                break
        assert answer is not None
        assert answer.json()["route"]["expert"] == "en"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.mark.slow
def test_another_mixture_takes_its_place_and_rejected_prompts_go_where_its_policy_says(
    client: httpx.Client,
    run_folder: Path,
    prompt_router: Callable[[Path, Policy], Path],
    write_mixture: Callable[[Path, PluginSpec], Path],
    tmp_path: Path,
) -> None:
    """The last of this module. The other policies, whose answers are made in the same way: test_prompts.py."""
    from serve.app import deploy

    store, known, foreign = Store(tmp_path / "policies"), "la maison près du fleuve", "ξένη γλώσσα"
    setup = PluginSpec(type="moe_ce", combiner="gate")
    tokenizer = Store(run_folder).current()["tokenizer"].folder / "tokenizer.json"
    parts = {
        "tokenizer": store.publish("tokenizer", "t" * 16, {}, lambda out: shutil.copy(tokenizer, out)),
        "mixture": store.publish("mixture", "m" * 16, {}, lambda out: write_mixture(out, setup)),
        "router": store.publish("router", "r" * 16, {}, lambda out: prompt_router(out, Policy("common"))),
    }
    store.set_current("policies", parts)
    deploy(store.root, port=client.base_url.port or 80, blocking=False)
    body = client.post("/v1/completions", json={"prompt": known, "max_tokens": 2}).json()
    assert body["route"]["expert"] == "fr"
    assert body["route"]["probabilities"]["none"] < 0.01
    body = client.post("/v1/completions", json={"prompt": foreign, "max_tokens": 2}).json()
    assert body["route"]["expert"] == body["model"] == "common"
    assert client.get("/health").json()["experts"] == ["en", "fr", "common"]
