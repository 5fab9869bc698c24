"""Contenders of `mome bench to_loss`, trained one after the other in a process of their own.

Usage: python -m benchmarks._to_loss GROUPS TARGET (lists of :class:`Contender` as JSON, and a loss); prints lists of
:class:`Trained` as JSON, each to the first that reaches the target. What a first, short training loads isn't measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._distill_job import LANGUAGE, Job
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import DistillationConfig, ExpertsConfig, TrainingConfig
from orchestrator.environment import Environment
from orchestrator.errors import ResourceError
from orchestrator.stages.cache import CacheStage, Draw
from orchestrator.stages.expert import ExpertStage
from orchestrator.tokens.batches import BatchOrder
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training import loop
from orchestrator.training.lr import learning_rate
from orchestrator.training.optimizers.muon import Muon

SEED = 1
DISTILLKIT = "distillkit"
"""Its trainer, and its cache, which is written for what the tokens draw before it trains."""
VALIDATED = 10_000
"""Blocks of the validation split at most: all there are."""


@dataclass(frozen=True)
class Contender:
    """What to train, and how.

    Attributes:
        way: "ours", "trainer", "trl", "distillkit"; "cache" writes the teacher's cache, "drawn" one of what is drawn.
        folder: has `blocks`, `tokenizer`, `teacher`, and `cache-…` where they were written.
        student: architecture.
        tokens, batch: to learn from, and blocks of an optimizer step.
        rate: of Muon.
        source: the teacher, as a recipe names it, or "distillkit", whose cache its trainer reads; the others' is live.
        soft, initialise: ours alone; the Trainer has reverse KL and random weights, as TRL has.
    """

    way: str
    folder: str
    student: dict[str, Any]
    tokens: int
    batch: int
    rate: float
    precision: str
    threads: int
    source: str = "live"
    soft: str = "reverse_kl"
    initialise: str = "random"

    @property
    def blocks(self) -> TokenBlocks:
        """Those to train on."""
        return TokenBlocks.open(Path(self.folder) / "blocks", "train")


@dataclass(frozen=True)
class Trained:
    """Validation loss at the end in nats, and seconds of the steps: on the wall, and of the process on all cores."""

    loss: float
    seconds: float
    cpu_seconds: float


def run(groups: Sequence[Sequence[Contender]], target: float = 0.0) -> list[list[Trained]]:
    """Train them in a new process, of each group to the first that reaches the target.

    Raises:
        ResourceError: one failed.
    """
    text = json.dumps([[*map(asdict, group)] for group in groups])
    command = [sys.executable, "-m", "benchmarks._to_loss", text, str(target)]
    path = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    if ended.returncode:
        ways = sorted({contender.way for group in groups for contender in group})
        raise ResourceError(f"a contender of {ways} failed: {ended.stderr.strip()[-2000:]}", "bench to_loss")
    return [[Trained(**each) for each in group] for group in json.loads(ended.stdout.splitlines()[-1])]


@dataclass
class _Meter:
    """Wall and CPU seconds of the calls of a function."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **options: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - wall
                self.cpu_seconds += time.process_time() - cpu

        return measured


def train_ours(contender: Contender) -> Trained:
    """The stage that a run calls; what is measured is its optimizer steps, blocks and cache read in them included."""
    root, meter = Path(contender.folder), _Meter()
    inputs = {name: root / name for name in ("blocks", "tokenizer", "teacher")}
    if contender.source != "live":
        inputs[f"cache-{LANGUAGE}"] = root / f"cache-{contender.source}"
    out = _empty(root / "expert")
    stage = ExpertStage(language=LANGUAGE, experts=_experts(contender), seed=SEED)
    steps = vars(loop)["_Run"]
    original, steps.step = steps.step, meter.around(steps.step)
    stage.run(inputs, out, Environment(work=_empty(root / "expert.work"), threads=contender.threads))
    steps.step = original
    facts = json.loads((out / "training.json").read_text(encoding="utf-8"))
    return Trained(facts["final_validation_loss"], meter.seconds, meter.cpu_seconds)


def _experts(contender: Contender) -> ExpertsConfig:
    distillation = DistillationConfig(
        soft=PluginSpec(type=contender.soft),
        teacher=PluginSpec(type=contender.source),
        schedule=PluginSpec(type="fixed"),
    )
    return ExpertsConfig(
        model=PluginSpec(**contender.student),
        training=_training(contender),
        distillation=distillation,
        initialise=contender.initialise,  # type: ignore[arg-type]
    )


def _training(contender: Contender) -> TrainingConfig:
    return TrainingConfig(
        tokens=contender.tokens,
        batch_tokens=contender.batch * contender.blocks.context,
        micro_batch=contender.batch,
        optimizer=PluginSpec(type="muon", lr=contender.rate),
        precision=contender.precision,  # type: ignore[arg-type]
        eval_every=10**6,
        eval_blocks=VALIDATED,
        checkpoint_every=10**6,
        publish="last",
    )


