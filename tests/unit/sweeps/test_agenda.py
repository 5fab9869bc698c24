"""What of a sweep is to run, with artifacts that no training has made."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml

from orchestrator.artifacts import Store
from orchestrator.config.loading import load_model
from orchestrator.config.sweep import Search, Sweep, base_recipe, draw
from orchestrator.errors import FaultError, RecipeError, StoppedEarlyError, TrainingError
from orchestrator.pipeline.graph import fingerprints, steps_of
from orchestrator.sweeps.agenda import Agenda, Point
from orchestrator.sweeps.state import State
from orchestrator.sweeps.steps import Steps
from orchestrator.sweeps.trials import PlannedTrial, Planner, validation_curve

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"
LR = "experts.training.optimizer.lr"
ALPHA = "experts.distillation.schedule.alpha"


@pytest.fixture
def agenda(tmp_path: Path) -> Callable[..., Agenda]:
    """An agenda of these fields of a sweep; another one in the same test goes on where the first stopped."""

    def make(force: Sequence[str] = (), **fields: Any) -> Agenda:
        file = tmp_path / "sweep.yaml"
        tree = {"name": "s", "base": str(RECIPES / "smoke.yaml"), "seeds": [1], **fields}
        file.write_text(yaml.safe_dump(tree, sort_keys=False))
        return opened(file, tmp_path / "s", force)

    return make


def opened(file: Path, root: Path, force: Sequence[str] = ()) -> Agenda:
    sweep, state = load_model(Sweep, file), State.load(root / "sweep.json")
    steps = Steps(Store(root), base_recipe(sweep, file), force)
    return Agenda(Planner(sweep, file, steps, state.stopped), state)


def publish(trial: PlannedTrial, loss: float = 5.0, tokens: int = 30_720, speed: float = 1000.0) -> None:
    """Publish what a training would have."""
    facts = {"final_validation_loss": loss, "tokens": tokens, "seconds": tokens / speed, "tokens_per_second": speed}
    rows = [{"step": 10, "alpha": 0.5, "beta": 0.5}, {"step": 20, "validation_loss": loss}]

    def write(out: Path) -> None:
        (out / "training.json").write_text(json.dumps(facts))
        (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    for step, fingerprint in trial.trained.items():
        trial.store.publish(step, fingerprint, {}, write)


def finish(agenda: Agenda, trial: PlannedTrial, **facts: Any) -> None:
    """Let a trial come to its end."""
    publish(trial, **facts)
    for training in trial.trainings:
        agenda.finished(training, {}, Path())


def fail(agenda: Agenda, trial: PlannedTrial, reason: str) -> None:
    agenda.failed(trial.trainings[0], TrainingError(reason))


def guess(search: Search, number: int, results: Sequence[tuple[Point, float]]) -> Point:
    """A suggestion, in the place of Optuna's: the lowest, the middle, and so on."""
    share = (0.618 * number) % 1
    return {
        name: int(share * len(values.choices)) if values.choices else draw(values, share)
        for name, values in search.space.items()
    }


def run(agenda: Agenda) -> list[str]:
    """Let every trial finish; their configurations in order."""
    names = []
    agenda.ask(guess, 1)
    while agenda.waiting:
        trial = agenda.waiting[0]
        finish(agenda, trial)
        names.append(trial.configuration.name)
        agenda.ask(guess, 1)
    return names


def test_trials_share_the_steps_that_they_rest_on(agenda: Callable[..., Agenda]) -> None:
    made = agenda(grid={"teacher.training.warmup": [0.1, 0.2], LR: [1e-3, 2e-3]}, seeds=[1, 2])
    shared = ["corpus", "tokenizer", "tokens", "blocks", "teacher", "cache-en", "teacher@2", "cache-en@2"]
    trainings = [f"trial-0{number}-en" for number in range(1, 9)]
    steps = {name: made.planned(name).step for name in (*shared, *trainings)}
    assert [steps[name].inputs["teacher"] for name in trainings] == ["teacher", "teacher", "teacher@2", "teacher@2"] * 2
    assert steps["cache-en@2"].inputs["teacher"] == "teacher@2"
    assert {steps[name].place for name in trainings} == {"expert-en"}
    one, other, third = made.trials[:3]
    assert one.upstream == other.upstream
    assert one.upstream - third.upstream == {"teacher", "cache-en"}


def test_teachers_of_trials_train_beside_each_other(agenda: Callable[..., Agenda]) -> None:
    made = agenda(grid={"teacher.training.optimizer.lr": [1e-3, 2e-3]}, train="teacher")
    assert [made.planned(f"trial-0{n}-teacher").step.alone for n in (1, 2)] == [False, False]


