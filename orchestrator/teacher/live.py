"""The teacher runs beside the student, in every step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

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
        self._classes = None if model.aligned is None else model.aligned.classes.to(self._head.weight.device)

    @torch.no_grad()
    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherStates:
        kept, aligned, self._head = self._source.kept, self._source.aligned, narrowed(self._head)
        if aligned is not None:
            run = partial(self._source.hidden_states, self._model)
            hidden_BTD, met = aligned.hidden_states(run, rows_B2, ids_BT.device)
            return TeacherStates(hidden_BTD, *self._head, classes=self._classes, met=met)
        if kept is None:
            return TeacherStates(self._source.hidden_states(self._model, ids_BT), *self._head)
        hidden_BTD = self._source.hidden_states(self._model, kept.whole(rows_B2).to(ids_BT.device))
        return TeacherStates(hidden_BTD, *self._head, rest=kept.rest(self._whole, hidden_BTD))
