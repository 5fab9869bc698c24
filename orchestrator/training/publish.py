"""From the checkpoints of a finished run to the artifact: model folder, metrics, facts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from orchestrator.artifacts import write_json
from orchestrator.machine import processor
from orchestrator.models import save_model, weights_digest
from orchestrator.training.device import arithmetic, device_of, peak_memory_bytes
from orchestrator.training.loop import Outcome, Task, load_weights

if TYPE_CHECKING:
    from orchestrator.environment import Environment


Save = Callable[[nn.Module, Path, Path], Mapping[str, object]]
"""Writes a model with the tokenizer's files (second) into an artifact (third); facts of it for ``training.json``."""


def save_one(model: nn.Module, tokenizer: Path, out: Path) -> Mapping[str, object]:
    """Write ``model/``."""
    save_model(model, tokenizer, out / "model")
    return {}


def publish(task: Task, outcome: Outcome, tokenizer: Path, out: Path, env: Environment, save: Save = save_one) -> None:
    """Write the model by `save`, ``metrics.jsonl`` and ``training.json`` into `out`; rank 0 only.

    The weights are those of the lowest validation loss or the last, as the recipe's `publish` says.
    """
    if env.rank:
        return
    progress = outcome.progress
    best = task.config.publish == "best" and progress.best_step is not None
    step = progress.best_step if best and progress.best_step is not None else progress.step
    model, device = task.new_model(), device_of(env)
    load_weights(model, outcome.checkpoints.weights("best" if best else "step", step))
    facts = {
        "steps": progress.step,
        "tokens": progress.tokens,
        "seconds": round(progress.seconds, 3),
        "tokens_per_second": round(progress.tokens / max(progress.training_seconds, 1e-9), 1),
        "best_step": progress.best_step,
        "best_validation_loss": progress.best_loss,
        "final_validation_loss": progress.validation_loss,
        "published_step": step,
        "peak_memory_bytes": peak_memory_bytes(device),
        "strategy": env.strategy.type,
        "world_size": env.world_size,
        "arithmetic": arithmetic(device, task.config.precision),
        "device": env.device,
        "threads": env.threads,
        "processor": processor(),
        "context": task.train.context,
        **outcome.validations,
    }
    write_model(model, tokenizer, out, facts, save)
    shutil.copyfile(env.work / "metrics.jsonl", out / "metrics.jsonl")


def write_model(
    model: nn.Module, tokenizer: Path, out: Path, facts: Mapping[str, object], save: Save = save_one
) -> None:
    """Write the model and ``training.json`` (parameters, `facts`, SHA-256 of the weights in fp32)."""
    facts = {**facts, **save(model, tokenizer, out)}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    digest = weights_digest(model, torch.float32)
    write_json(out / "training.json", {"parameters": parameters, **facts, "weights_sha256": digest})
