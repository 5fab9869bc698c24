"""One optimizer step, and a pass over held-out blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.losses import IGNORED, LossSums
from orchestrator.models.mixture import Mixture
from orchestrator.moving import moved
from orchestrator.schedules import LossHistory, StepLosses
from orchestrator.training.batches import Batch
from orchestrator.training.device import total
from orchestrator.training.objective import CrossEntropyObjective, Objective
from orchestrator.training.strategies._base import Handle


@dataclass(frozen=True)
class Clock:
    """Where in a run a step is: what seeds, schedules and workers depend on.

    Attributes:
        step: from 0.
        steps: in all.
        seed: of the run.
        rank, world_size: place among the workers.
        selected: parts of the model that the step trains; None: all of it.
    """

    step: int
    steps: int
    seed: int
    rank: int = 0
    world_size: int = 1
    selected: frozenset[str] | None = None

    def seed_micro_batch(self, micro: int, piece: int = 0) -> None:
        """Seed dropout from (seed, step, micro-batch, rank, piece), so that a resumed run needs no generator state."""
        places = [self.seed, self.step, micro, self.rank, *([piece] if piece else [])]
        mixed = np.random.SeedSequence(places).generate_state(1, np.uint64)
        torch.manual_seed(int(mixed[0] >> np.uint64(1)))


OPTIONAL = ("soft", "ce_slope", "soft_slope", "hidden")
"""Figures of a step that not every objective computes, nor at every step: see :meth:`Objective.computed`."""


@dataclass(frozen=True)
class StepResult:
    """Means per valid token of one step over all workers, and the gradient's norm before clipping.

    Attributes:
        soft, ce_slope, soft_slope, hidden: see :class:`orchestrator.losses.LossSums`; None: not computed in this step.
        tokens: valid ones.
        counts: those that a figure of :data:`OPTIONAL` is the mean over, where it was computed.
    """

    loss: float
    ce: float
    soft: float | None
    ce_slope: float | None
    soft_slope: float | None
    hidden: float | None
    alpha: float
    beta: float
    grad_norm: float
    tokens: int
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def losses(self) -> StepLosses:
        """What schedules look back at; 0 for what was not computed."""
        return StepLosses(self.ce, self.soft or 0.0, self.ce_slope or 0.0, self.soft_slope or 0.0)


def train_step(
    handle: Handle,
    objective: Objective,
    batches: Sequence[Batch],
    history: LossHistory,
    lr: float,
    clock: Clock,
    device: torch.device,
    most: int | None = None,
) -> StepResult:
    """Forward and backward over this worker's micro-batches, in pieces of at most `most` blocks, then one update.

    Losses come as sums; this is the one place that divides them, by the number of valid tokens of the whole step on all
    workers, so accumulation and data parallelism change nothing but the order of sums. The host waits for the device
    once a step.
    """
    # A worker may have no rows of a step's languages.
    weights = [objective.weights(clock.step, clock.steps, history, micro) for micro in range(max(1, len(batches)))]
    counts = moved(_counts(objective, batches, [beta for _, beta in weights]), device)
    total(counts, clock.world_size)
    sums = torch.zeros(len(counts), dtype=torch.float64, device=device)
    pieces = [(micro, *each) for micro, batch in enumerate(batches) for each in enumerate(batch.pieces(most))]
    for place, (micro, number, piece) in enumerate(pieces, 1):
        clock.seed_micro_batch(micro, number)
        losses = handle.forward(_Weighted(objective, piece.to(device), *weights[micro]))
        handle.backward(losses.loss / counts[0].clamp(min=1), last=place == len(pieces))
        sums += torch.stack(
            [losses.loss.detach(), losses.ce, losses.soft, losses.ce_slope, losses.soft_slope, losses.hidden]
        ).to(torch.float64)
    norm = handle.step(lr, clock.selected)
    total(sums, clock.world_size)
    figures = torch.cat([sums / counts.clamp(min=1), counts.to(sums), norm.to(sums).reshape(1)]).tolist()
    (loss, ce, *means), (tokens, _, *counted), grad_norm = figures[:6], figures[6:12], figures[12]
    alpha, beta = (sum(values) / len(weights) for values in zip(*weights, strict=True))
    optional = {name: mean if count else None for name, mean, count in zip(OPTIONAL, means, counted, strict=True)}
    by_name = {name: int(count) for name, count in zip(OPTIONAL, counted, strict=True) if count}
    return StepResult(
        loss, ce, **optional, alpha=alpha, beta=beta, grad_norm=grad_norm, tokens=int(tokens), counts=by_name
    )


def _counts(objective: Objective, batches: Sequence[Batch], betas: Sequence[float]) -> Tensor:
    """Valid tokens [6] of this worker that loss and cross-entropy, and each figure of OPTIONAL, are sums over."""
    valid = [int((batch.labels != IGNORED).sum()) for batch in batches]
    computed = [objective.computed(beta) for beta in betas[: len(batches)]]
    of = [sum(n for n, names in zip(valid, computed, strict=True) if name in names) for name in OPTIONAL]
    return torch.tensor([sum(valid), sum(valid), *of], dtype=torch.int64)


def mean_loss(
    handle: Handle, batches: Sequence[Batch], world_size: int, device: torch.device, most: int | None = None
) -> float:
    """Mean cross-entropy per valid token over all workers' `batches`, without dropout, in nats; `most` as above."""
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    with torch.no_grad():
        for piece in (piece for batch in batches for piece in batch.pieces(most)):
            result = handle.forward(_Weighted(CrossEntropyObjective(), piece.to(device), 1.0, 0.0))
            sums += torch.stack([result.ce, result.tokens.to(result.ce)]).to(torch.float64)
    loss, count = total(sums, world_size).tolist()
    return float(loss / max(count, 1))


@dataclass(frozen=True)
class _Weighted:
    """An objective on a batch: what a strategy calls inside the model's forward pass.

    Of a mixture each language's blocks meet what serves that language, and no other expert is run.
    """

    objective: Objective
    batch: Batch
    alpha: float
    beta: float

    def __call__(self, model: nn.Module) -> LossSums:
        if not isinstance(model, Mixture):
            return self.objective.losses(model, self.batch, self.alpha, self.beta)
        parts = [
            self.objective.losses(model.branch(language), batch, self.alpha, self.beta)
            for language, batch in self.batch.by_language()
        ]
        return LossSums(*(torch.stack(sums).sum(0) for sums in zip(*parts, strict=True)))
