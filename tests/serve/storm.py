"""Requests to an endpoint while its parts are killed and what it serves changes: nothing may be lost without a word.

    python tests/serve/storm.py [--requests 5000] [--seed 1] [--clients 16] [--every 4]

Greedy and seeded requests, for one answer and two, streamed and whole, with log-probabilities, echo, stop texts.
A replica of an expert is killed (SIGKILL) every few seconds, and the controller once. An expert is added, a damaged one
is offered, the version is switched there and back. A tenth of the clients go away.
In the end every answer that was finished is the undisturbed one, no stream was cut without an error event, no whole
request failed but with 429, all slots are free, and the processes that lived through all of it have not grown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # it is run as a script, too

from tests.serve.versions import write_versions  # noqa: E402

PROMPTS = ("the house near a river", "la maison près du fleuve", "dog", "chaque été à l’aube où", "river children")
SETTINGS = ("min_replicas=2", "max_replicas=2", "keep_s=5", "deadline_s=120", "queue=256", "expert_cpus=0.1")
START_SECONDS, GROWTH = 120, 1.05
Answer = tuple[tuple[str, str, str], ...]
"""Of each choice: text, end, and log-probabilities as JSON."""


@dataclass
class Storm:
    """What happened.

    Attributes:
        outcomes: how many requests ended in each way. kills: of what, how many.
        failed: whole requests with another status than 200 and 429. cut: streams that ended without a word.
        differs: answers that are not the undisturbed ones. wrong: changes that went otherwise than they should.
        busy: slots that are not free in the end. grown: processes that take more memory than in the middle.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    busy: int = 0
    grown: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing was lost."""
        return not (self.failed or self.cut or self.differs or self.wrong or self.busy or self.grown)

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        lost = {name: getattr(self, name)[:5] for name in ("failed", "cut", "differs", "wrong", "grown")}
        return f"{self.seconds:.0f} s, requests: {told}; killed: {kills}; lost: {lost}, {self.busy} slots busy"


def bodies(draw: random.Random, count: int) -> list[dict[str, Any]]:
    """Different requests."""
    found = []
    for index in range(count):
        body: dict[str, Any] = {"prompt": draw.choice(PROMPTS), "max_tokens": draw.choice((1, 5, 20, 40))}
        body |= draw.choice(({"temperature": 0}, {"seed": index}, {"seed": index, "temperature": 0.7, "top_p": 0.9}))
        body |= draw.choice(({}, {"n": 2}, {"logprobs": 1}, {"echo": True}, {"stop": ["e", "the "]}))
        found.append(body)
    return found


class Endpoint:
    """`mome serve` of a run in a process of its own."""

    def __init__(self, run: Path, settings: Sequence[str] = SETTINGS) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.run, self.url = run, f"http://127.0.0.1:{self.port}"
        self.log = run.parent / "endpoint.txt"
        command = ["serve", "run", str(run), *settings, "--port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.cli.main", *command],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        """Until it answers.

        Raises:
            AssertionError: it does not.
        """
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return
            time.sleep(0.3)
        raise AssertionError(f"it does not start: {self.log.read_text()[-4000:]}")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another `mome serve` command on it."""
        line = [sys.executable, "-m", "orchestrator.cli.main", "serve", words[0], str(self.run), *words[1:]]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    def processes(self, title: str = "") -> list[psutil.Process]:
        """Its processes whose title has this in it."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if title in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def memory(self) -> dict[int, tuple[str, float]]:
        """Process -> its title and resident set size, in MB: what is shared among fewer processes has not grown."""
        found = {}
        for process in [psutil.Process(self.process.pid), *self.processes()]:
            with suppress(psutil.Error):
                title = " ".join(process.cmdline())[:60]
                found[process.pid] = title, process.memory_info().rss / 2**20
        return found

    def busy(self) -> int:
        """Slots that are not free, and requests that wait."""
        told = httpx.get(f"{self.url}/metrics").text
        lines = [line for line in told.splitlines() if line.startswith(("mome_engine_active{", "mome_engine_waiting{"))]
        assert lines, told
        return sum(int(float(line.rpartition(" ")[2])) for line in lines)

    def end(self) -> int:
        """End it as a person does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def endpoint(run: Path, settings: Sequence[str] = SETTINGS) -> Iterator[Endpoint]:
    """A run's endpoint for the time of the block."""
    served = Endpoint(run, settings)
    try:
        served.wait()
        yield served
    finally:
        if served.process.poll() is None:
            served.end()


