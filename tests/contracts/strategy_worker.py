"""One training worker in its own process: trains a tiny distilled model with each strategy asked for.

    python strategy_worker.py OUT RANK WORLD_SIZE BLOCKS PRECISION STRATEGY …

STRATEGY is JSON. Rank 0 writes a list with an entry for each to OUT/results.json: losses and gradient norms by step,
validation losses, the final weights' digest, that of a run stopped in the middle and resumed, and the last validation
loss of a run that the first strategy began and this one finished.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.losses.reverse_kl import ReverseKL
from orchestrator.models import build_model, head, hidden_states, weights_digest
from orchestrator.schedules.gradient_balance import GradientBalance
from orchestrator.teacher import TeacherModel
from orchestrator.teacher.live import Live
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training import loop
from orchestrator.training.objective import DistillationObjective

STEPS = 6


class Stopped(BaseException):
    pass


def task(folder: Path, precision: str) -> loop.Task:
    blocks = TokenBlocks.open(folder, "train")
    teacher = build_model(PluginSpec(type="gpt2", layers=1, width=24, heads=2), blocks.vocab_size, blocks.context, 9)
    spec = PluginSpec(type="gpt2", layers=2, width=16, heads=2)
    return loop.Task(
        new_model=lambda: build_model(spec, blocks.vocab_size, blocks.context, 1),
        objective=DistillationObjective(
            soft=ReverseKL(),
            schedule=GradientBalance(steps_averaged=2),
            teacher=Live().open(TeacherModel(lambda: teacher, hidden_states, head, blocks.vocab_size)),
        ),
        config=TrainingConfig(
            tokens=blocks.context * 8 * STEPS,
            batch_tokens=blocks.context * 8,
            micro_batch=2,
            optimizer=PluginSpec(type="adamw", lr=0.01),
            clip=0.1,
            eval_every=3,
            eval_blocks=5,
            checkpoint_every=2,
            precision=precision,
            publish="last",
        ),
        train=blocks,
        validation=TokenBlocks.open(folder, "validation"),
        languages=blocks.languages,
        seed=1,
        fingerprint="contract",
    )


def train(task: loop.Task, env: Environment, stop: int | None = None) -> str:
    """Digest of the final weights ("" where stopped before a step)."""
    original = loop.learning_rate

    def stopping(step: int, *arguments: Any) -> float:
        if step == stop:
            raise Stopped
        return original(step, *arguments)

    loop.learning_rate = stopping
    try:
        outcome = loop.train(task, env)
    except Stopped:
        return ""
    finally:
        loop.learning_rate = original
    return weights_digest(outcome.checkpoints.weights("step", STEPS)) if env.rank == 0 else ""


def results(env: Environment, first: PluginSpec, folder: Path, precision: str) -> dict[str, Any]:
    undisturbed = train(task(folder, precision), env)
    interrupted = replace(env, work=env.work / "interrupted")
    train(task(folder, precision), interrupted, stop=3)
    resumed = train(task(folder, precision), interrupted)
    handed_over = replace(env, work=env.work / "handed-over")
    train(task(folder, precision), replace(handed_over, strategy=first), stop=3)
    train(task(folder, precision), handed_over)
    if env.rank:
        return {}
    last = json.loads((handed_over.work / "metrics.jsonl").read_text().splitlines()[-1])
    rows = [json.loads(line) for line in (env.work / "metrics.jsonl").read_text().splitlines()]
    series = {key: [row[key] for row in rows if key in row] for key in ("loss", "soft", "grad_norm", "validation_loss")}
    return {**series, "digest": undisturbed, "resumed": resumed, "handed_over": last["validation_loss"]}


def main() -> None:
    out, folder, precision = Path(sys.argv[1]), Path(sys.argv[4]), sys.argv[5]
    rank, world_size = map(int, sys.argv[2:4])
    torch.set_num_threads(1)
    found = []
    strategies = [PluginSpec.model_validate(json.loads(strategy)) for strategy in sys.argv[6:]]
    for number, spec in enumerate(strategies):
        env = Environment(work=out / f"run-{number}", strategy=spec, rank=rank, world_size=world_size)
        found.append(results(env, strategies[0], folder, precision))
    if rank == 0:
        (out / "results.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
    if torch.distributed.is_initialized():  # its threads may outlive the interpreter, which then aborts
        torch.distributed.destroy_process_group()
