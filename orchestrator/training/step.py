"""One optimizer step, and a pass over held-out blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.losses import IGNORED, LossSums
from orchestrator.schedules import LossHistory
from orchestrator.training.device import total
from orchestrator.training.objective import CrossEntropyObjective, Objective
from orchestrator.training.strategies._base import Handle

MicroBatches = Sequence[tuple[Tensor, Tensor]]
"""Inputs and labels, int64 [B, T] each, of this worker's micro-batches."""


@dataclass(frozen=True)
class Clock:
    """Where in a run a step is: what seeds, schedules and workers depend on.

    Attributes:
        step: from 0. steps: in all. seed: of the run. rank, world_size: place among the workers.
    """

    step: int
    steps: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def seed_micro_batch(self, micro: int) -> None:
        """Seed dropout from (seed, step, micro-batch, rank), so that a resumed run needs no generator state."""
        mixed = np.random.SeedSequence([self.seed, self.step, micro, self.rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(mixed[0] >> np.uint64(1)))


@dataclass(frozen=True)
class StepResult:
    """Means per valid token of one step over all workers, and the gradient's norm before clipping."""

    loss: float
    ce: float
    soft: float
    alpha: float
    beta: float
    grad_norm: float
    tokens: int


def train_step(
    handle: Handle,
    objective: Objective,
    batches: MicroBatches,
    history: LossHistory,
    lr: float,
    clock: Clock,
    device: torch.device,
) -> StepResult:
    """Forward and backward over this worker's micro-batches, then one update.

    Losses come as sums; this is the one place that divides them, by the number of valid tokens of the whole step on all
    workers, so accumulation and data parallelism change nothing but the order of sums. The host waits for the device
    once a step.
    """
    valid = sum(int((labels != IGNORED).sum()) for _, labels in batches)
    count = total(torch.tensor([valid], dtype=torch.int64, device=device), clock.world_size)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    used: list[tuple[float, float]] = []
    for micro, (inputs, labels) in enumerate(batches):
        clock.seed_micro_batch(micro)
        alpha, beta = objective.weights(clock.step, clock.steps, history, micro)
        losses = handle.forward(_Weighted(objective, alpha, beta), _to(inputs, device), _to(labels, device))
        handle.backward(losses.loss / count.clamp(min=1)[0])
        sums += torch.stack([losses.loss.detach(), losses.ce, losses.soft]).to(torch.float64)
        used.append((alpha, beta))
    norm = handle.step(lr)
    total(sums, clock.world_size)
    *means, grad_norm, tokens = torch.cat(
        [sums / count.clamp(min=1), norm.to(sums).reshape(1), count.to(sums)]
    ).tolist()
    alpha, beta = (sum(values) / len(used) for values in zip(*used, strict=True))
    return StepResult(means[0], means[1], means[2], alpha, beta, grad_norm, int(tokens))


def mean_loss(handle: Handle, batches: MicroBatches, world_size: int, device: torch.device) -> float:
    """Mean cross-entropy per valid token over all workers' `batches`, without dropout, in nats."""
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    losses = _Weighted(CrossEntropyObjective(), 1.0, 0.0)
    with torch.no_grad():
        for inputs, labels in batches:
            result = handle.forward(losses, _to(inputs, device), _to(labels, device))
            sums += torch.stack([result.ce, result.tokens.to(result.ce)]).to(torch.float64)
    loss, count = total(sums, world_size).tolist()
    return float(loss / max(count, 1))


@dataclass(frozen=True)
class _Weighted:
    """An objective with its weights: what a strategy calls inside the model's forward pass."""

    objective: Objective
    alpha: float
    beta: float

    def __call__(self, model: nn.Module, inputs_BT: Tensor, labels_BT: Tensor) -> LossSums:
        return self.objective.losses(model, inputs_BT, labels_BT, self.alpha, self.beta)


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device, non_blocking=True)
