"""The teacher's cache as a stage: what it writes, how it goes on, what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ExpertsConfig
from orchestrator.environment import Environment, serial_map
from orchestrator.errors import ArtifactError, ModelError, ResourceError
from orchestrator.models import build_model, hidden_states, load_model
from orchestrator.stages import cache
from orchestrator.stages._teaching import cache_identity
from orchestrator.stages.base import Expected
from orchestrator.stages.cache import CacheStage, Draw
from orchestrator.stages.expert import ExpertStage
from orchestrator.teacher import ABOUT, Cache
from orchestrator.teacher._cache import read_rows
from orchestrator.tokens.blocks import TokenBlocks


def stage(kind: str = "hidden_cache", language: str = "fr", **options: Any) -> CacheStage:
    return CacheStage(language=language, teacher=PluginSpec(type=kind, **options), precision="fp32", seed=3)


def write(what: CacheStage, inputs: dict[str, Path], out: Path, run: Callable[..., Iterator[Any]] = serial_map) -> Path:
    out.mkdir()
    what.run(inputs, out, Environment(work=out.with_name(out.name + "-work"), map=run))
    return out


def opened(what: CacheStage, inputs: dict[str, Path], folder: Path) -> Cache:
    blocks = TokenBlocks.open(inputs["blocks"], "train")
    return Cache(folder, cache_identity(what.teacher, inputs["teacher"], blocks, what.language))


def expert(teacher: str, **distillation: Any) -> ExpertStage:
    training = {
        "tokens": 640,
        "batch_tokens": 128,
        "micro_batch": 4,
        "eval_every": 5,
        "eval_blocks": 2,
        "precision": "fp32",
    }
    config = {
        "model": {"type": "gpt2", "layers": 1, "width": 16, "heads": 2},
        "training": training,
        "distillation": {"teacher": teacher, **distillation},
    }
    return ExpertStage(language="fr", experts=ExpertsConfig.model_validate(config), seed=1)


def losses(what: ExpertStage, inputs: dict[str, Path], out: Path) -> list[float]:
    out.mkdir()
    what.run(inputs, out, Environment(work=out.with_name(out.name + "-work")))
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_hidden_states_are_the_teachers_in_fp16(trained, tmp_path):
    folder = write(stage(), trained, tmp_path / "out")
    blocks, found = TokenBlocks.open(trained["blocks"], "train"), opened(stage(), trained, folder)
    model = load_model(trained["teacher"] / "model")
    for index in (0, 33, blocks.count("fr") - 1):
        ids = torch.from_numpy(blocks.block("fr", index)[:-1].astype("int64")).unsqueeze(0)
        with torch.no_grad():
            expected = hidden_states(model, ids)[0]
        kept = found.block(index)["hidden"]
        assert kept.dtype == torch.float16
        torch.testing.assert_close(kept.float(), expected, rtol=2**-11, atol=1e-6)
    about = json.loads((folder / ABOUT).read_text())
    assert about["bytes"] == blocks.count("fr") * blocks.context * 2 * 16
    assert len(list(folder.glob("shard-*"))) > 1


def test_samples_follow_the_teachers_distribution(trained, tmp_path):
    what = stage("sampled_cache", samples=400)
    found, blocks = (
        opened(what, trained, write(what, trained, tmp_path / "out")),
        TokenBlocks.open(trained["blocks"], "train"),
    )
    model = load_model(trained["teacher"] / "model")
    ids = torch.from_numpy(blocks.block("fr", 5)[:-1].astype("int64")).unsqueeze(0)
    with torch.no_grad():
        p = torch.softmax(model(ids).logits[0], -1)
    kept = found.block(5)
    frequencies = torch.zeros_like(p).scatter_add_(
        1, kept["ids"].to(torch.int64), torch.full(kept["ids"].shape, 1 / 400)
    )
    error = (frequencies - p).abs() / (p * (1 - p) / 400).sqrt()
    assert float((error < 4).float().mean()) > 0.995
    torch.testing.assert_close(kept["entropy"].float(), -(p * p.log()).sum(-1), rtol=2e-3, atol=2e-3)


def test_samples_are_read_where_products_are_computed_in_bf16(trained, tmp_path):
    """torch 2.13.0 joins no fp16 inside of autocast on the CPU: findings/torch-autocast-half-stack.sh."""
    what = stage("sampled_cache")
    found = {0: opened(what, trained, write(what, trained, tmp_path / "out"))}
    rows = torch.tensor([[0, 0], [0, 3]])
    outside = read_rows(found, rows)
    with torch.autocast("cpu", torch.bfloat16):
        inside = read_rows(found, rows)
    assert {value.dtype for value in inside.values()} >= {torch.float16}
    assert all(torch.equal(inside[name], outside[name]) for name in outside)


def test_twelve_samples_take_at_most_48_bytes_a_token_for_any_vocabulary():
    from orchestrator.teacher.sampled_cache import SampledCache

    assert SampledCache().bytes_per_token(1024, 32_000) == 26
    assert SampledCache().bytes_per_token(4096, 256_000) == 38


def test_experts_learn_the_same_from_a_cache_as_from_the_live_teacher(trained, tmp_path):
    cached = {**trained, "cache-fr": write(stage(), trained, tmp_path / "cache")}
    live = losses(expert("live"), trained, tmp_path / "live")
    assert losses(expert("hidden_cache"), cached, tmp_path / "hidden") == pytest.approx(live, rel=2e-3)


def test_forward_kl_from_samples_is_near_the_live_one(trained, tmp_path):
    cached = {**trained, "cache-fr": write(stage("sampled_cache"), trained, tmp_path / "cache")}
    live = losses(expert("live", soft="forward_kl"), trained, tmp_path / "live")
    assert losses(expert("sampled_cache", soft="forward_kl"), cached, tmp_path / "sampled") == pytest.approx(
        live, rel=0.03
    )


def test_a_killed_attempt_goes_on_with_the_shards_it_lacks(trained, tmp_path, monkeypatch):
    def killed(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for index, item in enumerate(items):
            if index == 3:
                raise KeyboardInterrupt
            yield function(item)

    monkeypatch.setattr(cache, "PARALLEL_FLOPS", 0)  # so that the map is used
    with pytest.raises(KeyboardInterrupt):
        write(stage(), trained, tmp_path / "out", killed)
    shards = tmp_path / "out-work" / "shards"
    before = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    assert len(before) == 3
    (shards / "shard-00001.safetensors").write_bytes((shards / "shard-00001.safetensors").read_bytes()[:-5])
    shutil.rmtree(tmp_path / "out")
    folder = write(stage(), trained, tmp_path / "out")
    after = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    assert {name for name in before if after[name] == before[name]} == {
        "shard-00000.safetensors",
        "shard-00002.safetensors",
    }
    whole = write(stage(), trained, tmp_path / "whole")
    for path in whole.glob("shard-*"):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_a_damaged_block_is_told_when_it_is_read(trained, tmp_path):
    folder = write(stage(), trained, tmp_path / "out")
    path = folder / "shard-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    found = opened(stage(), trained, folder)
    last = json.loads((folder / ABOUT).read_text())["blocks_per_shard"] - 1
    assert found.block(0)["hidden"].shape == (16, 16)
    with pytest.raises(ArtifactError, match=r"damaged[\s\S]*--force caches"):
        found.block(last)


@pytest.mark.parametrize("other", ["teacher", "text", "source"])
def test_a_cache_of_something_else_is_refused(trained, tmp_path, other):
    folder = write(stage(), trained, tmp_path / "out")
    inputs, wanted = dict(trained), stage()
    if other == "teacher":
        inputs["teacher"] = tmp_path / "teacher"
        inputs["teacher"].mkdir()
        (inputs["teacher"] / "training.json").write_text('{"weights_sha256": "another"}')
    elif other == "text":
        inputs["blocks"] = tmp_path / "blocks"
        shutil.copytree(trained["blocks"], inputs["blocks"])
        with (inputs["blocks"] / "train" / "fr.bin").open("r+b") as file:
            file.write(b"\x05")
    else:
        wanted = stage("sampled_cache")
    with pytest.raises(ArtifactError, match=rf"is of another {other}[\s\S]*--force caches"):
        opened(wanted, inputs, folder)


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(trained, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"needs 0.0 GB[\s\S]*sampled_cache"):
        write(stage(), trained, tmp_path / "out")
    assert not (tmp_path / "out-work" / "shards").exists()


def test_a_disk_that_fills_while_caching_is_told(trained, tmp_path, monkeypatch):
    def full(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.teacher._cache.save_file", full)
    with pytest.raises(ResourceError, match="no space left"):
        write(stage(), trained, tmp_path / "out")
    assert not list((tmp_path / "out-work" / "shards").iterdir())


def test_a_teacher_of_another_vocabulary_is_refused(trained, tmp_path):
    folder = tmp_path / "blocks"
    shutil.copytree(trained["blocks"], folder)
    about = json.loads((folder / "blocks.json").read_text())
    (folder / "blocks.json").write_text(json.dumps({**about, "vocab_size": 70}))
    with pytest.raises(ModelError, match="60 tokens and the student 70"):
        write(stage(), {**trained, "blocks": folder}, tmp_path / "out")


def test_the_cost_is_one_forward_pass_and_what_it_writes(trained):
    expected = Expected(
        vocab_size=60, context=16, languages=2, tokens_per_language=None, teacher=PluginSpec(type="gpt2_nano")
    )
    model = build_model(expected.teacher, 60, 16, 0, "meta")
    cost = stage("sampled_cache").cost(trained, expected)
    assert cost.tokens == TokenBlocks(trained["blocks"], "train").count("fr") * 16
    assert cost.flops == 2 * sum(parameter.numel() for parameter in model.parameters()) * cost.tokens
    assert cost.disk_bytes == 26 * cost.tokens


@pytest.mark.parametrize("kind", ["hidden_cache", "sampled_cache"])
def test_a_cache_of_what_is_drawn_trains_the_same_expert(kind, trained, tmp_path):
    what = expert(kind)
    draw = Draw.of(what.experts.training, what.seed)
    few = stage(kind).model_copy(update={"drawn": draw})
    folders = [write(each, trained, tmp_path / name) for name, each in (("whole", stage(kind)), ("drawn", few))]
    ends = [losses(what, {**trained, "cache-fr": folder}, tmp_path / f"expert-{folder.name}") for folder in folders]
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)
    whole, drawn = (json.loads((folder / ABOUT).read_text()) for folder in folders)
    assert drawn["blocks"] == len(draw.blocks(TokenBlocks.open(trained["blocks"], "train"), "fr"))
    assert drawn["blocks"] < whole["blocks"]
    assert drawn["bytes"] / whole["bytes"] == drawn["blocks"] / whole["blocks"]


def test_a_cache_of_what_is_drawn_is_not_read_for_other_blocks(trained, tmp_path):
    draw = Draw.of(expert("hidden_cache").experts.training, 1)
    what = stage().model_copy(update={"drawn": draw})
    found = opened(what, trained, write(what, trained, tmp_path / "out"))
    blocks = TokenBlocks.open(trained["blocks"], "train")
    drawn = draw.blocks(blocks, "fr")
    other = next(index for index in range(blocks.count("fr")) if index not in drawn)
    assert found.block(drawn[-1])["hidden"].shape == (blocks.context, 16)
    with pytest.raises(ArtifactError, match=f"another training draws, without block {other}") as caught:
        found.block(other)
    assert "cache=whole" in caught.value.fix
    with pytest.raises(ArtifactError, match="another training draws"):
        found.block(blocks.count("fr"))


def test_what_is_drawn_counts_in_the_plan(trained):
    blocks = TokenBlocks.open(trained["blocks"], "train")
    tokens = blocks.count("fr") * blocks.context
    draw = Draw(tokens=tokens // 4, epochs=3, batch_tokens=128, sampling="mixed", seed=1)
    expected = Expected(
        vocab_size=60, context=16, languages=2, tokens_per_language=None, teacher=PluginSpec(type="gpt2_nano")
    )
    whole, few = (each.cost(trained, expected) for each in (stage(), stage().model_copy(update={"drawn": draw})))
    assert few.tokens == pytest.approx(whole.tokens / 4, abs=1)
    assert few.flops == pytest.approx(whole.flops / 4, rel=1e-3)
    assert Draw(tokens=None, epochs=0.5, batch_tokens=128, sampling="mixed", seed=1).share(1000) == 0.5
