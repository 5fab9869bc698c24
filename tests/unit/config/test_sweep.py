"""Sweeps as they are written: combinations, shared parts, and mistakes found before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config.loading import load_model
from orchestrator.config.sweep import Sweep, base_recipe, combinations
from orchestrator.errors import RecipeError

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"


def written(folder: Path, **changes: Any) -> tuple[Sweep, Path]:
    tree = {
        "name": "s",
        "base": str(RECIPES / "smoke.yaml"),
        "grid": {"experts.distillation.schedule": [{"type": "fixed", "alpha": 0.5}, "alternating"]},
        **changes,
    }
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(tree))
    return load_model(Sweep, file), file


def test_every_combination_with_every_seed_and_nothing_else_changed(tmp_path: Path) -> None:
    sweep, file = written(tmp_path, seeds=[3, 4], overrides={"experts.training.tokens": 9999})
    found = list(combinations(sweep, file))
    assert [(recipe.experts.distillation.schedule.type, seed) for _, seed, recipe in found] == [
        ("fixed", 3),
        ("alternating", 3),
        ("fixed", 4),
        ("alternating", 4),
    ]
    base = base_recipe(sweep, file)
    for _, seed, recipe in found:
        assert recipe.experts.training.seed == seed
        assert recipe.experts.training.tokens == 9999
        assert recipe.model_dump(exclude={"experts"}) == base.model_dump(exclude={"experts"})
    assert (base.name, sweep.experts(base)) == ("s", ("expert-en",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"seed": [1, 2]}}, "a grid is over fields of `experts`"),
        ({"languages": ["frr"]}, 'did you mean "fr"'),
        ({"grid": {"experts.distillation.schedule": ["alternatin"]}}, 'did you mean "alternating"'),
        ({"base": "missing.yaml"}, "can't be read"),
        ({"seedz": [1]}, 'did you mean "seeds"'),
    ],
)
def test_mistakes_are_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    def read() -> None:
        sweep, file = written(tmp_path, **changes)
        base_recipe(sweep, file)
        list(combinations(sweep, file))

    with pytest.raises(RecipeError, match=message):
        read()


def test_the_shipped_sweep_asks_the_papers_two_questions() -> None:
    file = RECIPES / "sweep.yaml"
    sweep = load_model(Sweep, file)
    schedules = [
        recipe.experts.distillation.schedule.type for _, seed, recipe in combinations(sweep, file) if seed == 1
    ]
    assert schedules == ["fixed", "adaptive_paper", "alternating"]
    assert len(sweep.seeds) == 2
