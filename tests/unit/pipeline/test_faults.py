"""Faults of the program in a step: a line, a file, exit code 1, and an end."""

import pickle
import re
import runpy
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
import torch

from orchestrator import artifacts
from orchestrator.artifacts import Store, digest
from orchestrator.config.base import PluginSpec
from orchestrator.errors import CorpusError, FaultError, MomeError, ResourceError, StageFailedError, StoppedEarlyError
from orchestrator.faults import explained
from orchestrator.pipeline import execute as room
from orchestrator.pipeline import stopping
from orchestrator.pipeline.execute import METRICS, execute
from orchestrator.pipeline.following import Follower
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.stages.base import Expected, Stage


class Acts:
    """A runner in the calling threads: each step does what is said of it."""

    def __init__(self, **actions):
        self.actions, self.told = actions, []

    def run(self, step, inputs, out, work, begun):
        begun()
        self.actions[step.name](work)

    def expect(self, steps):
        pass

    def stop(self, name):
        self.told.append(name)

    def close(self):
        pass


class Ends:
    """An observer that remembers how steps ended."""

    def __init__(self):
        self.failed_with = {}

    def started(self, step):
        pass

    def metrics(self, step, rows):
        pass

    def finished(self, step, manifest, folder):
        self.failed_with[step] = None

    def failed(self, step, error):
        self.failed_with[step] = error

    def close(self, report):
        pass


def run(folder, runner, **inputs):
    """Execute a plan of the runner's steps, each with these inputs."""
    steps = [Step(name, Stage(), {role: role for role in inputs.get(name, ())}) for name in runner.actions]
    planned = tuple(PlannedStep(step, digest(step.name), None) for step in steps)
    ends = Ends()
    try:
        execute(Plan(Store(folder), planned, Expected(512, 64, 1, None, PluginSpec(type="gpt2_nano"))), runner, [ends])
    except MomeError as error:
        return error, ends.failed_with
    return None, ends.failed_with


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(room, "_POLL_SECONDS", 0.01)


def bug(work):
    raise KeyError("languages")


def raises(error):
    def action(work):
        raise error

    return action


def nothing(work):
    pass


def test_a_fault_is_told_in_a_line_and_its_traceback_kept(tmp_path):
    error, ends = run(tmp_path, Acts(a=bug))
    assert isinstance(error, FaultError)
    assert error.exit_code == 1
    assert re.match(
        r"stage a: KeyError: 'languages' \(\S+test_faults\.py:\d+\) \(a fault of the program; traceback: ", str(error)
    )
    assert len(str(error).splitlines()) == 1
    kept = Path(error.where)
    assert kept.parent == tmp_path / "errors"
    assert "in bug" in kept.read_text()
    assert ends["a"] is error
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit("no"), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_a_thread_that_is_ended_is_a_failed_step(tmp_path, error):
    found, _ = run(tmp_path, Acts(a=raises(error)))
    assert isinstance(found, FaultError)
    assert f"stage a: {type(error).__name__}" in str(found)


def test_a_thread_that_ends_without_a_word_is_a_failed_step(tmp_path, monkeypatch):
    class Silent(room.Execution):
        def _work(self, planned, inputs, work):
            pass

    monkeypatch.setattr(room, "Execution", Silent)
    found, _ = run(tmp_path, Acts(a=nothing))
    assert "its thread ended without a word" in str(found)


