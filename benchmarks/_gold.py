"""The loss of TRL's experimental GOLD trainer as an objective: all else is as it is for ours."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._aligned_inputs import Inputs
from orchestrator.losses import LossSums, distillation_loss
from orchestrator.models.mixture import Branch
from orchestrator.schedules import LossHistory
from orchestrator.tokens.tokenizer import load_tokenizer
from orchestrator.training.batches import Batch
from orchestrator.training.objective import student_logits

DEFAULTS = {"uld_token_merge_strategy": "observed", "uld_use_hybrid_loss": False}
"""As TRL has them: sorted probabilities, position by position."""
BEST = {"uld_token_merge_strategy": "bayesian", "uld_use_hybrid_loss": True}
"""With a divergence over the tokens of one spelling, and probabilities that are conditioned on what was read."""


@dataclass(frozen=True)
class Gold:
    """alpha · cross-entropy + beta · GOLD's loss, on the same batches; an :class:`Objective`.

    Attributes:
        inputs: what teacher and tokenizers are.
        loss: TRL's `ULDLoss`.
    """

    inputs: Inputs
    loss: Any

    @classmethod
    def make(cls, inputs: Inputs, options: dict[str, Any]) -> Gold:
        """With TRL's defaults but for `options`.

        Raises:
            ImportError: TRL, or what it needs, is not installed.
        """
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        from trl.experimental.gold.gold_trainer import ULDLoss

        config = {
            "uld_crossentropy_weight": 0.0,
            "uld_distillation_weight": 1.0,
            "uld_student_temperature": 1.0,
            "uld_teacher_temperature": 1.0,
            "uld_skip_student_eos": True,
            "uld_skip_teacher_eos": True,
            "use_extended_uld": True,
            "uld_hybrid_matched_weight": None,
            "uld_hybrid_unmatched_weight": None,
            "beta": 0.5,
            **options,
        }
        names = ("tokenizer", "teacher-tokenizer")
        tokenizers = [load_tokenizer(inputs.folders[name]) for name in names]
        return cls(inputs, ULDLoss(SimpleNamespace(**config), *tokenizers))

    def window(self, steps: int) -> int:  # noqa: ARG002
        """No history."""
        return 1

    def weights(self, step: int, steps: int, history: LossHistory, micro: int) -> tuple[float, float]:  # noqa: ARG002
        """Half and half, as ours."""
        return 0.5, 0.5

    def computed(self, beta: float) -> frozenset[str]:  # noqa: ARG002
        """The loss of TRL is reported as the soft one."""
        return frozenset({"soft"})

    def losses(self, model: nn.Module | Branch, batch: Batch, alpha: float, beta: float) -> LossSums:
        """See :class:`orchestrator.training.objective.Objective`."""
        student = student_logits(model, batch.inputs)
        sums = distillation_loss(student, batch.labels, alpha=alpha)
        logits_BTV = student.head.logits(student.hidden).float()
        soft = torch.stack([self._one(*each) for each in zip(logits_BTV, batch.inputs, batch.rows, strict=True)]).mean()
        soft = soft * sums.tokens
        return sums._replace(loss=sums.loss + beta * soft, soft=soft.detach())

    def _one(self, logits_TV: Tensor, ids_T: Tensor, row: Tensor) -> Tensor:
        """The loss of a block: all but its first token is the answer."""
        said = self.inputs.said(int(row[1]))
        theirs_WV = (said.hidden @ self.inputs.weight.t()).float()
        ours, labels = self._spans(said.student_ends[: len(ids_T)]), ids_T.clone()
        labels[0] = -100
        their_labels = said.ids.clone()
        their_labels[: max(1, said.first)] = -100
        loss: Tensor = self.loss(
            logits_TV[None],
            theirs_WV[None],
            labels[None],
            their_labels[None],
            ids_T[None],
            said.ids[None],
            ours[None],
            self._spans(said.ends)[None],
        )
        return loss

    @staticmethod
    def _spans(ends: Tensor) -> Tensor:
        """Begin and end of each token in bytes, int64 [T, 2]."""
        return torch.stack([torch.cat([ends.new_zeros(1), ends[:-1]]), ends], 1)
