"""Training and size of an expert with the tokens of its language, beside one with the teacher's whole vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks._rows import Row, compare, in_turn, single
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.heads import Head
from orchestrator.losses.forward_kl import ForwardKL
from orchestrator.models import build_model
from orchestrator.schedules import LossHistory
from orchestrator.schedules.fixed import Fixed
from orchestrator.teacher import KeptTokens, TeacherStates
from orchestrator.training.batches import Batch
from orchestrator.training.objective import DistillationObjective
from orchestrator.training.optimizers.adamw import AdamW
from orchestrator.training.step import Clock, train_step
from orchestrator.training.strategies.single import Single


@dataclass(frozen=True)
class Vocabulary:
    """Tokens a second of whole optimizer steps, parameters, and the error of a distribution added up.

    Both students learn by cross-entropy and forward KL at 0.5 each from the same random hidden states of a teacher, as
    a cache gives them; weights are random, which changes no time. A step is forward, backward, clipping and AdamW. Ours
    multiplies the teacher's head for the kept tokens, and reads one number a token for all others.
    """

    vocab: int = 150_000
    kept: int = 24_000
    context: int = 256
    batch: int = 2
    layers: int = 3
    width: int = 256
    heads: int = 4
    teacher: int = 576
    repeats: int = 3

    def rows(self) -> Iterator[Row]:
        """Speed, size, and exactness."""
        head = Head(torch.randn(self.vocab, self.teacher) / self.teacher**0.5)
        hidden = torch.randn(self.batch, self.context, self.teacher)
        step = self.vocab // self.kept
        kept = KeptTokens(torch.arange(0, step * self.kept, step), self.vocab, lambda rows: rows)
        rest = kept.rest(head, hidden)
        states = {"ours": TeacherStates(hidden, *kept.head(head), rest=rest), "whole": TeacherStates(hidden, *head)}
        students = {name: _Student(self, len(each.weight), each) for name, each in states.items()}
        case = f"{self.layers} × {self.width}, {self.kept:,} of {self.vocab:,} tokens"
        seconds = in_turn({name: student.step for name, student in students.items()}, self.repeats)
        speeds = [[self.batch * self.context / each for each in seconds[name]] for name in ("ours", "whole")]
        yield compare(case, "training speed", "tokens/s", *speeds)
        sizes = [students[name].parameters - (self.width if name == "ours" else 0) for name in ("ours", "whole")]
        yield single(case, "parameters", "", *sizes)
        yield single(case, "size in fp32", "MB", *(4e-6 * size for size in sizes))
        yield single(case, "training state (weights, gradients, AdamW)", "MB", *(16e-6 * size for size in sizes))
        yield single(case, "error of the rest's share, beside its share", "", *self._error(head, kept, states["ours"]))

    def _error(self, head: Head, kept: KeptTokens, states: TeacherStates) -> tuple[float, float]:
        """Largest difference between the others' share and that of a softmax in fp64, and the largest share."""
        hidden_D = states.hidden[0, :8]
        p = (hidden_D.double() @ head.weight.double().t()).softmax(-1)
        exact = 1 - p[:, kept.ids].sum(-1)
        assert states.rest is not None
        logits = states.hidden[0, :8] @ states.weight.t()
        logits[:, -1] = states.rest[0, :8]
        return float((logits.softmax(-1)[:, -1].double() - exact).abs().max()), float(exact.max())


class _Student:
    """A student of random weights, its optimizer, and a batch that it learns from again and again."""

    def __init__(self, bench: Vocabulary, rows: int, states: TeacherStates) -> None:
        spec = PluginSpec(type="gpt2", layers=bench.layers, width=bench.width, heads=bench.heads)
        model = build_model(spec, rows, bench.context, seed=1)
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        config = TrainingConfig(precision="fp32", micro_batch=bench.batch)
        self._optimizer = AdamW(lr=1e-4)
        self._handle = Single().setup(model, self._optimizer, config, Environment(work=Path()))
        self._objective = DistillationObjective(ForwardKL(), Fixed(alpha=0.5), _Given(states))
        ids = torch.randint(rows, (bench.batch, bench.context + 1), generator=torch.Generator().manual_seed(0))
        blocks = torch.zeros(bench.batch, 2, dtype=torch.int64)
        self._batch = Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), blocks)

    def step(self) -> None:
        """One optimizer step."""
        clock = Clock(0, 1, seed=0)
        train_step(self._handle, self._objective, [self._batch], LossHistory(), 1e-4, clock, torch.device("cpu"))


@dataclass(frozen=True)
class _Given:
    """A teacher that has said it already."""

    given: TeacherStates

    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherStates:  # noqa: ARG002
        return self.given
