"""The teacher runs beside the student, in every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.teacher._base import Teacher, TeacherModel, TeacherSource, TeacherStates


@dataclass(frozen=True)
class Live(TeacherSource):
    """A frozen teacher model, evaluated on each batch."""

    def open(self, model: TeacherModel) -> Teacher:
        """See :class:`orchestrator.teacher.TeacherSource`."""
        return _LiveTeacher(model)


class _LiveTeacher:
    def __init__(self, model: TeacherModel) -> None:
        self._source = model
        self._model, self._head = model.frozen()

    @torch.no_grad()
    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherStates:  # noqa: ARG002
        return TeacherStates(self._source.hidden_states(self._model, ids_BT), *self._head)
