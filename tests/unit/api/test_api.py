"""MoME from Python: what a notebook does with it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator import Run, load_run, plan, run
from orchestrator.api import sweep
from orchestrator.api.recipes import SHIPPED, read_recipe, recipe_file
from orchestrator.config.loading import load_recipe
from orchestrator.errors import ArtifactError, RecipeError

TINY = (
    "tracking.type=none",
    "corpus.languages={en: {source: miniwiki}, fr: {source: miniwiki}}",
    "corpus.max_documents=40",
    "tokenizer.vocab_size=300",
    "blocks.context=16",
    "blocks.balance.tokens_per_language=2000",
)


class TestImport:
    """What is imported counts, not seconds: those are this machine's."""

    def modules(self, program: str) -> set[str]:
        told = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
        ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
        return set(json.loads(ended.stdout.splitlines()[-1]))

    def test_the_package_imports_next_to_nothing(self) -> None:
        new = self.modules("import orchestrator") - self.modules("import importlib, typing")
        assert new <= {"orchestrator"}

    def test_the_command_line_imports_what_help_needs(self) -> None:
        new = self.modules("import orchestrator.cli.main")
        heavy = {"torch", "numpy", "pydantic", "rich", "yaml", "ray", "transformers", "orchestrator.api"}
        assert not new & heavy
        assert len(new) < 350

    def test_what_is_lazy_is_there(self) -> None:
        assert {"run", "plan", "load_run", "Run"} <= set(dir(orchestrator))
        with pytest.raises(AttributeError, match="no attribute 'walk'"):
            orchestrator.walk  # noqa: B018


class TestRecipes:
    def test_by_name_by_file_and_as_it_is(self) -> None:
        smoke = load_recipe(SHIPPED / "smoke.yaml")
        assert read_recipe("smoke") == read_recipe(SHIPPED / "smoke.yaml") == read_recipe(smoke) == smoke

    def test_overrides_change_any_of_them(self) -> None:
        for recipe in ("smoke", load_recipe(SHIPPED / "smoke.yaml")):
            changed = read_recipe(recipe, ["seed=9", "experts.distillation.soft.temperature=2", "name=007"])
            assert (changed.seed, changed.name) == (9, "007")
            assert changed.experts.distillation.soft.options == {"temperature": 2}
        with pytest.raises(RecipeError, match="override sead=…: sead: unknown key"):
            read_recipe(load_recipe(SHIPPED / "smoke.yaml"), ["sead=9"])

    def test_a_file_of_ones_own_goes_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "smoke").write_text("name: mine")
        assert recipe_file("smoke") == Path("smoke")
        assert recipe_file("none.yaml") == Path("none.yaml")
        with pytest.raises(RecipeError, match="can't be read"):
            run("none.yaml", runs=tmp_path)

    def test_a_name_that_is_misspelt(self) -> None:
        with pytest.raises(RecipeError, match='did you mean "smoke"'):
            run("smoek")
        with pytest.raises(RecipeError, match="no sweep of this name") as caught:
            recipe_file("nosuch", "sweep")
        assert "rq1_alpha" in caught.value.fix
        assert not {"smoke", "study"} & set(re.findall(r"\w+", caught.value.fix))
        with pytest.raises(RecipeError) as caught:
            recipe_file("nosuch")
        assert "known: eltec, low_rank, paper, quickstart, smoke, study;" in caught.value.fix

    def test_the_other_kind_is_told_with_its_command(self) -> None:
        with pytest.raises(RecipeError, match=r"this is a sweep(.|\n)*mome sweep rq1_alpha"):
            plan("rq1_alpha")
        with pytest.raises(RecipeError, match=r"this is a recipe(.|\n)*mome run quickstart"):
            sweep("quickstart")


def in_a_notebook(work: Any) -> tuple[Any, str]:
    """Call it as a kernel does: an event loop runs, and the output is no terminal and has no file."""
    said = io.StringIO()

    async def cell() -> Any:
        return work()

    with contextlib.redirect_stdout(said):
        return asyncio.run(cell()), said.getvalue()


