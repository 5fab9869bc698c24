"""What a student needs of its teacher: hidden states and the head that turns them into logits."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class TeacherStates(NamedTuple):
    """A batch of the teacher's hidden states, with its head; no gradient flows into any of them.

    Attributes:
        hidden: last hidden states after the final norm [B, T, D]. weight: head [V, D]. bias: [V] or None.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None


class Teacher(Protocol):
    """An opened teacher."""

    def states(self, ids_BT: Tensor) -> TeacherStates:
        """The states at token ids int64 [B, T]."""
        ...
