"""What goes on and what ends when a step has failed: no step is run, no second is waited for."""

from pathlib import Path

import pytest

from orchestrator.config.loading import load_recipe
from orchestrator.pipeline.graph import Step, steps_of
from orchestrator.pipeline.plan import ancestors
from orchestrator.pipeline.stopping import LAST, PATIENCE, Stopping, useless
from orchestrator.stages.base import Stage

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"
EXPERTS = {f"expert-{language}" for language in ("en", "fr", "de", "py")}


def chain(*names, **inputs):
    return [Step(name, Stage(), {role: role for role in inputs.get(name, ())}) for name in names]


def test_all_that_only_leads_to_what_a_failed_step_leads_to_is_useless():
    steps = chain("a", "b", "c", "d", "e", b="a", c="a", d="bc", e="a")
    assert useless(steps, []) == set()
    assert useless(steps, ["b"]) == {"b", "c", "d"}  # "e" is wanted for itself, and "a" for it
    assert useless(steps, ["e"]) == {"e"}
    assert useless(steps, ["b", "e"]) == set("abcde")


@pytest.mark.parametrize("failed", ["corpus", "teacher", "expert-en", "router", "evaluation"])
def test_a_run_whose_report_is_out_of_reach_goes_on_with_nothing(failed):
    steps = steps_of(load_recipe(RECIPES / "smoke.yaml"))
    assert useless(steps, [failed]) == {step.name for step in steps}


def test_experts_that_are_wanted_for_themselves_go_on_beside_a_failed_one():
    steps = steps_of(load_recipe(RECIPES / "smoke.yaml"))
    until = ancestors(steps, EXPERTS)
    wanted = [step for step in steps if step.name in until]
    assert useless(wanted, ["expert-en"]) == {"expert-en", "cache-en"}
    assert useless(wanted, ["teacher"]) == until


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def told():
    return []


@pytest.fixture
def stopping(clock, told):
    return Stopping(chain("a", "b", b="a"), told.append, clock)


def test_a_step_is_told_to_end_after_its_next_checkpoint(stopping, clock, told, tmp_path):
    (tmp_path / "checkpoints" / "step-20").mkdir(parents=True)
    stopping.doom("a", tmp_path)
    assert stopping.look() == told == []
    (tmp_path / "checkpoints" / "step-40").mkdir()
    assert stopping.look() == []
    assert told == ["a"]
    assert stopping.was_told("a")


def test_a_step_without_checkpoints_is_told_in_time_and_given_up_within_the_minute(stopping, clock, told, tmp_path):
    stopping.doom("a", tmp_path)
    clock.now = PATIENCE - 1
    assert stopping.look() == told == []
    clock.now = PATIENCE
    assert stopping.look() == []
    assert told == ["a"]
    clock.now = PATIENCE + LAST
    assert stopping.look() == told == ["a"]
    assert clock.now < 60


def test_a_step_that_waits_for_its_turn_is_told_at_once(stopping, told, tmp_path):
    stopping.doom("a", tmp_path, 0)
    assert stopping.look() == []
    assert told == ["a"]


def test_what_a_failure_makes_useless_is_known_at_once(stopping):
    assert not stopping.is_useless("b")
    stopping.failed("a")
    assert stopping.is_useless("b")
