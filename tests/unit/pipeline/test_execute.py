import threading
import time

import pytest

from orchestrator.artifacts import Store, digest
from orchestrator.config.base import PluginSpec
from orchestrator.errors import CorpusError, MomeError, StageFailedError
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import Plan, PlannedStep, ancestors, descendants, select
from orchestrator.stages.base import Expected, Stage


class Write(Stage):
    """Writes its text and those of its inputs."""

    text: str = ""
    fail: bool = False

    def run(self, inputs, out, env):
        if self.fail:
            raise CorpusError("no text", "here", "add some")
        env.log({"step": 1, "steps": 1, "loss": 2.0})
        above = "".join((inputs[role] / "text").read_text() for role in sorted(inputs))
        (out / "text").write_text(above + self.text)


class ThreadRunner:
    """Runs stages in the calling threads and notes when."""

    def __init__(self):
        self.spans = {}

    def run(self, step, inputs, out, work):
        from orchestrator.stages.base import Environment

        start = time.monotonic()
        step.stage.run(inputs, out, Environment(work=work))
        time.sleep(0.2)
        self.spans[step.name] = (start, time.monotonic())

    def close(self):
        pass


class Recorder:
    def __init__(self):
        self.events = []
        self.thread = threading.get_ident()

    def _note(self, *event):
        assert threading.get_ident() == self.thread
        self.events.append(event)

    def started(self, step):
        self._note("started", step)

    def metrics(self, step, rows):
        self._note("metrics", step, len(rows), rows[0]["loss"])

    def finished(self, step, manifest, folder):
        self._note("finished", step)

    def failed(self, step, error):
        self._note("failed", step)

    def close(self, report):
        pass


def plan_of(store, *steps):
    planned = []
    for step in steps:
        fingerprint = digest([step.name, step.stage.model_dump()])
        planned.append(PlannedStep(step, fingerprint, store.find(step.name, fingerprint)))
    return Plan(store, tuple(planned), Expected(512, 64, 1, None, PluginSpec(type="gpt2_nano")))


DIAMOND = (
    Step("a", Write(text="a")),
    Step("b", Write(text="b"), {"a": "a"}),
    Step("c", Write(text="c"), {"a": "a"}),
    Step("d", Write(text="d"), {"b": "b", "c": "c"}),
)


def test_steps_run_after_their_inputs_and_side_by_side(tmp_path):
    runner, recorder = ThreadRunner(), Recorder()
    done = execute(plan_of(Store(tmp_path), *DIAMOND), runner, [recorder])
    assert (done["d"].folder / "text").read_text() == "abacd"
    assert runner.spans["b"][0] < runner.spans["c"][1]
    assert runner.spans["c"][0] < runner.spans["b"][1]
    assert ("metrics", "d", 1, 2.0) in recorder.events
    assert next(e for e in recorder.events if e[1] == "d") == ("started", "d")
    assert done["d"].manifest["seconds"] >= 0.2
    assert done["d"].manifest["inputs"]["b"] == done["b"].fingerprint
    assert not list((tmp_path / "work").iterdir())


def test_a_second_run_runs_nothing(tmp_path):
    store = Store(tmp_path)
    execute(plan_of(store, *DIAMOND), ThreadRunner(), [])
    runner = ThreadRunner()
    plan = plan_of(store, *DIAMOND)
    assert plan.missing == ()
    execute(plan, runner, [])
    assert runner.spans == {}


def test_a_failure_stops_only_what_depends_on_it(tmp_path):
    store = Store(tmp_path)
    steps = (DIAMOND[0], Step("b", Write(fail=True), {"a": "a"}), *DIAMOND[2:])
    recorder = Recorder()
    with pytest.raises(CorpusError, match="no text"):
        execute(plan_of(store, *steps), ThreadRunner(), [recorder])
    assert ("failed", "b") in recorder.events
    assert ("finished", "c") in recorder.events
    assert not [e for e in recorder.events if e[1] == "d"]
    assert {p.name for p in plan_of(store, *DIAMOND).missing} == {"b", "d"}


def test_several_failures_are_all_said(tmp_path):
    steps = [Step(name, Write(fail=True, text=name)) for name in ("x", "y")]
    with pytest.raises(StageFailedError, match=r"(?s)stage [xy] failed: no text.*stage [xy] failed") as caught:
        execute(plan_of(Store(tmp_path), *steps), ThreadRunner(), [])
    assert isinstance(caught.value, MomeError)


def test_names_of_steps_select_and_reach_up_and_down():
    steps = [*DIAMOND, Step("expert-en", Write()), Step("expert-fr", Write())]
    assert select(steps, ["experts"]) == {"expert-en", "expert-fr"}
    assert ancestors(steps, {"b"}) == {"a", "b"}
    assert descendants(steps, {"b"}) == {"b", "d"}
    with pytest.raises(MomeError, match="no stage"):
        select(steps, ["expret"])
