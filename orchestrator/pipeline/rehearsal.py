"""How fast trainings run on this machine: the stages themselves, a few steps long, on random tokens."""

from __future__ import annotations

import io
import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from orchestrator.artifacts import write_json
from orchestrator.config.base import Section
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.pipeline.pace import LANGUAGES, Pace, kind_of_stage, pace_so_far, rehearsed_pace
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.stages.base import Cost
from orchestrator.tokens.storage import SPLITS

BUDGET = 4.0
"""Seconds for all rehearsals of a plan: what would not fit is left out."""
LONGEST_STEP = 0.4
"""Seconds that one micro-batch may take to be rehearsed, as far as its FLOPs tell."""
STEPS_SECONDS, FEWEST_STEPS, MOST_STEPS = 0.2, 4, 20
"""How long to take steps, about, and bounds of their number."""
THREADS_GAIN = 0.8
"""Threads to this power: how many times as fast a training is on them; two threads took 1.16 to 1.25 of one's CPU time.
"""
HELD_OUT_TOKENS = 4_096
"""Tokens of all languages together to validate on, about."""
NEVER = 2**30
AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True)
class _Hurried(Environment):
    """Ends a training at its next row of metrics when time is up: other work on a machine can make it endless."""

    until: float = math.inf

    def log(self, row: Mapping[str, Any]) -> None:
        if time.monotonic() > self.until:
            raise TimeoutError
        super().log(row)


