"""A teacher with another tokenizer, from its blocks to the cache, the expert and the evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import ExpertsConfig, TeacherConfig
from orchestrator.environment import Environment
from orchestrator.errors import ArtifactError
from orchestrator.evaluation.aligned import aligned_losses
from orchestrator.evaluation.perplexity import block_losses, token_losses
from orchestrator.losses import LazyLogits, distillation_loss
from orchestrator.losses.forward_kl import ForwardKL
from orchestrator.models import build_model, load_model
from orchestrator.reporting.alignment_section import alignments
from orchestrator.reporting.run_results import RunResults
from orchestrator.stages._aligned import open_aligned
from orchestrator.stages._teaching import teacher_model
from orchestrator.stages.base import Expected
from orchestrator.stages.cache import CacheStage
from orchestrator.stages.distilling import objective
from orchestrator.stages.evaluation import _evaluate, _Job
from orchestrator.stages.expert import ExpertStage
from orchestrator.stages.teacher import TeacherStage
from orchestrator.teacher import TeacherStates
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training.batches import micro_batches
from tests.unit.tokens.test_aligning import laid, made, opened

__all__ = ["made"]
MODEL = {"type": "gpt2", "layers": 1, "width": 16, "heads": 2}
TRAINING = {
    "tokens": 8 * 4 * 8,
    "batch_tokens": 8 * 4,
    "micro_batch": 2,
    "eval_every": 4,
    "eval_blocks": 2,
    "precision": "fp32",
}
SOURCE = PluginSpec.model_validate({"type": "hidden_cache", "states": "fp32"})


@pytest.fixture(scope="module")
def run(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The artifacts up to the cache."""
    root = tmp_path_factory.mktemp("aligned")
    inputs = laid(made, "gpt2", root)
    teacher = TeacherConfig.model_validate({"model": {"type": "pretrained", "name": str(made["gpt2"])}, "train": False})
    stages = {"teacher": TeacherStage(teacher=teacher, seed=0, own_tokenizer=True)}
    stages["cache-es"] = CacheStage(language="es", teacher=SOURCE, precision="fp32", seed=0)
    for name, stage in stages.items():
        read = {**inputs, "tokenizer": inputs["teacher-tokenizer"]} if name == "teacher" else inputs
        inputs[name] = root / name
        inputs[name].mkdir()
        stage.run(read, inputs[name], Environment(work=root / "work" / name))
    return inputs


def experts(**distillation: Any) -> ExpertsConfig:
    config = {"soft": "forward_kl", "teacher": SOURCE.model_dump(), "alignment": "spans", **distillation}
    return ExpertsConfig.model_validate({"model": MODEL, "training": TRAINING, "distillation": config})


def first(blocks: TokenBlocks, count: int = 3) -> torch.Tensor:
    return torch.stack([torch.zeros(count, dtype=torch.int64), torch.arange(count)], 1)


