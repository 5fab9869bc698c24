import runpy
from pathlib import Path

import pytest

from orchestrator.environment import Environment
from orchestrator.errors import ArtifactError
from orchestrator.stages.report import ReportStage

RUN_FOLDER = Path(__file__).parents[1] / "reporting" / "run_folder.py"


@pytest.fixture(scope="module")
def made_up() -> dict:
    return runpy.run_path(str(RUN_FOLDER))


def test_writes_the_report_and_says_what_came_out(made_up, tmp_path: Path) -> None:
    stage = ReportStage(recipe=made_up["RECIPE"])
    stage.run(made_up["write_run"](tmp_path / "run"), tmp_path / "out", Environment(work=tmp_path / "work"))
    assert {"index.html", "report.md", "results.json", "figures"} == {p.name for p in (tmp_path / "out").iterdir()}
    assert "lowest perplexity of the 4 experts" in (tmp_path / "work" / "metrics.jsonl").read_text()


def test_a_missing_step_is_named(made_up, tmp_path: Path) -> None:
    inputs = made_up["write_run"](tmp_path / "run")
    del inputs["expert-de"]
    with pytest.raises(ArtifactError, match="expert-de"):
        ReportStage(recipe=made_up["RECIPE"]).run(inputs, tmp_path / "out", Environment(work=tmp_path / "work"))
    assert not (tmp_path / "out").exists()
