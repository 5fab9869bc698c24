"""The teacher's last hidden states, computed once: its exact logits are one matrix product away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from orchestrator.teacher._base import CachedTeacherSource, Teacher, TeacherModel, TeacherStates


@dataclass(frozen=True)
class HiddenCache(CachedTeacherSource):
    """Hidden states after the final norm in bf16, 2 bytes × width a token: every loss works, exact to bf16 rounding."""

    states: Literal["bf16", "fp32"] = "bf16"
    """Type they are kept in: fp32 takes twice the disk, and gives a teacher's logits as it computes them in fp32."""

    def open(self, model: TeacherModel) -> Teacher:
        """See :class:`orchestrator.teacher.TeacherSource`."""
        return _Reader(model)

    def record(self, states: TeacherStates, seeds: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        """`hidden`, [B, T, D]."""
        return {"hidden": states.hidden.to(torch.bfloat16 if self.states == "bf16" else torch.float32)}

    def bytes_per_token(self, width: int, vocab_size: int) -> int:  # noqa: ARG002
        """2 × width, or 4 ×."""
        return (2 if self.states == "bf16" else 4) * width


class _Reader:
    def __init__(self, model: TeacherModel) -> None:
        self._source = model
        _, self._head = model.frozen()  # the rest of the model is let go

    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherStates:
        hidden_BTD = self._source.cached(rows_B2, ids_BT.device)["hidden"]
        return TeacherStates(hidden_BTD, *self._head)
