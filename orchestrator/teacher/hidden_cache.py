"""The teacher's last hidden states, computed once: its exact logits are one matrix product away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.teacher._base import CachedTeacherSource, Teacher, TeacherModel, TeacherStates, narrowed

_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class HiddenCache(CachedTeacherSource):
    """Hidden states after the final norm in fp16, 2 bytes × width a token: every loss works, exact to fp16 rounding."""

    version: ClassVar[int] = 2  # 1: bf16 where nothing was said
    states: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Type they are kept in: bf16 rounds eight times as much as fp16 does, and holds what is above 65,504; fp32 takes
    twice the disk, and gives a teacher's logits as it computes them in fp32."""

    def open(self, model: TeacherModel) -> Teacher:
        """See :class:`orchestrator.teacher.TeacherSource`."""
        return _Reader(model)

    def record(self, states: TeacherStates, seeds: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        """`hidden`, [B, T, D]; and `rest`, fp32 [B, T], for students that lack tokens.

        Raises:
            ModelError: a state is more than fp16 holds.
        """
        hidden = states.hidden.to(_TYPES[self.states])
        if self.states == "fp16" and hidden.isinf().any():
            most = float(states.hidden.abs().max())
            what = f"a hidden state of {most:,.0f} is more than fp16 holds"
            raise ModelError(what, "the teacher", "set states: bf16, or fp32, of the teacher's hidden_cache")
        return {"hidden": hidden} if states.rest is None else {"hidden": hidden, "rest": states.rest.float()}

    def bytes_per_token(self, width: int, vocab_size: int) -> int:  # noqa: ARG002
        """2 × width, or 4 ×; the 4 bytes of `rest` are not worth counting."""
        return _TYPES[self.states].itemsize * width


class _Reader:
    def __init__(self, model: TeacherModel) -> None:
        self._source = model
        self._head = model.student_head(model.frozen_head())
        self._classes = None if model.aligned is None else model.aligned.classes.to(self._head.weight.device)

    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherStates:
        kept, self._head = self._source.cached(rows_B2, ids_BT.device), narrowed(self._head)
        hidden = kept["hidden"].float() if kept["hidden"].dtype == torch.float16 else kept["hidden"]
        states = TeacherStates(hidden, *self._head, rest=kept.get("rest"))
        aligned = self._source.aligned
        if aligned is None:
            return states
        return states._replace(classes=self._classes, met=aligned.window(rows_B2).met().to(ids_BT.device))
