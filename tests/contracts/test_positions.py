"""Laws of the soft loss at some of the positions: unbiased, reproducible, and cross-entropy at all of them."""

from __future__ import annotations

import pytest
import torch

from orchestrator.losses import IGNORED, LazyLogits, distillation_loss
from orchestrator.plugins import create
from tests.contracts.cases import SmallCase

TOKENS, VOCAB, WIDTH, SEEDS = 24, 19, 6, 200


class Case(SmallCase):
    """A student and its teacher, in float64."""

    def __init__(self) -> None:
        super().__init__(TOKENS, VOCAB, WIDTH)
        self.targets[[3, 11]] = IGNORED

    def run(self, name: str, positions: float, seed: int) -> list[torch.Tensor]:
        """Cross-entropy, the soft loss, and the gradients of hidden states and weight."""
        torch.manual_seed(seed)
        soft, student = create("losses", name, {}), LazyLogits(self.hidden, self.weight)
        options = {"teacher": self.teacher, "soft": soft, "alpha": 0.4, "beta": 0.6, "chunk": 5}
        sums = distillation_loss(student, self.targets, positions=positions, **options)
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
