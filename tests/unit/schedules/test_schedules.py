"""What each schedule does with given histories."""

from __future__ import annotations

import pytest

from orchestrator.errors import TrainingError
from orchestrator.schedules import LossHistory, StepLosses
from orchestrator.schedules.adaptive_paper import AdaptivePaper
from orchestrator.schedules.alternating import Alternating
from orchestrator.schedules.dynamic_average import DynamicAverage
from orchestrator.schedules.fixed import Fixed
from orchestrator.schedules.gradient_balance import GradientBalance
from orchestrator.schedules.linear import Linear
from orchestrator.schedules.loss_balance import LossBalance

NONE = LossHistory()


def history(ce: list[float], soft: list[float]) -> LossHistory:
    return LossHistory(len(ce), zip(ce, soft, strict=True))


def falling(start: float, end: float, count: int = 20) -> list[float]:
    return [start + (end - start) * i / (count - 1) for i in range(count)]


def test_history_keeps_its_window() -> None:
    losses = LossHistory(2)
    for i in range(4):
        losses.append(StepLosses(i, 10 * i))
    assert (losses.ce, losses.soft, len(losses)) == ([2, 3], [20, 30], 2)


def test_fixed() -> None:
    assert Fixed(alpha=0.3).weights(7, 10, NONE) == (0.3, 0.7)
    assert Fixed(alpha=1, beta=1).weights(0, 10, NONE) == (1, 1)


def test_linear_reaches_both_ends() -> None:
    alphas = [Linear(0.2, 0.8).weights(step, 4, NONE)[0] for step in range(4)]
    assert alphas == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_alternating_per_step_and_per_micro_batch() -> None:
    per_step = [Alternating().weights(step, 4, NONE, micro) for step in range(2) for micro in range(2)]
    assert per_step == [(1, 0), (1, 0), (0, 1), (0, 1)]
    per_micro = [
        Alternating(per="micro_batch").weights(step, 4, NONE, micro) for step in range(2) for micro in range(2)
    ]
    assert per_micro == [(1, 0), (0, 1), (1, 0), (0, 1)]


def test_the_papers_schedule_stays_at_a_half_while_both_losses_fall() -> None:
    assert AdaptivePaper().weights(20, 100, history(falling(9, 5), falling(3, 0.1))) == (0.5, 0.5)


def test_the_papers_schedule_weights_a_rising_loss_down() -> None:
    ce = falling(2, 4)  # rises by 2 on a mean of 3: w = 1/3, the soft loss's is 1
    assert AdaptivePaper().weights(20, 100, history(ce, falling(3, 1)))[0] == pytest.approx((1 / 3) / (1 / 3 + 1))


def test_the_papers_schedule_starts_at_a_half_and_widens_its_window() -> None:
    assert AdaptivePaper().weights(19, 100, history(falling(2, 4, 19), falling(3, 1, 19))) == (0.5, 0.5)
    assert (AdaptivePaper().window(100), AdaptivePaper().window(10_000)) == (20, 100)


def test_loss_balance_equalises_the_contributions() -> None:
    alpha, beta = LossBalance().weights(20, 100, history([6.0] * 20, [2.0] * 20))
    assert alpha * 6 == pytest.approx(beta * 2)
    assert LossBalance(least=0.1).weights(20, 100, history([6.0] * 20, [1e-9] * 20)) == pytest.approx((0.1, 0.9))


def test_dynamic_average_favours_the_loss_that_falls_more_slowly() -> None:
    schedule = DynamicAverage(steps_averaged=10)
    alpha, _ = schedule.weights(20, 100, history(falling(5, 4.9), falling(3, 1)))
    assert alpha > 0.9
    assert schedule.weights(20, 100, history(falling(5, 4), falling(10, 8)))[0] == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", [AdaptivePaper(), LossBalance(), DynamicAverage()])
def test_a_lost_history_is_refused(schedule: AdaptivePaper) -> None:
    with pytest.raises(TrainingError, match=r"needs the losses of the last[\s\S]*checkpoints"):
        schedule.weights(30, 100, LossHistory(100))


def test_gradient_balance_gives_weighted_gradients_equal_norms() -> None:
    steps = [StepLosses(3.0, 1.0, ce_slope=16.0, soft_slope=1.0), StepLosses(3.0, 1.0, ce_slope=20.0, soft_slope=3.0)]
    alpha, beta = GradientBalance().weights(2, 100, LossHistory(20, steps))
    assert alpha * 18**0.5 == pytest.approx(beta * 2**0.5)
    assert alpha + beta == pytest.approx(1)


def test_gradient_balance_keeps_the_least_weight_where_a_gradient_vanishes() -> None:
    history = LossHistory(20, [StepLosses(3.0, 0.0, ce_slope=1.0, soft_slope=0.0)])
    assert GradientBalance(least=0.2).weights(1, 100, history) == (0.2, 0.8)
