"""The bench of an endpoint: the run that it makes, and what clients see of a small load over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from benchmarks._endpoint import Alone, dress, load
from benchmarks._flood import capacity, flood
from orchestrator.config.base import PluginSpec
from serve.api import create_app
from serve.local import LocalBackend
from serve.mixture import Mixture

REQUESTS, TOKENS = 6, 5


@pytest.fixture(scope="module")
def run(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = PluginSpec(type="gpt2", layers=1, width=16, heads=2)
    return dress(run_folder, spec, 448, tmp_path_factory.mktemp("bench") / "bench")


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    config = uvicorn.Config(create_app(LocalBackend(Mixture.open(run))), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("stream", [True, False])
def test_clients_are_sent_every_token(address: str, stream: bool) -> None:
    seen = load(address, 3, REQUESTS, TOKENS, stream)
    assert (seen.tokens, seen.statuses) == (REQUESTS * TOKENS, [])
    assert len(seen.firsts) == len(seen.gaps) == REQUESTS
    assert all(0 < first <= whole for first, whole in zip(seen.firsts, seen.wholes, strict=True))


def test_what_is_not_answered_is_counted_by_its_status(address: str) -> None:
    assert load(address, 1, 2, 10_000, stream=False).statuses == [400, 400]


def test_a_flood_is_answered_refused_or_lost_and_each_is_counted(address: str) -> None:
    seen = flood(address, 20, 0.5, TOKENS)
    assert 12 <= seen.sent <= 15
    assert (seen.refusals, seen.others) == ([], [])
    assert 0 < seen.tokens <= seen.sent * TOKENS
    assert len(flood("http://127.0.0.1:9", 20, 0.2, TOKENS).others) > 0
    assert set(flood(address, 20, 0.2, 10_000).others) == {400}


def test_what_an_endpoint_can_answer_is_counted_once_it_is_at_work(address: str) -> None:
    seen = capacity(address, 3, 0.4, TOKENS)
    assert (seen.refusals, seen.others) == ([], [])
    assert 0 < seen.tokens < seen.sent * TOKENS


def test_the_engines_alone_answer_the_same_prompts(run: Path) -> None:
    alone = Alone(run)
    assert alone.tokens_per_cpu_second(REQUESTS, TOKENS, 4) > 0
    paces = alone.paces(2, TOKENS)
    assert len(paces.firsts) == len(paces.gaps) == 2
    assert min(paces.firsts) > 0
    alone.close()
