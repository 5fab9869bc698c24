import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.artifacts import Store, digest
from orchestrator.config.base import PluginSpec
from orchestrator.config.loading import load_recipe
from orchestrator.errors import ArtifactError, CorpusError, MomeError, StageFailedError
from orchestrator.pipeline.execute import _POLL_SECONDS, METRICS, execute
from orchestrator.pipeline.following import Follower
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.journal import JournalReader
from orchestrator.pipeline.plan import Plan, PlannedStep, ancestors, descendants, make_plan, select
from orchestrator.stages.base import Expected, Stage

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"


class Write(Stage):
    """Writes its text and those of its inputs."""

    text: str = ""
    fail: bool = False

    def run(self, inputs, out, env):
        if self.fail:
            time.sleep(0.1)  # what begins with it has begun
            raise CorpusError("no text", "here", "add some")
        env.log({"step": 1, "steps": 1, "loss": 2.0})
        above = "".join((inputs[role] / "text").read_text() for role in sorted(inputs))
        (out / "text").write_text(above + self.text)


class ThreadRunner:
    """Runs stages in the calling threads and notes when."""

    def __init__(self):
        self.spans = {}

    def run(self, step, inputs, out, work, begun):
        from orchestrator.environment import Environment

        begun()
        start = time.monotonic()
        step.stage.run(inputs, out, Environment(work=work))
        time.sleep(0.2)
        self.spans[step.name] = (start, time.monotonic())

    def expect(self, steps):
        pass

    def stop(self, name):
        pass

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


def test_an_input_that_has_changed_on_the_disk_is_not_used(tmp_path):
    store, before, after = Store(tmp_path / "mine"), DIAMOND[:1], DIAMOND[:2]
    made = execute(plan_of(store, *before), ThreadRunner(), [])["a"]
    (made.folder / "text").write_text("?")
    with pytest.raises(ArtifactError, match=r"text of a in the run mine has changed") as caught:
        execute(plan_of(store, *after), ThreadRunner(), [])
    assert caught.value.fix == "make it again: mome run RECIPE --force a"
    assert execute(plan_of(store, *before), ThreadRunner(), []) == {"a": made}, "nothing to do is nothing to read"
    assert not list((store.root / "stages").glob("b/*"))


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


def test_what_ends_soon_beside_a_failure_is_kept_and_what_depends_on_it_is_not_run(tmp_path, capsys):
    store = Store(tmp_path)
    steps = (DIAMOND[0], Step("b", Write(fail=True), {"a": "a"}), *DIAMOND[2:])
    recorder = Recorder()
    with pytest.raises(CorpusError, match="no text"):
        execute(plan_of(store, *steps), ThreadRunner(), [recorder])
    assert ("failed", "b") in recorder.events
    assert ("finished", "c") in recorder.events
    assert not [e for e in recorder.events if e[1] == "d"]
    assert {p.name for p in plan_of(store, *DIAMOND).missing} == {"b", "d"}
    assert capsys.readouterr().out.splitlines() == [
        "stops within a minute, because nothing that is wanted can use it: c",
        "not made: d; the same command goes on from what is there",
    ]


def test_several_failures_are_all_said(tmp_path):
    steps = [Step(name, Write(fail=True, text=name)) for name in ("x", "y")]
    with pytest.raises(StageFailedError, match=r"(?s)stage [xy] failed: no text.*stage [xy] failed") as caught:
        execute(plan_of(Store(tmp_path), *steps), ThreadRunner(), [])
    assert isinstance(caught.value, MomeError)


def test_steps_begin_for_observers_when_their_turn_comes(tmp_path):
    class OneByOne(ThreadRunner):
        lock = threading.Lock()

        def run(self, *arguments):
            with self.lock:
                super().run(*arguments)

    recorder = Recorder()
    execute(plan_of(Store(tmp_path), *(Step(name, Write(text=name)) for name in "xyz")), OneByOne(), [recorder])
    kinds = [kind for kind, *_ in recorder.events if kind != "metrics"]
    assert kinds.index("finished") < kinds.index("started", 2), "the last one began while the first was at work"


def test_metrics_wait_for_word_that_their_step_has_begun(tmp_path):
    class Late(ThreadRunner):
        def run(self, step, inputs, out, work, begun):
            def late():
                (work / METRICS).write_text('{"step": 1, "loss": 2.0}\n')
                time.sleep(2 * _POLL_SECONDS)
                begun()

            super().run(step, inputs, out, work, late)

    recorder = Recorder()
    execute(plan_of(Store(tmp_path), Step("x", Write())), Late(), [recorder])
    assert [event[0] for event in recorder.events] == ["started", "metrics", "finished"]


def test_a_step_that_fails_before_its_turn_is_told_whole(tmp_path):
    class Refusing(ThreadRunner):
        def run(self, step, inputs, out, work, begun):
            raise CorpusError("no room")

    recorder = Recorder()
    with pytest.raises(CorpusError, match="no room"):
        execute(plan_of(Store(tmp_path), Step("x", Write())), Refusing(), [recorder])
    assert [event[0] for event in recorder.events] == ["started", "failed"]


