"""What an artifact was made with, and how that differs from what is installed."""

import shutil
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator import provenance as module
from orchestrator.provenance import Drift, code_digest, drift, provenance, reached, told

EXPERT = ["orchestrator.stages.expert", "orchestrator.losses.forward_kl"]
SCHEDULE = ["orchestrator.schedules.linear"]  # a module of ours that reaches few: what is forgotten is read again


def forget():
    kept = (module.versions, module.package_digest, module._digest_of, module._digest, module._data, module._imports)
    kept += (module._source,)
    for cached in kept:
        cached.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that a test may change; call it to have the change seen."""
    root = tmp_path / "orchestrator"
    shutil.copytree(Path(orchestrator.__file__).parent, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_ROOT", root)
    forget()
    yield root
    monkeypatch.undo()
    forget()


def append(path, text="# a comment\n"):
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    forget()


def test_nothing_differs_from_what_is_installed():
    assert drift(provenance(EXPERT)) == Drift(package=False, code=False, libraries=())
    assert told({"expert-en": drift(provenance(EXPERT))}) == ""


def test_a_comment_in_a_module_that_a_step_runs_on_is_drift_of_that_step(package):
    expert, corpus = provenance(EXPERT), provenance(["orchestrator.stages.corpus"])
    append(package / "models" / "files.py")
    assert drift(expert) == Drift(package=True, code=True, libraries=())
    assert drift(corpus) == Drift(package=True, code=False, libraries=())
    line = told({"corpus": drift(corpus), "expert-en": drift(expert)})
    assert line == "the code of mome-orchestrator differs from what made 2 stages (reaches expert-en)"


def test_text_that_ships_is_drift_of_the_step_that_reads_it(package):
    router, expert = provenance(["orchestrator.stages.router"]), provenance(EXPERT)
    text = next(path for path in package.rglob("*.txt") if "natural" in path.parts)
    append(text, "another sentence\n")
    assert drift(router).code
    assert not drift(expert).code
    assert drift(expert).package


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Somebody else's package beside a module that it imports, and one that it does not."""
    folder = tmp_path / "own"
    (folder / "mine" / "parts").mkdir(parents=True)
    files = {
        "mine/__init__.py": "",
        "mine/losses.py": "from .parts import thing\nfrom . import other\nimport beside, torch\n",
        "mine/parts/__init__.py": "",
        "mine/parts/thing.py": "",
        "mine/other.py": "def late():\n    from ..mine import late_one\n",
        "mine/unused.py": "",
        "beside.py": "",
        "far.py": "",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", list(sys.path))
    module._home.cache_clear()
    yield folder
    module._home.cache_clear()
    forget()


def test_the_code_of_somebody_elses_plugin_is_drift_of_the_step_that_has_it(own):
    mine, ours = provenance([*SCHEDULE, "mine.losses"]), provenance(SCHEDULE)
    assert drift(mine) == Drift(package=False, code=False, libraries=())
    for reached_ in ("mine/losses.py", "mine/parts/thing.py", "mine/other.py", "mine/__init__.py", "beside.py"):
        whole = (own / reached_).read_text()
        append(own / reached_)
        assert drift(mine) == Drift(package=False, code=True, libraries=()), reached_
        (own / reached_).write_text(whole)
    for other in ("mine/unused.py", "far.py"):
        append(own / other)
    assert not drift(mine).code
    append(own / "beside.py")
    assert not drift(ours).reaches
    line = told({"corpus": drift(ours), "expert-en": drift(mine)})
    assert line == "the code of a plug-in differs from what made 1 stages (reaches expert-en)"


def test_of_an_installed_package_its_own_code_counts_and_not_its_neighbours(own):
    site = own / "site-packages"
    (site / "neighbour").mkdir(parents=True)
    for name in ("mine", "beside.py"):
        (own / name).rename(site / name)
    sys.path.append(str(site))
    made = provenance(["mine.losses"])
    append(site / "beside.py")
    assert not drift(made).code
    append(site / "mine" / "losses.py")
    assert drift(made).code


def test_code_that_is_gone_is_drift(own):
    made = provenance(["mine.losses"])
    (own / "mine").rename(own / "yours")
    forget()
    module._home.cache_clear()
    assert drift(made).code


def test_another_version_of_a_library_is_named(monkeypatch):
    made = provenance(EXPERT)
    monkeypatch.setattr(module, "versions", lambda: {**made["versions"], "torch": "9.0", "ray": "9.0"})
    found = drift(made)
    assert found.libraries == (f"torch {made['versions']['torch']}, now 9.0",)
    assert found.reaches
    assert "now 9.0" in told({"teacher": found})


def test_what_was_accepted_is_no_drift(package):
    made = provenance(EXPERT)
    append(package / "models" / "files.py")
    assert drift(made, [provenance(EXPERT)]) == Drift(package=False, code=False, libraries=())


def test_an_older_manifest_is_drift_and_no_error():
    assert drift({"code": "0a1b", "versions": {}}).reaches
    assert drift({}).reaches


def test_imports_are_followed_into_functions_and_through_packages():
    found = reached(["orchestrator.stages.teacher"])
    assert {"orchestrator.training.loop", "orchestrator.losses._chunk", "orchestrator.models.files"} <= found
    assert not [name for name in found if name.startswith(("orchestrator.reporting", "orchestrator.cli"))]


def test_digests_are_those_of_the_modules_alone():
    assert code_digest(["orchestrator.errors"]) == code_digest(["orchestrator.errors", "orchestrator.errors"])
    assert code_digest(["orchestrator.errors"]) != code_digest(["orchestrator.plugins"])
