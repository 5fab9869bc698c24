"""The race to a loss at tiny sizes: contenders train, and rows tell the shortest training that ends as low."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from benchmarks import to_loss
from benchmarks._distill_inputs import write_inputs
from benchmarks._rows import Row
from benchmarks._to_loss import Contender, Trained, train
from orchestrator.errors import ResourceError
from orchestrator.plugins import create

MODEL = {"type": "gpt2", "layers": 1, "width": 12, "heads": 2}


@pytest.fixture(scope="module")
def contender(tmp_path_factory: pytest.TempPathFactory) -> Contender:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder, {**MODEL, "layers": 2}, 60, 9, 6)
    return Contender("ours", str(folder), MODEL, tokens=36, batch=2, rate=1e-3, precision="fp32", threads=1)


@pytest.mark.parametrize("source", ["hidden_cache", "sampled_cache"])
def test_a_cache_is_written_and_read(contender: Contender, source: str) -> None:
    written = train(replace(contender, way="cache", source=source))
    assert written.seconds > 0
    assert train(replace(contender, way="drawn", source=source)).seconds > 0
    ours = train(replace(contender, source=source, soft="forward_kl"))
    assert 3 < ours.loss < 6
    assert ours.cpu_seconds > 0


def test_a_trainer_ends_where_we_end_with_its_losses(contender: Contender) -> None:
    pytest.importorskip("accelerate")
    theirs = train(replace(contender, way="trainer"))
    assert theirs.seconds > 0
    assert theirs.loss == pytest.approx(train(contender).loss, abs=0.05)  # other first weights


def test_distillkit_trains_on_its_cache(contender: Contender) -> None:
    pytest.importorskip("distillkit", reason="DistillKit is on no package index")
    pytest.importorskip("trl")
    written = train(replace(contender, way="drawn", source="distillkit"))
    assert written.cpu_seconds > 0
    theirs = train(replace(contender, way="distillkit", source="distillkit"))
    assert theirs.seconds > 0
    assert theirs.loss == pytest.approx(train(replace(contender, way="trainer")).loss, abs=0.05)


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def nothing(self: to_loss._Race, found: Sequence[str]) -> Iterator[Row]:
        assert found == ["trainer", "trl"]
        return iter(())

    monkeypatch.setattr(to_loss.ToLoss, "_prepare", lambda self, root: None)
    monkeypatch.setattr(to_loss._Race, "rows", nothing)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "distillkit" else object())
    assert not [*create("benchmarks", "to_loss", {}).rows()]
    told = capsys.readouterr()
    assert "DistillKit is not measured" in told.err
    assert "git+https://github.com/arcee-ai/DistillKit" in told.err
    assert "TRL" not in told.err


def test_a_part_of_what_is_not_installed_is_not_there() -> None:
    assert to_loss._there("benchmarks.to_loss")
    assert not to_loss._there("benchmarks.not_there")
    assert not to_loss._there("not_there.gkd")


def test_without_accelerate_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"mome-orchestrator\[bench\]"):
        next(create("benchmarks", "to_loss", {}).rows())


def test_rows_tell_the_shortest_training_that_ends_as_low(monkeypatch: pytest.MonkeyPatch) -> None:
    def invented(groups: Sequence[Sequence[Contender]], target: float = 0.0) -> list[list[Trained]]:
        def one(each: Contender) -> Trained:
            if each.way in ("cache", "drawn"):
                return Trained(0.0, 20.0, 20.0) if each.source == "distillkit" else Trained(0.0, 8.0, 8.0)
            if each.way in ("trainer", "distillkit"):
                return Trained(5.0, 100.0, 100.0)
            return Trained(6.0 - 4.0 * each.tokens / 65_536, each.tokens / 4096, each.tokens / 4096)

        return [[one(each) for each in group] for group in groups]

    monkeypatch.setattr(to_loss, "run", invented)
    monkeypatch.setattr(to_loss.ToLoss, "_prepare", lambda self, root: None)
    monkeypatch.setattr(to_loss._Race, "_cache_flops", lambda self, tokens: 0.0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name.startswith("trl") else object())
    rows = {(row.case, row.metric): row for row in create("benchmarks", "to_loss", {}).rows()}
    case = "to 5.000 of a Hugging Face Trainer"
    assert rows[f"live, {case}", "time"].ours == 4.0  # a quarter of the tokens
    assert rows[f"hidden_cache, there, {case}", "time"].ratio == 0.04
    assert rows[f"hidden_cache, shared, {case}", "time"].ours == 6.0
    assert rows[f"hidden_cache, written, {case}", "CPU time"].ours == 12.0
    # DistillKit's cache is counted as ours is, and no teacher in its steps.
    case = "to 5.000 of DistillKit"
    assert rows[f"live, {case}", "CPU time"].baseline == 100.0
    assert [rows[f"hidden_cache, {part}, {case}", "time"].baseline for part in ("there", "shared", "written")] == [
        100.0,
        105.0,
        120.0,
    ]
    same = rows[f"sampled_cache, there, {case}", "operations"]
    assert same.ratio == pytest.approx(1 / 4)
