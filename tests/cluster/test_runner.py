"""Stages through Ray: workers of trainings, a queue, a worker that stands ready, errors as they were raised."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cluster_stages
import pytest
from ray.util import placement_group_table
from steps import begun, facts, pids, processes, run, run_together, wait_until

from orchestrator.cluster.runner import RayRunner
from orchestrator.cluster.session import own_folder
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError, StoppedEarlyError, TrainingError
from orchestrator.pipeline.graph import Step
from orchestrator.stages.base import Stage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@contextmanager
def opened(**resources: object) -> Iterator[RayRunner]:
    """A runner that lets go of its workers, which would hold the next one's CPUs."""
    with closing(RayRunner(ResourcesConfig.model_validate({"cpus": 2, **resources}))) as runner:
        yield runner


def titles() -> Counter[str]:
    """Of Ray's processes at work. A spare one may be there before, take work up, and be followed by another."""
    found = Counter(process.cmdline()[0].split()[0] for process in processes("ray::"))
    del found["ray::IDLE"]
    return found


@pytest.mark.long
def test_a_step_that_only_computes_starts_none(tmp_path: Path) -> None:
    with opened(slots=1) as runner:
        thread = begun(runner, cluster_stages.Measures(seconds=2), tmp_path)
        assert not processes("ray::StandingWorker")
        thread.join()
    assert facts(tmp_path / "step" / "out")


@pytest.mark.long
def test_one_is_one_process(tmp_path: Path) -> None:
    """Ray Train would start five more, four of them for data sets, for cleaning up, for scaling and to direct it."""
    with opened(slots=1) as runner:
        before = titles()
        thread = begun(runner, cluster_stages.Sleep(seconds=4), tmp_path)
        found = titles()
        thread.join()
    assert found - before == Counter({"ray::StandingWorker": 1})


@pytest.mark.long
def test_as_many_as_slots_train_at_once_on_workers_that_got_ready_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = cluster_stages.Sleep(seconds=60, together=2)
    with opened(slots=2) as runner:
        runner.expect([Step(f"expert-{n}", stage) for n in range(3)])
        wait_until(lambda: len(processes("StandingWorker")) == 2)
        ready = pids("StandingWorker")
        found = run_together(runner, tmp_path, 2, stage)
    assert {f["pid"] for f in found} == ready
    assert max(f["start"] for f in found) < min(f["end"] for f in found)
    assert {f["strategy"] for f in found} == {"single"}
    assert "running in slot 2 of 2" in capsys.readouterr().out


@pytest.mark.long
def test_a_training_begins_when_its_worker_stands_which_serves_the_next_where_it_is_not_needed_any_more(
    tmp_path: Path,
) -> None:
    def begins() -> None:
        assert processes("ray::StandingWorker")
        raise StoppedEarlyError("not needed any more", "step")

    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    with opened(slots=1) as runner:
        with pytest.raises(StoppedEarlyError):
            runner.run(Step("step", cluster_stages.Sleep()), {}, out, work, begins)
        stands = pids("ray::StandingWorker")
        made = run(runner, cluster_stages.Sleep(), tmp_path, "next")
    assert not list(out.iterdir())
    assert {facts(made)["pid"]} == stands


