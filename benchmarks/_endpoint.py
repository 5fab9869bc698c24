"""An endpoint under load: a run with random experts, a server of it, clients that ask it, and the engines alone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import torch

from benchmarks._processes import CPU_STEP, Tree, own_cpu
from orchestrator.artifacts import MANIFEST, Artifact, Store
from orchestrator.config.base import PluginSpec
from orchestrator.errors import ResourceError
from orchestrator.models import build_model, save_model
from serve.engine import Engine
from serve.files import MixtureFiles
from serve.messages import GenerationRequest, Sampling
from serve.mixture import Mixture

_CONTEXT = 256
_WAIT_SECONDS = 300.0
_PROMPTS = {
    "en": "The old bridge over the river was built long before the town had",
    "fr": "Le vieux pont sur la rivière fut construit bien avant que la ville",
    "de": "Die alte Brücke über den Fluss wurde gebaut, lange bevor die Stadt",
    "py": "def mean(values):\n    total = 0.0\n    for value in values:\n        total +=",
}
LANGUAGES = len(_PROMPTS)
"""So many numbers apart, prompts are of one language."""
MAIN = "import sys; from orchestrator.cli.main import main; sys.exit(main())"


def prompt(number: int) -> str:
    """One of many that begin differently, in turn in each language."""
    texts = list(_PROMPTS.values())
    text = texts[number % len(texts)]
    return f"# {number}\n{text}" if text.startswith("def") else f"{number}. {text}"


def dress(run: Path, spec: PluginSpec, vocabulary: int, folder: Path) -> Path:
    """A run with another's tokenizer and router, and random experts.

    Args:
        run: the other one's folder, finished.
        spec: of each expert.
        vocabulary: rows of its embedding, at least the tokenizer's.
        folder: to make.

    Raises:
        ArtifactError: `run` is not finished.
    """
    files, store, parts = MixtureFiles.of(run), Store(folder), dict[str, Artifact]()
    for name, source in (("tokenizer", files.tokenizer), ("router", files.router)):
        parts[name] = store.publish(name, name[0] * 16, {}, partial(_copy, source))
    for seed, language in enumerate(files.experts):
        model, name = build_model(spec, vocabulary, _CONTEXT, seed), f"expert-{language}"
        parts[name] = store.publish(name, "e" * 16, {}, partial(_save, model, files.tokenizer))
    store.set_current("bench", parts)
    return folder


def _copy(source: Path, out: Path) -> None:
    shutil.copytree(source, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))


def _save(model: Any, tokenizer: Path, out: Path) -> None:
    save_model(model, tokenizer, out / "model")


@contextmanager
def served(run: Path, build: Path, options: Sequence[str] = ()) -> Iterator[tuple[str, Tree]]:
    """The address of an endpoint of a run, and its processes; every expert has answered.

    Args:
        run: folder.
        build: folder of the clone whose `mome serve` it is.
        options: of that.

    Raises:
        ResourceError: it does not answer.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", MAIN, "serve", run.name, "--runs", str(run.parent), "--port", str(port), *options]
    environment = {**os.environ, "PYTHONPATH": str(build), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(command, cwd=build, env=environment, stdout=said, stderr=said)
        try:
            address = f"http://127.0.0.1:{port}"
            try:
                _await(address, process, list(MixtureFiles.of(run).experts))
            except ResourceError as error:
                said.seek(0)
                raise ResourceError(f"{error.what}: {said.read().strip()[-2000:]}", str(build)) from None
            yield address, Tree(process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


def _await(address: str, process: subprocess.Popen[Any], waiting: list[str]) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while waiting:
        if process.poll() is not None or time.monotonic() > end:
            raise ResourceError("the endpoint does not answer")
        try:
            body = {"prompt": "a", "max_tokens": 1, "model": waiting[-1]}
            answer = httpx.post(f"{address}/v1/completions", json=body, timeout=60)
        except httpx.HTTPError:
            time.sleep(0.5)
            continue
        if answer.status_code == httpx.codes.OK:
            waiting.pop()
        else:
            time.sleep(0.5)


@dataclass
class Load:
    """What clients saw.

    Attributes:
        seconds: in all. tokens: that they were sent.
        firsts: seconds to each answer's first token. gaps: seconds a token after it. wholes: seconds of each answer.
        statuses: of what was not answered.
    """

    seconds: float = 0.0
    tokens: int = 0
    firsts: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    wholes: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


def load(address: str, clients: int, requests: int, tokens: int, stream: bool = True) -> Load:
    """So many clients ask one after another, each for an answer of some tokens, until `requests` are answered."""
    return asyncio.run(_load(address, clients, requests, tokens, stream))


async def _load(address: str, clients: int, requests: int, tokens: int, stream: bool) -> Load:
    seen, numbers, start = Load(), iter(range(requests)), time.perf_counter()
    async with asking(address) as client:

        async def ask_on() -> None:
            for number in numbers:
                await ask(client, seen, prompt(number), tokens, stream)

        await asyncio.gather(*(ask_on() for _ in range(clients)))
    seen.seconds = time.perf_counter() - start
    return seen


def asking(address: str) -> aiohttp.ClientSession:
    """A client that leaves the cores to the endpoint: the more answers wait, the more CPU time httpx takes for each."""
    timeout, connector = aiohttp.ClientTimeout(total=600), aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(address, timeout=timeout, connector=connector)


async def ask(client: aiohttp.ClientSession, seen: Load, text: str, tokens: int, stream: bool) -> None:
    """One answer, noted in `seen`."""
    body: dict[str, Any] = {"prompt": text, "max_tokens": tokens, "temperature": 0, "model": "auto"}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    begin, first, usage = time.perf_counter(), 0.0, None
    async with client.post("/v1/completions", json=body) as answer:
        async for line in answer.content:
            first = first or time.perf_counter()
            if b'"usage":{' in line:
                usage = json.loads(line.removeprefix(b"data: "))["usage"]
    end = time.perf_counter()
    if answer.status != HTTPStatus.OK or usage is None:
        seen.statuses.append(answer.status)
        return
    seen.tokens += usage["completion_tokens"]
    seen.firsts.append(first - begin)
    seen.gaps.append((end - first) / max(1, usage["completion_tokens"] - 1))
    seen.wholes.append(end - begin)


class Alone:
    """The engines of a run in this process, a thread each: what the same answers cost without anything around them."""

    def __init__(self, run: Path, precision: str = "fp32") -> None:
        self._mixture = Mixture.open(run, precision=precision)
        torch.set_num_threads(1)  # as a replica does

    def tokens_per_cpu_second(self, requests: int, tokens: int, clients: int) -> float:
        """Of the same prompts, asked by as many clients: each engine has as much to do at once as behind the endpoint,
        and the same others beside it.
        """
        texts = [prompt(number) for number in range(requests)]
        routes = self._mixture.router.route(texts)
        engines = {expert: self._mixture.engine(expert) for expert in self._mixture.files.experts}
        how = Sampling(max_tokens=tokens, temperature=0.0)
        asked = [(engines[r.expert], GenerationRequest(t, how)) for t, r in zip(texts, routes, strict=True)]
        start = own_cpu()
        made = asyncio.run(self._answered(asked, clients))
        return made / max(own_cpu() - start, CPU_STEP)

    async def _answered(self, asked: Sequence[tuple[Engine, GenerationRequest]], clients: int) -> int:
        left, made = iter(asked), 0

        async def ask_on() -> None:
            nonlocal made
            for engine, request in left:
                (stream,) = engine.submit([request])
                done = await stream.completion()
                made += done.completion_tokens

        await asyncio.gather(*(ask_on() for _ in range(clients)))
        return made

    def paces(self, requests: int, tokens: int) -> Load:
        """One answer after another as it grows, router and tokenizer included; engines are loaded before."""
        seen = Load()
        for number in range(-len(_PROMPTS), requests):
            begin = time.perf_counter()
            (route,) = self._mixture.router.route([prompt(number)])
            how = Sampling(max_tokens=tokens, temperature=0.0)
            (stream,) = self._mixture.engine(route.expert).submit([GenerationRequest(prompt(number), how)])
            times = [time.perf_counter() for _ in stream]
            if number >= 0:
                seen.firsts.append(times[0] - begin)
                seen.gaps.append((times[-1] - times[0]) / max(1, tokens - 1))
        return seen

    def close(self) -> None:
        """End the engines."""
        for engine in self._mixture.engines.values():
            engine.close()