def test_a_cache_says_what_the_teacher_says_beside_the_student(run: dict[str, Path]) -> None:
    blocks = open_aligned(run, "train", ["es"])
    found: list[TeacherStates] = []
    for source in ("live", "hidden_cache"):
        distillation = experts(
            teacher={"type": source, **({"states": "fp32"} if source == "hidden_cache" else {})}
        ).distillation
        env = Environment(work=run["blocks"])
        opened_ = objective(distillation, run, blocks, ("es",), env)
        rows = first(blocks)
        states = opened_.teacher.states(torch.from_numpy(blocks.gather(rows.numpy())[:, :-1]), rows)
        assert isinstance(states, TeacherStates)
        assert states.met is not None
        found.append(states)
    live, cached = found
    assert live.met is not None
    assert cached.met is not None
    torch.testing.assert_close(live.hidden, cached.hidden, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(live.met, cached.met, strict=True):
        assert (mine == theirs).all()
    assert live.met.known.any()
    assert len(live.weight) == len(opened(run).alignment.teacher) != blocks.vocab_size


def test_a_teachers_loss_is_of_the_same_text_in_its_own_tokens(run: dict[str, Path]) -> None:
    model, blocks = load_model(run["teacher"] / "model"), opened(run, "test")
    split, count = blocks.aligned("es"), blocks.count("es")
    losses = aligned_losses(model, blocks, "es", count, batch=2)
    for block in (0, count - 1):
        start, begin, end = split.windows[block]
        ids = torch.from_numpy(split.stream[start:end].astype(np.int64))[None]
        nats = token_losses(model, ids)[0, begin - start - 1 :].detach()
        assert losses[block] == pytest.approx(float(nats.double().sum()), rel=1e-5)
        assert len(nats) == end - begin
    assert losses.sum() > 0


def test_equal_tokenizers_have_the_plain_loss(made: dict[str, Path], tmp_path: Path) -> None:
    """Through blocks, alignment, teacher and loss: what a run without alignment computes."""
    inputs = laid(made, "own", tmp_path)
    size = TokenBlocks.open(inputs["blocks"], "train").vocab_size
    teacher, student = (build_model(PluginSpec.model_validate(MODEL), size, 8, seed).double().eval() for seed in (1, 2))
    found = []
    for blocks in (TokenBlocks.open(inputs["blocks"], "train"), open_aligned(inputs, "train", ["es"])):
        about = teacher_model(tmp_path, "cpu", blocks)
        source = build("teacher", PluginSpec(type="live")).open(
            about.__class__(**{**vars(about), "load": lambda: teacher})
        )
        batch = next(micro_batches(blocks, first(blocks).numpy(), 3, 0, 1))
        states = source.states(batch.inputs, batch.rows)
        hidden = student.transformer(batch.inputs).last_hidden_state
        logits = LazyLogits(hidden, student.lm_head.weight)
        found.append(
            distillation_loss(logits, batch.labels, teacher=LazyLogits(*states), soft=ForwardKL(), alpha=0.5, beta=0.5)
        )
    torch.testing.assert_close(found[0].loss, found[1].loss, rtol=1e-12, atol=1e-12)
    assert found[0].soft > 0


def test_an_expert_learns_from_the_cache_and_the_teacher_is_evaluated_beside_it(
    run: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "expert-es"
    out.mkdir()
    ExpertStage(language="es", experts=experts(), seed=1).run(run, out, Environment(work=tmp_path / "work"))
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(row["soft"] > 0 for row in rows if "soft" in row)
    assert any("soft" in row for row in rows)
    blocks = TokenBlocks.open(run["blocks"], "test")
    assert np.isfinite(block_losses(load_model(out / "model"), blocks, "es", 1)).all()
    job = _Job(
        role="teacher",
        folder=run["teacher"],
        blocks=run["blocks"],
        alignment=run["alignment-es"],
        tokenizer=run["tokenizer"],
        split="test",
        language="es",
        probabilities=np.ones((2, 1)),
        batch=2,
        device="cpu",
        streamed=False,
        prompts=("La casa",),
        seed=0,
    )
    losses, texts = _evaluate(job)
    assert len(losses["teacher"]) == 2
    assert len(texts) == 1
    from_disk, same_texts = _evaluate(replace(job, streamed=True))
    assert np.array_equal(from_disk["teacher"], losses["teacher"])
    assert same_texts == texts


def test_a_cache_of_another_alignment_is_refused(run: dict[str, Path], tmp_path: Path) -> None:
    blocks = open_aligned(run, "train", ["es"])
    other = tmp_path / "other"
    other.mkdir()
    for path in run["alignment-es"].iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    classes = np.load(other / "student.npy")
    np.save(other / "student.npy", np.roll(classes, 1))
    changed = open_aligned({**run, "alignment-es": other}, "train", ["es"])
    env = Environment(work=tmp_path)
    objective(experts().distillation, run, blocks, ("es",), env)
    with pytest.raises(ArtifactError, match="another alignment"):
        objective(experts().distillation, run, changed, ("es",), env)


def test_costs_are_of_the_teachers_own_vocabulary(run: dict[str, Path]) -> None:
    spec = PluginSpec.model_validate({"type": "pretrained", "name": str(run["teacher"] / "model")})
    size, folder = len(opened(run).alignment.teacher), run["teacher-tokenizer"]
    expected = Expected(290, 8, 1, 100, spec, teacher_tokenizer=folder, teacher_vocab_size=size)
    stage = TeacherStage(teacher=TeacherConfig(model=spec, train=False), seed=0)
    assert stage.cost({"blocks": None, "tokenizer": None}, expected).parameters > 0
    assert CacheStage(language="es", teacher=SOURCE, precision="fp32", seed=0).cost({}, expected).disk_bytes > 0


def test_the_report_says_how_the_tokens_lie(run: dict[str, Path]) -> None:
    facts = json.loads((run["alignment-es"] / "alignment.json").read_text())
    (section,) = alignments(cast("RunResults", {"alignments": {"es": facts}}))
    assert "301 tokens" in section.sentences[0]
    assert "290" in section.sentences[0]
    assert alignments(cast("RunResults", {})) == ()