def test_a_trial_trains_what_a_run_of_its_recipe_would(agenda: Callable[..., Agenda]) -> None:
    made = agenda(grid={LR: [1e-3, 2e-3]})
    known = fingerprints(steps_of(made.trials[1].recipe))
    planned = made.planned("trial-02-en")
    assert planned.fingerprint == known["expert-en"]
    assert planned.manifest({})["step"] == "expert-en"


def test_finished_trials_are_not_run_again(agenda: Callable[..., Agenda]) -> None:
    first = agenda(grid={LR: [1e-3, 2e-3]}, seeds=[1, 2])
    for trial in first.trials[:3]:
        finish(first, trial)
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


def test_finished_and_stopped_trials_are_run_again_by_force(agenda: Callable[..., Agenda]) -> None:
    fields = {"grid": {LR: [1e-3, 2e-3, 4e-3]}, "asha": {"grace_steps": 4}}
    first = agenda(**fields)
    for trial in first.trials[:2]:
        finish(first, trial)
    stop(first, first.trials[2], 10)
    assert agenda(**fields).over
    assert [trial.name for trial in agenda(force=["trial-02"], **fields).waiting] == ["trial-02"]
    assert [trial.name for trial in agenda(force=["trials"], **fields).waiting] == ["trial-01", "trial-02", "trial-03"]
    assert agenda(**fields).waiting[0].name == "trial-03"  # forced once, it is not stopped any more
    assert len(agenda(force=["teacher"], **fields).waiting) == 3
    with pytest.raises(RecipeError, match="there is no stage 'trial-04'"):
        agenda(force=["trial-04"], **fields)


def stop(agenda: Agenda, trial: PlannedTrial, step: int) -> None:
    agenda.stopping(trial.trainings[0], step)
    agenda.failed(trial.trainings[0], StoppedEarlyError("stopped early"))


def test_rows_say_what_came_of_trials(agenda: Callable[..., Agenda]) -> None:
    made = agenda(grid={LR: [1e-3, 2e-3, 4e-3]})
    good, bad, slow = made.trials
    finish(made, good, loss=4.5)
    fail(made, bad, "no memory")
    work = slow.store.work(*next(iter(slow.trained.items())))
    work.mkdir(parents=True)
    (work / "metrics.jsonl").write_text('{"step": 10, "validation_loss": 7.0}\n')
    stop(made, slow, 10)
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
    assert again.row(again.trials[2])["curve"] == [(10, 7.0)]
    assert not again.planned("trial-03-en").wanted


def test_what_trials_rest_on_fails_with_those_that_need_it(agenda: Callable[..., Agenda]) -> None:
    made = agenda(grid={"teacher.training.warmup": [0.1, 0.2], LR: [1e-3, 2e-3]})
    made.failed("teacher@2", FaultError("broken"))
    assert [trial.name for trial in made.waiting] == ["trial-01", "trial-02"]
    assert "broken" in made.row(made.trials[3])["error"]
    assert made.exit_code == 1
    made.failed("trial-01-en", StoppedEarlyError("given up"))
    made.close(None)
    assert made.over
    assert ["given up" in made.row(made.trials[0])["error"], "not run" in made.row(made.trials[1])["error"]] == [
        True
    ] * 2


def test_a_trial_of_two_languages_ends_with_the_second(agenda: Callable[..., Agenda]) -> None:
    made = agenda(grid={LR: [1e-3]}, languages=["en", "fr"])
    (trial,) = made.trials
    assert trial.trainings == ("trial-01-en", "trial-01-fr")
    made.finished("trial-01-en", {}, Path())
    assert made.is_training("trial-01-fr")
    finish(made, trial)
    assert made.over


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


EQUAL = {"configurations": {"fixed": {}, "CE": {ALPHA: 0.9}}, "equal_time": {"CE": "fixed"}, "seeds": [1, 2]}


def test_an_equal_time_control_gets_the_tokens_of_that_time_once_and_for_all(agenda: Callable[..., Agenda]) -> None:
    made, added = agenda(**EQUAL), []
    made.grow = added.extend
    first = made.trials[:]
    for trial, speed in zip(first, (1000.0, 1490.0, 1010.0, 1510.0), strict=True):
        assert made.waiting[0] is trial
        finish(made, trial, speed=speed)
    controls = made.trials[4:]
    assert [(trial.configuration.name, trial.seed) for trial in controls] == [
        ("CE, equal time", 1),
        ("CE, equal time", 2),
    ]
    # 30720 tokens · 1500 / 1005 = 45851.3, which is 44.8 batches of 1024
    assert {trial.recipe.experts.training.tokens for trial in controls} == {45 * 1024}
    assert [planned.name for planned in added] == ["trial-05-en", "trial-06-en"]
    assert not made.over
    publish(first[0], speed=3000.0)
    again = agenda(**EQUAL)
    assert [trial.recipe.experts.training.tokens for trial in again.waiting] == [45 * 1024] * 2


