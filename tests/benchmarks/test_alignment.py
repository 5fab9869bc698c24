"""The bench of aligned tokenizers on a tiny teacher: what its contenders are given, and that they learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks._aligned_inputs import Inputs, given_teacher, recipe_of
from benchmarks.alignment import PEERS, Alignment, _objective, _Training
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TeacherConfig
from orchestrator.environment import Environment
from orchestrator.errors import ResourceError
from orchestrator.stages._teaching import teacher_model
from orchestrator.stages.teacher import TeacherStage
from orchestrator.teacher.live import Live
from tests.unit.tokens.test_aligning import laid, made

__all__ = ["made"]
BENCH = Alignment(language="es", context=8, layers=1, width=16, heads=2, steps=4, seeds=2)


@pytest.fixture(scope="module")
def inputs(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("bench")
    folders = laid(made, "gpt2", root)
    folders["teacher"] = root / "teacher"
    folders["teacher"].mkdir()
    model = PluginSpec.model_validate({"type": "pretrained", "name": str(made["gpt2"])})
    stage = TeacherStage(teacher=TeacherConfig(model=model, train=False), seed=0, own_tokenizer=True)
    stage.run({**folders, "tokenizer": made["gpt2"]}, folders["teacher"], Environment(work=root / "work"))
    return Inputs(folders, "es", BENCH.steps, root)


def test_the_teacher_has_said_what_it_says(inputs: Inputs) -> None:
    rows = torch.tensor([[0, 1], [0, 3]])
    live = Live().open(teacher_model(inputs.folders["teacher"], "cpu", inputs.blocks))
    ids = torch.from_numpy(inputs.blocks.gather(rows.numpy())[:, :-1])
    theirs, ours = live.states(ids, rows), inputs.states(ids, rows)
    assert ours.met is not None
    torch.testing.assert_close(ours.hidden[ours.met.known], theirs.hidden[ours.met.known], rtol=1e-5, atol=1e-5)


def test_tokens_of_both_lie_on_one_ruler(inputs: Inputs) -> None:
    for block in range(inputs.count):
        said, places = inputs.said(block), inputs.blocks.windows(np.array([[0, block]])).places[0]
        met = np.flatnonzero(places >= 0)
        assert (said.student_ends[met] == said.ends[places[met]]).all()
        assert len(said.ids) == len(said.hidden) == len(said.ends)
        assert said.first >= 1


@pytest.mark.parametrize("way", ["ours", *PEERS])
def test_a_student_learns(way: str, inputs: Inputs) -> None:
    if way.startswith("gold"):
        pytest.importorskip("trl.experimental.gold", reason="TRL is not installed", exc_type=ImportError)
    found = _Training(BENCH, inputs, seed=1).run(_objective(way, inputs))
    assert 0 < found["bits"] < 20
    assert found["seconds"] > 0
    assert np.isfinite(inputs.teacher_bits)


def test_rows_say_the_difference_and_its_interval() -> None:
    ours, theirs = ([{"bits": bits, "seconds": 1.0} for bits in side] for side in ((2.0, 2.2), (2.5, 2.9)))
    bits, difference, seconds = BENCH._compared("case", ours, theirs)
    assert (bits.ours, bits.baseline, seconds.ratio) == (pytest.approx(2.1), pytest.approx(2.7), 1)
    assert difference.ours == pytest.approx(-0.6)
    assert difference.baseline == pytest.approx(12.706 * 0.1, rel=1e-3)


def test_the_recipe_is_one(made: dict[str, Path]) -> None:
    recipe = recipe_of(Alignment(teacher=str(made["gpt2"])))
    assert recipe.experts.distillation.alignment is not None


@pytest.mark.parametrize("bench", ["alignment", "pretrained"])
def test_a_missing_teacher_is_told_by_the_bench_that_asks(bench: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_teacher("somewhere", bench) == "somewhere"
    monkeypatch.setattr("benchmarks._aligned_inputs.find_spec", lambda name: None)
    with pytest.raises(ResourceError, match="there is no teacher") as error:
        given_teacher("", bench)
    assert error.value.where == f"mome bench {bench}"
