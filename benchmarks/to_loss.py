"""Time until an expert is as good as a Hugging Face Trainer makes it."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmarks._distill_job import LANGUAGE, gpt2
from benchmarks._rows import Row, compare, notice, single
from benchmarks._to_loss import DISTILLKIT, Contender, Trained, run
from orchestrator.artifacts import Store
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import Recipe, ResourcesConfig
from orchestrator.errors import ResourceError
from orchestrator.models import counts
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import make_plan
from orchestrator.tokens.blocks import TokenBlocks

_EXTRA = "pip install 'mome-orchestrator[bench]'"
BASELINES = {
    "trainer": ("accelerate", "a Hugging Face Trainer", _EXTRA),
    "trl": ("trl.experimental.gkd", "TRL's GKDTrainer", _EXTRA),
    DISTILLKIT: ("distillkit", "DistillKit", "pip install --no-deps git+https://github.com/arcee-ai/DistillKit"),
}
"""By way: a package or a part of it, its name here, and how it is installed. DistillKit is on no index, and pins an
older TRL, which has that part elsewhere."""
SOURCES = ("hidden_cache", "sampled_cache")
SHARED_BY = 4
"""Experts, trials or epochs that read a cache where its writing is shared."""


@dataclass(frozen=True)
class _Way:
    """One of our ways to train: a name, and what differs from the Trainer's."""

    name: str
    source: str
    soft: str = "forward_kl"
    initialise: str = "teacher"


WAYS = (
    _Way("live", "live"),
    _Way("hidden_cache", "hidden_cache"),
    _Way("sampled_cache", "sampled_cache"),
    _Way("hidden_cache, random weights", "hidden_cache", initialise="random"),
    _Way("hidden_cache, random weights, reverse KL", "hidden_cache", "reverse_kl", "random"),
)


def _there(package: str) -> bool:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # nor is what it would be a part of
        return False