@pytest.mark.long
def test_a_killed_controllers_placement_group_is_removed_and_its_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray Train 2.60 leaves it, so that the next attempt would wait for its CPUs for ever."""
    with opened(workers=2, strategy="expert_parallel", max_failures=1) as runner:
        thread = begun(runner, cluster_stages.Sleep(seconds=3), tmp_path)
        for controller in processes("ray::TrainController"):
            controller.kill()
        thread.join()
    assert facts(tmp_path / "step" / "out")
    assert "the process that directs the workers was killed; restart 1 of 1" in capsys.readouterr().out
    assert {group["state"] for group in placement_group_table().values()} == {"REMOVED"}


@pytest.mark.long
def test_two_form_one_training_and_train_two_experts_at_once(tmp_path: Path) -> None:
    with opened(workers=2, strategy="expert_parallel") as runner:
        out = run(runner, cluster_stages.SpreadsExperts(), tmp_path)
    first, second = (facts(out, rank) for rank in range(2))
    assert [(each["rank"], each["world"]) for each in (first, second)] == [(0, 2), (1, 2)]
    assert (first["trained"], second["trained"]) == (["en"], ["fr"])
    assert (first["weights"], second["weights"]) == (["en.weight", "fr.weight"], [])
    assert first["norm"] == second["norm"] == pytest.approx(2**0.5)


@pytest.fixture(scope="module")
def runner(ray_session: None) -> Iterator[RayRunner]:
    """One slot, one restart. Its worker stands ready from test to test and holds CPUs: tests of others come before."""
    with closing(RayRunner(ResourcesConfig(cpus=2, slots=1, max_failures=1))) as runner:
        yield runner


def test_with_one_slot_they_queue(runner: RayRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = sorted(run_together(runner, tmp_path, 2, cluster_stages.Sleep(seconds=0.5)), key=lambda f: f["start"])
    assert found[0]["end"] <= found[1]["start"]
    assert [f["threads"] for f in found] == [2, 2]
    assert "queued, 1 of 1 slots are in use" in capsys.readouterr().out


@pytest.mark.parametrize(("rows", "times"), [("", 1), ('{"step": 1}\n', 0)], ids=["first", "goes on"])
def test_a_strategy_is_compiled_before_the_first_attempt_alone(
    runner: RayRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: str, times: int
) -> None:
    prepared = list[str]()
    monkeypatch.setattr(runner, "_prepare", lambda: prepared.append("once"))
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    (work / "metrics.jsonl").write_text(rows)
    runner.run(Step("step", cluster_stages.Sleep()), {}, out, work)
    assert len(prepared) == times


@pytest.mark.parametrize("stage", [cluster_stages.Fails(), cluster_stages.FailsAsTask()], ids=["training", "task"])
def test_an_error_comes_back_as_itself_and_is_not_tried_again(runner: RayRunner, tmp_path: Path, stage: Stage) -> None:
    with pytest.raises(TrainingError) as caught:
        run(runner, stage, tmp_path)
    assert type(caught.value) is TrainingError
    assert caught.value.args == ("the loss is not finite", "step 7", "a lower learning rate")
    assert len(list((tmp_path / "step" / "work").glob("attempt*"))) == 1


def test_a_bug_keeps_its_type_and_the_workers_traceback(runner: RayRunner, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(runner, cluster_stages.Fails(bug=True), tmp_path)
    assert "cluster_stages.py" in "".join(caught.value.__notes__)


def test_the_map_keeps_the_order(runner: RayRunner, tmp_path: Path) -> None:
    out = run(runner, cluster_stages.Squares(count=12), tmp_path)
    assert json.loads((out / "squares.json").read_text()) == [i * i for i in range(12)]


def test_an_error_in_the_map_comes_back_as_itself(runner: RayRunner, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        run(runner, cluster_stages.Squares(fail_at=3), tmp_path)
    assert type(caught.value) is TrainingError
    assert caught.value.where == "item 3"


def test_a_step_that_only_computes_takes_the_worker_that_stands_ready(runner: RayRunner, tmp_path: Path) -> None:
    trained = run(runner, cluster_stages.Sleep(), tmp_path, "training")
    (tmp_path / "measures" / "out" / "half").mkdir(parents=True)  # of a killed attempt
    (tmp_path / "measures" / "work").mkdir()
    out = tmp_path / "measures" / "out"
    runner.run(Step("measures", cluster_stages.Measures()), {}, out, tmp_path / "measures" / "work")
    assert facts(trained)["pid"] == facts(out)["pid"]
    assert not (out / "half").exists()


def test_steps_that_are_added_while_all_slots_are_taken_start_no_further_worker(
    runner: RayRunner, tmp_path: Path
) -> None:
    """One that waits for CPUs which those that stand ready hold would be given a training, and never begin it."""
    thread = begun(runner, cluster_stages.Sleep(seconds=2), tmp_path)
    runner.expect([Step("later", cluster_stages.Sleep())])
    assert runner._standing is not None
    assert not runner._standing._idle
    thread.join()


@pytest.mark.long
def test_after_a_want_of_memory_half_as_many_blocks_are_computed_at_once(
    runner: RayRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert facts(run(runner, cluster_stages.NeedsMemory(), tmp_path)) == {"at_once": 2}
    told = capsys.readouterr().out
    assert "step: too little memory for 8; with at most 4 at once it goes on from the last checkpoint" in told
    assert "restart" not in told


# Each death ends the worker that stands ready, and each worker is seconds of a core: deaths come last.
def test_a_worker_stands_ready_for_the_next_training_and_a_dead_one_is_replaced(
    runner: RayRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [cluster_stages.Sleep(), cluster_stages.Sleep(), cluster_stages.Dies(deaths=1), cluster_stages.Sleep()]
    outs = [run(runner, stage, tmp_path, f"step-{number}") for number, stage in enumerate(stages)]
    first, second, last = (facts(outs[number])["pid"] for number in (0, 1, 3))
    assert first == second != last
    assert (outs[2] / "alive").exists()
    assert "restart 1 of 1 from the last checkpoint" in capsys.readouterr().out


def test_a_worker_killed_too_often_is_a_want_of_resources(runner: RayRunner, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="killed"):
        run(runner, cluster_stages.Dies(deaths=9), tmp_path)


@pytest.mark.long
def test_a_run_that_ends_leaves_no_socket_for_its_exit_to_remove(tmp_path: Path) -> None:
    """A training whose worker dies with a stopped run starts no other one in a folder that is about to go."""
    folder = own_folder()
    assert folder is not None
    step = Step("step", cluster_stages.Sleep(seconds=1))
    with opened(slots=2) as runner:
        runner.expect([step, step])
        assert len(list(folder.glob("worker-*"))) == 2  # their workers have not called yet
    assert not list(folder.glob("worker-*"))
    with pytest.raises(StoppedEarlyError):
        runner.expect([step])
    with pytest.raises(StoppedEarlyError):
        run(runner, cluster_stages.Sleep(seconds=1), tmp_path)
    assert not list(folder.glob("worker-*"))
