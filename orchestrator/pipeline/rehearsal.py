"""How fast trainings run on this machine: the stages themselves, a few steps long, on random tokens."""

from __future__ import annotations

import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from orchestrator.artifacts import write_json
from orchestrator.config.base import Section
from orchestrator.config.recipe import TrainingConfig
from orchestrator.config.study import StudentConfig
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.stages.base import Cost, Environment
from orchestrator.tokens.storage import SPLITS

LONGEST_STEP = 3.0
"""Seconds that a step may take to be rehearsed, as far as its FLOPs tell."""
STEPS_SECONDS, FEWEST_STEPS, MOST_STEPS = 0.3, 6, 40
"""How long to take steps, about, and bounds of their number."""
WARM_UP = 2
"""First steps that are not counted: they allocate memory and choose kernels."""
HELD_OUT_TOKENS = 16_384
"""Tokens of all languages together to validate on, about."""
NEVER = 2**30
_LANGUAGES = ("languages", "learn", "validated")
_LENGTH = ("seed", "language", "tokens", "epochs", "eval_every", "eval_blocks", "checkpoint_every")
_OPTIMIZATION = ("lr", "betas", "weight_decay", "momentum", "warmup", "decay", "final_lr", "clip", "publish")
_FREE = frozenset(_LENGTH + _OPTIMIZATION)
"""Options that change nothing about the time of a step."""

AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True)
class Pace:
    """How fast one kind of training runs.

    Attributes:
        step: seconds of an optimizer step. token: seconds of validating on one. languages: validated.
        around: seconds before and after the loop: models built, teacher loaded, weights saved.
    """

    step: float
    token: float
    languages: int
    around: float

    def faster(self, share: float) -> Pace:
        """The same in a share of the time."""
        return replace(self, step=share * self.step, token=share * self.token, around=share * self.around)


