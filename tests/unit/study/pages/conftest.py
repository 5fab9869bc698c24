from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.reporting.report import write_report
from tests.unit.reporting import run_folder
from tests.unit.study.pages import study_folder


@pytest.fixture(scope="session")
def folders() -> ModuleType:
    """The module that writes a made-up study's artifacts."""
    return study_folder


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main line's report of a made-up run; only to be read."""
    out = tmp_path_factory.mktemp("report")
    write_report(run_folder.write_run(tmp_path_factory.mktemp("run") / "run"), run_folder.RECIPE, out)
    return out
