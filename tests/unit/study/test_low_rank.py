"""The study of low-rank experts: its graph, the laws of its stage, and what its page says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from orchestrator.config.base import PluginSpec
from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import EvaluationConfig
from orchestrator.errors import RecipeError
from orchestrator.models import build_model, save_model
from orchestrator.pipeline.graph import Step, code_of, fingerprints, steps_of
from orchestrator.reporting.effects import Runs
from orchestrator.study._low_rank.report import report
from orchestrator.study._low_rank.stage import LowRankStage, factors, low_rank, size
from tests.unit.stages.test_mixtures import CONTEXT, VOCABULARY, run

RECIPE = Path(__file__).resolve().parents[3] / "jobs" / "recipes" / "low_rank.yaml"


def steps(*overrides: str) -> dict[str, Step]:
    return {step.name: step for step in steps_of(load_recipe(RECIPE, overrides))}


class TestGraph:
    def test_experts_go_on_from_the_base_that_learns_all_languages(self):
        found = steps()
        assert found["base@1"].stage.languages == ("en", "fr", "de", "py")
        assert found["from-base-fr@1"].inputs["initial"] == "base@1"
        assert found["from-base-fr@1"].stage.languages == ("fr",)
        assert found["low-rank-fr@1"].inputs == {"blocks": "blocks", "base": "base@1", "expert": "from-base-fr@1"}
        seen: set[str] = set()
        for step in found.values():
            assert set(step.inputs.values()) <= seen, step.name
            seen.add(step.name)

    def test_another_seed_adds_students_and_changes_none(self):
        one, two = (fingerprints(tuple(steps(f"study.seeds={seeds}").values())) for seeds in ("[1]", "[1,2]"))
        assert {name for name in two if name not in one} == {
            "base@2", *(f"{kind}-{lang}@2" for kind in ("from-base", "low-rank") for lang in ("en", "fr", "de", "py")),
        }  # fmt: skip
        assert {name for name in one if one[name] != two[name]} == {"main-report", "report"}

    def test_the_main_line_is_what_it_is_without_a_study(self):
        alone, beside = (fingerprints(tuple(steps(*changes).values())) for changes in (["study=null"], []))
        assert {name for name, found in alone.items() if beside[name] != found} == {"report"}

    def test_its_stage_is_of_its_own_code(self):
        modules = code_of(steps()["low-rank-en@1"].stage)
        assert modules == {"orchestrator.study._low_rank.stage"}

    @pytest.mark.parametrize("change", ["ranks=[]", "ranks=[0]", "ranks=[2,2]", "seeds=[1,1]", "rank=[1]"])
    def test_bad_options_are_refused(self, change):
        with pytest.raises(RecipeError, match=r"ranks|seed"):
            steps(f"study.{change}")


class TestPart:
    @pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6,), (3, 2, 2)])
    def test_all_of_it_and_nothing_of_it(self, shape):
        difference = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        learned = factors(difference)
        torch.testing.assert_close(low_rank(learned, 7).reshape(shape), difference)
        assert not low_rank(learned, 0).any()
        assert (size(learned, 0), size(learned, 7)) == (0, difference.numel())

    def test_no_other_matrix_of_the_rank_is_nearer(self):
        difference = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
        part = low_rank(factors(difference), 2)
        assert torch.linalg.matrix_rank(part) == 2
        rest = torch.linalg.svdvals(difference)[2:]
        torch.testing.assert_close((difference - part).norm(), rest.norm())

    def test_two_factors_are_stored_where_they_are_smaller(self):
        learned = factors(torch.randn(10, 8))
        assert [size(learned, rank) for rank in (1, 2, 4, 5, 8)] == [18, 36, 72, 80, 80]


@pytest.fixture(scope="module")
def made(data, tmp_path_factory) -> Path:
    """Ranks 0, 1 and 16 (all there is) of an expert that differs from its base in every weight."""
    root = tmp_path_factory.mktemp("low-rank")
    torch.manual_seed(0)
    for role, noise in (("base", 0.0), ("expert", 0.05)):
        model = build_model(PluginSpec(type="gpt2", layers=1, width=16, heads=2), VOCABULARY, CONTEXT, seed=1)
        with torch.no_grad():
            for weight in model.parameters():
                weight += noise * torch.randn_like(weight)
        save_model(model, data["tokenizer"], root / role / "model")
    stage = LowRankStage(language="fr", ranks=(0, 1, 16), evaluation=EvaluationConfig(split="validation"))
    return run(stage, {"blocks": data["blocks"], "base": root / "base", "expert": root / "expert"}, root / "out")


class TestStage:
    def test_rank_zero_is_the_base_and_all_ranks_are_the_expert(self, made):
        found = load_file(made / "losses.safetensors")
        assert len(found["works"]) == len(found["loss/base"]) > 3
        assert np.array_equal(found["loss/0"], found["loss/base"])
        np.testing.assert_allclose(found["loss/16"], found["loss/expert"], rtol=1e-5)
        assert not np.allclose(found["loss/expert"], found["loss/base"], rtol=1e-4)
        assert not np.allclose(found["loss/1"], found["loss/base"], rtol=1e-5)

    def test_sizes_rise_from_nothing_to_the_experts(self, made):
        sizes = json.loads((made / "sizes.json").read_text())
        assert sizes["base"] == sizes["0"] == 0 < sizes["1"] < sizes["16"] == sizes["expert"]


def losses_of(gains: Mapping[str, float], seeds: int = 1, noise: float = 0.01) -> dict[str, Runs]:
    """Losses of 30 works of two languages, by what is kept; every seed and work gains a little more or less."""
    rng = np.random.default_rng(0)
    hard = rng.normal(6, 1, 30)
    more = {(seed, name): 1 + noise * rng.normal(size=30) for seed in range(seeds) for name in ("en", "fr")}
    return {
        kept: {seed: {name: hard - gain * more[seed, name] for name in ("en", "fr")} for seed in range(seeds)}
        for kept, gain in {"base": 0.0, **gains}.items()
    }


class TestPage:
    RECIPE: ClassVar[dict[str, Any]] = {
        "name": "made up",
        "evaluation": {"confidence": 0.95},
        "experts": {"training": {"optimizer": {"type": "adamw"}}},
    }
    SIZES: ClassVar[dict[str, int]] = {"base": 0, "1": 100, "4": 400, "expert": 1000}

    @pytest.mark.parametrize(("seeds", "over"), [(1, "another seed may differ"), (3, "over seeds")])
    def test_says_which_rank_keeps_which_share(self, seeds, over):
        page, numbers = report(losses_of({"1": 0.2, "4": 0.38, "expert": 0.4}, seeds), self.SIZES, self.RECIPE)
        document = page.document
        assert "Rank 1 keeps 50\N{NO-BREAK SPACE}% [50" in document.summary[1]
        assert "in 100 numbers, 10\N{NO-BREAK SPACE}% of an expert" in document.summary[1]
        assert document.summary[-1] == "The lowest rank that surely keeps 90\N{NO-BREAK SPACE}% of the gain: 4."
        assert any(over in sentence for sentence in document.sections[0].sentences)
        assert numbers["share_of_gain"]["4"]["value"] == pytest.approx(0.95)
        assert numbers["share_of_gain"]["base"]["value"] == pytest.approx(0, abs=1e-12)
        assert numbers["share_of_gain"]["expert"]["value"] == pytest.approx(1)

    def test_no_share_is_told_of_what_may_be_nothing(self):
        for gain in (0.0, -0.1):
            page, numbers = report(losses_of({"1": 0.1, "4": 0.1, "expert": gain}), self.SIZES, self.RECIPE)
            assert set(numbers["share_of_gain"].values()) == {None}
            assert "no share of it can be told" in page.document.summary[1]

    def test_where_no_rank_is_enough(self):
        page, _ = report(losses_of({"1": 0.1, "4": 0.2, "expert": 0.4}), self.SIZES, self.RECIPE)
        assert page.document.summary[-1].endswith("none of those tried.")
