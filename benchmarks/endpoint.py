"""An endpoint over HTTP beside the engines alone, and beside another build's endpoint."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmarks._endpoint import LANGUAGES, Alone, Load, ask, asking, dress, load, prompt, served
from benchmarks._flood import Flood, capacity, flood
from benchmarks._processes import CPU_STEP, Tree
from benchmarks._rows import Row, compare, notice, single
from orchestrator.config.base import PluginSpec

SHAPES = {
    "quickstart": (PluginSpec(type="gpt2", layers=2, width=128, heads=4), 4_096),
    "paper": (PluginSpec(type="gpt2", layers=3, width=768, heads=12), 32_000),
}
_SHARES = (0.5, 0.95, 0.99)
_TOGETHER = 64
"""Clients that keep the slots of four experts full."""
_ALONE, _LONG = 20, 8
"""Answers of one token, and long ones, in turn."""
MANY = 16
"""Fewer clients than these are not measured beside another build."""
FIRST_MS, TOKEN_MS, ZERO_S = 5.0, 0.1, 5.0
"""Goals: of the time to the first token and of that after it, what is not the engine's; to start an expert again."""
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Endpoint:
    """What stands between the engines and whoever asks over HTTP, and what an endpoint holds in memory."""

    run: str = "runs/quickstart"
    """A finished run: its tokenizer and router serve experts of random weights."""
    shape: str = "quickstart"
    """Of the experts: "quickstart" (2 × 128, 4,096 tokens) or "paper" (3 × 768, 32,000)."""
    clients: tuple[int, ...] = (1, 4, 16, 64)
    """How many ask at once."""
    requests: int = 8
    """Answers that each client waits for, one after another."""
    tokens: int = 48
    """Of an answer."""
    beside: str = ""
    """Folder of a clone of another build, whose endpoint is measured too; it is asked for whole answers."""
    options: tuple[str, ...] = ()
    """Of `mome serve`."""
    overload: float = 5.0
    """Requests at so many times the rate that the endpoint can answer at most; 0: not measured."""
    overload_seconds: float = 10.0
    """For which they are sent, each time."""
    repeats: int = 3
    """Rounds; the two builds take turns."""
    parts: tuple[Literal["engines", "share", "neighbours", "overload", "zero", "beside"], ...] = (
        "engines", "share", "neighbours", "overload", "zero", "beside",
    )  # fmt: skip
    """What to measure: beside the engines alone; of one client's times, what is not the engine's; one token beside a
    long answer; more than can be answered; the start of an expert that had ended; beside another build's endpoint."""

    def rows(self) -> Iterator[Row]:
        """Tokens a second and a CPU second, time to the first token and between tokens, neighbours, memory."""
        spec, vocabulary = SHAPES[self.shape]
        with TemporaryDirectory() as folder:
            run = dress(Path(self.run), spec, vocabulary, Path(folder) / "bench")
            if set(self.parts) - {"zero", "beside"}:
                yield from self._beside_the_engines(run)
            if "zero" in self.parts:
                yield self._zero(run)
            if self.beside and "beside" in self.parts:
                yield from self._beside_another(run)

    def _beside_the_engines(self, run: Path) -> Iterator[Row]:
        alone = Alone(run)
        paces = alone.paces(20, self.tokens)
        with served(run, ROOT, self.options) as (address, tree):
            yield single(f"{self.shape}: idle endpoint", "memory", "MB", tree.memory() / 1e6, float("nan"))
            if "share" in self.parts:
                yield from self._share(address, paces)
            for clients in self.clients if "engines" in self.parts else ():
                yield from self._clients(address, tree, alone, clients, paces.firsts)
            if "neighbours" in self.parts:
                yield self._neighbours(address)
            if self.overload and "overload" in self.parts:
                yield from self._overload(address, tree)
        alone.close()

    def _share(self, address: str, alone: Load) -> Iterator[Row]:
        """What one client's times have beside those of the engines alone, and beside what they may have."""
        load(address, 1, 8, self.tokens)
        seen = load(address, 1, 20 * self.repeats, self.tokens)
        for what, ours, theirs, goal in (
            ("the time to the first token", seen.firsts, alone.firsts, FIRST_MS),
            ("the time a token after it", seen.gaps, alone.gaps, TOKEN_MS),
        ):
            case = f"{self.shape}: what is not the engine's of {what}, one client, beside the goal"
            share = [1e3 * (each - statistics.median(theirs)) for each in ours]
            yield compare(case, "latency", "ms", share, [goal])

    def _zero(self, run: Path) -> Row:
        """One token of an expert whose last replica had ended, beside what that may take."""
        options = ("min_replicas=0", "scale_to_zero_delay_s=1", "downscale_delay_s=1", "max_replicas=1", *self.options)
        seconds = []
        with served(run, ROOT, options) as (address, tree):
            for repeat in range(self.repeats):
                while tree.titles("ray::ServeReplica:mome-expert"):
                    time.sleep(0.5)
                seconds += load(address, 1, 1, 1).firsts
                if len(seconds) <= repeat:
                    notice(f"{self.shape}: an expert that had ended did not answer")
        return compare(
            f"{self.shape}: 0 to 1 replicas, the first token, beside the goal", "latency", "s", seconds, [ZERO_S]
        )

    def _clients(self, address: str, tree: Tree, alone: Alone, clients: int, firsts: Sequence[float]) -> Iterator[Row]:
        case, count = f"{self.shape}, {clients} clients", clients * self.requests
        seen, ours, theirs = list[Load](), list[float](), list[float]()
        load(address, clients, count, self.tokens)
        for _ in range(self.repeats):
            theirs.append(alone.tokens_per_cpu_second(count, self.tokens, clients))
            tree.look()
            before = tree.cpu
            seen.append(load(address, clients, count, self.tokens))
            tree.look()
            ours.append(seen[-1].tokens / max(tree.cpu - before, CPU_STEP))
        yield compare(f"{case}: beside the engines alone", "speed", "tokens/CPU s", ours, theirs)
        speeds = [one.tokens / one.seconds for one in seen]
        yield compare(case, "speed", "tokens/s", speeds, speeds)
        if lost := [status for one in seen for status in one.statuses]:
            notice(f"{case}: {len(lost)} requests were not answered: {sorted(set(lost))}")
        after = [s for one in seen for s in one.gaps]
        for name, found, beside in (
            ("time to the first token", [s for one in seen for s in one.firsts], firsts),
            ("time a token after it", after, ()),  # an engine alone has no steady pace to compare with
        ):
            for share in _SHARES:
                value = _quantile(found, share) * 1e3
                baseline = _quantile(beside, share) * 1e3 if beside else float("nan")
                yield single(f"{case}: {name}, p{share * 100:.0f}", "latency", "ms", value, baseline)

    def _neighbours(self, address: str) -> Row:
        """One token alone, and while the same expert writes one long answer after another for another process."""

        async def seconds(other: Executor) -> tuple[list[float], list[float]]:
            alone, beside, numbers = Load(), Load(), itertools.count(step=LANGUAGES)
            async with asking(address) as client:
                for _ in range(self.repeats):
                    for _ in range(_ALONE):
                        await ask(client, alone, prompt(next(numbers)), 1, True)
                    long = other.submit(load, address, 1, _LONG, 200)
                    await asyncio.sleep(0.1)
                    while not long.done():
                        await ask(client, beside, prompt(next(numbers)), 1, True)
                    del beside.wholes[-1:]  # the long answer may have ended before it
            return alone.wholes, beside.wholes

        with ProcessPoolExecutor(1, get_context("spawn")) as other:
            other.submit(load, address, 1, 1, 1).result()  # it has imported what it needs
            alone, beside = asyncio.run(seconds(other))
        case = f"{self.shape}: one token beside an answer of 200, and alone"
        return compare(case, "latency", "ms", [1e3 * s for s in beside], [1e3 * s for s in alone])

    def _overload(self, address: str, tree: Tree) -> Iterator[Row]:
        """As many clients as can be computed together, then more requests than can be answered, in turn."""
        case, found, best, before = f"{self.shape}: {self.overload:g} × what can be answered", list[Flood](), [], 0.0
        for _ in range(self.repeats):
            most = capacity(address, _TOGETHER, self.overload_seconds, self.tokens)
            best.append(most.tokens / most.seconds)
            before = before or tree.memory() / 1e6
            rate = self.overload * best[-1] / self.tokens
            found.append(flood(address, rate, self.overload_seconds, self.tokens))
        if others := [status for each in found for status in each.others]:
            notice(f"{case}: {len(others)} requests failed: {sorted(set(others))}")
        yield compare(case, "speed", "tokens/s", [each.tokens / each.seconds for each in found], best)
        yield single(case, "memory", "MB", tree.memory() / 1e6, before)
        refusals = [seconds for each in found for seconds in each.refusals]
        refused = len(refusals) / sum(each.sent for each in found)
        yield single(f"{case}: refused with 429", "requests", "share", refused, 1 - 1 / self.overload)
        for share in _SHARES if len(refusals) > 1 else ():
            value = _quantile(refusals, share) * 1e3
            yield single(f"{case}: until a refusal, p{share * 100:.0f}", "latency", "ms", value, float("nan"))

    def _beside_another(self, run: Path) -> Iterator[Row]:
        """Whole answers, as not every build streams; the two are started in turn."""
        builds = {"ours": ROOT, "theirs": Path(self.beside).resolve()}
        memory, speed = _Both(), {clients: _Both() for clients in self.clients if clients >= MANY}
        for _ in range(self.repeats):
            for name, build in builds.items():
                with served(run, build, self.options if name == "ours" else ()) as (address, tree):
                    memory.add(name, tree.memory() / 1e6)
                    for clients, found in speed.items():
                        load(address, clients, clients, self.tokens, stream=False)
                        seen = load(address, clients, clients * self.requests, self.tokens, stream=False)
                        found.add(name, seen.tokens / seen.seconds)
        yield memory.row(f"{self.shape}: idle endpoint beside another build's", "memory", "MB")
        for clients, found in speed.items():
            yield found.row(f"{self.shape}, {clients} clients: beside another build", "speed", "tokens/s")


class _Both:
    """What was measured of both builds."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {"ours": [], "theirs": []}

    def add(self, name: str, value: float) -> None:
        """Of one of them."""
        self._found[name].append(value)

    def row(self, case: str, metric: str, unit: str) -> Row:
        """Ours beside theirs."""
        return compare(case, metric, unit, self._found["ours"], self._found["theirs"])


def _quantile(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]
