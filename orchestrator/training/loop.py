"""The training loop: one for the teacher and for experts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from orchestrator.allocator import kept_memory
from orchestrator.artifacts import write_json
from orchestrator.config.base import build
from orchestrator.config.recipe import TrainingConfig
from orchestrator.errors import NodeLeavingError, TrainingError
from orchestrator.models.quick import quicken, run_ahead
from orchestrator.schedules import LossHistory
from orchestrator.tokens.batches import BatchOrder
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training.batches import Batch, micro_batches, name_rows, plan_batches
from orchestrator.training.checkpoints import Checkpoints, Progress
from orchestrator.training.device import agree_on_arithmetic, arithmetic, device_of, enough_memory, total
from orchestrator.training.leaving import Leaving
from orchestrator.training.lr import learning_rate
from orchestrator.training.metrics import Metrics
from orchestrator.training.objective import Objective
from orchestrator.training.parts import Parts
from orchestrator.training.step import Clock, StepResult, mean_loss, train_step
from orchestrator.training.strategies._base import Handle, State, Strategy, share_of

if TYPE_CHECKING:
    from orchestrator.environment import Environment


@dataclass(frozen=True)
class Task:
    """What is trained, on what, towards what.

    Attributes:
        new_model: builds the model in its initial state, fp32, on the CPU.
        objective: the loss.
        config: of the run.
        train, validation: blocks.
        languages: those to learn.
        seed: of everything random.
        fingerprint: of all that decides the result; a checkpoint of another is refused.
        parts: of the model, where a step trains those of its languages only.
        validated: languages to validate on; None: those to learn.
    """

    new_model: Callable[[], nn.Module]
    objective: Objective
    config: TrainingConfig
    train: TokenBlocks
    validation: TokenBlocks
    languages: tuple[str, ...]
    seed: int
    fingerprint: str
    parts: Parts | None = None
    validated: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """A finished run: its last progress, where its checkpoints are, and how much it has validated on."""

    progress: Progress
    checkpoints: Checkpoints
    validations: Mapping[str, int]


@kept_memory()
def train(task: Task, env: Environment) -> Outcome:
    """Train from the newest checkpoint in ``env.work`` to the end; every worker calls it.

    Killed at any moment and called again with as many workers, it ends with the same weights, bit for bit.

    Raises:
        TrainingError: batch sizes don't fit, a loss is not finite, a checkpoint is damaged or foreign.
        ResourceError: no GPU where one was asked for, or too little memory or disk.
    """
    run = _Run(task, env)
    progress = run.progress
    while progress.step < run.steps:
        started = time.perf_counter()
        result, lr = run.step()
        progress.step += 1
        progress.tokens += result.tokens
        progress.training_seconds += time.perf_counter() - started
        run.metrics.step(progress, result, lr)
        if run.due(task.config.eval_every):
            run.metrics.validation(progress, run.validate())
        progress.seconds += time.perf_counter() - started
        leaving = run.leaving.after_a_step()
        if run.due(task.config.checkpoint_every) or leaving:
            run.save()
        if leaving and progress.step < run.steps:
            raise NodeLeavingError(
                f"a node is taken away; a checkpoint of step {progress.step} is written", str(env.work)
            )
    return Outcome(progress, run.checkpoints, run.validations())


class _Run:
    """The parts of one :func:`train`, and what it does with them at a step."""

    def __init__(self, task: Task, env: Environment) -> None:
        self.task, self.env, self.device = task, env, device_of(env)
        config, validated = task.config, task.validated or task.languages
        available = sum(task.train.count(language) for language in task.languages)
        self.strategy: Strategy = build("training.strategies", env.strategy)
        met = tuple(dict.fromkeys(task.languages + validated))
        self.share = share_of(self.strategy, met, task.parts, env)
        blocks = plan_batches(config, task.train.context, available, self.share.of)
        self.order = BatchOrder(task.train, task.languages, blocks, task.seed, config.sampling)
        self.steps = self.order.steps_for(config.tokens, config.epochs)
        self.checkpoints = Checkpoints(env.work / "checkpoints", task.fingerprint)
        self.held_out = {language: self._held_out(language) for language in validated}
        self.optimizer = build("training.optimizers", config.optimizer)
        self.handle, self.progress = self._resume()
        agree_on_arithmetic(self.device, config.precision, env.rank, env.world_size)
        self.saved = self.progress.step or None
        self.leaving = Leaving(env, self.device)
        self.history = LossHistory(task.objective.window(self.steps))
        self.history.load(self.progress.history)
        self.metrics = Metrics(env, self.steps)
        self.metrics.rewind(self.progress)

    def step(self) -> tuple[StepResult, float]:
        """Take one optimizer step; its means and its learning rate."""
        step, config = self.progress.step, self.task.config
        lr = learning_rate(step, self.steps, self.optimizer.lr, config.warmup, config.decay, config.final_lr)
        rows = self.order.rows(step)
        clock = Clock(step, self.steps, self.task.seed, self.env.rank, self.env.world_size, self._selected(rows))
        batches = self._micro_batches(self.task.train, rows)
        most = min(config.micro_batch, self.env.micro_batch or config.micro_batch)
        with enough_memory(most, self.device):
            result = train_step(self.handle, self.task.objective, batches, self.history, lr, clock, self.device, most)
        if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
            raise self._diverged(step, result, rows)
        self.history.append(result.losses)
        return result, lr

    def validate(self) -> dict[str, float]:
        """Loss of each language; the weights are kept when the mean is the lowest so far.

        The last step is always validated, so weights that are not finite are never published.

        Raises:
            TrainingError: a loss is not finite.
        """
        self.handle.mode(training=False)
        losses = {
            language: mean_loss(self.handle, batches, self.env.world_size, self.device, self.env.micro_batch)
            for language, batches in self.held_out.items()
        }
        self.handle.mode(training=True)
        mean = sum(losses.values()) / len(losses)
        progress = self.progress
        if not math.isfinite(mean):
            raise TrainingError(
                f"the validation loss is not finite after step {progress.step}: {losses}",
                f"last good checkpoint: {self.checkpoints.path(self.saved)}",
                "lower the optimizer's lr, or raise warmup",
            )
        progress.validation_loss = mean
        if progress.best_loss is None or mean < progress.best_loss:
            progress.best_loss, progress.best_step = mean, progress.step
            if self.task.config.publish == "best":
                self._write(best=True)
        return losses

    def validations(self) -> dict[str, int]:
        """Languages (`validated`) and tokens (`validated_tokens`, of all times together) that this worker looked at."""
        tokens = sum(batch.labels.numel() for batches in self.held_out.values() for batch in batches)
        times = math.ceil(self.steps / self.task.config.eval_every)
        return {"validated": len(self.held_out), "validated_tokens": times * tokens}

    def save(self) -> None:
        """Write a checkpoint."""
        self.progress.history, self.progress.since_row = self.history.state(), self.metrics.state()
        self._write(best=False)
        self.saved = self.progress.step

    def due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and at the end, happens now."""
        return self.progress.step % every == 0 or self.progress.step == self.steps

    def _diverged(self, step: int, result: StepResult, rows: np.ndarray) -> TrainingError:
        """The error for a step without a finite loss; rank 0 writes all blocks of its batch to a file."""
        path, languages = self.env.work / "bad_batch.json", self.task.train.languages
        if self.env.rank == 0:
            blocks = [{"language": languages[language], "block": block} for language, block in rows.tolist()]
            write_json(path, {"step": step, "split": self.task.train.split, "blocks": blocks})
        return TrainingError(
            f"the loss is not finite at step {step}: loss {result.loss}, gradient norm {result.grad_norm}",
            f"blocks {name_rows(self.task.train, rows)}, all of them in {path}; "
            f"last good checkpoint: {self.checkpoints.path(self.saved)}",
            "lower the optimizer's lr, raise warmup, or look at those blocks",
        )

    def _write(self, best: bool) -> None:
        weights = self.handle.weights()
        optimizer: State = {} if best else self.handle.optimizer_state()
        if self.env.rank == 0:
            if best:
                written = self.checkpoints.save_best(self.progress.step, weights)
            else:
                written = self.checkpoints.save(self.progress, weights, optimizer)
            if self.env.keep:
                self.env.keep(written)

    def _resume(self) -> tuple[Handle, Progress]:
        """The model under training, at the newest checkpoint that rank 0 sees."""
        env = self.env
        latest = self.checkpoints.latest()
        progress, optimizer = Progress(), None
        model = self.task.new_model()
        if latest is not None:
            progress, weights, optimizer = self.checkpoints.load(latest)
            load_weights(model, weights)
        if self.task.parts is not None:
            self.task.parts.freeze(model, frozenset(self.task.languages))
        model.train()
        if self.device.type == "cpu":
            computed = arithmetic(self.device, self.task.config.precision)
            quicken(model, self.task.train.context, bf16=computed == "bf16")
        else:
            run_ahead(model, self.task.train.context)
        handle = self.strategy.setup(model, self.optimizer, self.task.config, env, self.task.parts, self.share)
        agreed = total(torch.tensor([progress.step], device=self.device), env.world_size)
        if int(agreed) != progress.step * env.world_size:
            raise TrainingError(
                "the workers see different checkpoints",
                str(self.checkpoints.folder),
                "put the run's folder on storage that every node shares",
            )
        if optimizer is not None:
            handle.load_optimizer_state(optimizer)
        return handle, progress

    def _held_out(self, language: str) -> list[Batch]:
        """The worker's micro-batches of one language's validation blocks, spread evenly over the split."""
        blocks = self.task.validation
        count = blocks.count(language)
        if count == 0:
            raise TrainingError(
                f"there is no validation block of {language!r}",
                "blocks",
                "raise corpus.splits.validation, or lower blocks.context",
            )
        wanted = min(self.task.config.eval_blocks, count)
        indices = np.linspace(0, count - 1, wanted).round().astype(np.int64)
        rows = np.stack([np.full_like(indices, blocks.languages.index(language)), indices], axis=1)
        return self._micro_batches(blocks, rows)

    def _selected(self, rows: np.ndarray) -> frozenset[str] | None:
        """Parts that a step over these rows, those of all workers, trains."""
        if self.task.parts is None:
            return None
        languages = self.task.train.languages
        return self.task.parts.selected(frozenset(languages[index] for index in np.unique(rows[:, 0])))

    def _micro_batches(self, blocks: TokenBlocks, rows: np.ndarray) -> list[Batch]:
        size, share = self.task.config.micro_batch, self.share
        mine = share.select(rows, blocks.languages)
        return list(micro_batches(blocks, mine, size, share.index, share.of, by_language=self.task.parts is not None))


def load_weights(model: nn.Module, weights: State) -> None:
    """Copy weights by parameter name into `model`.

    Raises:
        TrainingError: names or shapes differ.
    """
    parameters = dict(model.named_parameters())
    if {n: p.shape for n, p in parameters.items()} != {n: w.shape for n, w in weights.items()}:
        raise TrainingError(
            "a checkpoint's weights are those of another model", "checkpoints", "type the command with --force"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