def test_a_thread_that_can_not_start_is_a_failed_step(tmp_path, monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    runner = Acts(a=nothing, b=nothing)
    with monkeypatch.context() as patch:
        watch = threading.Thread.start
        patch.setattr(threading.Thread, "start", lambda t: refused(t) if t.name in ("step a", "step b") else watch(t))
        found, _ = run(tmp_path, runner)
    assert isinstance(found, StageFailedError)
    assert "can't start new thread" in str(found)


@pytest.mark.parametrize(("other", "code"), [(bug, 1), (raises(CorpusError("no text")), 2)], ids=["fault", "mistake"])
def test_one_fault_among_failures_decides_the_exit_code(tmp_path, other, code):
    together = threading.Barrier(2)

    def at_once(act):
        return lambda work: (together.wait(10), act(work))

    found, _ = run(tmp_path, Acts(a=at_once(raises(CorpusError("no text"))), b=at_once(other)))
    assert isinstance(found, StageFailedError)
    assert found.exit_code == code
    assert "Traceback" not in str(found)


def test_what_still_leads_somewhere_goes_on_beside_a_fault(tmp_path, capsys):
    def late(work):
        time.sleep(0.1)

    _, ends = run(tmp_path, Acts(a=bug, b=late, c=nothing), c="b")
    assert (ends["b"], ends["c"]) == (None, None)
    assert "meanwhile goes on: b, c" in capsys.readouterr().out


def test_what_leads_nowhere_is_stopped_and_told_apart_from_failures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE", 0.05)
    ended, begun = threading.Event(), threading.Event()

    class Obeys(Acts):
        def expect(self, steps):
            pass

        def stop(self, name):
            super().stop(name)
            ended.set()

    def long(work):
        begun.set()
        assert ended.wait(10)
        raise RuntimeError("whatever a killed worker leaves")

    def fails(work):
        begun.wait(10)
        bug(work)

    runner = Obeys(a=fails, b=long, c=nothing)
    found, ends = run(tmp_path, runner, c="ab")
    assert isinstance(found, FaultError)
    assert isinstance(ends["b"], StoppedEarlyError)
    assert runner.told == ["b"]
    said = capsys.readouterr().out
    assert "stops within a minute, because nothing that is wanted can use it: b\n" in said
    assert "not made: b, c; the same command goes on from what is there" in said
    assert not list(tmp_path.glob("errors/stage-b*"))


def test_what_does_not_stop_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE", 0.0)
    monkeypatch.setattr(stopping, "LAST", 0.05)
    forever, begun = threading.Event(), threading.Event()

    def deaf(work):
        begun.set()
        forever.wait(20)

    def fails(work):
        begun.wait(10)
        bug(work)

    found, ends = run(tmp_path, Acts(a=fails, b=deaf, c=nothing), c="ab")
    forever.set()
    assert isinstance(found, FaultError)
    assert "given up" in str(ends["b"])


@pytest.mark.parametrize("attempt", range(5))
def test_what_waits_in_a_queue_does_not_begin_when_it_is_useless(tmp_path, attempt):
    turn, ran = threading.Lock(), []

    first = threading.Event()

    class OneByOne(Acts):
        def run(self, step, *arguments):
            if step.name == "b":
                first.wait(10)
            with turn:
                first.set()
                super().run(step, *arguments)

    def late(work):
        time.sleep(0.03)  # the other waits behind it by now
        bug(work)

    runner = OneByOne(a=late, b=ran.append, c=nothing)
    found, ends = run(tmp_path, runner, c="ab")
    assert isinstance(found, FaultError)
    assert ran == []
    assert isinstance(ends["b"], StoppedEarlyError)
    assert "c" not in ends


def test_half_a_line_of_metrics_is_no_fault(tmp_path):
    (tmp_path / METRICS).write_text('{"step": 1, "lo{"step": 2}\nnull\n{"step": 3}\n')
    assert Follower(tmp_path / METRICS).read() == [{"step": 3}]


@pytest.mark.parametrize("action", [lambda: torch.empty(2**50), lambda: bytearray(2**62)], ids=["torch", "python"])
def test_want_of_memory_is_called_so(tmp_path, action):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        action()
    error = explained(caught.value, "stage a", tmp_path)
    assert isinstance(error, ResourceError)
    assert error.what.startswith("out of memory")
    assert "micro_batch" in error.fix


def test_code_of_somebody_else_is_named_with_its_line_from_a_worker_too(tmp_path):
    (tmp_path / "mine.py").write_text("def definition():\n    return None.sum()\n")
    with pytest.raises(AttributeError) as caught:
        runpy.run_path(str(tmp_path / "mine.py"))["definition"]()
    assert f"({tmp_path / 'mine.py'}:2)" in str(explained(caught.value, "stage a", tmp_path))
    sent = AttributeError("no sum")
    sent.add_note("".join(traceback.format_exception(caught.value)))
    assert f"({tmp_path / 'mine.py'}:2)" in str(explained(sent, "stage a", tmp_path))
    within = ValueError("ours")
    within.add_note(f'  File "{artifacts.__file__}", line 3, in publish\n')
    assert "artifacts.py" not in str(explained(within, "stage a", tmp_path))


def test_what_a_person_can_mend_stays_as_it_is(tmp_path):
    own = MomeError("a", "b", "c")
    assert explained(own, "stage a", tmp_path) is own
    assert not list(tmp_path.iterdir())


def test_a_traceback_that_can_not_be_kept_where_it_should_be_goes_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "file").touch()
    error = explained(ValueError("bad\n\nvery\ud800"), "stage x/y", tmp_path / "file" / "errors")
    assert error.what == "stage x/y: ValueError: bad"
    assert Path(error.where).parent == tmp_path
    assert "very" in Path(error.where).read_text()
    assert sys.getsizeof(str(explained(ValueError("x" * 10_000), "a", tmp_path))) < 1000
