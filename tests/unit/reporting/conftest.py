import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made_up() -> ModuleType:
    """The module that writes a made-up run's artifacts."""
    spec = importlib.util.spec_from_file_location("run_folder", Path(__file__).parent / "run_folder.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def inputs(made_up: ModuleType, tmp_path: Path) -> dict[str, Path]:
    """A fresh run that the test may damage."""
    return made_up.write_run(tmp_path / "run")


@pytest.fixture(scope="session")
def report(made_up: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the made-up run; only to be read."""
    from orchestrator.reporting.report import write_report

    out = tmp_path_factory.mktemp("report")
    write_report(made_up.write_run(tmp_path_factory.mktemp("run") / "run"), made_up.RECIPE, out)
    return out
