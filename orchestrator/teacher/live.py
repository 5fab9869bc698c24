"""The teacher runs beside the student, in every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.teacher._base import Teacher, TeacherModel, TeacherSource, TeacherStates, narrowed


@dataclass(frozen=True)
class Live(TeacherSource):
    """A frozen teacher model, evaluated on each batch."""

    def open(self, model: TeacherModel) -> Teacher:
        """See :class:`orchestrator.teacher.TeacherSource`."""
        return _LiveTeacher(model)


class _LiveTeacher:
    def __init__(self, model: TeacherModel) -> None:
        self._source = model
        self._model, self._whole = model.frozen()
        self._head = model.student_head(self._whole)

    @torch.no_grad()
    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherStates:
        kept, self._head = self._source.kept, narrowed(self._head)
        if kept is None:
            return TeacherStates(self._source.hidden_states(self._model, ids_BT), *self._head)
        hidden_BTD = self._source.hidden_states(self._model, kept.whole(rows_B2).to(ids_BT.device))
        return TeacherStates(hidden_BTD, *self._head, rest=kept.rest(self._whole, hidden_BTD))
