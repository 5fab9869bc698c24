"""Laws of losses that are estimated from samples of the teacher, and of those that must not be."""

from __future__ import annotations

import pytest
import torch

from orchestrator.errors import TrainingError
from orchestrator.losses import IGNORED, LazyLogits, SampledLogits, SoftLoss, distillation_loss
from orchestrator.plugins import available, create
from tests.contracts.cases import SmallCase

VOCAB, WIDTH, TOKENS = 19, 6, 13
LOSSES = {name: create("losses", name, {}) for name in (*available("losses"), "mome_example.losses:Hellinger")}
LINEAR = [name for name, loss in LOSSES.items() if loss.linear_in_teacher]

each_linear_loss = pytest.mark.parametrize("name", LINEAR)
each_temperature = pytest.mark.parametrize("temperature", [1.0, 2.0])


class Case(SmallCase):
    """A student and the teacher's whole distributions, in float64."""

    def __init__(self) -> None:
        super().__init__(TOKENS, VOCAB, WIDTH)

    def samples(self, count: int, temperature: float = 1.0) -> SampledLogits:
        p = torch.softmax(self.teacher.hidden @ self.teacher.weight.t() / temperature, -1)
        ids = torch.multinomial(p, count, replacement=True, generator=torch.Generator().manual_seed(2))
        return SampledLogits(ids, -(p * p.log()).sum(-1))

    def run(self, teacher: LazyLogits | SampledLogits, soft: SoftLoss, chunk: int = 5) -> list[torch.Tensor]:
        """Loss, its two parts, and the gradients of hidden states and weight."""
        student = LazyLogits(self.hidden, self.weight)
        sums = distillation_loss(student, self.targets, teacher=teacher, soft=soft, alpha=0.4, beta=0.6, chunk=chunk)
        return [sums.loss.detach(), sums.ce, sums.soft, *torch.autograd.grad(sums.loss, [self.hidden, self.weight])]


def test_forward_kl_and_the_papers_code_are_linear_the_others_are_not() -> None:
    assert LINEAR == ["forward_kl", "teacher_cross_entropy"]


@each_linear_loss
@each_temperature
def test_many_samples_give_the_loss_and_gradient_of_the_whole_distribution(name: str, temperature: float) -> None:
    case, soft = Case(), create("losses", name, {"temperature": temperature})
    exact, estimated = case.run(case.teacher, soft), case.run(case.samples(200_000, temperature), soft)
    for ours, theirs in zip(estimated, exact, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 0.01


@each_linear_loss
def test_the_estimate_is_the_mean_over_its_samples(name: str) -> None:
    case, soft = Case(), LOSSES[name]
    whole = case.samples(8)
    one_by_one = [case.run(SampledLogits(whole.ids[:, k : k + 1], whole.entropy), soft) for k in range(8)]
    for together, *apart in zip(case.run(whole, soft), *one_by_one, strict=True):
        torch.testing.assert_close(together, torch.stack(apart).mean(0))


@each_linear_loss
def test_chunks_and_masked_positions_change_nothing(name: str) -> None:
    case, soft = Case(), LOSSES[name]
    samples = case.samples(12)
    for ours, theirs in zip(case.run(samples, soft, chunk=3), case.run(samples, soft, chunk=64), strict=True):
        torch.testing.assert_close(ours, theirs)
    case.targets[::2] = IGNORED
    expected = case.run(samples, soft)
    other = SampledLogits(samples.ids.clone(), samples.entropy.clone())
    other.ids[::2], other.entropy[::2] = 0, float("nan")
    for ours, theirs in zip(case.run(other, soft), expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - set(LINEAR)))
def test_losses_that_are_not_linear_refuse_samples(name: str) -> None:
    case = Case()
    with pytest.raises(TrainingError, match=r"from samples[\s\S]*forward_kl"):
        case.run(case.samples(12), LOSSES[name])


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_slopes_are_the_squared_norms_of_each_gradient_in_the_logits(name: str) -> None:
    case, soft = Case(), LOSSES[name]
    student = LazyLogits(case.hidden, case.weight)
    sums = distillation_loss(student, case.targets, teacher=case.teacher, soft=soft, alpha=0.4, beta=0.6, slopes=True)
    logits = (case.hidden @ case.weight.t()).detach().requires_grad_()
    teacher = case.teacher.hidden @ case.teacher.weight.t()
    ce = torch.nn.functional.cross_entropy(logits, case.targets, reduction="sum")
    for ours, loss in ((sums.ce_slope, ce), (sums.soft_slope, soft.per_token(logits, teacher).sum())):
        (gradient,) = torch.autograd.grad(loss, logits)
        torch.testing.assert_close(ours, gradient.square().sum())