@dataclass
class Rehearsal:
    """Runs each kind of training of a plan once, in miniature; kinds differ in more than seeds, names and lengths.

    What a training reads is rehearsed as well: its teacher, the caches of it, the experts it begins from.

    Attributes:
        plan: of what. costs: by step. device: to run on. folder: for what the stages write.
        flops_per_second: that trainings reach, about; what would be too slow is left out.
    """

    plan: Plan
    costs: Mapping[str, Cost]
    device: str
    folder: Path
    flops_per_second: float
    _paces: dict[str, Pace] = field(default_factory=dict)
    _made: dict[str, Path | None] = field(default_factory=dict)

    def pace(self, planned: PlannedStep, threads: int, neighbours: int) -> Pace | None:
        """Of a training on some threads, beside others with as many each; None where it can't be told by trying.

        Time spent waiting for a core, because something else had it, is left out.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with busy(neighbours, threads), redirect_stdout(io.StringIO()):  # what libraries print when they are loaded
                self._make(planned, threads)
        finally:
            torch.set_num_threads(before)
        return self._paces.get(self._kind(planned))

    def _make(self, planned: PlannedStep, threads: int) -> Path | None:
        """What a step makes, in miniature; None where that does not work."""
        kind = self._kind(planned)
        if kind not in self._made:
            try:
                self._made[kind] = self._run(planned, threads)
            except Exception:  # whatever it is, the run itself will say so; an estimate goes without
                self._made[kind] = None
        return self._made[kind]

    def _run(self, planned: PlannedStep, threads: int) -> Path | None:
        stage, training = planned.step.stage, self.costs[planned.name].training
        if not (stage.distributed or stage.accelerated):
            return planned.artifact.folder if planned.artifact else None
        if (per_step := self._step_seconds(planned)) > LONGEST_STEP:
            return None
        inputs: dict[str, Path] = {}
        for role, name in planned.step.inputs.items():
            made = self._data / role if role in ("blocks", "tokenizer") else self._make(self._steps[name], threads)
            if made is None:
                return None
            inputs[role] = made
        out, work = (self.folder / f"{kind}-{planned.name}" for kind in ("out", "work"))
        out.mkdir()
        if training is not None:
            # An even number: schedules may alternate.
            steps = min(max(int(STEPS_SECONDS / per_step), FEWEST_STEPS), MOST_STEPS) // 2 * 2
            stage = _shortened(stage, steps, training.batch_tokens)
        started, waited = time.perf_counter(), _waited()
        stage.run(inputs, out, Environment(work=work, device=self.device, threads=threads))
        if training is not None:
            seconds = time.perf_counter() - started
            held_out = min(training.eval_blocks, self._held_out) * self.plan.expected.context
            pace = _read(out, seconds, held_out)
            self._paces[self._kind(planned)] = pace.faster(1 - (_waited() - waited) / seconds)
        return out

    def _kind(self, planned: PlannedStep) -> str:
        """What a training's speed depends on; of other steps the name."""
        if self.costs[planned.name].training is None:
            return planned.name
        stage = planned.step.stage
        return json.dumps([type(stage).__name__, _essence(stage.model_dump(mode="json"))], sort_keys=True)

    def _step_seconds(self, planned: PlannedStep) -> float:
        """Of a step, or of reading the text of a rehearsal, by FLOPs."""
        cost = self.costs[planned.name]
        tokens = cost.training.batch_tokens if cost.training else self._train * self.plan.expected.context
        return max(cost.flops / max(cost.tokens, 1) * tokens / self.flops_per_second, 1e-6)

    @cached_property
    def _steps(self) -> dict[str, PlannedStep]:
        return {planned.name: planned for planned in self.plan.steps}

    @cached_property
    def _languages(self) -> tuple[str, ...]:
        """Of all stages."""
        fields = [dict(planned.step.stage) for planned in self.plan.steps]
        named = itertools.chain.from_iterable(f.get(key) or () for f in fields for key in _LANGUAGES)
        return tuple(dict.fromkeys([*named, *(f["language"] for f in fields if "language" in f)]))

    @cached_property
    def _train(self) -> int:
        """Training blocks of each language: a batch of every training that is rehearsed."""
        trainings = [(p, training) for p in self.plan.steps if (training := self.costs[p.name].training)]
        batches = [training.batch_tokens for p, training in trainings if self._step_seconds(p) <= LONGEST_STEP]
        return max(batches, default=0) // self.plan.expected.context + 1

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


def _shortened(section: AnySection, steps: int, batch_tokens: int) -> AnySection:
    """A stage whose training ends after so many steps; `batch_tokens`: of a step of a student."""
    if isinstance(section, TrainingConfig):
        once = {"tokens": steps * section.batch_tokens, "eval_every": NEVER, "checkpoint_every": NEVER}
        return section.model_copy(update=once)
    changes: dict[str, Any] = {
        name: _shortened(value, steps, batch_tokens) for name, value in section if isinstance(value, Section)
    }
    if isinstance(section, StudentConfig):
        changes["tokens"] = steps * batch_tokens
    return section.model_copy(update=changes)


def _essence(value: Any, key: str = "") -> Any:
    """A stage's options less those that don't matter; languages as their number."""
    if isinstance(value, dict):
        return {name: _essence(item, name) for name, item in value.items() if name not in _FREE}
    if key in _LANGUAGES:
        return len(value or ())
    if key == "alpha":  # a loss without weight may not be computed
        return value if value in (0, 1) else "some"
    return value


def _read(out: Path, seconds: float, held_out: int) -> Pace:
    """The pace of a training that took some seconds in all and was validated on `held_out` tokens of each language."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    taken = [row for row in rows if "tokens_per_second" in row]
    tokens = [after - before for before, after in itertools.pairwise([0, *(row["tokens"] for row in taken)])]
    steps = [count / row["tokens_per_second"] for count, row in zip(tokens, taken, strict=True)]
    languages = sum(key.startswith("validation_loss/") for key in rows[-1])
    loop = float(json.loads((out / "training.json").read_text(encoding="utf-8"))["seconds"])
    token = max(loop - sum(steps), 0.0) / max(languages * held_out, 1)
    return Pace(statistics.median(steps[WARM_UP:]), token, languages, seconds - loop)
