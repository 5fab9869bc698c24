"""Laws of the soft loss at some of the positions: unbiased, reproducible, and cross-entropy at all of them."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from orchestrator.config.distillation import DistillationConfig
from orchestrator.losses import IGNORED, LazyLogits, Positions, distillation_loss
from orchestrator.plugins import create
from tests.contracts.cases import SmallCase

TOKENS, VOCAB, WIDTH, SEEDS = 24, 19, 6, 200


class Case(SmallCase):
    """A student and its teacher, in float64."""

    def __init__(self) -> None:
        super().__init__(TOKENS, VOCAB, WIDTH)
        self.targets[[3, 11]] = IGNORED

    def run(self, name: str, positions: float | Positions, seed: int, chunk: int = 5) -> list[torch.Tensor]:
        """Cross-entropy, the soft loss, and the gradients of hidden states and weight."""
        torch.manual_seed(seed)
        soft, student = create("losses", name, {}), LazyLogits(self.hidden, self.weight)
        options = {"teacher": self.teacher, "soft": soft, "alpha": 0.4, "beta": 0.6, "chunk": chunk}
        where = positions if isinstance(positions, Positions) else Positions(positions)
        sums = distillation_loss(student, self.targets, positions=where, **options)
        return [sums.ce, sums.soft, *torch.autograd.grad(sums.loss, [self.hidden, self.weight])]


@pytest.mark.parametrize("name", ["reverse_kl", "forward_kl", "jsd"])
@pytest.mark.parametrize("positions", [0.25, 0.6])
def test_the_mean_over_seeds_is_the_exact_loss_and_gradient(name: str, positions: float) -> None:
    case = Case()
    exact = case.run(name, 1.0, 0)
    drawn = [
        torch.stack(each) for each in zip(*(case.run(name, positions, seed) for seed in range(SEEDS)), strict=True)
    ]
    assert torch.allclose(drawn[0], exact[0])  # cross-entropy is not estimated
    for found, wanted in zip(drawn[1:], exact[1:], strict=True):
        # Of the many numbers of a gradient some are three standard errors off: looked at are their projection on a
        # fixed direction, and their mean square.
        error = found.mean(0) - wanted
        variance = found.var(0) / SEEDS
        assert float(error.square().sum()) <= 2 * float(variance.sum())
        direction = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(2), dtype=wanted.dtype)
        along = (found * direction).flatten(1).sum(1) if found.dim() > 1 else found
        exactly = (wanted * direction).sum() if found.dim() > 1 else wanted
        assert abs(float(along.mean() - exactly)) <= 3 * float(along.std()) / SEEDS**0.5


def test_all_positions_are_the_loss_itself_and_a_seed_gives_the_same_positions() -> None:
    case = Case()
    assert all(torch.equal(a, b) for a, b in zip(case.run("jsd", 1.0, 0), case.run("jsd", 1.0, 1), strict=True))
    once, twice, other = (case.run("jsd", 0.3, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
    assert not torch.equal(once[2], other[2])


def test_positions_that_are_not_learned_are_never_drawn() -> None:
    case = Case()
    for seed in range(20):
        gradient = case.run("reverse_kl", 0.1, seed)[2]
        assert torch.equal(gradient[[3, 11]], torch.zeros(2, WIDTH, dtype=torch.float64))


@pytest.mark.parametrize("chunk", [5, 24])
def test_by_entropy_the_soft_loss_is_its_mean_where_the_student_is_least_certain(chunk: int) -> None:
    case = Case()
    log_q = torch.log_softmax(case.hidden @ case.weight.T, -1)
    entropy = -(log_q.exp() * log_q).sum(-1).detach()
    learned = [place for place in range(TOKENS) if place not in (3, 11)]
    chosen = sorted(learned, key=lambda place: -float(entropy[place]))[:6]  # 0.25 of 22 are 5.5
    soft = create("losses", "jsd", {})
    per_token = soft.per_token(log_q[chosen], case.teacher.hidden[chosen] @ case.teacher.weight.T)
    ce = -log_q[learned, case.targets[learned]].sum()
    mean = per_token.mean() * len(learned)
    wanted = torch.autograd.grad(0.4 * ce + 0.6 * mean, [case.hidden, case.weight])
    found = case.run("jsd", Positions(0.25, by_entropy=True), 0, chunk)
    for got, expected in zip(found, [ce, mean, *wanted], strict=True):
        torch.testing.assert_close(got, expected)


def test_a_choice_among_all_positions_is_refused() -> None:
    with pytest.raises(ValidationError, match="positions: 1 takes all"):
        DistillationConfig(chosen="entropy")
    assert DistillationConfig(chosen="entropy", positions=0.25).chosen == "entropy"
