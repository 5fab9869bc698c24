"""The results of a run as typed records: in the report, and as a caller reads them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ArtifactError
from orchestrator.reporting.record import Perplexity, Results
from orchestrator.reporting.results import collect
from orchestrator.reporting.run_results import Curves, RunResults


def test_the_report_has_what_its_type_says(inputs: dict[str, Path], made_up: Any) -> None:
    found = collect(inputs, made_up.RECIPE)
    assert set(found) == set(RunResults.__annotations__) - {"alignments"}  # of a teacher with other tokens
    assert set(found["learning_curves"]["teacher"]) == set(Curves.__annotations__)


@pytest.fixture
def page(report: Path, tmp_path: Path) -> Path:
    """The numbers of a report, which a test may change."""
    return Path(shutil.copy(report / "results.json", tmp_path))


def test_results_are_the_numbers_of_the_report(page: Path) -> None:
    told, found = json.loads(page.read_text()), Results.read(page)
    assert (found.name, list(found.languages), found.setup) == (told["name"], told["languages"], "ple")
    matrix = {expert: {lang: each.perplexity for lang, each in row.items()} for expert, row in found.experts.items()}
    assert matrix == told["expert_perplexity"]
    low, high = told["teacher_perplexity_interval"]["en"]
    assert found.teacher["en"] == Perplexity(told["teacher_perplexity"]["en"], (low, high))
    assert found.router.scores[found.router.used].accuracy == told["table3_router"][found.router.used]["accuracy"]
    assert found.router.routed_right == told["routed_right"]
    assert found.settings == told["recipe"]
    assert found.parameters["teacher"] == told["models"]["teacher"]["parameters"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.name = "another"  # type: ignore[misc]


def test_an_interval_that_is_not_there_is_none(page: Path) -> None:
    told = json.loads(page.read_text())
    told["teacher_perplexity_interval"]["en"] = None
    page.write_text(json.dumps(told))
    assert Results.read(page).teacher["en"].interval is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "can't be read"),
        ("[]", "not a JSON object"),
        ("{}", "of a study or a sweep"),
        ('{"expert_perplexity": {}}', "'setup'"),
    ],
)
def test_what_is_no_record_of_a_run_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ArtifactError, match=said):
        Results.read(tmp_path / "results.json")
