"""Laws of every schedule of the loss weights. A new one inherits them by its name."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestrator.errors import PluginError
from orchestrator.plugins import available, create
from orchestrator.schedules import LossHistory, Schedule, StepLosses

ROOM, OPTIONS = "schedules", {}
NAMES = (*available(ROOM), "mome_example.schedules:HalfCosine")
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking: a failure is told at once, and lists of this length take minutes to shrink."""
STEPS = 60
losses = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), min_size=STEPS, max_size=STEPS)


def make(name: str) -> Schedule:
    return create(ROOM, name, OPTIONS.get(name, {}))


def filled(schedule: Schedule, steps: int, pairs: list[tuple[float, float]], step: int) -> LossHistory:
    history = LossHistory(schedule.window(steps))
    for pair in pairs[:step]:
        history.append(StepLosses(*pair, *pair))
    return history


@given(pairs=losses, step=st.integers(0, STEPS - 1))
@settings(max_examples=20, deadline=None, phases=PHASES)
def test_weights_are_a_pure_function_in_the_unit_interval(
    name: str, pairs: list[tuple[float, float]], step: int
) -> None:
    schedule = make(name)
    history = filled(schedule, STEPS, pairs, step)
    before = history.state()
    alpha, beta = schedule.weights(step, STEPS, history)
    assert 0 <= alpha <= 1
    assert 0 <= beta <= 1
    assert alpha + beta == pytest.approx(1)
    assert schedule.weights(step, STEPS, history) == (alpha, beta)
    assert history.state() == before


@given(pairs=losses, step=st.integers(1, STEPS - 1))
@settings(max_examples=20, deadline=None, phases=PHASES)
def test_a_checkpoint_of_the_history_gives_the_same_weights(
    name: str, pairs: list[tuple[float, float]], step: int
) -> None:
    schedule = make(name)
    history = filled(schedule, STEPS, pairs, step)
    restored = LossHistory(schedule.window(STEPS))
    restored.load(json.loads(json.dumps(history.state())))
    assert schedule.weights(step, STEPS, restored) == schedule.weights(step, STEPS, history)


def test_pickles_and_is_documented(name: str) -> None:
    schedule = make(name)
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert type(schedule).__doc__


def test_first_step_needs_no_history(name: str) -> None:
    schedule = make(name)
    assert sum(schedule.weights(0, 1, LossHistory(schedule.window(1)))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("fixed", "alpha"),
        ("linear", "start"),
        ("linear", "end"),
        ("loss_balance", "least"),
        ("gradient_balance", "least"),
    ],
)
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_weights_outside_the_unit_interval_are_refused(name: str, option: str, value: float) -> None:
    with pytest.raises(PluginError, match=option):
        create("schedules", name, {option: value})
