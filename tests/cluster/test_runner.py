"""Stages through Ray: at the same time where slots allow, in a queue where not, errors as they were raised."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import cluster_stages
import psutil
import pytest

from orchestrator.cluster.runner import RayRunner
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError, TrainingError
from orchestrator.pipeline.graph import Step
from orchestrator.stages.base import Stage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def run(runner: RayRunner, stage: Stage, folder: Path, name: str = "step") -> Path:
    out, work = folder / name / "out", folder / name / "work"
    out.mkdir(parents=True)
    work.mkdir(parents=True)
    try:
        runner.run(Step(name, stage), {}, out, work)
    finally:
        runner.close()  # what stands would hold the next runner's CPUs
    return out


def run_together(runner: RayRunner, folder: Path, count: int, stage: Stage) -> list[dict[str, Any]]:
    names = [f"expert-{i}" for i in range(count)]
    threads = [threading.Thread(target=run, args=(runner, stage, folder, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [json.loads((folder / name / "out" / "rank0.json").read_text()) for name in names]


def test_two_cpus_as_four_slots_train_four_at_the_same_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = cluster_stages.Sleep(seconds=60, together=4)
    facts = run_together(RayRunner(ResourcesConfig(cpus=2, slots=4)), tmp_path, 4, stage)
    assert max(f["start"] for f in facts) < min(f["end"] for f in facts)
    assert {f["strategy"] for f in facts} == {"single"}
    assert "running in slot 4 of 4" in capsys.readouterr().out


def test_with_one_slot_they_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = RayRunner(ResourcesConfig(cpus=2, slots=1))
    facts = sorted(run_together(runner, tmp_path, 2, cluster_stages.Sleep(seconds=0.5)), key=lambda f: f["start"])
    assert facts[0]["end"] <= facts[1]["start"]
    assert [f["threads"] for f in facts] == [2, 2]
    assert "queued, 1 of 1 slots are in use" in capsys.readouterr().out


def test_a_worker_stands_ready_for_the_next_training_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    with closing(RayRunner(ResourcesConfig(cpus=2, slots=1))) as runner:
        stages = [cluster_stages.Sleep(), cluster_stages.Sleep(), cluster_stages.Dies(), cluster_stages.Sleep()]
        for number, stage in enumerate(stages):
            out, work = (tmp_path / f"{number}" / part for part in ("out", "work"))
            out.mkdir(parents=True)
            work.mkdir()
            runner.run(Step(f"step-{number}", stage), {}, out, work)
    first, second, last = (json.loads((tmp_path / n / "out" / "rank0.json").read_text())["pid"] for n in "013")
    assert first == second != last


def test_two_workers_form_one_training(tmp_path: Path) -> None:
    out = run(RayRunner(ResourcesConfig(cpus=2, workers=2, strategy="single")), cluster_stages.Sleep(), tmp_path)
    ranks = [json.loads(path.read_text()) for path in sorted(out.iterdir())]
    assert [(r["rank"], r["world"]) for r in ranks] == [(0, 2), (1, 2)]


def test_two_workers_train_two_experts_at_once(tmp_path: Path) -> None:
    runner = RayRunner(ResourcesConfig(cpus=2, workers=2, strategy="expert_parallel"))
    out = run(runner, cluster_stages.SpreadsExperts(), tmp_path)
    first, second = (json.loads((out / f"rank{rank}.json").read_text()) for rank in range(2))
    assert (first["trained"], second["trained"]) == (["en"], ["fr"])
    assert (first["weights"], second["weights"]) == (["en.weight", "fr.weight"], [])
    assert first["norm"] == second["norm"] == pytest.approx(2**0.5)


def test_a_killed_worker_is_restarted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(RayRunner(ResourcesConfig(cpus=2, max_failures=1)), cluster_stages.Dies(deaths=1), tmp_path)
    assert (out / "alive").exists()
    assert "restart 1 of 1 from the last checkpoint" in capsys.readouterr().out


def test_a_worker_killed_too_often_is_a_want_of_resources(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="killed"):
        run(RayRunner(ResourcesConfig(cpus=2, max_failures=0)), cluster_stages.Dies(deaths=9), tmp_path)


@pytest.mark.parametrize("stage", [cluster_stages.Fails(), cluster_stages.FailsAsTask()], ids=["training", "task"])
def test_an_error_comes_back_as_itself_and_is_not_tried_again(tmp_path: Path, stage: Stage) -> None:
    with pytest.raises(TrainingError) as caught:
        run(RayRunner(ResourcesConfig(cpus=2, max_failures=2)), stage, tmp_path)
    assert type(caught.value) is TrainingError
    assert caught.value.args == ("the loss is not finite", "step 7", "a lower learning rate")
    assert len(list((tmp_path / "step" / "work").glob("attempt*"))) == 1


def test_a_bug_keeps_its_type_and_the_workers_traceback(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(RayRunner(ResourcesConfig(cpus=2)), cluster_stages.Fails(bug=True), tmp_path)
    assert "cluster_stages.py" in "".join(caught.value.__notes__)


def test_the_map_keeps_the_order(tmp_path: Path) -> None:
    out = run(RayRunner(ResourcesConfig(cpus=2)), cluster_stages.Squares(count=12), tmp_path)
    assert json.loads((out / "squares.json").read_text()) == [i * i for i in range(12)]


def test_an_error_in_the_map_comes_back_as_itself(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        run(RayRunner(ResourcesConfig(cpus=2)), cluster_stages.Squares(fail_at=3), tmp_path)
    assert type(caught.value) is TrainingError
    assert caught.value.where == "item 3"


def test_a_step_that_only_computes_takes_the_worker_that_stands_ready(tmp_path: Path) -> None:
    facts = []
    with closing(RayRunner(ResourcesConfig(cpus=2, slots=1))) as runner:
        for number, stage in enumerate([cluster_stages.Sleep(), cluster_stages.Measures()]):
            out, work = (tmp_path / f"{number}" / part for part in ("out", "work"))
            out.mkdir(parents=True)
            (out / "half").mkdir()  # of a killed attempt
            work.mkdir()
            runner.run(Step(f"step-{number}", stage), {}, out, work)
            facts.append(json.loads((out / "rank0.json").read_text()))
    assert facts[0]["pid"] == facts[1]["pid"]
    assert not (tmp_path / "1" / "out" / "half").exists()


def test_a_step_that_only_computes_starts_no_worker_of_a_training(tmp_path: Path) -> None:
    with closing(RayRunner(ResourcesConfig(cpus=2, slots=1))) as runner:
        before = {process.pid for process in processes("ray::RayTrainWorker")}
        thread = threading.Thread(target=run, args=(runner, cluster_stages.Measures(seconds=2), tmp_path))
        thread.start()
        wait_until(lambda: (tmp_path / "step" / "work" / "begun").exists())
        during = {process.pid for process in processes("ray::RayTrainWorker")}
        thread.join()
    assert during <= before
    assert (tmp_path / "step" / "out" / "rank0.json").exists()


def test_steps_that_are_added_while_all_slots_are_taken_start_no_further_worker(tmp_path: Path) -> None:
    """One that waits for CPUs which those that stand ready hold would be given a training, and never begin it."""
    with closing(RayRunner(ResourcesConfig(cpus=2, slots=1))) as runner:
        stage = cluster_stages.Sleep(seconds=4)
        thread = threading.Thread(target=run, args=(runner, stage, tmp_path))
        thread.start()
        wait_until(lambda: (tmp_path / "step" / "work" / "begun").exists())
        runner.expect([Step("later", cluster_stages.Sleep())])
        assert runner._standing is not None
        assert not runner._standing._idle
        thread.join()


def test_workers_get_ready_before_there_is_something_to_do(tmp_path: Path) -> None:
    with closing(RayRunner(ResourcesConfig(cpus=2, slots=2))) as runner:
        runner.expect([Step(f"expert-{n}", cluster_stages.Sleep()) for n in range(3)])
        wait_until(lambda: len(processes("RayTrainWorker")) == 2)
        ready = {process.pid for process in processes("RayTrainWorker")}
        out = run(runner, cluster_stages.Sleep(), tmp_path)
    assert json.loads((out / "rank0.json").read_text())["pid"] in ready


def test_a_training_starts_a_controller_a_worker_and_one_more_process(tmp_path: Path) -> None:
    """Ray Train alone starts three more: for data sets, for cleaning up, and for their scaling."""
    with closing(RayRunner(ResourcesConfig(cpus=2, slots=1))) as runner:
        before = {process.pid for process in processes("ray::")}
        thread = threading.Thread(target=run, args=(runner, cluster_stages.Sleep(seconds=4), tmp_path))
        thread.start()
        wait_until(lambda: (tmp_path / "step" / "work" / "begun").exists())
        names = [process.cmdline()[0].split()[0] for process in processes("ray::") if process.pid not in before]
        thread.join()
    of_the_session = {"ray::_AutoscalingCoordinatorActor"}
    assert sorted(set(names) - of_the_session) == [
        "ray::RayTrainWorker",
        "ray::SynchronizationActor",
        "ray::TrainController.run",
    ]


def processes(name: str) -> list[psutil.Process]:
    """Processes below this one of that title."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if name in " ".join(process.cmdline()):
                found.append(process)
    return found


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)
