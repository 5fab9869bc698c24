"""What of a sweep is to run: without Ray, with artifacts that no training has made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.artifacts import Store
from orchestrator.cluster.sweep.agenda import Agenda
from orchestrator.cluster.sweep.state import State
from orchestrator.cluster.sweep.trials import PlannedTrial, Planner, validation_curve
from orchestrator.config.loading import load_model
from orchestrator.config.sweep import Sweep
from orchestrator.errors import RecipeError

RECIPES = Path(__file__).resolve().parents[2] / "jobs" / "recipes"
LR = "experts.training.optimizer.lr"
ALPHA = "experts.distillation.schedule.alpha"


@pytest.fixture
def agenda(tmp_path: Path) -> Callable[..., Agenda]:
    """An agenda of these fields of a sweep; another one in the same test goes on where the first stopped."""

    def make(**fields: Any) -> Agenda:
        file = tmp_path / "sweep.yaml"
        tree = {"name": "s", "base": str(RECIPES / "smoke.yaml"), "seeds": [1], **fields}
        file.write_text(yaml.safe_dump(tree, sort_keys=False))
        planner = Planner(load_model(Sweep, file), file, Store(tmp_path / "s"))
        return Agenda(planner, State.load(tmp_path / "s" / "sweep.json"))

    return make


def finish(trial: PlannedTrial, loss: float = 5.0, tokens: int = 30_720, speed: float = 1000.0) -> None:
    """Publish what a training would have."""
    facts = {"final_validation_loss": loss, "tokens": tokens, "seconds": tokens / speed, "tokens_per_second": speed}
    rows = [{"step": 10, "alpha": 0.5, "beta": 0.5}, {"step": 20, "validation_loss": loss}]

    def write(out: Path) -> None:
        (out / "training.json").write_text(json.dumps(facts))
        (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    for step, fingerprint in trial.trained.items():
        trial.store.publish(step, fingerprint, {}, write)


def run(agenda: Agenda, loss: Callable[[PlannedTrial], float] = lambda trial: 5.0) -> list[str]:
    """Let every trial finish; their configurations in order."""
    names = []
    while trial := agenda.next():
        finish(trial, loss(trial))
        agenda.ended(trial)
        names.append(trial.configuration.name)
    return names


def test_finished_trials_are_not_run_again(agenda: Callable[..., Agenda]) -> None:
    first = agenda(grid={LR: [1e-3, 2e-3]}, seeds=[1, 2])
    for _ in range(3):
        trial = first.next()
        assert trial is not None
        finish(trial)
    second = agenda(grid={LR: [1e-3, 2e-3, 4e-3]}, seeds=[1, 2])
    assert [(trial.configuration.name, trial.seed) for trial in second.waiting] == [
        ("lr=0.004", 1),
        ("lr=0.002", 2),
        ("lr=0.004", 2),
    ]
    assert not second.over
    run(second)
    assert second.over
    assert agenda(grid={LR: [1e-3, 2e-3, 4e-3]}, seeds=[1, 2]).over


def test_rows_say_what_came_of_trials(agenda: Callable[..., Agenda]) -> None:
    made = agenda(grid={LR: [1e-3, 2e-3, 4e-3]})
    good, bad, slow = made.trials
    finish(good, 4.5)
    made.failed(bad, "no memory")
    work = made.trials[2].store.work(*next(iter(slow.trained.items())))
    work.mkdir(parents=True)
    (work / "metrics.jsonl").write_text('{"step": 10, "validation_loss": 7.0}\n')
    made.stopped(slow, 10)
    rows = [made.row(trial) for trial in made.trials]
    assert [(row["status"], row["final_loss"], row["error"]) for row in rows] == [
        ("finished", 4.5, ""),
        ("failed", None, "no memory"),
        ("stopped", None, "stopped early by ASHA at step 10"),
    ]
    assert (rows[0]["curve"], rows[0]["weights"], rows[2]["curve"]) == ([(20, 4.5)], [(10, 0.5, 0.5)], [(10, 7.0)])
    made.remove_stopped_work()
    assert not work.exists()
    again = agenda(grid={LR: [1e-3, 2e-3, 4e-3]})
    assert [trial.name for trial in again.waiting] == [bad.name]
    assert again.row(slow)["curve"] == [(10, 7.0)]


def test_a_field_that_changes_no_training_is_named(agenda: Callable[..., Agenda]) -> None:
    with pytest.raises(RecipeError, match=r"train the same: evaluation\.batch changes nothing"):
        agenda(grid={LR: [1e-3], "evaluation.batch": [8, 16]})
    space = {LR: {"low": 1e-4, "high": 1e-2}, "router.sequences_per_language": {"choices": [100, 200]}}
    with pytest.raises(RecipeError, match=r"train the same: router\.sequences_per_language"):
        agenda(search={"type": "random", "samples": 3, "space": space})
    with pytest.raises(
        RecipeError, match=r"experts\.training\.optimizer\.lr changes nothing in the training of teacher"
    ):
        agenda(grid={LR: [1e-3, 2e-3]}, train="teacher")


def test_early_stopping_after_the_end_is_refused(agenda: Callable[..., Agenda]) -> None:
    with pytest.raises(RecipeError, match="begins after 100 steps, and a trial has no more"):
        agenda(grid={LR: [1e-3, 2e-3]}, asha={"grace_steps": 100})


def test_fields_that_change_the_teacher_change_what_trials_rest_on(agenda: Callable[..., Agenda]) -> None:
    one, other, third = agenda(grid={"teacher.training.warmup": [0.1, 0.2], LR: [1e-3, 2e-3]}).trials[:3]
    assert one.upstream == other.upstream
    assert {step for step in one.upstream if one.upstream[step] != third.upstream[step]} == {"teacher", "cache-en"}


EQUAL = {"configurations": {"fixed": {}, "CE": {ALPHA: 0.9}}, "equal_time": {"CE": "fixed"}, "seeds": [1, 2]}


def test_an_equal_time_control_gets_the_tokens_of_that_time_once_and_for_all(agenda: Callable[..., Agenda]) -> None:
    made = agenda(**EQUAL)
    for trial, speed in zip(made.trials[:], (1000.0, 1490.0, 1010.0, 1510.0), strict=True):
        assert made.next() is trial
        finish(trial, speed=speed)
        made.ended(trial)
    controls = made.trials[4:]
    assert [(trial.configuration.name, trial.seed) for trial in controls] == [
        ("CE, equal time", 1),
        ("CE, equal time", 2),
    ]
    # 30720 tokens · 1500 / 1005 = 45851.3, which is 44.8 batches of 1024
    assert {trial.recipe.experts.training.tokens for trial in controls} == {45 * 1024}
    assert not made.over
    finish(made.trials[0], speed=3000.0)
    again = agenda(**EQUAL)
    assert [trial.recipe.experts.training.tokens for trial in again.waiting] == [45 * 1024] * 2


def test_a_control_of_what_failed_fails(agenda: Callable[..., Agenda]) -> None:
    made = agenda(**EQUAL)
    for trial in made.trials[:]:
        made.failed(trial, "diverged")
    assert made.over
    assert "no finished trial" in made.row(made.trials[-1])["error"]


SEARCH = {"type": "optuna", "samples": 14, "space": {LR: {"low": 1e-4, "high": 1e-2, "log": True}}, "seed": 1}


def test_optuna_learns_and_a_killed_search_goes_on(agenda: Callable[..., Agenda]) -> None:
    def loss(trial: PlannedTrial) -> float:
        return abs(trial.configuration.changes[LR] - 3e-3) + 0.001 * trial.seed

    whole = {**SEARCH, "samples": 8}
    first = agenda(search=whole, seeds=[1, 2])
    done = run(first, loss)
    assert (len(done), len(set(done)), first.over) == (16, 8, True)
    more = agenda(search=SEARCH, seeds=[1, 2])
    known = [trial.configuration.name for trial in more.trials]
    assert known[:16] == done
    assert len(known) == 18  # the next suggestion is asked for already
    begun = more.next()
    killed = agenda(search=SEARCH, seeds=[1, 2])
    assert [trial.key for trial in killed.waiting][:1] == [begun.key if begun else ""]
    run(killed, loss)
    rates = [trial.configuration.changes[LR] for trial in killed.trials[::2]]
    assert len(rates) == 14
    assert min(abs(rate - 3e-3) for rate in rates) < 5e-4


def test_optuna_may_not_change_what_trials_rest_on(agenda: Callable[..., Agenda]) -> None:
    space = {"teacher.training.warmup": {"low": 0.0, "high": 0.5}}
    with pytest.raises(RecipeError, match=r"warmup changes teacher, cache-en, which trials rest on"):
        agenda(search={**SEARCH, "space": space})


def test_optuna_chooses_among_mappings_and_never_twice(agenda: Callable[..., Agenda]) -> None:
    losses = [None, "reverse_kl", {"type": "reverse_kl", "temperature": 2.0}]
    made = agenda(search={**SEARCH, "space": {"experts.distillation.soft": {"choices": losses}}})
    assert [("teacher" in probe.upstream) for probe in made.probes] == [False, True, True]
    assert sorted(run(made)) == ["soft=none", "soft=reverse_kl", "soft=reverse_kl(temperature=2.0)"]
    assert made.over


@pytest.mark.parametrize(
    "file", sorted(p for p in RECIPES.glob("*.yaml") if "\nseeds:" in p.read_text()), ids=lambda p: p.stem
)
def test_shipped_sweeps_are_valid(file: Path, tmp_path: Path) -> None:
    sweep = load_model(Sweep, file)
    made = Agenda(Planner(sweep, file, Store(tmp_path)), State(tmp_path / "sweep.json"))
    assert sweep.name.replace("-", "_") == file.stem
    assert len(made.waiting) >= 2 * len(sweep.seeds)


def test_curves_of_trials_leave_out_what_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "validation_loss": null}\n{"step": 2, "soft": null}\n{"step": 2, "validation_loss": 3.0}\n'
    )
    assert validation_curve(path) == [(2, 3.0)]
