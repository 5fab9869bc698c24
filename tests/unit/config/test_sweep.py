"""Sweeps as they are written: combinations, shared parts, and mistakes found before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config.loading import load_model
from orchestrator.config.recipe import Recipe
from orchestrator.config.sweep import Configuration, Range, Sweep, base_recipe, configurations, draw, trial_recipe
from orchestrator.errors import RecipeError

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"
LR = "experts.training.optimizer.lr"
SCHEDULE = "experts.distillation.schedule"


def written(folder: Path, **changes: Any) -> tuple[Sweep, Path]:
    tree = {"name": "s", "base": str(RECIPES / "smoke.yaml"), **changes}
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return load_model(Sweep, file), file


def combinations(sweep: Sweep, file: Path) -> Iterator[tuple[Configuration, int, Recipe]]:
    for seed, configuration in itertools.product(sweep.seeds, configurations(sweep)):
        yield configuration, seed, trial_recipe(sweep, file, configuration, seed)


def test_every_configuration_with_every_seed_and_nothing_else_changed(tmp_path: Path) -> None:
    grid = {SCHEDULE: [{"type": "fixed", "alpha": 0.5}, "alternating"]}
    sweep, file = written(tmp_path, grid=grid, seeds=[3, 4], overrides={"experts.training.tokens": 9999})
    found = list(combinations(sweep, file))
    assert [(configuration.name, seed) for configuration, seed, _ in found] == [
        ("schedule=fixed(alpha=0.5)", 3),
        ("schedule=alternating", 3),
        ("schedule=fixed(alpha=0.5)", 4),
        ("schedule=alternating", 4),
    ]
    base = base_recipe(sweep, file)
    for configuration, seed, recipe in found:
        assert recipe.experts.distillation.schedule.type in configuration.name
        assert recipe.experts.training.seed == seed
        assert recipe.experts.training.tokens == 9999
        assert recipe.model_dump(exclude={"experts"}) == base.model_dump(exclude={"experts"})
    assert (base.name, sweep.trained(base)) == ("s", ("expert-en",))


def test_named_configurations_are_multiplied_with_the_grid(tmp_path: Path) -> None:
    named = {"hot": {"experts.distillation.soft": {"type": "reverse_kl", "temperature": 2.0}}, "as it is": {}}
    sweep, file = written(tmp_path, configurations=named, grid={LR: [1e-3, 2e-3]}, seeds=[1])
    found = {configuration.name: recipe.experts for configuration, _, recipe in combinations(sweep, file)}
    assert list(found) == ["hot, lr=0.001", "hot, lr=0.002", "as it is, lr=0.001", "as it is, lr=0.002"]
    assert found["hot, lr=0.002"].distillation.soft.options == {"temperature": 2.0}
    assert found["hot, lr=0.002"].training.optimizer.options["lr"] == 2e-3


def test_a_teachers_sweep_seeds_the_teacher(tmp_path: Path) -> None:
    sweep, file = written(tmp_path, train="teacher", grid={"teacher.training.warmup": [0.1, 0.2]}, seeds=[5])
    for _, _, recipe in combinations(sweep, file):
        assert (recipe.teacher.training.seed, recipe.experts.training.seed) == (5, None)
        assert sweep.trained(recipe) == ("teacher",)


def test_random_search_is_its_seeds(tmp_path: Path) -> None:
    def found(seed: int) -> list[dict[str, Any]]:
        space = {LR: {"low": 1e-4, "high": 1e-2, "log": True}, "experts.distillation.soft": {"choices": ["jsd", "tvd"]}}
        sweep, _ = written(tmp_path, search={"type": "random", "samples": 8, "space": space, "seed": seed})
        return [dict(configuration.changes) for configuration in configurations(sweep)]

    assert found(1) == found(1) != found(2)
    assert len(found(1)) == 8
    assert all(1e-4 <= values[LR] <= 1e-2 for values in found(1))
    assert {values["experts.distillation.soft"] for values in found(1)} == {"jsd", "tvd"}


def test_what_a_search_draws_twice_is_there_once(tmp_path: Path) -> None:
    space = {"experts.distillation.soft": {"choices": ["jsd", "tvd"]}}
    sweep, _ = written(tmp_path, search={"type": "random", "samples": 20, "space": space})
    assert sorted(configuration.name for configuration in configurations(sweep)) == ["soft=jsd", "soft=tvd"]


def test_draw() -> None:
    assert [draw(Range(low=1, high=3), share) for share in (0.0, 0.5, 0.999)] == [1, 2, 3]
    assert draw(Range(low=1e-4, high=1e-2, log=True), 0.5) == pytest.approx(1e-3)
    assert draw(Range(choices=("a", "b")), 0.5) == "b"


def test_equal_time_and_references_name_configurations(tmp_path: Path) -> None:
    sweep, _ = written(
        tmp_path,
        configurations={"fixed 0.5": {}, "CE mostly": {f"{SCHEDULE}.alpha": 0.9}},
        equal_time={"CE mostly": "fixed 0.5"},
        references=[
            {"what": "d", "paper": -0.01, "ours": ["CE mostly, equal time", "fixed 0.5"], "source": "Figure 7"}
        ],
    )
    assert sweep.references[0].ours[0] == "CE mostly, equal time"


def test_an_unknown_field_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        written(tmp_path, configurations={"fixed 0.5": {}, "CE only": {"experts.distilation.soft": None}})
    lines = (tmp_path / "sweep.yaml").read_text().splitlines()
    line = 1 + next(i for i, text in enumerate(lines) if "distilation" in text)
    assert f"sweep.yaml:{line}: configurations.CE only.experts.distilation.soft: there is no field" in str(caught.value)
    assert 'did you mean "distillation"?' in str(caught.value)


SPACE = {"space": {LR: {"low": 1e-4, "high": 1e-2}}, "samples": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give configurations, a grid or a search"),
        ({"grid": {LR: []}}, "at least 1 item"),
        ({"grid": {"experts.training.lr": [1]}}, "no field 'lr' in experts.training"),
        ({"grid": {"seeds": [1, 2]}}, 'did you mean "seed"'),
        ({"grid": {f"{SCHEDULE}": ["alternatin"]}}, 'did you mean "alternating"'),
        ({"grid": {f"{SCHEDULE}.alfa": [0.5]}}, 'did you mean "alpha"'),
        ({"configurations": {"too much": {f"{SCHEDULE}.alpha": 1.5}}}, "less than or equal to 1"),
        ({"grid": {LR: [1e-3]}, "search": SPACE}, "takes the place of the grid"),
        ({"search": {**SPACE, "type": "optuna"}, "configurations": {"a": {}}}, "optuna chooses"),
        ({"search": {**SPACE, "space": {LR: {"low": 1.0, "high": 0.1}}}}, "low must be below high"),
        ({"search": {**SPACE, "space": {LR: {"low": 0, "high": 0.1, "log": True}}}}, "with log above 0"),
        ({"search": {**SPACE, "space": {LR: {"high": 0.1}}}}, "give low and high, or choices"),
        ({"configurations": {"fixed": {}}, "equal_time": {"fixd": "fixed"}}, 'did you mean "fixed"'),
        ({"train": "teacher", "languages": ["en"], "grid": {LR: [1e-3]}}, "languages are those of experts"),
        ({"grid": {LR: [1e-3]}, "seeds": [1, 1]}, "a seed is there twice"),
        ({"grid": {LR: [1e-3]}, "languages": ["frr"]}, 'did you mean "fr"'),
        ({"grid": {LR: [1e-3]}, "base": "missing.yaml"}, "can't be read"),
        ({"grid": {LR: [1e-3]}, "seedz": [1]}, 'did you mean "seeds"'),
    ],
)
def test_mistakes_are_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    def read() -> None:
        sweep, file = written(tmp_path, **changes)
        base_recipe(sweep, file)
        list(combinations(sweep, file))

    with pytest.raises(RecipeError) as caught:
        read()
    assert message in str(caught.value)


def test_the_shipped_sweep_asks_the_papers_two_questions() -> None:
    file = RECIPES / "sweep.yaml"
    sweep = load_model(Sweep, file)
    schedules = [
        recipe.experts.distillation.schedule.type for _, seed, recipe in combinations(sweep, file) if seed == 1
    ]
    assert schedules == ["fixed", "adaptive_paper", "alternating"]
    assert len(sweep.seeds) == 2


def test_vocabularies_are_not_compared_by_losses_over_their_own_tokens(tmp_path: Path) -> None:
    for varied in (
        {"grid": {"experts.vocabulary.keep": [0.99, 0.999]}},
        {"configurations": {"a": {"experts.vocabulary": None}}},
    ):
        with pytest.raises(RecipeError, match="compare their bits per byte"):
            written(tmp_path, **varied)
    sweep, file = written(tmp_path, grid={LR: [1e-3]}, overrides={"experts.vocabulary.keep": 0.99})
    assert all(recipe.experts.vocabulary for _, _, recipe in combinations(sweep, file))


def test_a_recipe_with_a_base_of_its_own_can_be_swept(tmp_path: Path) -> None:
    recipe = {"base": str(RECIPES / "smoke.yaml"), "experts": {"training": {"tokens": 5000}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    sweep, file = written(tmp_path, base="mine.yaml", grid={LR: [0.1, 0.2]})
    assert base_recipe(sweep, file).experts.training.tokens == 5000


def test_sections_in_changes_are_their_fields_and_leave_the_others(tmp_path: Path) -> None:
    sweep, file = written(tmp_path, configurations={"ce": {"experts": {"distillation": {"soft": None}}}}, grid={})
    assert configurations(sweep)[0].changes == {"experts.distillation.soft": None}
    recipe = trial_recipe(sweep, file, configurations(sweep)[0], 1)
    assert recipe.experts.model == base_recipe(sweep, file).experts.model
    given = ["overrides.experts.training.tokens=700", "grid.experts.training.optimizer.lr=[0.1, 0.2]"]
    sweep = load_model(Sweep, file, given)
    assert sweep.grid == {"experts.training.optimizer.lr": [0.1, 0.2]}
    assert base_recipe(sweep, file).experts.training.tokens == 700
    schedule = {"type": "linear", "start": 0.9, "end": 0.1}
    sweep, _ = written(tmp_path, configurations={"a": {"experts": {"distillation": {"schedule": schedule}}}}, grid={})
    assert configurations(sweep)[0].changes == {"experts.distillation.schedule": schedule}


def test_a_field_of_the_recipe_is_told_from_one_of_the_sweep(tmp_path: Path) -> None:
    _, file = written(tmp_path, grid={LR: [0.1, 0.2]})
    with pytest.raises(RecipeError, match=r"experts is of the recipe: for all trials, it is overrides\.experts"):
        load_model(Sweep, file, ["experts.training.tokens=700"])
    with pytest.raises(RecipeError, match=r"seeds: has to be a list: \[…, …\], not 3"):
        load_model(Sweep, file, ["seeds=3"])


def test_what_a_sweep_sets_is_told_without_a_line_of_the_recipe(tmp_path: Path) -> None:
    sweep, file = written(tmp_path, configurations={"a": {"experts.distillation.soft": "reverse_kll"}}, grid={})
    with pytest.raises(RecipeError, match=r"^override experts\.distillation\.soft=…"):
        trial_recipe(sweep, file, configurations(sweep)[0], 1)