def test_forced_steps_begin_from_nothing(tmp_path):
    store = Store(tmp_path)
    plan = plan_of(store, Step("x", Write(text="x")))
    planned = replace(plan.steps[0], forced=True)
    checkpoint = store.work("x", planned.fingerprint) / "checkpoints"
    checkpoint.mkdir(parents=True)

    class Looking(ThreadRunner):
        def run(self, step, inputs, out, work, begun):
            assert not checkpoint.exists()
            super().run(step, inputs, out, work, begun)

    execute(replace(plan, steps=(planned,)), Looking(), [])


def test_rows_of_an_earlier_attempt_are_told_as_well(tmp_path):
    """Who was told of them then may have been killed before it passed them on."""

    class Trains(Write):
        distributed = True

    store = Store(tmp_path)
    plan = plan_of(store, Step("x", Trains(text="x")))
    work = store.work("x", plan.steps[0].fingerprint)
    work.mkdir(parents=True)
    (work / METRICS).write_text('{"step": 1, "loss": 1.0}\n')
    recorder = Recorder()
    execute(plan, ThreadRunner(), [recorder])
    assert [event[0] for event in recorder.events][:2] == ["started", "metrics"]
    told = [event for event in recorder.events if event[0] == "metrics"]
    assert sum(rows for _, _, rows, _ in told) == 2
    assert told[0][3] == 1.0


def test_metrics_are_followed_through_a_cut_in_the_middle_of_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    follower = Follower(path)
    assert follower.read() == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"step": 2, "loss": 1.5}\n{"step"')
    assert follower.read() == [{"step": 2, "loss": 1.5}]
    with path.open("a") as file:
        file.write(": 3}\n")
    assert follower.read() == [{"step": 3}]


def test_names_of_steps_select_and_reach_up_and_down():
    steps = [*DIAMOND, Step("expert-en", Write()), Step("expert-fr", Write())]
    assert select(steps, ["experts"]) == select(steps, ["expert"]) == {"expert-en", "expert-fr"}
    assert ancestors(steps, {"b"}) == {"a", "b"}
    assert descendants(steps, {"b"}) == {"b", "d"}
    with pytest.raises(MomeError, match="no stage"):
        select(steps, ["expret"])


def test_experts_are_whatever_makes_the_experts_of_a_recipe():
    joint = [*DIAMOND, Step("joint", Write()), Step("jointly", Write())]
    assert select(joint, ["experts"]) == {"joint"}
    study = [*joint, Step("expert-en@2", Write()), Step("joint@2", Write()), Step("joint-moe_ce", Write())]
    assert select(study, ["experts"]) == {"joint", "expert-en@2", "joint@2", "joint-moe_ce"}
    with pytest.raises(MomeError, match="trained together: joint"):
        select(joint, ["expert-en"])
    with pytest.raises(MomeError, match="no stage 'expert'"):
        select(DIAMOND, ["expert"])


@pytest.mark.parametrize("setup", ["jeet", "moe_ce"])
def test_a_plan_until_experts_that_are_trained_together_ends_with_them(tmp_path, setup):
    recipe = load_recipe(RECIPES / "smoke.yaml", [f"setup={setup}"])
    plan = make_plan(recipe, Store(tmp_path), until=["experts"], force=["experts"])
    assert plan.missing[-1].name == "joint"
    assert plan.missing[-1].forced


def test_force_makes_anew_what_is_damaged(tmp_path):
    recipe, store = load_recipe(RECIPES / "smoke.yaml"), Store(tmp_path)
    store.folder("corpus", make_plan(recipe, store).steps[0].fingerprint).mkdir(parents=True)
    with pytest.raises(MomeError, match="no readable manifest"):
        make_plan(recipe, store)
    assert make_plan(recipe, store, force=["corpus"]).steps[0].forced


def test_the_folder_says_which_steps_are_planned_at_work_and_failed(tmp_path):
    steps = (Step("a", Write(text="a")), Step("b", Write(fail=True), {"a": "a"}), Step("c", Write(), {"b": "b"}))
    with pytest.raises(CorpusError):
        execute(plan_of(Store(tmp_path), *steps), ThreadRunner(), [])
    found = JournalReader(tmp_path).read()
    assert {name: (bool(noted.began), noted.failed) for name, noted in found.items()} == {
        "a": (True, ""),
        "b": (True, "no text"),
        "c": (False, ""),
    }
    assert (tmp_path / found["a"].folder / "text").read_text() == "a"


class RestartingRunner(ThreadRunner):
    def run(self, step, inputs, out, work, begun):
        super().run(step, inputs, out, work, begun)
        begun()  # another attempt


def test_a_restarted_step_counts_from_its_first_beginning(tmp_path):
    store = Store(tmp_path)
    made = execute(plan_of(store, DIAMOND[0]), RestartingRunner(), [])
    assert made["a"].manifest["seconds"] >= 0.2
