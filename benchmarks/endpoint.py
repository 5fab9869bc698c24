"""An endpoint over HTTP beside the engines alone, and beside another build's endpoint."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks._endpoint import Alone, Load, ask, dress, load, prompt, served
from benchmarks._flood import capacity, flood
from benchmarks._processes import Tree
from benchmarks._rows import Row, compare, notice, single
from orchestrator.config.base import PluginSpec

SHAPES = {
    "quickstart": (PluginSpec(type="gpt2", layers=2, width=128, heads=4), 4_096),
    "paper": (PluginSpec(type="gpt2", layers=3, width=768, heads=12), 32_000),
}
_SHARES = (0.5, 0.95, 0.99)
_TOGETHER = 64
"""Clients that keep the slots of four experts full."""
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
    overload_seconds: float = 20.0
    """For which they are sent."""
    repeats: int = 3
    """Rounds; the two builds take turns."""

    def rows(self) -> Iterator[Row]:
        """Tokens a second and a CPU second, time to the first token and between tokens, neighbours, memory."""
        spec, vocabulary = SHAPES[self.shape]
        with TemporaryDirectory() as folder:
            run = dress(Path(self.run), spec, vocabulary, Path(folder) / "bench")
            yield from self._beside_the_engines(run)
            if self.beside:
                yield from self._beside_another(run)

    def _beside_the_engines(self, run: Path) -> Iterator[Row]:
        alone = Alone(run)
        firsts = alone.first_token(20)
        with served(run, ROOT, self.options) as (address, tree):
            yield single(f"{self.shape}: idle endpoint", "memory", "MB", tree.memory() / 1e6, float("nan"))
            for clients in self.clients:
                yield from self._clients(address, tree, alone, clients, firsts)
            yield self._neighbours(address)
            if self.overload:
                yield from self._overload(address, tree)
        alone.close()

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
            ours.append(seen[-1].tokens / (tree.cpu - before))
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
        """One token alone, and while the same expert writes long answers for others."""

        async def seconds() -> tuple[list[float], list[float]]:
            async with httpx.AsyncClient(base_url=address, timeout=600) as client:
                alone, beside = Load(), Load()
                for number in range(0, 80, 4):
                    await ask(client, alone, prompt(number), 1, True)
                for _ in range(self.repeats):
                    long = asyncio.create_task(ask(client, Load(), prompt(0), 200, True))
                    await asyncio.sleep(0.05)
                    number = 4
                    while not long.done():
                        await ask(client, beside, prompt(number), 1, True)
                        number += 4
                return alone.wholes, beside.wholes[: -self.repeats] or beside.wholes

        alone, beside = asyncio.run(seconds())
        case = f"{self.shape}: one token beside an answer of 200, and alone"
        return compare(case, "latency", "ms", [1e3 * s for s in beside], [1e3 * s for s in alone])

    def _overload(self, address: str, tree: Tree) -> Iterator[Row]:
        """As many clients as can be computed together, then more requests than can be answered, by the same means."""
        case = f"{self.shape}: {self.overload:g} × what can be answered"
        most = capacity(address, _TOGETHER, self.overload_seconds, self.tokens)
        before = tree.memory() / 1e6
        rate = self.overload * most.tokens / self.tokens / most.seconds
        seen = flood(address, rate, self.overload_seconds, self.tokens)
        if seen.others:
            notice(f"{case}: {len(seen.others)} requests of {seen.sent} failed: {sorted(set(seen.others))}")
        yield single(case, "speed", "tokens/s", seen.tokens / seen.seconds, most.tokens / most.seconds)
        yield single(case, "memory", "MB", tree.memory() / 1e6, before)
        refused, found = len(seen.refusals) / seen.sent, 1 - 1 / self.overload
        yield single(f"{case}: refused with 429", "requests", "share", refused, found)
        for share in _SHARES if len(seen.refusals) > 1 else ():
            value = _quantile(seen.refusals, share) * 1e3
            yield single(f"{case}: until a refusal, p{share * 100:.0f}", "latency", "ms", value, float("nan"))

    def _beside_another(self, run: Path) -> Iterator[Row]:
        """Whole answers, as not every build streams; the two are started in turn."""
        found: dict[str, tuple[list[float], list[float]]] = {"ours": ([], []), "theirs": ([], [])}
        clients = max(self.clients[0], min(16, self.clients[-1]))
        for _ in range(self.repeats):
            for name, build in (("ours", ROOT), ("theirs", Path(self.beside))):
                with served(run, build, self.options if name == "ours" else ()) as (address, tree):
                    found[name][0].append(tree.memory() / 1e6)
                    load(address, clients, clients, self.tokens, stream=False)
                    seen = load(address, clients, clients * self.requests, self.tokens, stream=False)
                    found[name][1].append(seen.tokens / seen.seconds)
        ours, theirs = found["ours"], found["theirs"]
        yield compare(f"{self.shape}: idle endpoint beside another build's", "memory", "MB", ours[0], theirs[0])
        case = f"{self.shape}, {clients} clients: beside another build"
        yield compare(case, "speed", "tokens/s", ours[1], theirs[1])


def _quantile(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]
