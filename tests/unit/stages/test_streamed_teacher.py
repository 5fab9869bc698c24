"""A teacher whose weights stay on disk: caches, the evaluation and plans, beside the same teacher in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from orchestrator import available
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ExpertsConfig, TeacherConfig
from orchestrator.environment import Environment
from orchestrator.errors import ModelError
from orchestrator.models import load_model
from orchestrator.processes import ProcessMap
from orchestrator.stages import cache
from orchestrator.stages.base import Expected
from orchestrator.stages.cache import CacheStage
from orchestrator.stages.expert import ExpertStage
from orchestrator.stages.teacher import TeacherStage
from tests.unit.models.own_tokenizers import write
from tests.unit.stages.test_own_tokenizer import packed, taken

LANGUAGE = "es"


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Blocks and a teacher taken from bf16 files, with a vocabulary that is filled up."""
    folder = write("llama3", tmp_path / "teacher", padding=13, max_shard_size="20KB")
    load_model(folder).to(torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    taken(folder, tmp_path / "tokenizer")
    found = packed(tmp_path / "tokenizer", tmp_path) | {"teacher": tmp_path / "made"}
    found["teacher"].mkdir()
    config = TeacherConfig(model=PluginSpec(type="pretrained", name=str(folder)), train=False)
    TeacherStage(teacher=config, seed=0).run(found, found["teacher"], Environment(work=tmp_path / "w"))
    return found


def stage(kind: str = "hidden_cache", precision: Any = "fp32") -> CacheStage:
    return CacheStage(language=LANGUAGE, teacher=PluginSpec(type=kind), precision=precision, seed=3)


def files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def write_cache(what: CacheStage, inputs: dict[str, Path], place: str, **options: Any) -> dict[str, str]:
    out = inputs["teacher"].parent / f"{what.teacher.type}-{what.precision}-{place}"
    out.mkdir()
    env = Environment(work=out.with_suffix(".work"), teacher_weights=place, **options)
    what.run(inputs, out, env)
    cache._teacher.cache_clear()
    return files(out)


def test_a_teacher_is_taken_in_its_own_type_and_computed_in_fp32(inputs: dict[str, Path], tmp_path: Path) -> None:
    folder, original = inputs["teacher"] / "model", load_model(tmp_path / "teacher")
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118
    made = load_model(folder)
    assert made.dtype == torch.float32
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    rows = made.get_input_embeddings().weight
    assert len(rows) == len(original.get_input_embeddings().weight) - 13
    assert torch.equal(rows, original.get_input_embeddings().weight[: len(rows)].float())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["hidden_cache", "sampled_cache"])
def test_caches_are_the_same_to_the_last_bit(kind: str, precision: str, inputs: dict[str, Path]) -> None:
    what = stage(kind, precision)
    assert write_cache(what, inputs, "disk") == write_cache(what, inputs, "memory")


@pytest.mark.long
def test_several_processes_share_it(inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PARALLEL_FLOPS", 0)
    workers = ProcessMap(2)
    try:
        found = write_cache(stage(), inputs, "disk", map=workers)
    finally:
        workers.close()
    monkeypatch.undo()
    assert found == write_cache(stage(), inputs, "memory")


def test_an_expert_of_a_cache_reads_the_head_alone(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cache(stage(), inputs, "disk")
    sizes = {"tokens": 64, "batch_tokens": 16, "micro_batch": 2, "eval_every": 2, "precision": "fp32"}
    config = {
        "model": {"type": "gpt2", "layers": 1, "width": 16, "heads": 2},
        "training": sizes,
        "distillation": {"teacher": "hidden_cache"},
    }
    expert = ExpertStage(language=LANGUAGE, experts=ExpertsConfig.model_validate(config), seed=1)

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("the whole teacher was loaded")

    monkeypatch.setattr("orchestrator.models.load_model", refused)
    monkeypatch.setattr("orchestrator.models.load_streamed", refused)
    (tmp_path / "expert").mkdir()
    places = inputs | {f"cache-{LANGUAGE}": tmp_path / "hidden_cache-fp32-disk"}
    expert.run(places, tmp_path / "expert", Environment(work=tmp_path / "expert-work"))
    assert (tmp_path / "expert/training.json").is_file()


def test_plans(inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = PluginSpec(type="pretrained", name=str(tmp_path / "teacher"))
    vocabulary = len(load_model(inputs["teacher"] / "model").get_input_embeddings().weight)
    roomy = Expected(vocabulary, 8, 1, 1000, spec, tokenizer=inputs["tokenizer"], memory=10**12, device="cpu")
    monkeypatch.setattr(available, "memory_bytes", lambda: 10**12)
    assert stage().cost({}, roomy).note == ""
    assert "stay on disk" in stage().cost({}, replace(roomy, teacher_weights="disk")).note
    monkeypatch.setattr(available, "memory_bytes", lambda: 1000)
    tight = replace(roomy, memory=1000)
    assert stage().cost({}, tight).memory_bytes > 0
    assert stage().cost({}, replace(tight, memory=None)).note == ""  # on the nodes of a cluster
    TeacherStage(teacher=TeacherConfig(model=spec, train=False), seed=0).cost({}, tight)
    with pytest.raises(ModelError, match="to train the teacher needs all weights"):
        TeacherStage(teacher=TeacherConfig(model=spec, train=True), seed=0).cost({}, tight)
    model = {"type": "gpt2", "layers": 1, "width": 16, "heads": 2}
    for changes, said in (
        ({"distillation": {"teacher": "live"}}, "a live teacher"),
        ({"initialise": "teacher", "distillation": {"teacher": "hidden_cache"}}, "to begin with the teacher's weights"),
    ):
        from orchestrator.stages.distilling import _check_teacher

        with pytest.raises(ModelError, match=said):
            _check_teacher(ExpertsConfig.model_validate({"model": model, **changes}), tight)
