"""The teacher runs beside the student, in every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.teacher._base import TeacherStates

HiddenStates = Callable[[nn.Module, Tensor], Tensor]
HeadOf = Callable[[nn.Module], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Live:
    """A frozen teacher model, evaluated on each batch."""

    def open(self, model: nn.Module, hidden_states: HiddenStates, head: HeadOf, vocab_size: int) -> _LiveTeacher:
        """Freeze `model` and put it into evaluation mode.

        Args:
            model: the teacher, on the device of the batches.
            hidden_states: `orchestrator.models.hidden_states`, which this room lies below.
            head: `orchestrator.models.head`.
            vocab_size: of the student.

        Raises:
            ModelError: the teacher has another vocabulary.
        """
        weight_VD, bias_V = head(model)
        if weight_VD.shape[0] != vocab_size:
            raise ModelError(
                f"the teacher has {weight_VD.shape[0]} tokens and the student {vocab_size}: they can't be compared",
                where="teacher.model",
                fix="train both with one tokenizer, or load the teacher's tokenizer with `tokenizer.path`",
            )
        model.requires_grad_(False).eval()
        return _LiveTeacher(model, hidden_states, weight_VD.detach(), None if bias_V is None else bias_V.detach())


@dataclass(frozen=True)
class _LiveTeacher:
    model: nn.Module
    hidden_states: HiddenStates
    weight: Tensor
    bias: Tensor | None

    @torch.no_grad()
    def states(self, ids_BT: Tensor) -> TeacherStates:
        """See :class:`orchestrator.teacher.Teacher`."""
        return TeacherStates(self.hidden_states(self.model, ids_BT), self.weight, self.bias)
