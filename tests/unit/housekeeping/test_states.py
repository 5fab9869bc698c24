"""What `mome ps` lists: every state, and damage without a traceback."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from orchestrator.errors import ArtifactError, CorpusError, StoppedEarlyError
from orchestrator.housekeeping.finding import find_run, run_folders
from orchestrator.housekeeping.states import RunState, StepAtWork, run_state, run_states
from orchestrator.locks import LOCK, locked
from tests.unit.housekeeping.made import finish, make, plan, work


def test_a_finished_run(tmp_path: Path) -> None:
    finish(tmp_path / "one", "corpus", "teacher")
    state = run_state(tmp_path / "one")
    assert (state.name, state.state, state.done, state.steps, state.at_work) == ("one", "finished", 2, 2, ())
    assert state.bytes > 4000
    assert state.changed.endswith("+00:00")


def test_a_run_at_work(tmp_path: Path) -> None:
    root = tmp_path / "one"
    with locked(root):
        journal = plan(root, "corpus", "teacher", "expert-en", "report")
        make(root, "corpus")
        work(root, "teacher")
        for step in ("corpus", "teacher", "expert-en"):
            journal.started(step)
        state = run_state(root)
    assert state.holder is not None
    assert (state.state, state.holder.pid, state.done, state.steps) == ("running", os.getpid(), 1, 4)
    assert state.at_work == (StepAtWork("teacher", 3, 9), StepAtWork("expert-en"))
    assert [str(step) for step in state.at_work] == ["teacher 3/9", "expert-en"]
    assert json.loads(json.dumps(state.record()))["at_work"][0]["optimizer_step"] == 3
    assert run_state(root).state == "unfinished"


def test_a_run_that_still_plans_says_nothing_of_the_plan_before(tmp_path: Path) -> None:
    finish(tmp_path / "one", "corpus")
    for name in ("steps.jsonl", "artifacts.json"):
        os.utime(tmp_path / "one" / name, (time.time() - 60,) * 2)
    with locked(tmp_path / "one"):
        state = run_state(tmp_path / "one")
    assert (state.state, state.done, state.steps) == ("running", None, None)


def test_a_failed_run_says_what_failed_and_a_stopped_one_is_unfinished(tmp_path: Path) -> None:
    journal = plan(tmp_path / "one", "corpus", "teacher")
    journal.started("corpus")
    journal.failed("teacher", StoppedEarlyError("stopped"))
    assert run_state(tmp_path / "one").state == "unfinished"
    journal.failed("corpus", CorpusError("no text", "here", "add some"))
    state = run_state(tmp_path / "one")
    assert (state.state, state.why, state.done, state.steps) == ("failed", "corpus: no text", 0, 2)
    plan(tmp_path / "one", "corpus")  # the same command again
    assert run_state(tmp_path / "one").state == "unfinished"


def test_a_fault_is_read_from_its_traceback_where_no_journal_tells(tmp_path: Path) -> None:
    make(tmp_path / "one", "corpus")
    (tmp_path / "one" / "errors").mkdir()
    text = "stage teacher, 2026-01-01\n\nTraceback (most recent call last):\n  File\nKeyError: 'x'\n"
    (tmp_path / "one" / "errors" / "stage-teacher-1.txt").write_text(text)
    state = run_state(tmp_path / "one")
    assert (state.state, state.why) == ("failed", "stage teacher: KeyError: 'x'")


def test_a_recipe_whose_steps_another_run_had_made(tmp_path: Path) -> None:
    root = tmp_path / "one"
    plan(root, "corpus", "teacher")
    os.utime(root / "steps.jsonl", (time.time() - 60,) * 2)
    made = make(root, "corpus")
    (root / "artifacts.json").write_text(json.dumps({"steps": {"corpus": str(made.folder.relative_to(root))}}))
    assert (run_state(root).state, run_state(root).steps) == ("finished", 1)


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"steps": 3}', "\x00"])
def test_a_damaged_index(tmp_path: Path, text: str) -> None:
    finish(tmp_path / "one", "corpus")
    (tmp_path / "one" / "artifacts.json").write_text(text)
    finish(tmp_path / "two", "corpus")
    one, two = run_states(tmp_path)
    assert (one.state, two.state) == ("damaged", "finished")
    assert "artifacts.json" in one.why


def test_other_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = finish(tmp_path / "one", "corpus")["corpus"]
    (made.folder / "text").write_text("shorter")
    assert run_state(tmp_path / "one").state == "damaged"
    assert "text" in run_state(tmp_path / "one").why
    shutil.rmtree(made.folder)
    assert run_state(tmp_path / "one").state == "unfinished"
    (tmp_path / "one" / "run.lock").mkdir()
    assert run_state(tmp_path / "one").state == "damaged"
    (tmp_path / "one" / "steps.jsonl").write_bytes(b'{"step": 1\n\xff\n[]\n{"folder": "x"}\n')

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    assert run_state(tmp_path / "one").why == "can't be read: Permission denied"


def test_files_with_two_names_count_once(tmp_path: Path) -> None:
    made = finish(tmp_path / "one", "corpus", text="x")["corpus"]
    before = run_state(tmp_path / "one").bytes
    (made.folder / "text2").hardlink_to(made.folder / "text")
    assert run_state(tmp_path / "one").bytes == before


def test_what_is_no_run_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    plan(tmp_path / "begun", "corpus")
    names: list[RunState] = list(run_states(tmp_path))
    assert [state.name for state in names] == ["begun"]
    assert find_run("begun", tmp_path) == find_run(str(tmp_path / "begun"), tmp_path / "none")
    with pytest.raises(ArtifactError) as caught:
        find_run("notes", tmp_path)
    assert caught.value.fix == "runs there are: begun"
    with pytest.raises(ArtifactError) as caught:
        find_run("begn", tmp_path)
    assert caught.value.fix == 'did you mean "begun"? runs there are: begun'
    with pytest.raises(ArtifactError, match="can't be listed"):
        list(run_states(tmp_path / "none"))


def test_a_refused_command_leaves_no_run(tmp_path: Path) -> None:
    for name, lock in {"refused": "", "starting": "{}"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK).write_text(lock)
    assert [folder.name for folder in run_folders(tmp_path)] == ["starting"]
