"""Faults on Ray: no word of a worker's traceback on the terminal, and an end of what nobody needs any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cluster_stages
import pytest

from orchestrator.artifacts import Store, digest
from orchestrator.cluster.runner import RayRunner
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import FaultError, MomeError, StoppedEarlyError
from orchestrator.pipeline import execute as room
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.stages.base import Expected, Stage

pytestmark = [pytest.mark.ray, pytest.mark.long]
Run = Callable[..., tuple[MomeError, "Ends"]]


class Ends:
    """An observer that remembers how steps ended, and when."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception | None] = {}
        self.times: dict[str, float] = {}

    def started(self, step: str) -> None:
        pass

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        pass

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        self.failed(step, None)

    def failed(self, step: str, error: Exception | None) -> None:
        self.errors[step], self.times[step] = error, time.monotonic()

    def close(self, report: Path | None) -> None:
        pass


@pytest.fixture(scope="module")
def run(ray_session: None) -> Iterator[Run]:
    """Runs steps until they fail. Workers that stand ready go from test to test."""
    with closing(RayRunner(ResourcesConfig(cpus=2, slots=2, max_failures=0))) as runner:

        def run(folder: Path, *steps: Step) -> tuple[MomeError, Ends]:
            planned = tuple(PlannedStep(step, digest(step.name), None) for step in steps)
            plan = Plan(Store(folder), planned, Expected(512, 64, 1, None, PluginSpec(type="gpt2_nano")))
            ends = Ends()
            with pytest.raises(MomeError) as caught:
                room.execute(plan, runner, [ends])
            return caught.value, ends

        yield run


@pytest.mark.parametrize("stage", [cluster_stages.Goes(), cluster_stages.GoesAsTask()], ids=["training", "task"])
def test_what_nobody_needs_is_stopped_and_its_checkpoints_stay(
    run: Run, tmp_path: Path, stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    begun = str(tmp_path / "work" / "goes*" / "checkpoints" / "step-3").lstrip("/")
    steps = (Step("goes", stage), Step("fails", cluster_stages.WaitsThenFails(wait_for=begun)))
    error, ends = run(tmp_path, *steps, Step("last", cluster_stages.Sleep(), {"a": "goes", "b": "fails"}))
    assert isinstance(error, FaultError)
    assert isinstance(ends.errors["goes"], StoppedEarlyError)
    assert "given up" not in str(ends.errors["goes"])
    assert ends.times["goes"] - ends.times["fails"] < 30
    assert list(tmp_path.glob("work/goes-*/checkpoints/step-3"))
    assert "cluster_stages.py" in Path(error.where).read_text()
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert "stops within a minute" in printed.out


@pytest.mark.parametrize(
    "stage",
    [cluster_stages.Exits(), cluster_stages.Exits(politely=False), cluster_stages.ExitsAsTask()],
    ids=["training", "killed training", "task"],
)
def test_a_step_that_ends_its_process_has_failed(
    run: Run, tmp_path: Path, stage: cluster_stages.Exits, capfd: pytest.CaptureFixture[str]
) -> None:
    error, ends = run(tmp_path, Step("exits", stage))
    assert ends.errors["exits"] is error
    printed = capfd.readouterr()
    assert "Traceback" not in str(error) + printed.out + printed.err
    assert ("SystemExit" in str(error)) == stage.politely


@pytest.mark.parametrize("stage", [cluster_stages.Fails(bug=True), cluster_stages.FailsOddly()], ids=["bug", "odd"])
def test_a_fault_is_a_line_and_the_workers_traceback_is_kept(
    run: Run, tmp_path: Path, stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    error, _ = run(tmp_path, Step("fails", stage))
    assert isinstance(error, FaultError)
    assert len(str(error).splitlines()) == 1
    assert "a bug" in error.what or "this and that" in error.what
    assert "cluster_stages.py" in Path(error.where).read_text()
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
