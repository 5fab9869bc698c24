"""A configuration's identity: what differs from the defaults, and not where things lie."""

import pickle
from pathlib import Path

import pytest

from orchestrator.config.identity import identity, plugins_in
from orchestrator.config.loading import load_recipe

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"


def of(*overrides):
    return identity(load_recipe(RECIPES / "smoke.yaml", overrides))


@pytest.mark.parametrize(
    "default",
    [
        "experts.training.clip=1.0",
        "experts.distillation.schedule={type: fixed}",
        "experts.distillation.soft={type: forward_kl, temperature: 1.0}",
        "teacher.model={type: gpt2_nano}",
        "setup=ple",
        "tokenizer.path=null",
    ],
)
def test_a_default_that_is_written_out_changes_nothing(default):
    assert of(default) == of()


@pytest.mark.parametrize(
    "other",
    [
        "experts.training.clip=0.5",
        "experts.distillation.soft={type: reverse_kl, temperature: 2.0}",
        "experts.distillation.soft=reverse_kl",
        "experts.distillation.soft=null",
        "teacher.model=gpt2-tiny-teacher",
        "setup=jeet",
    ],
)
def test_whatever_differs_from_the_defaults_is_in_it(other):
    assert of(other) != of()


def test_only_what_was_chosen_is_in_it():
    assert of()["teacher"]["model"] == {"type": "gpt2_nano"}
    assert "min_characters" not in of()["corpus"]
    assert of()["corpus"]["max_documents"] == 40


def test_it_survives_other_processes():
    recipe = load_recipe(RECIPES / "smoke.yaml")
    assert identity(pickle.loads(pickle.dumps(recipe))) == identity(recipe)


def test_the_version_of_a_plugin_is_part_of_it_once_it_is_raised(monkeypatch):
    from orchestrator.losses.forward_kl import ForwardKL

    before = of()
    monkeypatch.setattr(ForwardKL, "version", 1, raising=False)
    assert of() == before
    monkeypatch.setattr(ForwardKL, "version", 2, raising=False)
    assert of() != before


def test_plugins_are_found_at_any_depth():
    found = {spec.type for spec in plugins_in(load_recipe(RECIPES / "smoke.yaml"))}
    assert {"miniwiki", "python_env", "gpt2-nano", "adamw", "forward_kl", "hidden_cache"} <= found
    gated = load_recipe(RECIPES / "smoke.yaml", ["setup={type: moe_ce, combiner: gate}"])
    assert {"moe_ce", "gate"} <= {spec.type for spec in plugins_in(gated)}
