"""What a student is given of its teacher, and what every source of it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from orchestrator.classes import Classes, Met
from orchestrator.errors import ModelError
from orchestrator.heads import Head
from orchestrator.moving import moved
from orchestrator.teacher._aligned import AlignedTokens
from orchestrator.teacher._cache import Cache, read_rows
from orchestrator.teacher._kept import KeptTokens


class TeacherStates(NamedTuple):
    """A batch of the teacher's hidden states, with its head; no gradient flows into any of them.

    Attributes:
        hidden: last hidden states after the final norm [B, T, D].
        weight: head [V, D].
        bias: [V] or None.
        scale, cap: what follows the head, see :class:`orchestrator.heads.Head`.
        rest: the last token's logits [B, T] where it stands for all that the student lacks; None: it lacks none.
        classes: of a teacher with other tokens: what both are compared by; None: the tokens are the student's.
        met: of such a teacher: where it has read the same text.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    scale: float = 1.0
    cap: float | None = None
    rest: Tensor | None = None
    classes: Classes | None = None
    met: Met | None = None

    @property
    def head(self) -> Head:
        """The head."""
        return Head(*self[1:5])


class TeacherSamples(NamedTuple):
    """Tokens drawn from the teacher's distribution at every position: an unbiased estimate of it.

    Attributes:
        ids: int64 [B, T, K], drawn with replacement.
        entropy: of the whole distribution, in nats, fp32 [B, T].
    """

    ids: Tensor
    entropy: Tensor


class Teacher(Protocol):
    """An opened teacher."""

    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherStates | TeacherSamples:
        """What it says of a batch of blocks.

        Args:
            ids_BT: token ids, int64, on the device of the student.
            rows_B2: (language, block) indices, on the CPU.
        """
        ...


@dataclass(frozen=True)
class TeacherModel:
    """The model behind a teacher, by functions of `orchestrator.models`, which this room lies below.

    Attributes:
        load: the model in evaluation mode, on the student's device.
        hidden_states: last hidden states [B, T, D] of ids [B, T].
        head: its head.
        vocab_size: of the student.
        caches: what it said of each block, by language index; empty for a live teacher.
        kept: the tokens that the student has, where these are not all.
        aligned: how its tokens lie beside the student's, where these are others.
        load_head: the head alone, on the student's device; None: the model is loaded for it.
    """

    load: Callable[[], nn.Module]
    hidden_states: Callable[[nn.Module, Tensor], Tensor]
    head: Callable[[nn.Module], Head]
    vocab_size: int
    caches: Mapping[int, Cache] = field(default_factory=dict)
    kept: KeptTokens | None = None
    aligned: AlignedTokens | None = None
    load_head: Callable[[], Head] | None = None

    def frozen(self) -> tuple[nn.Module, Head]:
        """The model without gradients, and its whole head.

        Raises:
            ModelError: it has another vocabulary than the student.
        """
        model = self.load().requires_grad_(False).eval()
        return model, self._checked(self.head(model).unchanging)

    def frozen_head(self) -> Head:
        """Its whole head, for whoever needs no more of it.

        Raises:
            ModelError: see :meth:`frozen`.
        """
        return self.frozen()[1] if self.load_head is None else self._checked(self.load_head())

    def _checked(self, head: Head) -> Head:
        """A head that has as many tokens as are expected."""
        size = self.vocab_size if self.kept is None else self.kept.size
        size = size if self.aligned is None else len(self.aligned.classes.teacher)
        if len(head.weight) != size:
            raise ModelError(
                f"the teacher has {len(head.weight)} tokens and the student {size}: they can't be compared",
                where="teacher.model",
                fix="train both with one tokenizer, take the teacher's with `tokenizer.path`, or set "
                "experts.distillation.alignment",
            )
        return head

    def student_head(self, head: Head) -> Head:
        """The rows of the teacher's head for the student's tokens."""
        return head if self.kept is None else self.kept.head(head)

    def cached(self, rows_B2: Tensor, device: Any) -> dict[str, Tensor]:
        """The cached tensors of some blocks, stacked, on `device`."""
        return {name: moved(tensor, device) for name, tensor in read_rows(self.caches, rows_B2).items()}


def narrowed(head: Head) -> Head:
    """A frozen head as autocast would round it in each product, where it is in force: the same to the last bit."""
    device = head.weight.device.type
    if head.weight.dtype != torch.float32 or not torch.is_autocast_enabled(device):
        return head
    return head._replace(weight=head.weight.to(torch.get_autocast_dtype(device)))


@dataclass(frozen=True)
class TeacherSource(ABC):
    """A plug-in of this room: where the teacher's distributions come from."""

    reads_cache: ClassVar[bool] = False
    """Whether it needs a cache, which a stage writes before."""
    aligns: ClassVar[bool] = True
    """Whether it serves students that have other tokens than the teacher."""

    @abstractmethod
    def open(self, model: TeacherModel) -> Teacher:
        """The teacher, ready for batches.

        Raises:
            ModelError: it has another vocabulary than the student.
        """

    def refusal(self, soft: Any, hidden: Any) -> str:  # noqa: ARG002
        """Why these losses (plug-ins; `hidden` may be None) can't be computed from it; "" if they can."""
        return ""


@dataclass(frozen=True)
class CachedTeacherSource(TeacherSource):
    """A source that is written once and read by every expert, epoch and trial."""

    reads_cache: ClassVar[bool] = True

    @abstractmethod
    def record(self, states: TeacherStates, seeds: Sequence[int]) -> dict[str, Tensor]:
        """What to keep of a batch of blocks: named tensors [B, T, …]; `seeds` has one for each block."""

    @abstractmethod
    def bytes_per_token(self, width: int, vocab_size: int) -> int:
        """Bytes kept of each token, for a teacher of that width and vocabulary."""