def test_a_control_that_trains_what_is_there_has_ended(agenda: Callable[..., Agenda]) -> None:
    made = agenda(configurations={"fixed": {"experts.training.tokens": 30_720}}, equal_time={"fixed": "fixed"})
    finish(made, made.trials[0])
    assert made.over
    assert made.trials[1].trainings == ("trial-01-en",)
    assert made.row(made.trials[1])["final_loss"] == 5.0


def test_a_control_of_what_failed_fails(agenda: Callable[..., Agenda]) -> None:
    made = agenda(**EQUAL)
    for trial in made.trials[:]:
        fail(made, trial, "diverged")
    assert made.over
    assert "no finished trial" in made.row(made.trials[-1])["error"]


SEARCH = {"type": "optuna", "samples": 14, "space": {LR: {"low": 1e-4, "high": 1e-2, "log": True}}, "seed": 1}


def test_a_killed_search_goes_on_from_its_suggestions(agenda: Callable[..., Agenda]) -> None:
    first = agenda(search={**SEARCH, "samples": 8}, seeds=[1, 2])
    done = run(first)
    assert (len(done), len(set(done)), first.over) == (16, 8, True)
    more = agenda(search=SEARCH, seeds=[1, 2])
    assert more.unasked == 6
    more.ask(guess, 1)
    known = [trial.configuration.name for trial in more.trials]
    assert known[:16] == done
    assert len(known) == 18
    killed = agenda(search=SEARCH, seeds=[1, 2])
    assert [trial.key for trial in killed.waiting] == [trial.key for trial in more.waiting]
    run(killed)
    assert len(killed.trials) == 28


def test_suggestions_are_made_while_there_is_room(agenda: Callable[..., Agenda]) -> None:
    made, added = agenda(search=SEARCH), []
    made.grow = added.extend
    made.ask(guess, 3)
    assert [len(made.waiting), made.unasked] == [3, 11]
    made.ask(guess, 3)
    assert made.unasked == 11
    assert "teacher" in [planned.name for planned in added]
    assert len(added) == len({planned.name for planned in added})


def test_suggestions_bring_what_they_rest_on(agenda: Callable[..., Agenda]) -> None:
    space = {"teacher.training.warmup": {"low": 0.0, "high": 0.5}}
    made, added = agenda(search={**SEARCH, "space": space}), []
    made.grow = added.extend
    made.ask(guess, 2)
    assert made.planned("trial-02-en").step.inputs["teacher"] == "teacher@2"
    assert {"teacher", "teacher@2", "cache-en@2"} <= {planned.name for planned in added}


def test_suggestions_that_rest_on_what_failed_fail(agenda: Callable[..., Agenda]) -> None:
    made = agenda(search={**SEARCH, "samples": 3})
    made.ask(guess, 1)
    made.failed("teacher", TrainingError("diverged"))
    made.ask(guess, 1)
    assert made.over
    assert [made.row(trial)["error"] for trial in made.trials] == ["diverged"] * 3


def test_suggestions_among_mappings_come_never_twice(agenda: Callable[..., Agenda]) -> None:
    losses = [None, "reverse_kl", {"type": "reverse_kl", "temperature": 2.0}]
    made = agenda(search={**SEARCH, "space": {"experts.distillation.soft": {"choices": losses}}})
    assert sorted(run(made)) == ["soft=none", "soft=reverse_kl", "soft=reverse_kl(temperature=2.0)"]
    assert made.over
    assert [("teacher" in trial.upstream) for trial in made.trials if "none" in trial.configuration.name] == [False]


@pytest.mark.parametrize(
    "file", sorted(p for p in RECIPES.glob("*.yaml") if "\nseeds:" in p.read_text()), ids=lambda p: p.stem
)
def test_shipped_sweeps_are_valid(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (f"{code}-{split}" for code in ("en", "fr", "de") for split in ("train", "validation", "test")):
        row = {"id": [name], "title": [name], "text": ["A novel."]}
        pyarrow.parquet.write_table(pyarrow.table(row), tmp_path / f"{name}.parquet")
    monkeypatch.setenv("ELTEC", str(tmp_path))
    sweep, made = load_model(Sweep, file), opened(file, tmp_path)
    assert sweep.name.replace("-", "_") == file.stem
    assert len(made.waiting) >= 2 * len(sweep.seeds)


def test_curves_of_trials_leave_out_what_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "validation_loss": null}\n{"step": 2, "soft": null}\n{"step": 2, "validation_loss": 3.0}\n'
    )
    assert validation_curve(path) == [(2, 3.0)]