async def ask(
    client: httpx.AsyncClient, body: Mapping[str, Any], leave: float | None = None
) -> tuple[str, str, Answer]:
    """Send a request and read its answer: how it ended, of which version it is, and what it says.

    Args:
        client: of the endpoint.
        body: of the request.
        leave: seconds after which the client goes away.
    """
    asked = _stream(client, body) if body.get("stream") else _whole(client, body)
    if leave is None:
        return await asked
    with suppress(TimeoutError):
        return await asyncio.wait_for(asked, leave)
    return "left", "", ()


async def _whole(client: httpx.AsyncClient, body: Mapping[str, Any]) -> tuple[str, str, Answer]:
    try:
        response = await client.post("/v1/completions", json=body)
    except httpx.HTTPError as error:
        return f"{type(error).__name__}", "", ()
    if response.status_code != 200:
        return str(response.status_code), response.text, ()
    choices = sorted(response.json()["choices"], key=lambda choice: choice["index"])
    answer = tuple((each["text"], each["finish_reason"], json.dumps(each["logprobs"])) for each in choices)
    return "whole", response.headers["x-mome-version"], answer


async def _stream(client: httpx.AsyncClient, body: Mapping[str, Any]) -> tuple[str, str, Answer]:
    parts, how = dict[int, list[dict[str, Any]]](), "cut"
    try:
        async with client.stream("POST", "/v1/completions", json=body) as response:
            if response.status_code != 200:
                return str(response.status_code), (await response.aread()).decode(), ()
            async for event in _events(response):
                if event.startswith(b"event: error"):
                    how = "told"
                elif event == b"data: [DONE]":
                    how = "streamed"
                elif event.startswith(b"data: ") and how == "cut":
                    for choice in json.loads(event[6:])["choices"]:
                        parts.setdefault(choice["index"], []).append(choice)
            version = response.headers["x-mome-version"]
    except httpx.HTTPError as error:
        return "cut", repr(error), ()
    return how, version, tuple(map(_joined, (parts[index] for index in sorted(parts))))


async def _events(response: httpx.Response) -> AsyncIterator[bytes]:
    """Of a stream, whole ones; httpx takes more characters than a line feed for the end of a line."""
    left = b""
    async for piece in response.aiter_bytes():
        *events, left = (left + piece).split(b"\n\n")
        for event in events:
            yield event


