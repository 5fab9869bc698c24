"""The distillation bench at tiny sizes: contenders take the same steps, and rows say so."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks._distill import train_ours
from benchmarks._distill_inputs import write_inputs
from benchmarks._distill_job import Job, Outcome, Way
from benchmarks.distill import OURS, Distill
from orchestrator.errors import ResourceError
from orchestrator.plugins import create

TINY = {"vocab": 60, "context": 8, "student_layers": 1, "student_width": 8, "student_heads": 2, "teacher_layers": 1}
TINY |= {"teacher_width": 12, "teacher_heads": 2, "batch": 2, "steps": 3, "warmup": 1, "repeats": 2}
STUDENT = {"type": "gpt2", "layers": 1, "width": 8, "heads": 2}


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Job:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder, {"type": "gpt2", "layers": 1, "width": 12, "heads": 2}, 60, 8, 6)
    return Job("ours", "live", "fp32", 0.5, str(folder), STUDENT, batch=2, steps=3, threads=1)


@pytest.mark.parametrize("way", ["trainer", "trl"])
def test_contenders_take_the_same_steps(job: Job, way: Way) -> None:
    pytest.importorskip({"trainer": "accelerate", "trl": "trl"}[way])
    alpha = 0.5 if way == "trainer" else 0.0
    ours = train_ours(replace(job, alpha=alpha))
    theirs = replace(job, alpha=alpha, way=way).run()
    assert ours.losses == pytest.approx(theirs.losses, rel=1e-4)
    assert len(ours.seconds) == len(theirs.seconds) == 3


def test_a_cached_teacher_gives_the_losses_of_the_live_one(job: Job) -> None:
    cached = train_ours(replace(job, teacher="hidden_cache"))
    assert cached.losses == pytest.approx(train_ours(job).losses, rel=1e-3)


def test_a_sampled_teacher_and_none_train_too(job: Job) -> None:
    for teacher in ("sampled_cache", "none"):
        for precision in ("fp32", "bf16"):
            assert train_ours(replace(job, teacher=teacher, precision=precision)).losses[-1] > 0


def test_shares_of_a_step_add_up(job: Job) -> None:
    shares = train_ours(replace(job, shares=True)).shares
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in shares.values())


def test_a_failed_contender_is_told_with_its_reason(job: Job, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"'ours' failed[\s\S]*blocks"):
        replace(job, folder=str(tmp_path)).run()


@pytest.fixture
def _invented(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(job: Job) -> Outcome:
        seconds = {"ours": 1.0, "trainer": 2.0, "trl": 4.0}[job.way]
        return Outcome(
            [9.0, seconds, seconds], [9.0, seconds, seconds], [3.0, 2.0, 1.0], {"loss": 0.5} if job.shares else {}
        )

    monkeypatch.setattr(Job, "run", run)


def _pretend(monkeypatch: pytest.MonkeyPatch, installed: set[str]) -> None:
    """Of the packages to compare with, these are installed; whatever else asks is told what is there."""
    importlib.import_module("transformers")  # which looks for them itself, once
    known = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> object:
        return (object() if name in installed else None) if name in ("accelerate", "trl") else known(name, package)

    monkeypatch.setattr("importlib.util.find_spec", found)


@pytest.mark.usefixtures("_invented")
def test_rows_compare_medians_after_the_warmup(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, {"accelerate", "trl"})
    rows = list(create("benchmarks", "distill", TINY).rows())
    speeds = {row.case: (row.ours, row.ratio) for row in rows if row.metric == "speed"}
    assert len(speeds) == 2 * (2 * len(OURS) + len(OURS))
    assert speeds["bf16, live, beside a Hugging Face Trainer with dense losses"] == (16.0, 2.0)
    assert speeds["fp32, hidden_cache, beside TRL's GKDTrainer"] == (16.0, 4.0)
    assert {row.ours for row in rows if row.metric == "final loss"} == {1.0}
    assert [row.ratio for row in rows if row.metric == "share of step time"] == [0.5] * 2 * len(OURS)


@pytest.mark.usefixtures("_invented")
def test_without_trl_the_other_rows_still_come(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    _pretend(monkeypatch, {"accelerate"})
    rows = list(create("benchmarks", "distill", {**TINY, "precisions": ["fp32"]}).rows())
    assert rows
    assert not [row for row in rows if "TRL" in row.case]
    assert "mome-orchestrator[bench]" in capsys.readouterr().err


def test_with_nothing_to_compare_with_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, set())
    with pytest.raises(ResourceError, match=r"mome-orchestrator\[bench\]"):
        next(create("benchmarks", "distill", TINY).rows())


def test_the_default_sizes_are_those_of_the_claim() -> None:
    bench = Distill()
    assert (bench.vocab, bench.context, bench.batch) == (32_000, 256, 4)
    assert (bench.student_layers, bench.student_width, bench.teacher_layers, bench.teacher_width) == (3, 256, 12, 640)
