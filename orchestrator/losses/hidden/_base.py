"""What every loss between hidden states is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.losses._chunked import IGNORED
from orchestrator.moving import moved


@dataclass(frozen=True)
class HiddenLoss(ABC):
    """A loss between two hidden states of equal width, for each token; added to the others with its weight."""

    weight: Annotated[float, Field(gt=0)] = 1.0
    """What it is multiplied by in the whole loss."""

    @abstractmethod
    def per_token(self, student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
        """The loss [N] in fp32, differentiable in the student's states."""

    def total(self, student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
        """Sum over the positions whose target is to be learned, without the weight.

        Args:
            student, teacher: [N, D] or [B, T, D]; the teacher's get no gradient.
            targets: int64 [N] or [B, T]; looked at where they are.

        Raises:
            ModelError: the widths differ.
        """
        if student.shape[-1] != teacher.shape[-1]:
            raise ModelError(
                f"the student's hidden states are {student.shape[-1]} wide, the teacher's {teacher.shape[-1]}",
                where="distillation.hidden",
                fix="give experts.model the teacher's width, or leave out distillation.hidden",
            )
        valid = moved((targets.flatten() != IGNORED).nonzero().flatten(), student.device)
        student_ND, teacher_ND = (side.flatten(0, -2)[valid].float() for side in (student, teacher.detach()))
        return self.per_token(student_ND, teacher_ND).sum()