def write_cache(contender: Contender) -> Trained:
    """What the teacher says of training blocks; from opening the teacher to the cache on the disk."""
    root, meter = Path(contender.folder), _Meter()
    out = _empty(root / f"{contender.way}-{contender.source}")
    if contender.source == DISTILLKIT:
        from benchmarks._distillkit import write_cache as write_theirs

        examples = _examples(contender, np.unique(_drawn(contender)))
        meter.around(write_theirs)(_job(contender), examples, out)
        return Trained(0.0, meter.seconds, meter.cpu_seconds)
    work, drawn = _empty(root / "cache.work"), contender.way == "drawn"
    source, draw = PluginSpec(type=contender.source), Draw.of(_training(contender), SEED) if drawn else None
    stage = CacheStage(language=LANGUAGE, teacher=source, precision=contender.precision, seed=SEED, drawn=draw)
    meter.around(stage.run)({name: root / name for name in ("blocks", "teacher")}, out, Environment(work=work))
    return Trained(0.0, meter.seconds, meter.cpu_seconds)


def train_theirs(contender: Contender) -> Trained:
    """Another trainer, over the same blocks in the same order, with the same optimizer and learning rates."""
    from benchmarks._trainers import Clock, new_trainer

    job, rows = _job(contender), _drawn(contender)
    student, clock, steps = job.new_student(), Clock(), job.steps
    built = Muon(lr=contender.rate).build(student)
    falling = torch.optim.lr_scheduler.LambdaLR(built, lambda step: learning_rate(min(step, steps - 1), steps, 1.0))
    if contender.way == DISTILLKIT:
        from benchmarks._distillkit import new_trainer as new_theirs

        cache, order = Path(contender.folder) / f"drawn-{DISTILLKIT}", np.unique(rows, return_inverse=True)[1]
        trainer = new_theirs(job, student, (built, falling), cache, order, clock)
    else:
        trainer = new_trainer(job, student, (built, falling), _examples(contender, rows), clock)
    trainer.train()
    return Trained(_validation_loss(student, contender), sum(clock.seconds), sum(clock.cpu_seconds))


def _drawn(contender: Contender) -> np.ndarray:
    """The blocks that its steps see, in their order."""
    order = BatchOrder(contender.blocks, (LANGUAGE,), contender.batch, SEED)
    return np.concatenate([order.rows(step)[:, 1] for step in range(_job(contender).steps)])


def _examples(contender: Contender, rows: np.ndarray) -> list[dict[str, list[int]]]:
    """Blocks, as another trainer takes them."""
    blocks = contender.blocks
    # The teachers of TRL and DistillKit are given the last token too, which has no place in them.
    length = blocks.context + (contender.way == "trainer")
    return [{"input_ids": blocks.block(LANGUAGE, int(row))[:length].tolist()} for row in rows]


def _job(contender: Contender) -> Job:
    return Job(
        contender.way,  # type: ignore[arg-type]
        "live",
        contender.precision,  # type: ignore[arg-type]
        0.5 if contender.way == "trainer" else 0.0,
        contender.folder,
        contender.student,
        contender.batch,
        contender.tokens // (contender.batch * contender.blocks.context),
        contender.threads,
    )


@torch.no_grad()
def _validation_loss(student: Any, contender: Contender) -> float:
    """Mean cross-entropy of all validation blocks, in the precision of the training."""
    blocks, losses = TokenBlocks.open(Path(contender.folder) / "blocks", "validation"), []
    student.eval()
    for index in range(min(VALIDATED, blocks.count(LANGUAGE))):
        ids = torch.from_numpy(blocks.block(LANGUAGE, index).astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16, enabled=contender.precision == "bf16"):
            logits = student(input_ids=ids[None, :-1], use_cache=False).logits[0]
        losses.append(float(torch.nn.functional.cross_entropy(logits.float(), ids[1:])))
    return float(np.mean(losses))


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def train(contender: Contender) -> Trained:
    """Train it in this process."""
    ways = {"ours": train_ours, "cache": write_cache, "drawn": write_cache}
    return ways.get(contender.way, train_theirs)(contender)


def main(text: str, target: str) -> None:
    """Train contenders, and print how far they came, and in what time."""
    groups = [[Contender(**each) for each in group] for group in json.loads(text)]
    torch.set_num_threads(groups[0][0].threads)
    first = groups[0][0]
    train(replace(first, way="ours", tokens=2 * first.batch * first.blocks.context, source="live"))
    print(json.dumps([[*map(asdict, _to_the_first(group, float(target)))] for group in groups]))


def _to_the_first(contenders: Sequence[Contender], target: float) -> list[Trained]:
    found: list[Trained] = []
    for contender in contenders:
        found.append(train(contender))
        if contender.way not in ("cache", "drawn") and found[-1].loss <= target:
            break
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
