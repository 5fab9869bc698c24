"""Workers of trainings: how many at the same time, which processes they are, when they are started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cluster_stages
import pytest
from ray.util import placement_group_table
from steps import begun, facts, pids, processes, run, run_together, wait_until

from orchestrator.cluster.runner import RayRunner
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import StoppedEarlyError
from orchestrator.pipeline.graph import Step

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@contextmanager
def opened(**resources: object) -> Iterator[RayRunner]:
    """A runner that lets go of its workers, which would hold the next one's CPUs."""
    with closing(RayRunner(ResourcesConfig.model_validate({"cpus": 2, **resources}))) as runner:
        yield runner


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
        before = pids("ray::")
        thread = begun(runner, cluster_stages.Sleep(seconds=4), tmp_path)
        names = [process.cmdline()[0].split()[0] for process in processes("ray::") if process.pid not in before]
        thread.join()
    assert names == ["ray::StandingWorker"]


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


def test_two_form_one_training_and_train_two_experts_at_once(tmp_path: Path) -> None:
    with opened(workers=2, strategy="expert_parallel") as runner:
        out = run(runner, cluster_stages.SpreadsExperts(), tmp_path)
    first, second = (facts(out, rank) for rank in range(2))
    assert [(each["rank"], each["world"]) for each in (first, second)] == [(0, 2), (1, 2)]
    assert (first["trained"], second["trained"]) == (["en"], ["fr"])
    assert (first["weights"], second["weights"]) == (["en.weight", "fr.weight"], [])
    assert first["norm"] == second["norm"] == pytest.approx(2**0.5)
