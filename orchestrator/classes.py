"""Classes of next texts, which two tokenizers can both tell apart: what distributions over different tokens are compared
by.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Classes(NamedTuple):
    """A partition of the texts that may follow: each token of either vocabulary begins those of one class.

    Attributes:
        student: class of each of the student's tokens, int64 [V].
        teacher: class of each of the teacher's tokens, int64 [W].
        count: number of classes C; each has tokens of both.
    """

    student: Tensor
    teacher: Tensor
    count: int

    def to(self, device: object) -> Classes:
        """The same on a device."""
        return Classes(self.student.to(device), self.teacher.to(device), self.count)  # type: ignore[call-overload]