def _joined(parts: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    """A choice of a stream as the whole answer has it."""
    told = [each["logprobs"] for each in parts if each["logprobs"] is not None]
    whole = {name: [one for each in told for one in each[name]] for name in told[0]} if told else None
    ends = [each["finish_reason"] for each in parts if each["finish_reason"]]
    return "".join(each["text"] for each in parts), ends[-1] if len(ends) == 1 else str(ends), json.dumps(whole)


async def undisturbed(served: Endpoint, asked: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """The answers when nothing happens; streamed and whole are the same already."""
    found = []
    async with httpx.AsyncClient(base_url=served.url, timeout=150) as client:
        for body in asked:
            _, _, answer = await ask(client, body)
            assert answer, body
            assert (await ask(client, {**body, "stream": True}))[2] == answer, body
            found.append(answer)
    return found


async def _clients(
    served: Endpoint, asked: Sequence[Mapping[str, Any]], expected: Mapping[str, Sequence[Answer]],
    requests: int, clients: int, draw: random.Random, storm: Storm,
) -> None:  # fmt: skip
    left = iter(range(requests))

    async def work(client: httpx.AsyncClient) -> None:
        for _ in left:
            place = draw.randrange(len(asked))
            body = {**asked[place], "stream": draw.random() < 0.5}
            leave = draw.uniform(0, 0.2) if draw.random() < 0.1 else None
            how, version, answer = await ask(client, body, leave)
            storm.outcomes[how] += 1
            if how in ("whole", "streamed"):
                if answer != expected[version.rstrip("+")][place]:
                    storm.differs.append(f"{body} of {version}: {answer}, not {expected[version.rstrip('+')][place]}")
            elif how == "cut":
                storm.cut.append(f"{body}: {version}")
            elif how not in ("told", "429", "left"):
                storm.failed.append(f"{body}: {how} {version}")

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=served.url, timeout=150, limits=limits) as client:
        await asyncio.gather(*(work(client) for _ in range(clients)))


async def _kill(served: Endpoint, every: float, draw: random.Random, storm: Storm, controller: asyncio.Event) -> None:
    """Kill a replica every few seconds, and the controller once it is asked for."""
    while True:
        await asyncio.sleep(draw.uniform(0.5, 1.5) * every)
        title = "ray::ServeController" if controller.is_set() else "ray::ServeReplica:mome-expert"
        there = served.processes(title)
        if there:
            controller.clear()
            storm.kills["controller" if "Controller" in title else "replica"] += 1
            with suppress(psutil.Error):
                draw.choice(there).kill()


async def _change(served: Endpoint, extra: Path, damaged: Path, storm: Storm, controller: asyncio.Event) -> None:
    """Change what is served, each time while requests come in."""

    async def expect(code: int, *words: str) -> None:
        done = await asyncio.to_thread(served.command, *words)
        if done.returncode != code:
            storm.wrong.append(f"{words}: {done.returncode} {done.stdout} {done.stderr}")

    await expect(0, "add", "es", str(extra))
    await expect(2, "add", "bad", str(damaged))
    await expect(0, "use", "2", "--percent", "30")
    controller.set()
    await expect(0, "use", "2")
    await expect(0, "use", "1")
    told = json.loads((await asyncio.to_thread(served.command, "status", "--json")).stdout or "{}")
    if told.get("table", {}).get("version") != "1" or told.get("canary"):
        storm.wrong.append(f"served in the end: {told}")


async def blow(served: Endpoint, folders: Mapping[str, Path], options: argparse.Namespace) -> Storm:
    """The storm over an endpoint that serves version 1."""
    draw, storm, begin = random.Random(options.seed), Storm(), time.monotonic()
    asked, expected = bodies(draw, options.different), dict[str, Sequence[Answer]]()
    for version in ("2", "1"):
        assert served.command("use", version).returncode == 0
        expected[version] = await undisturbed(served, asked)
    controller, memory = asyncio.Event(), dict[int, tuple[str, float]]()
    killing = asyncio.create_task(_kill(served, options.every, draw, storm, controller))
    changing = asyncio.create_task(_change(served, folders["extra"], folders["damaged"], storm, controller))
    for half in range(2):
        await _clients(served, asked, expected, options.requests // 2, options.clients, draw, storm)
        memory = served.memory() if not half else memory
    await changing
    killing.cancel()
    await _settled(served, storm)
    after = served.memory()
    for pid, (title, before) in memory.items():
        if pid in after and "expert" not in title and after[pid][1] > before * GROWTH + 10:
            storm.grown.append(f"{title}: {before:.0f} to {after[pid][1]:.0f} MB")
    storm.seconds = time.monotonic() - begin
    return storm


async def _settled(served: Endpoint, storm: Storm) -> None:
    for _ in range(100):
        with suppress(httpx.HTTPError, AssertionError):
            storm.busy = served.busy()
            if not storm.busy:
                return
        await asyncio.sleep(0.2)


def run(folder: Path, options: argparse.Namespace) -> Storm:
    """Write a run into a folder, serve it, and let the storm blow."""
    root, extra = write_versions(folder)
    damaged = folder / "damaged"
    shutil.copytree(extra, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-500])
    with endpoint(root) as served:
        return asyncio.run(blow(served, {"extra": extra, "damaged": damaged}, options))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--different", type=int, default=60, help="requests that differ from each other")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two kills, in the mean")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="storm", ignore_cleanup_errors=True) as folder:
        storm = run(Path(folder), options)
    print(storm)
    if not storm.ok:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
