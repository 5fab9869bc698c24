"""What distributions over the tokens of two tokenizers are compared by: classes of next texts that both can tell apart.

Ground for the rooms of teachers and losses, which don't import each other. Shape legend: V tokens of the student, W of
the teacher, G nodes, E ways to go on from them, B blocks, T tokens of a block, N tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from orchestrator.moving import moved


class Ways(NamedTuple):
    """How the teacher's tokens reach beyond texts that the student has read, see `orchestrator.tokens.continuations`.

    Attributes:
        starts: where a node's ways begin, int64 [G+1].
        tokens: the teacher's token of each way, int64 [E].
        classes: class of the student's token that comes next on it, int64 [E].
        own: the teacher's token whose text is the node's, int64 [G]; −1: none.
    """

    starts: Tensor
    tokens: Tensor
    classes: Tensor
    own: Tensor


class Barred(NamedTuple):
    """What can't follow a text that the student has read: it would have read a longer token.

    Attributes:
        starts: where the tokens that a node bars begin, int64 [G+1].
        tokens: the teacher's, int64.
    """

    starts: Tensor
    tokens: Tensor


class Classes(NamedTuple):
    """A partition of the texts that may follow: each token of either vocabulary begins those of one class.

    Attributes:
        student: class of each of the student's tokens, int64 [V].
        teacher: class of each of the teacher's tokens, int64 [W].
        size: number of classes K; each has tokens of both.
        ways: the teacher's tokens that reach beyond the student's; None: none does.
        barred: the teacher's tokens that can't follow, as the student's reach beyond them; None: there are none.
    """

    student: Tensor
    teacher: Tensor
    size: int
    ways: Ways | None = None
    barred: Barred | None = None

    def to(self, device: Any) -> Classes:
        """The same on a device."""
        ways = None if self.ways is None else Ways(*(each.to(device) for each in self.ways))
        barred = None if self.barred is None else Barred(*(each.to(device) for each in self.barred))
        return Classes(self.student.to(device), self.teacher.to(device), self.size, ways, barred)


class Met(NamedTuple):
    """Where student and teacher have read the same text, in blocks [B, T] of the student's tokens or a row of them [N].

    Attributes:
        known: the teacher has read the text up to here and no more, bool.
        nodes: texts read since both have last met, which the teacher's tokens reach beyond, int64; −1: none does.
        barred: nodes of what can't follow, int64; −1: anything can.
        before: where they have last met before, as a place in the block (or the row), int64; −1: they never have.
    """

    known: Tensor
    nodes: Tensor
    barred: Tensor
    before: Tensor

    def to(self, device: Any) -> Met:
        """The same on a device."""
        return Met(*(moved(each, device) for each in self))

    def flat(self) -> Met:
        """In a row [N], as its places are too."""
        if self.known.ndim == 1:
            return self
        blocks, length = self.known.shape
        first = (self.before.new_tensor(range(blocks)) * length).unsqueeze(1)
        before = self.before.where(self.before < 0, self.before + first)
        known_N, nodes_N, barred_N = (each.reshape(-1) for each in self[:3])
        return Met(known_N, nodes_N, barred_N, before.reshape(-1))