@dataclass
class Rehearsal:
    """Runs each kind of training of a plan once, in miniature; kinds differ in more than seeds, names and lengths.

    Steps are of one micro-batch each, never of a whole batch that accumulates many.

    What a training reads is rehearsed as well: its teacher, the caches of it, the experts it begins from.

    Attributes:
        plan: of what. costs: by step. device: to run on. folder: for what the stages write.
        flops_per_second: that trainings reach, about; what would be too slow is left out.
        until: by the monotonic clock, when to stop trying.
    """

    plan: Plan
    costs: Mapping[str, Cost]
    device: str
    folder: Path
    flops_per_second: float
    until: float = field(default_factory=lambda: time.monotonic() + BUDGET)
    _paces: dict[str, Pace] = field(default_factory=dict)
    _made: dict[str, Path | None] = field(default_factory=dict)

    def pace(self, planned: PlannedStep, threads: int, neighbours: int) -> Pace | None:
        """Of a training on some threads, beside others with as many each; None where it can't be told by trying.

        It is tried on one thread: several that wait for each other tell nothing where a core is busy. Time spent
        waiting for a core, because something else had it, is left out.
        """
        before, kind = torch.get_num_threads(), self._kind(planned)
        if kind not in self._made and not self._left_out(planned):
            torch.set_num_threads(1)
            try:
                with busy(neighbours, threads), redirect_stdout(io.StringIO()):  # what libraries print
                    self._make(planned)
            finally:
                torch.set_num_threads(before)
        pace = self._paces.get(kind)
        return pace and (pace.faster(threads**-THREADS_GAIN) if self.device == "cpu" else pace)

    def _make(self, planned: PlannedStep) -> Path | None:
        """What a step makes, in miniature; None where that does not work."""
        kind = self._kind(planned)
        if kind not in self._made:
            try:
                self._made[kind] = self._run(planned)
            except Exception:  # whatever it is, the run itself will say so; an estimate goes without
                self._made[kind] = None
        return self._made[kind]

    def _run(self, planned: PlannedStep) -> Path | None:
        stage, training = planned.step.stage, self.costs[planned.name].training
        if not (stage.distributed or stage.accelerated):
            return planned.artifact.folder if planned.artifact else None
        if self._left_out(planned):
            return None
        inputs: dict[str, Path] = {}
        for role, name in planned.step.inputs.items():
            made = self._data / role if role in ("blocks", "tokenizer") else self._make(self._steps[name])
            if made is None:
                return None
            inputs[role] = made
        out, work = (self.folder / f"{kind}-{planned.name}" for kind in ("out", "work"))
        out.mkdir()
        if training is not None:
            steps = self._steps_of(planned)
            tokens = int(steps * self._share(planned) * training.batch_tokens)
            stage = _shortened(stage, steps, tokens, self.plan.expected.context)
        started, waited = time.perf_counter(), _waited()
        try:
            until = min(self.until, time.monotonic() + BUDGET / 2)  # one slow kind leaves time for another
            stage.run(inputs, out, _Hurried(work=work, device=self.device, threads=1, until=until))
        except TimeoutError:
            if training is not None:
                validated = 1 if "language" in type(stage).model_fields else len(self._languages)
                self._note(planned, pace_so_far(work, validated, training.batch_tokens), started, waited)
            raise
        if training is not None:
            held_out = min(training.eval_blocks, self._held_out) * self.plan.expected.context
            pace = rehearsed_pace(out, time.perf_counter() - started, held_out, training.batch_tokens)
            self._note(planned, pace, started, waited)
        return out

    def _note(self, planned: PlannedStep, pace: Pace, started: float, waited: float) -> None:
        """Keep a pace, less the time for which something else had the core."""
        share = (_waited() - waited) / (time.perf_counter() - started)
        self._paces[self._kind(planned)] = pace.faster(1 - share)

    def _kind(self, planned: PlannedStep) -> str:
        """What a training's speed depends on; of other steps the name."""
        if self.costs[planned.name].training is None:
            return planned.name
        return kind_of_stage(planned.step.stage)

    def _left_out(self, planned: PlannedStep) -> bool:
        """Whether there is no time for it."""
        steps = self._steps_of(planned) if self.costs[planned.name].training else 1
        seconds = steps * self._step_seconds(planned)
        return not self._fits(planned) or time.monotonic() + seconds > self.until

    def _fits(self, planned: PlannedStep) -> bool:
        return self._step_seconds(planned) <= LONGEST_STEP

    def _steps_of(self, planned: PlannedStep) -> int:
        """How many to take: an even number, as schedules may alternate."""
        return min(max(int(STEPS_SECONDS / self._step_seconds(planned)), FEWEST_STEPS), MOST_STEPS) // 2 * 2

    def _step_seconds(self, planned: PlannedStep) -> float:
        """Of a micro-batch, or of reading the text of a rehearsal, by FLOPs."""
        cost = self.costs[planned.name]
        at_once = self._share(planned) * cost.training.batch_tokens if cost.training else None
        tokens = self._train * self.plan.expected.context if at_once is None else at_once
        return max(cost.flops / max(cost.tokens, 1) * tokens / self.flops_per_second, 1e-6)

    def _share(self, planned: PlannedStep) -> float:
        """Of a batch that is taken at once."""
        configs = [_training_in(planned.step.stage), self.costs[planned.name].training]
        config = next((each for each in configs if each is not None), None)
        return 1.0 if config is None else _at_once(config, self.plan.expected.context) / config.batch_tokens

    @cached_property
    def _steps(self) -> dict[str, PlannedStep]:
        return {planned.name: planned for planned in self.plan.steps}

    @cached_property
    def _languages(self) -> tuple[str, ...]:
        """Of all stages."""
        fields = [dict(planned.step.stage) for planned in self.plan.steps]
        named = itertools.chain.from_iterable(f.get(key) or () for f in fields for key in LANGUAGES)
        return tuple(dict.fromkeys([*named, *(f["language"] for f in fields if "language" in f)]))

    @cached_property
    def _train(self) -> int:
        """Training blocks of each language: a batch of every training that is rehearsed."""
        trainings = [(p, training) for p in self.plan.steps if (training := self.costs[p.name].training)]
        batches = [self._share(p) * training.batch_tokens for p, training in trainings if self._fits(p)]
        return math.ceil(max(batches, default=0) / self.plan.expected.context) + 1

    @cached_property
    def _held_out(self) -> int:
        """Validation blocks of each language."""
        return max(4, HELD_OUT_TOKENS // (self.plan.expected.context * len(self._languages)))

    @cached_property
    def _data(self) -> Path:
        """A folder with blocks of random tokens, and a tokenizer that is only ever copied."""
        expected, folder = self.plan.expected, self.folder / "data"
        dtype = np.dtype(np.uint16 if expected.vocab_size <= 1 << 16 else np.uint32)
        random, splits = np.random.default_rng(0), {}
        for split in SPLITS:
            tokens = (self._train if split == "train" else self._held_out) * expected.context + 1
            (folder / "blocks" / split).mkdir(parents=True)
            for language in self._languages:
                drawn = random.integers(expected.vocab_size, size=tokens).astype(dtype)
                drawn.tofile(folder / "blocks" / split / f"{language}.bin")
            splits[split] = {language: {"tokens": tokens} for language in self._languages}
        about = {"context": expected.context, "dtype": dtype.name, "vocab_size": expected.vocab_size}
        write_json(folder / "blocks" / "blocks.json", {**about, "languages": self._languages, "splits": splits})
        (folder / "tokenizer").mkdir()
        (folder / "tokenizer" / "tokenizer.json").write_text("{}", encoding="utf-8")
        return folder


_NEIGHBOUR = """
import os, numpy
parent, matrix = os.getppid(), numpy.ones((1024, 1024), numpy.float32)
while os.getppid() == parent:
    matrix @ matrix
"""


@contextmanager
def busy(neighbours: int, threads: int) -> Iterator[None]:
    """Keep the cores at work that other trainings beside this one would: cores share caches, memory and clock."""
    limits = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    command = [sys.executable, "-c", _NEIGHBOUR]
    processes = [subprocess.Popen(command, env={**os.environ, **limits}) for _ in range(neighbours)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _waited() -> float:
    """Seconds that this thread was ready to run and had no core; 0 where the system does not tell (Linux does)."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _shortened(section: AnySection, steps: int, tokens: int, context: int) -> AnySection:
    """A stage whose training ends after so many steps, each of a micro-batch; `tokens`: of a student, in all."""
    if isinstance(section, TrainingConfig):
        batch = _at_once(section, context)
        once = {"tokens": steps * batch, "batch_tokens": batch, "eval_every": NEVER, "checkpoint_every": NEVER}
        return section.model_copy(update=once)
    changes: dict[str, Any] = {
        name: _shortened(value, steps, tokens, context) for name, value in section if isinstance(value, Section)
    }
    if "tokens" in type(section).model_fields:
        changes["tokens"] = tokens
    return section.model_copy(update=changes)


def _at_once(config: TrainingConfig, context: int) -> int:
    """Tokens of one micro-batch."""
    return min(config.batch_tokens, config.micro_batch * context)


def _training_in(section: Section) -> TrainingConfig | None:
    """The training that a stage is configured with."""
    if isinstance(section, TrainingConfig):
        return section
    found = (_training_in(value) for _, value in section if isinstance(value, Section))
    return next((config for config in found if config is not None), None)
