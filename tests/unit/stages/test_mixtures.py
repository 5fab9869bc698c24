"""Stages that train, assemble and measure mixtures and students, on tiny models."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ExpertsConfig
from orchestrator.environment import Environment
from orchestrator.errors import ArtifactError, ModelError
from orchestrator.models.inference import routed_logits
from orchestrator.models.mixture_files import load_mixture
from orchestrator.stages.base import Expected, Stage
from orchestrator.stages.expert import ExpertStage
from orchestrator.stages.joint import JointStage
from orchestrator.stages.mixture import MixtureStage

CONTEXT, VOCABULARY = 16, 60
LANGUAGES = ("en", "fr")
EXPERTS = ExpertsConfig.model_validate(
    {
        "model": {"type": "gpt2", "layers": 1, "width": 16, "heads": 2},
        "training": {
            "tokens": CONTEXT * 8 * 6,
            "batch_tokens": CONTEXT * 8,
            "micro_batch": 4,
            "eval_every": 3,
            "eval_blocks": 4,
            "precision": "fp32",
            "publish": "last",
            "optimizer": {"type": "adamw", "lr": 0.01, "weight_decay": 0.2},
        },
    }
)
JEET, GATED = PluginSpec(type="jeet"), PluginSpec(type="moe_ce", combiner="gate")
EXPECTED = Expected(VOCABULARY, CONTEXT, 2, 1000, PluginSpec(type="gpt2", layers=1, width=16, heads=2))


def joint(setup: PluginSpec, learn: tuple[str, ...] = LANGUAGES, **changes: Any) -> JointStage:
    return JointStage(
        **{"setup": setup, "experts": EXPERTS, "languages": LANGUAGES, "learn": learn, "seed": 1, **changes}
    )


def run(stage: Stage, inputs: dict[str, Path], out: Path) -> Path:
    out.mkdir(parents=True)
    stage.run(inputs, out, replace(Environment(work=out.parent / f"{out.name}-work")))
    return out


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in rows(folder) if "loss" in row]


def parts(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Weights by part."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    mixture = load_mixture(folder)
    for name, parameter in mixture.named_parameters():
        found.setdefault(mixture.part_of(name), {})[name] = parameter.detach()
    return found


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def first(trained, tmp_path_factory) -> dict[str, Path]:
    """Each setup, trained on both languages."""
    root = tmp_path_factory.mktemp("joint")
    return {setup.type: run(joint(setup), trained, root / setup.type) for setup in (JEET, GATED)}


@pytest.fixture(scope="module")
def experts(trained, tmp_path_factory) -> dict[str, Path]:
    """Independent experts, by role."""
    root = tmp_path_factory.mktemp("experts")
    stages = {name: ExpertStage(language=name, experts=EXPERTS, seed=1) for name in LANGUAGES}
    return {f"expert-{name}": run(stage, trained, root / name) for name, stage in stages.items()}


class TestJoint:
    def test_learns_all_languages_in_as_many_steps_as_one_expert(self, first):
        for folder in first.values():
            steps = [row for row in rows(folder) if "loss" in row]
            assert [row["tokens"] for row in steps] == [CONTEXT * 16 * (step + 1) for step in range(6)]
            assert {"validation_loss/en", "validation_loss/fr"} <= set(rows(folder)[-1])
            assert losses(folder)[-1] < losses(folder)[0]
            facts = json.loads((folder / "training.json").read_text())
            assert facts["parameters"] < 3 * facts["expert_parameters"]

    def test_of_one_language_is_that_expert(self, trained, experts, tmp_path):
        alone = run(joint(JEET, ("fr",), languages=("fr",)), trained, tmp_path / "alone")
        assert losses(alone) == losses(experts["expert-fr"])

    @pytest.mark.parametrize("setup", [JEET, GATED], ids=["jeet", "moe_ce"])
    def test_what_is_not_learned_stays_bit_for_bit(self, first, trained, tmp_path, setup):
        inputs, before = trained | {"initial": first[setup.type]}, parts(first[setup.type])
        after = parts(run(joint(setup, ("en",)), inputs, tmp_path / "moving"))
        assert same(after["fr"], before["fr"])
        assert not same(after["en"], before["en"])
        assert not same(after["shared"], before["shared"])
        frozen = parts(run(joint(setup, ("en",), freeze_shared=True), inputs, tmp_path / "frozen"))
        assert {part for part in frozen if not same(frozen[part], before[part])} == {"en"}

    def test_a_new_language_leaves_the_others_logits_as_they_are(self, trained, tmp_path):
        one = run(joint(GATED, ("en",), languages=("en",)), trained, tmp_path / "one")
        grown = run(joint(GATED, ("fr",), freeze_shared=True), trained | {"initial": one}, tmp_path / "grown")
        ids = torch.arange(CONTEXT)[None] + 3
        with torch.inference_mode():
            before, after = (
                routed_logits(load_mixture(one), ids, torch.ones(1, 1)),
                routed_logits(load_mixture(grown), ids, torch.eye(2)[:1]),
            )
        assert torch.equal(before, after)

    def test_by_language_is_sparse_and_learns(self, trained, tmp_path):
        training = EXPERTS.training.model_copy(update={"sampling": "by_language"})
        stage = joint(JEET, experts=EXPERTS.model_copy(update={"training": training}))
        folder = run(stage, trained, tmp_path / "out")
        assert losses(folder)[-1] < losses(folder)[0]

    def test_starts_from_the_teachers_layers_where_asked(self, trained, tmp_path):
        stage = joint(JEET, experts=EXPERTS.model_copy(update={"initialise": "teacher"}))
        assert losses(run(stage, trained, tmp_path / "out"))[0] < np.log(VOCABULARY)

    def test_cost_counts_every_expert_and_the_common_one(self, trained):
        jeet, gated = (joint(setup).cost(trained, EXPECTED) for setup in (JEET, GATED))
        alone = ExpertStage(language="en", experts=EXPERTS, seed=1).cost(trained, EXPECTED)
        assert (jeet.tokens, gated.tokens) == (2 * alone.tokens,) * 2
        assert (jeet.flops, gated.flops) == (2 * alone.flops, 4 * alone.flops)
        assert (jeet.parameters, gated.parameters) == (2 * alone.parameters, 3 * alone.parameters)


class TestMixture:
    @pytest.fixture
    def router(self, tmp_path) -> Path:
        (tmp_path / "router").mkdir()
        (tmp_path / "router" / "router.json").write_text("{}")
        return tmp_path / "router"

    def test_links_experts_and_router(self, experts, router, tmp_path):
        inputs = {**experts, "router": router}
        folder = run(MixtureStage(setup=PluginSpec(type="ple"), languages=LANGUAGES), inputs, tmp_path / "out")
        mixture = load_mixture(folder)
        assert mixture.languages == LANGUAGES
        weights = Path("experts") / "fr" / "model.safetensors"
        assert (folder / weights).samefile(experts["expert-fr"] / "model" / "model.safetensors")
        assert (folder / "router" / "router.json").is_file()

    def test_takes_a_joint_trainings_common_expert_and_gates(self, first, router, tmp_path):
        inputs = {"joint": first["moe_ce"], "router": router}
        folder = run(MixtureStage(setup=GATED, languages=LANGUAGES), inputs, tmp_path / "out")
        before, after = parts(first["moe_ce"]), parts(folder)
        assert set(before) == set(after) == {*LANGUAGES, "common", "shared"}
        assert all(same(before[part], after[part]) for part in before)

    def test_experts_with_other_tokenizers_are_refused(self, experts, router, tmp_path):
        other = tmp_path / "expert-fr"
        shutil.copytree(experts["expert-fr"], other)
        (other / "model" / "tokenizer.json").write_text('{"other": 1}')
        stage = MixtureStage(setup=PluginSpec(type="ple"), languages=LANGUAGES)
        with pytest.raises(ModelError, match="different tokenizers"):
            run(stage, {**experts, "expert-fr": other, "router": router}, tmp_path / "out")

    def test_experts_of_other_languages_are_refused(self, first, router, tmp_path):
        stage = MixtureStage(setup=JEET, languages=("en", "de"))
        with pytest.raises(ArtifactError, match="the experts are of en, fr"):
            run(stage, {"joint": first["jeet"], "router": router}, tmp_path / "out")
