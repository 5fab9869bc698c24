"""What every soft loss is.

Shape legend: N tokens, V vocabulary. q is the student's distribution and p the teacher's, both softened by the
temperature; z are the student's softened logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from orchestrator.errors import TrainingError

FLOOR = -1e6
"""Logits are never lower: a masked (−inf) entry has probability 0, and 0 · FLOOR is 0 where 0 · −inf is NaN."""

Temperature = Annotated[float, Field(gt=0)]
InsideUnit = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class SoftLoss(ABC):
    """A loss between two distributions over the vocabulary, for each token.

    With temperature T it is T² · D(softmax(student / T), softmax(teacher / T)): the factor keeps the gradient's size
    when T changes (Hinton et al., arXiv:1503.02531). A loss states D as `definition`, and that is enough. The losses
    of this room state its value and gradient too, as `divergence`: with autograd the whole op takes up to 1.7 times as
    long (`jsd`), and holds a few more tensors of a chunk's size on a GPU.
    """

    temperature: Temperature = 1.0
    """Softens both distributions."""

    zero_at_equality: ClassVar[bool] = True
    """Whether it is a divergence: 0 where student and teacher agree."""
    linear_in_teacher: ClassVar[bool] = False
    """Whether D is −Σ p log q, up to the teacher's entropy: then samples of p estimate it without bias."""

    @abstractmethod
    def definition(self, log_q_NV: Tensor, log_p_NV: Tensor) -> Tensor:
        """D [N] from log-probabilities, in plain differentiable torch; both are finite, and neither is overwritten."""

    def divergence(self, log_q_NV: Tensor, log_p_NV: Tensor, q_NV: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """D [N] and its gradient in z [N, V]: by autograd from `definition`, unless a loss knows a faster way.

        Args:
            log_q_NV: the student's log-probabilities, finite; may be overwritten.
            log_p_NV: the teacher's, finite; may be overwritten.
            q_NV: the student's probabilities; left alone.

        Raises:
            TrainingError: `definition` gives no number for each token, or none that depends on the student.
        """
        with torch.enable_grad():  # the chunked op calls this in its forward pass, where autograd is off
            z_NV = log_q_NV.detach().requires_grad_()
            # Log-probabilities are their own log-softmax: it changes no value, and leads the gradient back to z.
            loss_N = self.definition(torch.log_softmax(z_NV, -1), log_p_NV)
        if loss_N.shape != z_NV.shape[:1] or not loss_N.requires_grad:
            raise TrainingError(
                f"the definition of {type(self).__name__} gives no loss for each token that depends on the student",
                where=f"{type(self).__module__}:{type(self).__qualname__}",
                fix=f"sum over the vocabulary only (.sum(-1)): of {len(z_NV)} tokens it makes {list(loss_N.shape)}",
            )
        (grad_NV,) = torch.autograd.grad(loss_N, z_NV, torch.ones_like(loss_N))
        return loss_N.detach(), grad_NV

    def per_token(self, student_logits_NV: Tensor, teacher_logits_NV: Tensor) -> Tensor:
        """The loss [N] from logits by `definition`, differentiable by autograd; for tests and small inputs."""
        T = self.temperature
        return (
            T * T * self.definition(log_probabilities(student_logits_NV / T), log_probabilities(teacher_logits_NV / T))
        )

    def value_and_grad(self, student_logits_NV: Tensor, teacher_logits_NV: Tensor) -> tuple[Tensor, Tensor]:
        """The loss [N] and its gradient in the student's logits [N, V], without autograd. The inputs are left alone."""
        log_q_NV = log_probabilities(student_logits_NV)
        return self.from_log_probabilities(log_q_NV, teacher_logits_NV.clamp(min=FLOOR), log_q_NV.exp())

    def from_log_probabilities(
        self, log_q_NV: Tensor, teacher_logits_NV: Tensor, q_NV: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`value_and_grad`, from the student's log-softmax at temperature 1, which cross-entropy has computed.

        Args:
            log_q_NV: may be overwritten.
            teacher_logits_NV: finite; left alone.
            q_NV: exp(log_q_NV); left alone.
        """
        T = self.temperature
        if T == 1:
            return self.divergence(log_q_NV, torch.log_softmax(teacher_logits_NV, -1), q_NV)
        log_q_NV = torch.log_softmax(
            log_q_NV / T, -1
        )  # a log-softmax is as good as the logits: they differ by a constant
        loss_N, grad_NV = self.divergence(log_q_NV, torch.log_softmax(teacher_logits_NV / T, -1), log_q_NV.exp())
        return loss_N.mul_(T * T), grad_NV.mul_(T)

    def from_samples(self, log_q_NV: Tensor, ids_NK: Tensor, entropy_N: Tensor, q_NV: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`from_log_probabilities`, from samples of the teacher: unbiased value and gradient.

        Only for losses that are `linear_in_teacher`; their gradient in z is q − p, with p the samples' frequencies.

        Args:
            log_q_NV: the student's log-probabilities at temperature 1; may be overwritten.
            q_NV: the student's probabilities at temperature 1; may be overwritten.
            ids_NK: tokens drawn from the teacher at this loss's temperature, int64.
            entropy_N: of the teacher's distribution, which a divergence has less than −Σ p log q.
        """
        T = self.temperature
        if T != 1:
            log_q_NV = torch.log_softmax(log_q_NV / T, -1)
            q_NV = log_q_NV.exp()
        loss_N = -log_q_NV.gather(1, ids_NK).mean(1)
        if self.zero_at_equality:
            loss_N -= entropy_N
        share = q_NV.new_full(ids_NK.shape, -1 / ids_NK.shape[1])
        return loss_N * (T * T), q_NV.scatter_add(1, ids_NK, share).mul_(T)


def log_probabilities(logits_NV: Tensor) -> Tensor:
    """Log-softmax over the vocabulary, with −inf raised to :data:`FLOOR`."""
    return torch.log_softmax(logits_NV.clamp(min=FLOOR), dim=-1)


def row_dot(a_NV: Tensor, b_NV: Tensor) -> Tensor:
    """Σ over the vocabulary of a · b, [N]."""
    product_N: Tensor = torch.linalg.vecdot(a_NV, b_NV)
    return product_N


def through_softmax(slope_NV: Tensor, q_NV: Tensor) -> Tensor:
    """Gradient in z from the slope dD/dq: q · (slope − Σ q · slope). Overwrites and returns `slope_NV`."""
    return slope_NV.sub_(row_dot(q_NV, slope_NV).unsqueeze(1)).mul_(q_NV)


def log_mixture(q_NV: Tensor, p_NV: Tensor, share_of_q: float) -> Tensor:
    """log(share · q + (1 − share) · p), finite where both underflow."""
    return torch.lerp(p_NV, q_NV, share_of_q).clamp(min=torch.finfo(q_NV.dtype).tiny).log()
