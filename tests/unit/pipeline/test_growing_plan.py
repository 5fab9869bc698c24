"""A plan that grows while it is run, whose steps take turns, and of which one is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.artifacts import Store, digest
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.environment import Environment
from orchestrator.errors import CorpusError, StoppedEarlyError
from orchestrator.pipeline.execute import Execution
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.stages.base import Expected, Stage


class Count(Stage):
    """Logs so many rows, or fails."""

    rows: int = 1
    fail: bool = False

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        if self.fail:
            raise CorpusError("no text")
        for step in range(self.rows):
            env.log({"step": step})
            time.sleep(0.001)


class Threads:
    """Runs steps in the threads that ask for it, and lets those end that are stopped."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.most = 0
        self._working: set[str] = set()
        self._stopped: set[str] = set()

    def run(self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None]) -> None:
        begun()
        self.order.append(step.name)
        self._working.add(step.name)
        self.most = max(self.most, len(self._working))
        runner = self

        class Here(Environment):
            def log(self, row: Mapping[str, Any]) -> None:
                if step.name in runner._stopped:
                    raise StoppedEarlyError("as told")

        step.stage.run(inputs, out, Here(work=work))
        time.sleep(0.05)
        self._working.remove(step.name)

    def expect(self, steps):
        pass

    def stop(self, name: str) -> None:
        self._stopped.add(name)

    def close(self) -> None:
        pass


class Seen:
    """An observer that calls a function at each beginning, and remembers ends."""

    def __init__(self, started: Callable[[str], None] = lambda _: None) -> None:
        self.started = started
        self.ends: dict[str, str] = {}

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        pass

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        self.ends[step] = "finished"

    def failed(self, step: str, error: Exception) -> None:
        self.ends[step] = str(error)

    def close(self, report: Path | None) -> None:
        pass


def planned(*steps: Step) -> list[PlannedStep]:
    return [PlannedStep(step, digest(step.name), None) for step in steps]


def plan_of(folder: Path, *steps: Step) -> Plan:
    return Plan(Store(folder), tuple(planned(*steps)), Expected(512, 64, 1, None, PluginSpec(type="gpt2-nano")))


def trial(number: int, rests_on: str = "data", **fields: Any) -> Step:
    return Step(f"trial-{number}", Count(**fields), {"data": rests_on})


DATA = Step("data", Count())


def test_last_steps_take_turns_after_all_that_they_rest_on(tmp_path: Path) -> None:
    other = Step("other", Count(), {"data": "data"})
    steps = (DATA, trial(1), trial(2), trial(3), other, trial(4, "other"), trial(5))
    runner = Threads()
    Execution(plan_of(tmp_path, *steps), runner, [], at_once=2).run()
    assert runner.order[:2] == ["data", "other"]
    assert runner.most == 2
    one = Threads()
    Execution(plan_of(tmp_path / "one", *steps), one, [], at_once=1).run()
    assert one.order == ["data", "other", *(f"trial-{number}" for number in range(1, 6))]


def test_last_steps_do_not_wait_for_what_has_failed(tmp_path: Path) -> None:
    broken = Step("broken", Count(fail=True), {"data": "data"})
    after = Step("after", Count(), {"broken": "broken"})
    execution = Execution(plan_of(tmp_path, DATA, broken, after, trial(1, "after"), trial(2)), Threads(), [], at_once=1)
    assert execution.run().keys() == {"data", "trial-2"}
    assert execution.failed.keys() == {"broken"}


def test_steps_may_be_added_until_no_more_will_come(tmp_path: Path) -> None:
    asked = threading.Event()

    def ask_later() -> None:
        asked.wait(10)
        time.sleep(0.5)  # there is nothing to do by now
        execution.add(planned(Step("more", Count(), {"data": "data"}), trial(2, "more")))
        coming.clear()

    seen, coming = Seen(lambda step: asked.set() if step == "trial-1" else None), [True]
    execution = Execution(plan_of(tmp_path, DATA, trial(1)), Threads(), [seen], more=lambda: bool(coming))
    thread = threading.Thread(target=ask_later)
    thread.start()
    assert execution.run().keys() == {"data", "trial-1", "more", "trial-2"}
    thread.join()


def test_one_step_is_stopped_with_a_reason_and_the_others_go_on(tmp_path: Path) -> None:
    runner = Threads()
    execution = Execution(plan_of(tmp_path, DATA, trial(1, rows=100_000), trial(2)), runner, [], at_once=1)
    seen = Seen(lambda step: execution.stop(step, "others are ahead") if step == "trial-1" else None)
    execution.observers = [seen]
    execution.stop("trial-9", "it is not there")
    assert execution.run().keys() == {"data", "trial-2"}
    assert execution.failed == {}
    assert "others are ahead" in seen.ends["trial-1"]


def test_a_local_step_is_stopped_at_its_next_metrics(tmp_path: Path) -> None:
    runner = LocalRunner(ResourcesConfig(cpus=1, device="cpu"))
    execution = Execution(plan_of(tmp_path, DATA, trial(1, rows=100_000)), runner, [], at_once=1)
    execution.observers = [Seen(lambda step: execution.stop(step, "enough") if step == "trial-1" else None)]
    assert execution.run().keys() == {"data"}
    runner.close()