class TestRun:
    def test_until_a_step_with_plain_lines_and_again_with_nothing_to_do(self, tmp_path: Path) -> None:
        def first() -> Run:
            return run("smoke", *TINY, runs=str(tmp_path), until="blocks", local=True)

        made, said = in_a_notebook(first)
        assert isinstance(made, Run)
        assert (made.name, made.folder) == ("smoke", tmp_path / "smoke")
        assert "corpus: started" in said
        assert "blocks: done in" in said
        assert list(made.artifacts) == ["corpus", "tokenizer", "tokens", "blocks"]
        assert made.recipe.corpus.max_documents == 40
        again, said = in_a_notebook(first)
        assert again == made
        assert said == "nothing to do: all 4 stages of smoke are done\n"

    def test_what_a_killed_command_did_not_tell_its_tracker_the_same_one_tells_though_nothing_is_to_do(
        self, tmp_path: Path
    ) -> None:
        pytest.importorskip("mlflow")

        def track() -> dict[str, Any]:
            run("smoke", *TINY[1:], runs=tmp_path, until="tokenizer", local=True, quiet=True)
            told: dict[str, Any] = json.loads((tmp_path / "smoke" / "tracking.json").read_text())
            return told

        state = track()
        assert state["closed"]
        untold = {**state, "closed": False, "steps": {"corpus": state["steps"]["corpus"]}}
        (tmp_path / "smoke" / "tracking.json").write_text(json.dumps({**untold, "parent": ""}))
        state = track()
        assert (state["closed"], list(state["steps"])) == (True, ["corpus", "tokenizer"])

    def test_quiet_says_nothing(self, tmp_path: Path) -> None:
        made, said = in_a_notebook(lambda: run("smoke", *TINY, runs=tmp_path, until="corpus", local=True, quiet=True))
        assert list(made.artifacts) == ["corpus"]
        assert said == ""

    def test_a_display_is_told(self, tmp_path: Path) -> None:
        told = []

        class Display:
            def started(self, step: str) -> None:
                told.append(step)

            def metrics(self, step: str, rows: Any) -> None: ...
            def finished(self, step: str, manifest: Any, folder: Path) -> None: ...
            def failed(self, step: str, error: Exception) -> None: ...
            def close(self, report: Path | None) -> None:
                told.append("closed")

        run("smoke", *TINY, runs=tmp_path, until="tokenizer", local=True, display=Display())
        assert told == ["corpus", "tokenizer", "closed"]


class TestPlan:
    def test_steps_with_costs_and_seconds(self, tmp_path: Path) -> None:
        found = plan("smoke", *TINY, runs=tmp_path, until="experts", local=True)
        assert [step.name for step in found.steps][:5] == ["corpus", "tokenizer", "tokens", "blocks", "teacher"]
        teacher = found.steps[4]
        assert teacher.cost.parameters > 0
        assert teacher.seconds > 0
        one_after_the_other = sum(step.seconds for step in found.steps)
        assert one_after_the_other < found.seconds < one_after_the_other + 10  # of the process, and between steps
        begins = [step.begins for step in found.steps]
        assert begins == sorted(begins)
        assert found.memory_bytes >= teacher.cost.memory_bytes
        assert "earlier training" in found.grounds or "no run yet" in found.grounds
        assert not list(tmp_path.iterdir())
        assert str(found).splitlines()[0] == f"smoke: {len(found.steps)} of {len(found.steps)} stages to run"
        assert "teacher" in str(found)

    def test_what_is_there_is_cached(self, tmp_path: Path) -> None:
        run("smoke", *TINY, runs=tmp_path, until="corpus", local=True, quiet=True)
        found = plan("smoke", *TINY, runs=tmp_path, until=("corpus",), local=True)
        assert (found.missing, found.seconds, found.grounds) == ((), 0.0, "")
        again = plan("smoke", *TINY, runs=tmp_path, until="corpus", force="corpus", local=True)
        assert [step.name for step in again.missing] == ["corpus"]


class TestLoadRun:
    def test_what_is_not_there_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "artifacts.json").write_text('{"steps": {}}')
        with pytest.raises(ArtifactError, match="no run 'two'") as error:
            load_run("two", tmp_path)
        assert "runs there are: one" in str(error.value)
        found = load_run("one", tmp_path)
        assert load_run(tmp_path / "one") == found
        for ask, said in (
            (lambda: found.report, "no report yet"),
            (lambda: found.results, "no report yet"),
            (lambda: found.metrics("teacher"), "no metrics of 'teacher'"),
            (lambda: found.route("text"), "no router"),
            (lambda: found.recipe, "no run of a recipe"),
        ):
            with pytest.raises(ArtifactError, match=said):
                ask()
