"""A fake backend, and the fake run behind a real server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from orchestrator.artifacts import Store
from orchestrator.routers import Policy
from serve.api import create_app
from serve.chat import ChatTemplate
from serve.errors import ContextLengthError, ExpertUnavailableError, OverloadedError, UnknownModelError
from serve.local import LocalBackend
from serve.messages import Completion, Delta, Explanation, GenerationRequest, Route, Statistics
from serve.mixture import Mixture


class FakeBackend:
    """Routes by the first letter, answers with what it was asked."""

    experts = ("en", "fr")
    special = ("auto",)
    full = False
    version = "7"
    started = 1_700_000_000
    deadline_s = 0.3
    context = 64
    chat = ChatTemplate()
    there = True

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[GenerationRequest]]] = []
        self.given_up = 0
        self.elsewhere: list[Any] = []

    async def route(self, model: str, prompts: Sequence[str]) -> list[Route]:
        if model != "auto" and model not in self.experts:
            raise UnknownModelError(f"there is no model {model!r}", fix="use one of: auto, en, fr")
        if model != "auto":
            return [Route(model)] * len(prompts)
        return [
            Route("fr", {"en": 0.1, "fr": 0.9}, "routed")
            if p[0] == "l"
            else Route("en", {"en": 1.0, "fr": 0.0}, "routed")
            for p in prompts
        ]

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        return [Explanation("en", "en", False, {"en": 1.0}) for _ in texts]

    async def generate(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        self.calls.append((expert, list(requests)))
        match requests[0].prompt:
            case "slow":
                await self._wait(5)
            case "long":
                raise ContextLengthError("this model's context is 8 tokens", fix="shorten the prompt")
            case "busy":
                raise OverloadedError("too many requests are waiting")
            case "bug":
                raise KeyError("a secret")
        return [Completion(f" {expert} {r.prompt} {r.stream}", 3, 2, "length") for r in requests]

    async def stream(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Any]:
        """A word at a time; "breaks" is lost after the first one, "stalls" and "buggy" stand still and fail there."""
        for place, done in enumerate(await self.generate(expert, requests, seconds)):
            first, *rest = done.text.split()
            yield [(place, Delta(first, (7,)))]
            match requests[0].prompt:
                case "breaks":
                    raise ExpertUnavailableError("the expert was lost")
                case "buggy":
                    raise KeyError("a secret")
                case "stalls":
                    await self._wait(5)
            yield [(place, Delta("".join(f" {word}" for word in rest), (8,), (), done.finish_reason, 3))]

    async def tokenize(self, text: str, special: bool = False) -> list[int]:
        return list(text.encode())

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        return [bytes(tokens).decode() for tokens in sequences]

    async def ready(self) -> bool:
        return self.there

    async def counted_elsewhere(self) -> list[Any]:
        return self.elsewhere

    async def statistics(self) -> dict[str, list[Statistics]]:
        return {"en": [Statistics(8, 1, 2, 3, 4, 5, 6, 7, 8, 9), Statistics(8, 0, 0, 0, 0, 0, 0, 0, 0, 0)]}

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.given_up += 1
            raise


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


class _Current:
    """The backend of the test that runs."""

    backend = FakeBackend()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


@pytest.fixture(scope="session")
def _app() -> Any:
    """One for all tests: to make it and to answer its first request takes a quarter of a second of a core."""
    return create_app(_Current())


@pytest.fixture
def client(_app: Any, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(_Current, "backend", backend)
    with TestClient(_app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def _served(app: Any) -> Iterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def served() -> Callable[[Any], AbstractContextManager[str]]:
    """Has an application answer at an address of this machine."""
    return _served


@pytest.fixture(scope="session")
def prompted_run(
    run_folder: Path, tmp_path_factory: pytest.TempPathFactory, prompt_router: Callable[[Path, Policy], Path]
) -> Path:
    """The fake run with a router that reads text; what is of no language goes to "en"."""
    store, parts = Store(tmp_path_factory.mktemp("prompted") / "run"), dict(Store(run_folder).current())

    def copied(name: str, out: Path) -> None:
        shutil.copytree(parts[name].folder, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))

    published = {
        name: store.publish(name, "a" * 16, {}, lambda out, name=name: copied(name, out))
        for name in parts
        if name != "router"
    }
    published["router"] = store.publish("router", "r" * 16, {}, lambda out: prompt_router(out, Policy("en")))
    store.set_current("run", published)
    return store.root


@pytest.fixture(scope="session")
def mixture(prompted_run: Path) -> Mixture:
    return Mixture.open(prompted_run)


@pytest.fixture(scope="session")
def address(mixture: Mixture) -> Iterator[str]:
    """Of a real server over the fake run."""
    backend = LocalBackend(mixture)
    backend.load()
    with _served(create_app(backend)) as url:
        yield url


@pytest.fixture
def live(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30, verify=False) as client:  # certificates are 50 ms of a core to read
        yield client