@dataclass(frozen=True)
class ToLoss:
    """Seconds on the wall, CPU seconds and FLOPs until the validation loss that another trainer ends with.

    The embedded corpus in English, French and German, a teacher of its own, an English student. The other trainers are
    a Hugging Face Trainer with dense losses (CE and reverse KL at 0.5 each) and TRL's GKDTrainer (reverse KL), both
    with the teacher live, and DistillKit's trainer, which reads its cache of the teacher's likeliest tokens (CE and KL
    at 0.5 each). All begin from random weights; optimizer (Muon), schedule, blocks and their order are ours, and of
    `rates` the Trainer's best counts. Ours train on growing shares of its tokens, each a whole training with its
    schedule, until one ends with a loss as low: forward KL from the teacher's weights, and what each part of that is
    worth. A cache is counted as written before, with a fourth of its writing (shared by four), and with all of it;
    DistillKit's is counted as ours is. It is written for the blocks that the training draws. Only optimizer steps and
    the writing count: no start of a process, no validation.
    """

    vocab: int = 4096
    context: int = 128
    student_layers: int = 2
    student_width: int = 128
    teacher_layers: int = 6
    teacher_width: int = 256
    head_width: int = 64
    teacher_tokens: int = 600_000
    tokens: int = 65_536
    batch: int = 8
    rates: tuple[float, ...] = (8e-3, 1.6e-2, 3.2e-2)
    rate: float = 1.6e-2
    """Of ours from random weights."""
    begun_rate: float = 4e-3
    """Of ours from the teacher's."""
    teachers_rate: float = 4e-3
    shares: tuple[float, ...] = (1 / 16, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 2 / 5, 1 / 2, 3 / 4, 1.0)
    precision: str = "bf16"
    ways: tuple[str, ...] = tuple(way.name for way in WAYS)
    """Our ways to train, by the names of their rows."""
    repeats: int = 1
    folder: str = ""
    """Where corpus and teacher are kept, and found again by the next call; empty: nowhere."""

    def rows(self) -> Iterator[Row]:
        """Rows of each of our ways beside each trainer that is installed.

        Raises:
            ResourceError: none is, or a contender fails.
        """
        found = [way for way, (package, *_) in BASELINES.items() if _there(package)]
        if "trainer" not in found:
            raise ResourceError("there is nothing to compare with: accelerate is not installed", fix=_EXTRA)
        for way, (_, name, install) in BASELINES.items():
            if way not in found:
                notice(f"{name} is not measured, for it is not there: {install}")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(self.folder or temporary).absolute()
            self._prepare(folder)
            yield from _Race(self, str(folder)).rows(found)

    def _prepare(self, root: Path) -> None:
        """Links to blocks, tokenizer and teacher of a run of its own."""
        recipe = Recipe.model_validate(
            {
                "name": "bench",
                "seed": 1,
                "corpus": {"languages": {code: {"source": "miniwiki"} for code in (LANGUAGE, "fr", "de")}},
                "tokenizer": {"vocab_size": self.vocab},
                "blocks": {"context": self.context},
                "teacher": {"model": self.teacher, "training": self._teaching()},
                "experts": {"model": self.student},
            }
        )
        runner = LocalRunner(ResourcesConfig(device="cpu", threads=torch.get_num_threads()))
        made = execute(make_plan(recipe, Store(root / "run"), until=["teacher"]), runner, [], lambda _: None)
        runner.close()
        for name in ("blocks", "tokenizer", "teacher"):
            (root / name).unlink(missing_ok=True)
            (root / name).symlink_to(made[name].folder, target_is_directory=True)

    def _teaching(self) -> dict[str, Any]:
        training = {"tokens": self.teacher_tokens, "batch_tokens": 16 * self.context, "micro_batch": 16}
        optimizer = {"type": "muon", "lr": self.teachers_rate}
        return {**training, "optimizer": optimizer, "precision": self.precision, "eval_every": 100, "eval_blocks": 32}

    @property
    def student(self) -> dict[str, Any]:
        """Its architecture."""
        return gpt2(self.student_layers, self.student_width, self.student_width // self.head_width)

    @property
    def teacher(self) -> dict[str, Any]:
        """Its architecture."""
        return gpt2(self.teacher_layers, self.teacher_width, self.teacher_width // self.head_width)


@dataclass(frozen=True)
class _Side:
    """Trainings with a source of the teacher's states, and how a cache of it was written."""

    source: str
    tokens: int
    trained: Sequence[Trained]
    cache: Trained | None

    def spent(self, field: str, part: float) -> list[float]:
        """Seconds of each, with a part of the cache's."""
        extra = part * (getattr(self.cache, field) if self.cache else 0.0)
        return [getattr(each, field) + extra for each in self.trained]


@dataclass(frozen=True)
class _Race:
    bench: ToLoss
    folder: str

    def rows(self, baselines: Sequence[str]) -> Iterator[Row]:
        bench, whole = self.bench, self._contender(self.bench.tokens)
        tried = run([[replace(whole, way="trainer", rate=rate) for rate in bench.rates]])[0]
        first = min(tried, key=lambda trained: trained.loss)
        best = bench.rates[tried.index(first)]
        notice(f"the Trainer's losses: {dict(zip(bench.rates, (each.loss for each in tried), strict=True))}")
        theirs = {way: replace(whole, way=way, rate=best) for way in baselines}
        if DISTILLKIT in theirs:
            theirs[DISTILLKIT] = replace(theirs[DISTILLKIT], source=DISTILLKIT)
        kept = self._written({(each.source, bench.tokens) for each in theirs.values() if each.source != "live"})
        times = {way: [first] if way == "trainer" else run([[contender]])[0] for way, contender in theirs.items()}
        targets = {way: times[way][0].loss for way in baselines}
        measured = self._search(min(targets.values()))
        reached = {
            (baseline, ours): next((n for n, found in points.items() if found[0].loss <= loss), 0)
            for baseline, loss in targets.items()
            for ours, points in measured.items()
        }
        again = sorted({(ours, n) for (_, ours), n in reached.items() if n}, key=str)
        caches = self._written({(ours.source, n) for ours, n in again if ours.source in SOURCES})
        for _ in range(1, bench.repeats):
            for way, contender in theirs.items():
                times[way] += run([[contender]])[0]
            for (ours, n), trained in zip(again, run([[self._ours(*key)] for key in again]), strict=True):
                measured[ours][n] += trained
        for (baseline, ours), n in reached.items():
            if n:
                case, source = f"to {targets[baseline]:.3f} of {BASELINES[baseline][1]}", theirs[baseline].source
                we = _Side(ours.source, n, measured[ours][n], caches.get((ours.source, n)))
                they = _Side(source, bench.tokens, times[baseline], kept.get((source, bench.tokens)))
                yield from self._beside(f"{ours.name}{{}}, {case}", we, they)

    def _search(self, target: float) -> dict[_Way, dict[int, list[Trained]]]:
        """What came of our trainings of each way, shorter ones first."""
        whole, ways = self._contender(self.bench.tokens), [way for way in WAYS if way.name in self.bench.ways]
        tokens = sorted({self._whole(share * self.bench.tokens) for share in self.bench.shares})
        _, *found = run(
            [
                [replace(whole, way="cache", source=source) for source in SOURCES],
                *([self._ours(way, n) for n in tokens] for way in ways),
            ],
            target,
        )
        for way, points in zip(ways, found, strict=True):
            ends = (f"{trained.loss:.3f} after {n}" for n, trained in zip(tokens, points, strict=False))
            notice(f"{way.name}: {', '.join(ends)}")
        ours = [{n: [point] for n, point in zip(tokens, points, strict=False)} for points in found]
        return dict(zip(ways, ours, strict=True))

    def _written(self, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Trained]:
        """Caches of what is drawn, by source and tokens, as they were written."""
        keys = sorted(wanted)
        groups = [[replace(self._contender(n), way="drawn", source=source)] for source, n in keys]
        return {key: written for key, (written,) in zip(keys, run(groups) if keys else [], strict=True)}

    def _beside(self, name: str, ours: _Side, theirs: _Side) -> Iterator[Row]:
        """With what a cache is counted for in the name."""
        written = {"": 0.0} if ours.cache is None else {", there": 0.0, ", shared": 1 / SHARED_BY, ", written": 1.0}
        for what, part in written.items():
            case = name.format(what)
            for metric, field in (("time", "seconds"), ("CPU time", "cpu_seconds")):
                yield compare(case, metric, "s", ours.spent(field, part), theirs.spent(field, part))
            yield single(case, "operations", "TFLOP", *(self._flops(side, part) / 1e12 for side in (ours, theirs)))

    def _ours(self, way: _Way, tokens: int) -> Contender:
        rate = self.bench.begun_rate if way.initialise == "teacher" else self.bench.rate
        return replace(self._contender(tokens), source=way.source, soft=way.soft, initialise=way.initialise, rate=rate)

    def _contender(self, tokens: int) -> Contender:
        bench = self.bench
        threads = torch.get_num_threads()
        return Contender(
            "ours", self.folder, bench.student, self._whole(tokens), bench.batch, bench.rate, bench.precision, threads
        )

    def _whole(self, tokens: float) -> int:
        """Tokens of whole optimizer steps."""
        step = self.bench.batch * self.bench.context
        return max(1, round(tokens / step)) * step

    def _flops(self, side: _Side, part: float) -> float:
        """6 for each of the student's parameters, 2 for each of the teacher's that compute, a token; and a cache's."""
        teacher = {"live": self._sizes[1].parameters, "hidden_cache": self._sizes[1].head}.get(side.source, 0)
        steps = float(6 * self._sizes[0].parameters + 2 * teacher) * side.tokens
        return steps + (part * self._cache_flops(side.tokens) if side.cache else 0.0)

    def _cache_flops(self, tokens: int) -> float:
        """Of a cache of what so many tokens draw."""
        blocks = TokenBlocks.open(Path(self.folder) / "blocks", "train")
        return 2.0 * float(self._sizes[1].parameters) * min(tokens, blocks.count(LANGUAGE) * blocks.context)

    @cached_property
    def _sizes(self) -> tuple[Any, Any]:
        bench = self.bench
        student, taught = (
            counts(PluginSpec(**model), bench.vocab, bench.context) for model in (bench.student, bench.teacher)
        )
        return student, taught
