"""What `mome bench mixture` computes with: mixtures, mixed batches, and how the paper's code routes a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.losses.reverse_kl import ReverseKL
from orchestrator.models import build_model
from orchestrator.models.mixture import COMMON, SHARED, Mixture
from orchestrator.schedules import LossHistory
from orchestrator.schedules.fixed import Fixed
from orchestrator.teacher import TeacherStates
from orchestrator.training.batches import Batch
from orchestrator.training.objective import DistillationObjective
from orchestrator.training.optimizers.adamw import AdamW
from orchestrator.training.parts import Parts
from orchestrator.training.step import Clock, train_step
from orchestrator.training.strategies.single import Single

LANGUAGES = ("en", "fr", "de", "py")
_NOWHERE = Path("bench")  # nothing is written there


@dataclass(frozen=True)
class Shape:
    """Sizes of models and batches: `layers` × `width` with `heads`, `vocab` tokens, `batch` sequences of `context`."""

    layers: int
    width: int
    heads: int
    vocab: int
    context: int
    batch: int

    def model(self, seed: int = 0, deeper: int = 1) -> nn.Module:
        """A GPT-2 with random weights, of `deeper` times as many layers."""
        spec = PluginSpec(type="gpt2", layers=self.layers * deeper, width=self.width, heads=self.heads)
        model: nn.Module = build_model(spec, self.vocab, self.context, seed)
        return model

    def mixture(self, setup: str) -> Mixture:
        """A mixture of four experts with random weights."""
        plugin = build("models.setups", PluginSpec(type=setup))
        common = self.model(9) if plugin.has_common else None
        mixture: Mixture = plugin.assemble({name: self.model(seed) for seed, name in enumerate(LANGUAGES)}, common)
        return mixture

    def sequences(self) -> tuple[np.ndarray, np.ndarray]:
        """A mixed batch, int64 [batch, context], and the language of each; every language has tokens of its own."""
        rng = np.random.default_rng(0)
        which = rng.permutation(np.arange(self.batch) % len(LANGUAGES))
        own = self.vocab // len(LANGUAGES)
        return rng.integers(10, own, (self.batch, self.context)) + which[:, None] * (own - 10), which


class PaperWay:
    """How the released code serves a batch: three times it asks a TF-IDF router on the CPU about the whole batch as one
    document of token ids, and one expert serves all of it.
    """

    def __init__(self, experts: nn.ModuleDict, ids: np.ndarray, which: np.ndarray) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        self._experts = list(experts.values())
        self._router = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=200))
        self._router.fit([_words(row) for row in ids], which)

    def __call__(self, ids_BT: Tensor) -> Tensor:
        """Logits [B, T, V]."""
        document = _words(ids_BT.flatten().tolist())
        chosen = [int(self._router.predict([document])[0]) for _ in range(3)]
        model: Any = self._experts[chosen[0]]
        logits: Tensor = model(ids_BT, use_cache=False).logits
        return logits


def _words(ids: Sequence[int] | np.ndarray) -> str:
    return " ".join(map(str, ids))


class _FixedTeacher:
    """Says the same of every block, as a cache would, without reading one."""

    def __init__(self, shape: Shape) -> None:
        generator = torch.Generator().manual_seed(1)
        self._hidden = torch.randn(1, shape.context, shape.width, generator=generator)
        self._weight = torch.randn(shape.vocab, shape.width, generator=generator) / shape.width**0.5

    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherStates:  # noqa: ARG002
        return TeacherStates(self._hidden.expand(len(ids_BT), -1, -1), self._weight, None)


class TrainingStep:
    """An optimizer step on a balanced batch: cross-entropy, reverse KL from a cached teacher, AdamW.

    Args:
        model: a mixture or a dense student.
        shape: of the batch.
        micro_batch: blocks at once.
    """

    def __init__(self, model: nn.Module, shape: Shape, micro_batch: int) -> None:
        config = TrainingConfig(precision="fp32", batch_tokens=shape.context, micro_batch=micro_batch)
        parts = Parts(Mixture.part_of, lambda names: names | {COMMON, SHARED}, _keep)
        joint = parts if isinstance(model, Mixture) else None
        self._handle = Single().setup(model.train(), AdamW(), config, Environment(work=_NOWHERE), joint)
        self._objective = DistillationObjective(ReverseKL(), Fixed(alpha=0.5), _FixedTeacher(shape))
        ids, which = shape.sequences()
        order = np.argsort(which, kind="stable")  # as the loop cuts a step into micro-batches
        inputs, rows = torch.from_numpy(ids[order]), torch.from_numpy(np.stack([which, which * 0], axis=1)[order])
        labels = inputs.roll(-1, dims=1)
        pieces = [slice(start, start + micro_batch) for start in range(0, len(ids), micro_batch)]
        self._batches = [Batch(inputs[p], labels[p], rows[p], LANGUAGES) for p in pieces]

    def __call__(self) -> None:
        """Take one step."""
        clock, device = Clock(0, 10, 0), torch.device("cpu")
        train_step(self._handle, self._objective, self._batches, LossHistory(), 1e-4, clock, device)


def _keep(model: nn.Module, languages: frozenset[str]) -> None:
    assert isinstance(model, Mixture)
    model.keep(languages)
