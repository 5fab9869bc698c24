"""A teacher whose weights stay on disk: caches, the evaluation and plans, beside the same teacher in memory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
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
from orchestrator.models.streamed import Stream
from orchestrator.processes import ProcessMap
from orchestrator.stages import cache
from orchestrator.stages.base import Expected
from orchestrator.stages.cache import CacheStage
from orchestrator.stages.expert import ExpertStage
from orchestrator.stages.teacher import TeacherStage
from tests.unit.models.families import build
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


WRITER = """
import json, re, resource, sys, threading, time
from pathlib import Path
from orchestrator.config.base import PluginSpec
from orchestrator.environment import Environment
from orchestrator.stages.cache import CacheStage
from orchestrator.config.recipe import TeacherConfig
from orchestrator.stages.teacher import TeacherStage
import torch, transformers, orchestrator.models, orchestrator.teacher, orchestrator.training.publish

inputs = {name: Path(folder) for name, folder in json.loads(sys.argv[1]).items()}
out, place, source = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
peaks = {}

def own(kind):
    return int(re.search(kind + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024

def peak_of(name, run):
    Path("/proc/self/clear_refs").write_text("5")
    most, over = [0], threading.Event()
    def watch():
        while not over.wait(0.002):
            most[0] = max(most[0], own("RssAnon"))
    before, thread = own("RssAnon"), threading.Thread(target=watch)
    thread.start(); run(); over.set(); thread.join()
    peaks[name] = {"anonymous": most[0] - before, "resident": own("VmHWM"), "before": before}

env = Environment(work=out / "work", teacher_weights=place)
for name in ("taken", "cache"):
    (out / name).mkdir(parents=True)
if source:
    teacher = TeacherStage(teacher=TeacherConfig(model=PluginSpec(type="pretrained", name=source), train=False), seed=0)
    peak_of("taken", lambda: teacher.run(inputs, out / "taken", env))
stage = CacheStage(language="es", teacher=PluginSpec(type="hidden_cache"), precision="fp32", seed=3)
peak_of("cache", lambda: stage.run(inputs, out / "cache", env))
print(json.dumps(peaks))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are Linux's")
def test_a_teacher_larger_than_what_is_held(tmp_path: Path) -> None:
    sizes = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 8}
    folder = write("llama3", tmp_path / "teacher")
    rows = len(load_model(folder).get_input_embeddings().weight)
    large = build("llama", vocab_size=rows, num_key_value_heads=8, **sizes)
    large.to(torch.bfloat16).save_pretrained(folder, max_shard_size="100MB")
    (folder / "model.safetensors").unlink()
    taken(folder, tmp_path / "tokenizer")
    found = packed(tmp_path / "tokenizer", tmp_path) | {"teacher": tmp_path / "disk/taken"}
    peaks: dict[str, Any] = {}
    for place, source in (("disk", str(folder)), ("memory", "")):
        places = json.dumps({name: str(each) for name, each in found.items()})
        command = [sys.executable, "-c", WRITER, places, str(tmp_path / place), place, source]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        peaks[place] = json.loads(said.stdout.splitlines()[-1])
    whole = 4 * 12 * (4 * 1024 * 1024 + 3 * 1024 * 3072)  # bytes of the layers in fp32
    assert whole > 600e6
    assert peaks["memory"]["cache"]["anonymous"] > 0.9 * whole
    assert peaks["disk"]["cache"]["anonymous"] < 0.4 * whole
    assert peaks["disk"]["taken"]["anonymous"] < 0.5 * whole  # with what is imported for it
    assert peaks["disk"]["cache"]["resident"] < peaks["memory"]["cache"]["resident"] - 0.4 * whole
    assert files(tmp_path / "disk/cache") == files(tmp_path / "memory/cache")


def test_layers_are_read_once_for_all_shards_of_a_small_cache(
    inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[torch.nn.Module] = []
    there = Stream._there
    monkeypatch.setattr(Stream, "_there", lambda self, layer: read.append(layer) or there(self, layer))
    made = write_cache(stage(), inputs, "disk")
    assert len([name for name in made if name.startswith("shard")]) == cache.SHARDS
    assert len(read) == len(set(read)) == 2
