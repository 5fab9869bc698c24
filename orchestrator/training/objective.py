"""What a model is trained towards: cross-entropy alone, or cross-entropy and a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from orchestrator.losses import ALL, LazyLogits, LossSums, Positions, SampledLogits, SoftLoss, distillation_loss
from orchestrator.losses.hidden import HiddenLoss
from orchestrator.models import auxiliary_loss, head, hidden_states
from orchestrator.models.mixture import Branch
from orchestrator.schedules import LossHistory, Schedule
from orchestrator.teacher import Teacher, TeacherSamples
from orchestrator.training.batches import Batch


class Objective(Protocol):
    """A loss over a batch of blocks, as sums over its valid tokens."""

    def window(self, steps: int) -> int:
        """Steps of loss history that :meth:`weights` looks at, in a run of `steps`."""
        ...

    def weights(self, step: int, steps: int, history: LossHistory, micro: int) -> tuple[float, float]:
        """Weights (alpha, beta) of cross-entropy and soft loss: equal on every worker."""
        ...

    def computed(self, beta: float) -> frozenset[str]:
        """Sums of :class:`LossSums`, beside `loss` and `ce`, that :meth:`losses` computes at a weight of the soft loss.

        The others are 0, which means nothing.
        """
        ...

    def losses(self, model: nn.Module | Branch, batch: Batch, alpha: float, beta: float) -> LossSums:
        """Sums over the tokens whose label is not −100; `loss` carries the gradient."""
        ...


@dataclass(frozen=True)
class CrossEntropyObjective:
    """Next-token cross-entropy: how the teacher is trained, and how every model is validated."""

    def window(self, steps: int) -> int:  # noqa: ARG002
        """No history."""
        return 1

    def weights(self, step: int, steps: int, history: LossHistory, micro: int) -> tuple[float, float]:  # noqa: ARG002
        """Always (1, 0)."""
        return 1.0, 0.0

    def computed(self, beta: float) -> frozenset[str]:  # noqa: ARG002
        """Nothing else."""
        return frozenset()

    def losses(self, model: nn.Module | Branch, batch: Batch, alpha: float, beta: float) -> LossSums:  # noqa: ARG002
        """See :class:`Objective`."""
        return _with_auxiliary(distillation_loss(student_logits(model, batch.inputs), batch.labels), model)


@dataclass(frozen=True)
class DistillationObjective:
    """alpha · CE + beta · soft (paper, equation 1), and a loss between hidden states where there is one.

    Attributes:
        soft: loss between the two distributions.
        schedule: alpha and beta.
        teacher: an opened teacher.
        hidden: loss between last hidden states, added with its own weight.
        positions: where the soft loss is computed.
    """

    soft: SoftLoss
    schedule: Schedule
    teacher: Teacher
    hidden: HiddenLoss | None = None
    positions: Positions = ALL

    def window(self, steps: int) -> int:
        """As the schedule asks."""
        return self.schedule.window(steps)

    def weights(self, step: int, steps: int, history: LossHistory, micro: int) -> tuple[float, float]:
        """As the schedule says."""
        return self.schedule.weights(step, steps, history, micro)

    def computed(self, beta: float) -> frozenset[str]:
        """What needs the teacher: nothing where no weight is on it."""
        if beta == 0 and self.hidden is None:
            return frozenset()
        slopes = ("ce_slope", "soft_slope") if self.schedule.slopes else ()
        return frozenset(("soft", *slopes, *(() if self.hidden is None else ("hidden",))))

    def losses(self, model: nn.Module | Branch, batch: Batch, alpha: float, beta: float) -> LossSums:
        """See :class:`Objective`. A step without weight on what needs the teacher doesn't run it."""
        student = student_logits(model, batch.inputs)
        if not self.computed(beta):
            return _with_auxiliary(distillation_loss(student, batch.labels, alpha=alpha), model)
        states = self.teacher.states(batch.inputs, batch.rows)
        teacher = SampledLogits(*states) if isinstance(states, TeacherSamples) else LazyLogits(*states)
        sums = distillation_loss(
            student,
            batch.labels,
            teacher=teacher,
            soft=self.soft,
            alpha=alpha,
            beta=beta,
            slopes=self.schedule.slopes,
            positions=self.positions,
        )
        sums = _with_auxiliary(sums, model)
        if self.hidden is None or isinstance(teacher, SampledLogits):
            return sums
        hidden = self.hidden.total(student.hidden, teacher.hidden, batch.labels)
        return sums._replace(loss=sums.loss + self.hidden.weight * hidden, hidden=hidden.detach())


def student_logits(model: nn.Module | Branch, inputs_BT: Tensor) -> LazyLogits:
    """A model's logits, not yet computed: last hidden states and output head."""
    return LazyLogits(hidden_states(model, inputs_BT), *head(model))


def _with_auxiliary(sums: LossSums, model: nn.Module | Branch) -> LossSums:
    """Add what the model itself asks for beside the task, a token: the balance of its MoE layers, in training only."""
    auxiliary = auxiliary_loss(model)
    return sums if auxiliary is None else sums._replace(loss=sums.loss + auxiliary * sums.tokens)
