"""What `mome logs` prints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.errors import ArtifactError, CorpusError
from orchestrator.housekeeping import logs
from orchestrator.housekeeping.logs import follow, log_lines
from orchestrator.locks import locked
from tests.unit.housekeeping.made import finish, make, plan, work

TEACHER = [f"teacher: {step}/9 loss {loss}" for step, loss in ((1, "3.000"), (2, "2.000"), (3, "1.000"))]


def test_a_step_that_is_done(tmp_path: Path) -> None:
    folder = finish(tmp_path, "corpus", "teacher")["teacher"].folder
    said = ["teacher: 2/2 loss 1.500", "teacher: all read", f"teacher: done in 1 s: {folder}"]
    assert list(log_lines(tmp_path, "teacher")) == said
    assert list(follow(tmp_path, "teacher")) == said


def test_steps_at_work_and_steps_that_were_left(tmp_path: Path) -> None:
    with locked(tmp_path):
        journal = plan(tmp_path, "corpus", "teacher", "expert-en")
        assert list(log_lines(tmp_path)) == []
        journal.started("teacher")
        work(tmp_path, "teacher")
        work(tmp_path, "expert-en")  # of an earlier attempt
        assert list(log_lines(tmp_path)) == TEACHER
    assert list(log_lines(tmp_path)) == [*TEACHER, *(line.replace("teacher", "expert-en") for line in TEACHER)]
    journal.failed("teacher", CorpusError("no text", "here"))
    assert list(log_lines(tmp_path, "teacher")) == [*TEACHER, "teacher: failed: no text"]


def test_what_is_not_there(tmp_path: Path) -> None:
    finish(tmp_path, "corpus", "teacher")
    with pytest.raises(ArtifactError, match="no step 'expert'") as caught:
        log_lines(tmp_path, "expert")
    assert caught.value.fix == "steps: corpus, teacher"
    with pytest.raises(ArtifactError, match="no step is at work") as caught:
        list(follow(tmp_path))
    assert caught.value.fix == "steps with metrics: corpus, teacher"


def test_followed_to_the_end_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is done between two looks, the next one begins and is interrupted: nothing is lost, nothing said twice."""
    journal = plan(tmp_path, "corpus", "teacher", "expert-en")
    work_folder = work(tmp_path, "corpus", rows=1)
    held = locked(tmp_path)
    held.__enter__()
    journal.started("corpus")

    def first() -> None:
        make(tmp_path, "corpus")
        shutil.rmtree(work_folder)
        journal.started("teacher")
        work(tmp_path, "teacher", rows=2)

    def second() -> None:
        with (
            (tmp_path / "work")
            .joinpath(next((tmp_path / "work").glob("teacher-*")).name, "metrics.jsonl")
            .open("a") as file
        ):
            file.write('{"step": 3, "steps": 9, "loss": 1.0}\n')
        held.__exit__(None, None, None)

    happens = iter([first, second])
    monkeypatch.setattr(logs.time, "sleep", lambda _: next(happens)())
    lines = list(follow(tmp_path))
    assert lines[0] == "corpus: 1/9 loss 3.000"
    assert [line for line in lines if line.startswith("teacher")] == TEACHER
    assert sum(line.startswith("corpus: done in") for line in lines) == 1
