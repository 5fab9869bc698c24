import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def folders() -> ModuleType:
    """The module that writes a made-up study's artifacts."""
    spec = importlib.util.spec_from_file_location("study_folder", Path(__file__).parent / "study_folder.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for it
    spec.loader.exec_module(module)
    return module
